"""What is worth telling people who look at a workload in Kubernetes: the changes between two decisions.

Edges only: a limit that goes on binding is told once. The texts say what `explain` says, and hold nothing
that isn't shown there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scaler.core.announcement import Announcement
from scaler.core.decision import Bound, Decision

#: Limits under which fewer replicas are needed and work at hand keeps them.
WAITS: frozenset[Bound] = frozenset({"running", "load"})


_WAITS_FOR = "a step down waits for tasks that the grace period would kill"


@dataclass(frozen=True, slots=True)
class News:
    """One piece: a reason in CamelCase, which stays the same in every version, and a sentence."""

    reason: str
    text: str
    warning: bool = False


def changes(before: Decision, after: Decision) -> Iterator[News]:
    """What has changed from one decision of a class to a later one."""
    name = after.worker_class
    if after.desired != before.desired:
        reason = "DesiredReplicasRaised" if after.desired > before.desired else "DesiredReplicasLowered"
        yield News(reason, f"{name}: {before.desired} → {after.desired} replicas, {_why(after)}")
    yield from _orders(before, after)
    yield from _waiting(before, after)
    if after.limit != before.limit:
        detail = f"{name}: {after.limit_detail}"
        if after.limit == "max":
            yield News("MaxReplicasReached", detail, warning=True)
        elif after.limit == "scale-up-policy":
            yield News("BurstPolicyBinds", detail)
        elif after.limit in WAITS:
            yield News("ScaleInWaits", detail)
    # After a start nothing has been read yet: the first reading is no news.
    if after.quality != before.quality and before.sampled_at is not None:
        yield _quality(before, after)
    yield from _hindrances(before, after)


def spikes(
    before: Iterable[Announcement],
    after: Iterable[Announcement],
    name: str,
    moments: tuple[float, float],
) -> Iterator[News]:
    """What has become of the announcements of class `name` between two moments."""
    known, kept, (last, now) = set(before), set(after), moments
    for told in sorted(kept - known, key=lambda one: one.begins):
        yield News("SpikeAnnounced", f"{name}: {told}")
    for told in sorted(known & kept, key=lambda one: one.begins):
        if last < told.begins <= now:
            yield News("SpikeBegins", f"{name}: {told}")
    for told in sorted(known - kept, key=lambda one: one.begins):
        yield News("SpikeEnds" if told.until <= now else "SpikeWithdrawn", f"{name}: {told}")


def _why(decision: Decision) -> str:
    term = next((term for term in decision.terms if term.name == decision.winner), None)
    parts = [f"{decision.winner} asks for {decision.recommendation}"]
    if term is not None and term.formula:
        parts[0] += f" ({term.formula})"
    if decision.limit != "none":
        parts.append(f"limit {decision.limit}: {decision.limit_detail}")
    return "; ".join(parts)


def _orders(before: Decision, after: Decision) -> Iterator[News]:
    name = after.worker_class
    was, is_now = (one.limit_detail if one.limit == "override" else "" for one in (before, after))
    if was == is_now:
        return
    if is_now:
        yield News("OverrideBegins", f"{name}: {is_now}", warning=True)
    else:
        yield News("OverrideEnds", f"{name}: {was}")


def _waiting(before: Decision, after: Decision) -> Iterator[News]:
    """A step down that waits for tasks which it would kill: once when that begins, and once when it ends."""
    name, since = after.worker_class, before.waiting_since
    if since is None and after.waiting_since is not None:
        # While a part of the step is announced, or another limit binds, the detail speaks of that.
        told = after.limit == "draining" and after.stepping_down_to is None
        yield News("ScaleInWaits", f"{name}: {after.limit_detail if told else _WAITS_FOR}", warning=True)
    elif since is not None and after.waiting_since is None:
        minutes = max(0.0, after.decided_at - since) / 60
        what = (
            f"the step down to {after.desired} was made" if after.desired < before.desired else "it is over"
        )
        yield News("ScaleInWaited", f"{name}: {what} after a wait of {minutes:.0f} min for running tasks")


def _quality(before: Decision, after: Decision) -> News:
    name, reasons = after.worker_class, "; ".join(after.quality_reasons)
    if after.quality == "hold":
        return News("DataOnHold", f"{name}: no scale-in on data that isn't fresh: {reasons}", warning=True)
    if after.quality == "blind":
        return News("DataBlind", f"{name}: replicas stay at {after.desired}: {reasons}", warning=True)
    return News("DataFresh", f"{name}: the data is fresh again after a time of {before.quality}")


def _hindrances(before: Decision, after: Decision) -> Iterator[News]:
    known = {_topic(text) for text in before.hindrances}
    there = {_topic(text) for text in after.hindrances}
    for text in after.hindrances:
        if _topic(text) not in known:
            yield News("NotCarriedOut", f"{after.worker_class}: {text}", warning=True)
    for text in before.hindrances:
        if _topic(text) not in there:
            yield News("HindranceGone", f"{after.worker_class}: no longer: {text}")


def _topic(text: str) -> str:
    """A hindrance without its details: the HPA's messages change with each of its tries."""
    return ": ".join(text.split(": ")[:3])
