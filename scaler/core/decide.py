"""One tick for one worker class: what is known, what is needed, what the behavior allows.

Pure: the same (policy, state, observation, now) give the same decision and the same next state,
byte for byte. The order is the HPA's: recommend, stabilise, rate-limit, clamp; around it stand
the rules for data that can't be trusted, which only ever forbid a scale-down.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from scaler.core import announcement, arrivals, behavior, demand, drain, lead, victims
from scaler.core.behavior import Step
from scaler.core.continuity import adopt, in_force, note_quality, steady_time
from scaler.core.decision import Bound, Decision, Term
from scaler.core.load import load_of
from scaler.core.measure import Picture, follow, look
from scaler.core.observation import Observation
from scaler.core.orders import obey
from scaler.core.policy import WorkerPolicy
from scaler.core.quality import Assessment, assess
from scaler.core.restraint import Restraint, restraint
from scaler.core.state import WorkerState
from scaler.core.tolerance import land

#: A recommendation stays a finite number of pods whatever was read.
MOST_REPLICAS = 1_000_000
#: Limits that hold a step down for the moment: what it waits for is remembered.
_HELD: frozenset[Bound] = frozenset({"data", "recovery", "unfollowed", "running", "load"})
#: Rounding: 200.00000000000003 slots on pods of 200 are one pod.
CEIL_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """A worker policy with the names under which it is asked for."""

    policy: str
    name: str
    worker: WorkerPolicy


def decide(
    subject: WorkerClass, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, Decision]:
    """Decide the replicas of one worker class at `now` (seconds since the epoch)."""
    state = in_force(subject.worker, state)
    if state.announcements:
        state = replace(state, announcements=announcement.current(state.announcements, now))
    order = state.override
    if order is not None and now >= order.until:
        state, order = replace(state, override=None), None
    after, decision = _decide_by_load(subject, state, observation, now)
    if order is None:
        return after, decision
    after, decision = obey(subject.worker, order, state, after, decision)
    if decision.desired < decision.previous:
        # Nothing holds an order back; that its pods are marked in time isn't certain.
        pods = victims.order(
            subject.worker,
            observation,
            rate=0.0,
            waiting=0,
            running=None,
            service_time=decision.service_time or subject.worker.service_time,
            now=now,
        )
        decision = replace(decision, costs=victims.marks(pods or []))
    return after, decision


def _decide_by_load(
    subject: WorkerClass, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, Decision]:
    worker = subject.worker
    now, state = steady_time(state, now, worker)
    state, faults = follow(worker, state, observation, now)
    assessment = assess(state, observation, now, faults)
    if assessment.quality == "blind":
        return _keep(subject, state, observation, assessment, now)

    state, current = adopt(worker, state, observation, now)
    state = note_quality(worker, state, observation, assessment, now)
    state = replace(
        state,
        starts=drain.watch(state.starts, observation, now),
        sight=drain.look(state.sight, observation, now),
    )
    state, picture = look(worker, state, observation, now, fresh=assessment.quality == "fresh")
    terms = demand.terms(worker, load_of(state, picture, observation, current, now), now)
    winner, needed = _winner(terms)
    aim = needed if assessment.quality == "fresh" else max(needed, current)

    wanted = behavior.settle(worker.behavior, current, aim)
    bounds = (worker.replicas.min, worker.replicas.max)
    step = behavior.limit(
        state.history, worker.behavior, current=current, recommendation=wanted, bounds=bounds, now=now
    )
    desired, limit, detail = step.desired, step.limit, step.detail
    if wanted != aim:
        limit, detail = "deadband", f"{aim} is within the tolerance around {current}"
    if assessment.quality == "hold" and needed < current:
        limit, detail = "data", f"{needed} needed, but never down on data that isn't fresh"
    if wanted < current <= worker.replicas.max and now < state.no_down_until:
        desired, limit = current, "recovery"
        detail = f"{wanted} needed, no step down: {state.no_down_because}"

    if current == 0 == desired < wanted and worker.replicas.max:
        # A percentage of nothing is nothing; the first pod is KEDA's own doing, whatever the HPA's rules say.
        desired, limit, detail = 1, "none" if wanted == 1 else limit, "KEDA starts the first pod"

    kept = _restraint(worker, state, picture, current)
    if desired < min(kept.replicas, current, worker.replicas.max):
        desired, limit = min(kept.replicas, current, worker.replicas.max), kept.limit
        detail = f"{wanted} needed, but {kept.why}"

    step = _landed(worker, state, Step(desired, limit, detail), current, now)
    step, leaving = _carefully(worker, state, picture, observation, step, current, now)
    desired, limit, detail = step.desired, step.limit, step.detail

    history = state.history
    if assessment.quality == "fresh" or wanted > current:
        # More than max is max to every later decision; unbounded, a long queue that is worked off would
        # leave a different number every second.
        history = behavior.recommend(history, worker.behavior, min(wanted, worker.replicas.max + 1), now)
    history = behavior.record(history, worker.behavior, current, desired, now)
    active, because = _activity(worker, state, picture, desired, assessment)
    started = lead.ordered(state.lead, before=current, desired=desired, seen=picture.listening, now=now)
    state = replace(
        state,
        desired=desired,
        active=active,
        decided_at=now,
        history=history,
        lead=started,
        drain=leaving.memory,
    )
    decision = Decision(
        policy=subject.policy,
        worker_class=subject.name,
        decided_at=now,
        desired=desired,
        previous=current,
        recommendation=needed,
        active=active,
        active_because=because,
        quality=assessment.quality,
        quality_reasons=assessment.reasons,
        terms=terms,
        winner=winner,
        limit=limit,
        limit_detail=detail,
        next_step_at=leaving.next_at or _next_step(worker, state, wanted, limit, now),
        stepping_down_to=leaving.stepping_down_to,
        costs=leaving.costs,
        waiting_since=leaving.memory.waiting_since,
        sampled_at=observation.sampled_at,
        gaps=observation.gaps,
        service_time=picture.service_time,
        service_source=picture.service_source,
        lead_time=picture.lead_time,
        lead_source=picture.lead_source,
        **_cluster(observation),
        **({} if observation.sampled_at is None else picture.counts),
    )
    return state, decision


def _keep(
    subject: WorkerClass, state: WorkerState, observation: Observation, assessment: Assessment, now: float
) -> tuple[WorkerState, Decision]:
    """Blind: the last decision stands, within today's bounds, and the class counts as active if it was."""
    replicas = subject.worker.replicas
    current = state.desired if state.desired is not None else replicas.min
    desired = min(max(current, replicas.min), replicas.max)
    history = behavior.record(state.history, subject.worker.behavior, current, desired, now)
    if state.desired is not None:
        state = replace(state, desired=desired, decided_at=now, was_blind=True, history=history)
    decision = Decision(
        policy=subject.policy,
        worker_class=subject.name,
        decided_at=now,
        desired=desired,
        previous=current,
        recommendation=desired,
        active=state.active,
        active_because="blind: as it was" if state.desired is not None else "blind: unknown counts as active",
        quality="blind",
        quality_reasons=assessment.reasons,
        terms=(Term("last", float(desired), "the last decision stands while nothing can be read"),),
        winner="last",
        limit="data",
        limit_detail="KEDA is told UNAVAILABLE, so that the HPA keeps the replicas",
        next_step_at=None,
        sampled_at=observation.sampled_at if observation.sampled_at is not None else state.sampled_at,
        gaps=observation.gaps,
        **_cluster(observation),
    )
    return state, decision


