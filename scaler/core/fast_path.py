"""When the replicas may be raised at once, without waiting for the HPA to look.

The HPA stays the owner of the replicas: whatever is written here is the number that it will be told
at its next look, so it agrees. That is certain only while nobody holds an older number that is lower
(hence the settle time), while nothing stands between our number and the HPA's, and while nobody else
moves the replicas. Whatever is doubtful is left to the HPA, which costs 15 s at the most.

Two rules keep this from ever fighting: it only raises, and after any fall of the replicas, by
whomever, it leaves them alone for two of the HPA's periods. So no two rises of its own stand around
a fall within one period, however the decisions jump (tests/sim/test_fast_path_model.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from scaler.core.decision import Decision
from scaler.core.policy import WorkerPolicy
from scaler.core.workload import KEDA_MAX, Autoscaler, KedaObject, Workload

#: Two of the HPA's periods of 15 s.
CALM_SECONDS = 30.0
#: How long a number that KEDA was told may still come back as the HPA's: KEDA's answers under way, and
#: an HPA that looks every 15 s; a minute leaves room for slower syncs.
TOLD_SECONDS = 60.0
#: How long the HPA may take to state in its status what it has just written, as our watches see it.
EXPLAIN_SECONDS = 5.0
#: How long replicas that somebody else has set are left alone.
AWAY_SECONDS = 300.0
#: After KEDA has started the first pod: until then its executor, which reads from a cache, may set 1 again.
WAKE_SECONDS = 2.0
#: How long the watches may lag behind a write of its own.
ECHO_SECONDS = 10.0
#: Decisions are made at least once a second; an older one says nothing about now.
CURRENT_SECONDS = 3.0

#: Reasons of conditions that are False because the HPA or KEDA got no number: acting is the point then.
NO_NUMBER = frozenset({"FailedGetExternalMetric", "ScalingDisabled"})
NO_ANSWER = frozenset({"TriggerError", "PartialTriggerError"})

#: For a metric's label.
Why = Literal[
    "",
    "data",
    "settling",
    "calm",
    "foreign",
    "paused",
    "scaled-object",
    "hpa",
    "zero",
    "unread",
]


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of one class. Times are seconds since the epoch."""

    #: Own decisions, (heard at, replicas), oldest first; the last one stands.
    told: tuple[tuple[float, int], ...] = ()
    #: The latest one: when it was made, by the clock of who made it, and when it was heard of.
    decided_at: float = 0.0
    heard_at: float = 0.0
    #: Replicas as last seen or written; None before the first look.
    seen: int | None = None
    fell_at: float = 0.0
    woke_at: float = 0.0
    #: After a write of its own: the number before it, which watches may still show, until when.
    echo: tuple[int, float] | None = None
    #: A change that nothing explains yet: (when it was seen, from, to).
    puzzle: tuple[float, int, int] | None = None
    away_until: float = 0.0
    away_because: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Replicas to write; or None and why not, `why` empty where there is nothing to raise."""

    replicas: int | None = None
    why: Why = ""
    text: str = ""


def told(watch: Watch, decision: Decision, now: float) -> Watch:
    """The watch after hearing of an own decision, again or for the first time."""
    if decision.decided_at != watch.decided_at:
        watch = replace(watch, decided_at=decision.decided_at, heard_at=now)
    stamps = watch.told
    if not stamps or stamps[-1][1] != decision.desired:
        stamps = (*stamps, (now, decision.desired))
    # The one that held when the period began is still part of it.
    begun = max((at for at, _ in stamps if at <= now - TOLD_SECONDS), default=now - TOLD_SECONDS)
    return replace(watch, told=tuple(stamp for stamp in stamps if stamp[0] >= begun))


def interrupted(watch: Watch) -> Watch:
    """The watch after another process has decided: what was told meanwhile isn't known."""
    return replace(watch, told=())


def saw(watch: Watch, replicas: int, workload: Workload, now: float, *, late: bool = False) -> Watch:
    """The watch after a look at the target's replicas.

    Args:
        watch: as it was.
        replicas: spec.replicas.
        workload: what the cluster states besides.
        now: seconds since the epoch.
        late: it comes from a watch, which may show what stood before the last write of its own. Only a
            look of its own tells that from a fall back to the same number; there is one before each write.
    """
    if watch.echo is not None and late and replicas == watch.echo[0] and now < watch.echo[1]:
        return _explained(watch, workload, now)
    before = watch.seen
    watch = replace(watch, seen=replicas, echo=None)
    if before is not None and before != replicas:
        if replicas < before:
            watch = replace(watch, fell_at=now)
        elif before == 0:
            watch = replace(watch, woke_at=now)
        watch = replace(watch, puzzle=(now, before, replicas))
    return _explained(watch, workload, now)


def wrote(watch: Watch, replicas: int, now: float) -> Watch:
    """The watch after a write of its own."""
    echo = None if watch.seen is None else (watch.seen, now + ECHO_SECONDS)
    return replace(watch, seen=replicas, echo=echo)


def judge(
    watch: Watch,
    worker: WorkerPolicy,
    decision: Decision,
    workload: Workload,
    now: float,
    *,
    settle: float = 0.0,
) -> Verdict:
    """What may be written on top of `watch.seen` now.

    Args:
        watch: with the newest look at the replicas.
        worker: the class.
        decision: the latest own one.
        workload: what the cluster states.
        now: seconds since the epoch.
        settle: seconds for which a number must have stood, so that whoever is asked says no lower one.
    """
    seen = watch.seen
    if seen is None or decision.desired <= seen:
        return Verdict()
    objection = next(_objections(watch, decision, workload, now), None)
    if objection is not None:
        return objection
    stood = _stood(watch, settle, now)
    if stood is None or stood <= seen:
        return Verdict(why="settling", text=f"the number has stood for less than {settle:g} s")
    most = min(worker.replicas.max, *_bounds(workload))
    wanted = min(stood, most)
    return Verdict(wanted) if wanted > seen else Verdict()