def _cluster(observation: Observation) -> dict[str, Any]:
    """The fields of a decision that tell what the cluster states."""
    return {
        "replicas_seen": observation.replicas_current,
        "pods": observation.pods,
        "hindrances": observation.hindrances,
    }


def _restraint(worker: WorkerPolicy, state: WorkerState, picture: Picture, current: int) -> Restraint:
    seconds, waiting = picture.service_time, float(picture.backlog.waiting[1])
    lasting = arrivals.lasting_rate(state.arrivals, waiting, seconds)
    if worker.behavior.scale_down.stabilization_window_seconds >= arrivals.SLOW_SECONDS:
        # The window outlasts the slow view: half a minute of few arrivals needn't be told from chance.
        lasting = arrivals.slow_rate(state.arrivals, waiting, seconds)
    return restraint(
        worker, picture.backlog, rate=lasting, service_time=seconds, own=current, others=picture.others
    )


def _landed(worker: WorkerPolicy, state: WorkerState, step: Step, current: int, now: float) -> Step:
    """The step as an HPA with a deadband carries it out."""
    low, high = worker.replicas.min, worker.replicas.max
    if not worker.hpa_tolerance or not low <= current <= high:
        return step
    allowed = behavior.scale_limit(state.history, worker.behavior.scale_up, "up", current, now)
    landing = land(worker.hpa_tolerance, current=current, desired=step.desired, allowed=min(high, allowed))
    return Step(landing.replicas, "deadband" if landing.why else step.limit, landing.why or step.detail)


def _carefully(  # noqa: PLR0917 - as its neighbours, with the step between
    worker: WorkerPolicy,
    state: WorkerState,
    picture: Picture,
    observation: Observation,
    step: Step,
    current: int,
    now: float,
) -> tuple[Step, drain.Plan]:
    """A step with regard for those who carry it out and for the tasks of the pods that go."""
    if step.desired < current:
        step = _followed(worker, observation, step, current)
    leaving = _leave(worker, state, picture, observation, current=current, desired=step.desired, now=now)
    if step.desired >= current and step.limit in _HELD:
        leaving = replace(leaving, memory=drain.held(state.drain))
    if leaving.replicas > step.desired:
        step = _landed(worker, state, Step(leaving.replicas, "draining", leaving.why), current, now)
    return replace(step, detail=leaving.why or step.detail), leaving


def _leave(
    worker: WorkerPolicy,
    state: WorkerState,
    picture: Picture,
    observation: Observation,
    *,
    current: int,
    desired: int,
    now: float,
) -> drain.Plan:
    """What becomes of a step down in front of the pods that would go."""
    if desired >= current:
        return drain.Plan(desired)
    if observation.named is None and _drains(worker) and state.sight.lost_pods(now):
        return drain.unseen(worker, state.drain, current=current, desired=desired, now=now)
    running, waiting, seconds = picture.backlog.running, picture.backlog.waiting[1], picture.service_time
    rate = state.starts.rate(now)
    if state.starts.since is None:
        # No heartbeats: then what arrives is the next best.
        rate = arrivals.lasting_rate(state.arrivals, float(waiting), seconds)
    pods = victims.order(
        worker,
        observation,
        rate=rate,
        waiting=waiting,
        running=running[1] if running else None,
        service_time=seconds,
        now=now,
    )
    if current > worker.replicas.max:
        # The HPA clamps at once; the pods are marked all the same.
        return drain.Plan(desired, costs=victims.marks(pods or []))
    told = state.sight.lost_workers(now)
    return drain.plan(worker, state.drain, pods, current=current, desired=desired, told=told, now=now)


def _drains(worker: WorkerPolicy) -> bool:
    return worker.drain.enabled and worker.mode == "scale"


def _followed(worker: WorkerPolicy, observation: Observation, step: Step, current: int) -> Step:
    """A step down, but none on top of one that nobody has carried out.

    While KEDA or the HPA don't act (a pause, a broken metric), the number would fall on, step by step, to be
    carried out as one step once they act again, whatever the burst policy says.
    """
    spec = observation.replicas_current
    if spec is None or spec <= current or worker.mode != "scale" or current > worker.replicas.max:
        return step
    words = (
        f"{step.desired} wanted, but {spec} replicas stand there: the step to {current} isn't carried out yet"
    )
    return Step(current, "unfollowed", words)


def _winner(terms: tuple[Term, ...]) -> tuple[str, int]:
    """The term that asks for most (the first of equals), and its replicas rounded up."""
    winner = max(terms, key=lambda term: term.replicas or 0.0)
    return winner.name, min(math.ceil((winner.replicas or 0.0) - CEIL_SLACK), MOST_REPLICAS)


def _activity(
    worker: WorkerPolicy, state: WorkerState, picture: Picture, desired: int, assessment: Assessment
) -> tuple[bool, str]:
    """Whether KEDA must keep the class away from zero."""
    backlog = picture.backlog
    anything = backlog.anything
    if anything:
        running = backlog.running[0] if backlog.running else "an unknown number"
        return True, f"{backlog.waiting[0]} wait, {running} run"
    if desired > worker.replicas.min:
        return True, f"desired {desired} is above min {worker.replicas.min}"
    held = max(backlog.eta_held[1] if backlog.eta_held else 0, backlog.due_soon, picture.ready)
    if held:
        # Without a worker they would go back to the queue, and be taken again, until their time comes.
        return True, f"{held} wait for their time"
    if assessment.quality != "fresh" and state.active:
        return True, "data isn't fresh: as it was"
    if anything is None:
        return True, "it can't be seen whether tasks are running"
    return False, "nothing waits or runs"


def _next_step(
    worker: WorkerPolicy, state: WorkerState, recommendation: int, limit: Bound, now: float
) -> float | None:
    current = state.desired or 0
    if (
        limit in {"data", "running", "load", "deadband", "draining", "unfollowed"}
        or recommendation == current
        or current >= worker.replicas.max < recommendation
    ):
        return None
    after = behavior.next_step_at(
        state.history,
        worker.behavior,
        current=current,
        recommendation=recommendation,
        bounds=(worker.replicas.min, worker.replicas.max),
        now=now,
    )
    if after is None or recommendation > current:
        return after
    return max(after, state.no_down_until)