def _bounds(workload: Workload) -> Iterator[int]:
    """Upper bounds that the HPA keeps."""
    if workload.scaled_object is not None:
        most = workload.scaled_object.max
        yield KEDA_MAX if most is None else most
    if workload.autoscaler is not None:
        yield workload.autoscaler.max


def _stood(watch: Watch, settle: float, now: float) -> int | None:
    """The least of what was told within the last `settle` seconds; None: they aren't known in full."""
    if not watch.told or watch.told[0][0] > now - settle:
        return None
    ends = [*(at for at, _ in watch.told[1:]), now]
    return min(replicas for (_, replicas), end in zip(watch.told, ends, strict=True) if end >= now - settle)


def _objections(watch: Watch, decision: Decision, workload: Workload, now: float) -> Iterator[Verdict]:
    """Why the replicas are left alone although more are decided."""
    scaled, autoscaler = workload.scaled_object, workload.autoscaler
    if scaled is None or autoscaler is None:
        missing = "ScaledObject" if scaled is None else "HPA"
        yield Verdict(why="unread", text=f"no {missing} of the target is seen, so nobody would agree")
        return
    yield from _scaled_object(scaled)
    yield from _autoscaler(scaled, autoscaler, workload.rivals)
    if watch.seen == 0:
        yield Verdict(why="zero", text="KEDA starts the first pod")
    if decision.quality != "fresh" or now - watch.heard_at > CURRENT_SECONDS:
        yield Verdict(why="data", text="the data isn't fresh")
    if now < watch.away_until:
        yield Verdict(why="foreign", text=watch.away_because)
    if watch.puzzle is not None or now < watch.fell_at + CALM_SECONDS:
        yield Verdict(why="calm", text="the replicas have just been changed")
    if now < watch.woke_at + WAKE_SECONDS:
        yield Verdict(why="settling", text="KEDA has just started the first pod")


def _scaled_object(scaled: KedaObject) -> Iterator[Verdict]:
    """Whether a person or KEDA wants something else than our number."""
    name = f"ScaledObject {scaled.name}"
    if scaled.paused or scaled.paused_replicas is not None or scaled.paused_out:
        yield Verdict(why="paused", text=f"{name} is paused")
    if scaled.detours:
        yield Verdict(
            why="scaled-object", text=f"{name} uses {scaled.detours[0]}: the HPA gets another number"
        )
    states = {condition.type: condition for condition in scaled.conditions}
    ready, fallback = states.get("Ready"), states.get("Fallback")
    # KEDA calls it not ready while we don't answer it; that is our own absence.
    if ready is None or not (ready.status == "True" or ready.reason in NO_ANSWER):
        yield Verdict(why="scaled-object", text=f"{name} isn't ready")
    if fallback is not None and fallback.status == "True":
        yield Verdict(why="scaled-object", text=f"{name} uses its fallback")


def _autoscaler(scaled: KedaObject, autoscaler: Autoscaler, rivals: tuple[str, ...]) -> Iterator[Verdict]:
    """Whether the HPA is KEDA's, the only one, and would keep a number that it is told."""
    name = f"HPA {autoscaler.name}"
    if rivals:
        yield Verdict(why="hpa", text=f"{rivals[0]} scales the target as well")
    if scaled.hpa and autoscaler.name != scaled.hpa:
        yield Verdict(why="hpa", text=f"{name} isn't KEDA's {scaled.hpa}")
    if autoscaler.tolerance != 0:
        # In its deadband an HPA sets the pods that exist: 11 of the 12 that are being started.
        yield Verdict(why="hpa", text=f"{name} has a deadband; tolerance: 0 in both directions is needed")
    for condition in autoscaler.conditions:
        # Without a number from KEDA it does nothing; at 0 replicas, and for a sync after that, it is off.
        idle = condition.type == "ScalingActive" and condition.reason in NO_NUMBER
        if condition.type in {"ScalingActive", "AbleToScale"} and condition.status != "True" and not idle:
            yield Verdict(why="hpa", text=f"{name}: {condition.type} is {condition.status}")


def _explained(watch: Watch, workload: Workload, now: float) -> Watch:
    """The watch without its puzzle, once somebody who may move the replicas has; or gone away for a while."""
    if watch.puzzle is None:
        return watch
    at, before, after = watch.puzzle
    if after in _known(watch, workload, before):
        return replace(watch, puzzle=None)
    if now < at + EXPLAIN_SECONDS:
        return watch
    because = (
        f"somebody else changed the replicas from {before} to {after}; the fast path leaves them to the HPA"
        f" for {AWAY_SECONDS:.0f} s"
    )
    return replace(watch, puzzle=None, away_until=at + AWAY_SECONDS, away_because=because)


def _known(watch: Watch, workload: Workload, before: int) -> set[int]:
    """Numbers that the HPA may have from us, states itself, or that KEDA sets at the way from and to 0."""
    scaled, autoscaler = workload.scaled_object, workload.autoscaler
    known = {replicas for _, replicas in watch.told}
    if autoscaler is not None:
        known = {min(max(one, autoscaler.min), autoscaler.max) for one in known} | {autoscaler.desired}
    if before == 0:
        known.add(max(1, (scaled.min if scaled else None) or 0))
    return known
