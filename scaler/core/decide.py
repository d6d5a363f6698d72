"""One tick for one worker class: what is known, what is needed, what the behavior allows.

Pure: the same (policy, state, observation, now) give the same decision and the same next state,
byte for byte. The order is the HPA's: recommend, stabilise, rate-limit, clamp; around it stand
the rules for data that can't be trusted, which only ever forbid a scale-down.
"""

import math
from dataclasses import dataclass, replace

from scaler.core import arrivals, behavior, demand
from scaler.core.backlog import Backlog, read_backlog
from scaler.core.decision import Bound, Decision, Term
from scaler.core.observation import Observation
from scaler.core.override import Override
from scaler.core.policy import WorkerPolicy
from scaler.core.quality import BLIND_SECONDS, Assessment, assess
from scaler.core.state import WorkerState

#: A recommendation stays a finite number of pods whatever was read.
MOST_REPLICAS = 1_000_000
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
    order = state.override
    if order is not None and now >= order.until:
        state, order = replace(state, override=None), None
    after, decision = _decide_by_load(subject, state, observation, now)
    if order is None:
        return after, decision
    return _obey(subject.worker, order, state, after, decision)


def _obey(
    worker: WorkerPolicy, order: Override, before: WorkerState, after: WorkerState, decision: Decision
) -> tuple[WorkerState, Decision]:
    """The decision with the replicas that a person ordered; what the load would have had stays readable."""
    now = decision.decided_at
    # The step that the behavior would have taken didn't happen, so it isn't counted against later ones.
    events = replace(
        after.history,
        added=tuple(stamp for stamp in before.history.added if stamp[0] <= now),
        removed=tuple(stamp for stamp in before.history.removed if stamp[0] <= now),
    )
    history = behavior.record(events, worker.behavior, decision.previous, order.replicas, now)
    active, because = decision.active, decision.active_because
    if order.replicas > worker.replicas.min:
        active, because = True, f"{order.replicas} are ordered, more than min {worker.replicas.min}"
    decision = replace(
        decision,
        desired=order.replicas,
        active=active,
        active_because=because,
        limit="override",
        limit_detail=str(order),
        next_step_at=order.until,
    )
    return replace(after, desired=order.replicas, active=active, decided_at=now, history=history), decision


def _decide_by_load(
    subject: WorkerClass, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, Decision]:
    worker = subject.worker
    now, state = _steady_time(state, now, worker)
    assessment = assess(state, observation, now)
    if assessment.quality == "blind":
        return _keep(subject, state, observation, assessment, now)

    state, current = _adopt(worker, state, observation, now)
    state = _note_quality(worker, state, observation, assessment, now)
    backlog = read_backlog(worker, observation, current)
    if assessment.quality == "fresh":
        state = replace(state, arrivals=_observe(worker, state.arrivals, backlog, observation))
    terms = demand.terms(worker, _load(state, backlog, observation, current), now)
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

    unread = observation.sampled_at is None
    history = state.history
    if assessment.quality == "fresh" or wanted > current:
        # More than max is max to every later decision; unbounded, a long queue that is worked off would
        # leave a different number every second.
        kept = min(wanted, worker.replicas.max + 1)
        history = behavior.recommend(history, worker.behavior, kept, now)
    history = behavior.record(history, worker.behavior, current, desired, now)
    active, because = _activity(worker, state, backlog, desired, assessment)
    state = replace(state, desired=desired, active=active, decided_at=now, history=history)
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
        next_step_at=_next_step(worker, state, wanted, limit, now),
        sampled_at=observation.sampled_at,
        ready=None if unread else observation.ready,
        running=None if unread else backlog.running,
        backlog=None if unread or backlog.prefetched is None else backlog.waiting,
        gaps=observation.gaps,
    )
    return state, decision


def _steady_time(state: WorkerState, now: float, worker: WorkerPolicy) -> tuple[float, WorkerState]:
    """Time never runs backwards for a state; one from the future loses its history.

    Moments are rounded down to 1/1024 s: such numbers add and subtract exactly in float64 until
    the year 4147, so a period that ends at `at + 60` ends there and not one tick later.
    """
    now = math.floor(now * 1024) / 1024
    if state.desired is None:
        return now, state
    window = worker.behavior.scale_down.stabilization_window_seconds
    if state.decided_at > now + BLIND_SECONDS:
        reason = "the saved state comes from a clock that is ahead"
        kept = WorkerState(desired=state.desired, active=state.active, override=state.override)
        return now, kept.forbid_down(now + window, reason)
    if now - state.decided_at > BLIND_SECONDS:
        gap = now - state.decided_at
        return now, state.forbid_down(now + window, f"nothing was decided for {gap:.0f} s")
    return max(now, state.decided_at), state


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
        ready=None,
        running=None,
        backlog=None,
        gaps=observation.gaps,
    )
    return state, decision


def _adopt(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, int]:
    """The replicas to start from. Without history: those that are seen, and no step down for a window."""
    if state.desired is not None:
        return state, state.desired
    seen = observation.replicas_current
    if seen is None:
        seen = max(observation.consumers or 0, _pods_behind(worker, observation))
    current = max(worker.replicas.min, seen)
    window = worker.behavior.scale_down.stabilization_window_seconds
    state = state.forbid_down(now + window, "started without history")
    return replace(state, history=behavior.recommend(state.history, worker.behavior, current, now)), current


def _pods_behind(worker: WorkerPolicy, observation: Observation) -> int:
    """The least pods that can hold what is unacknowledged and due."""
    due = (observation.unacked or 0) - (observation.eta_held or 0)
    return math.ceil(due / (worker.concurrency * max(1, worker.prefetch_multiplier)))


def _note_quality(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, assessment: Assessment, now: float
) -> WorkerState:
    window = worker.behavior.scale_down.stabilization_window_seconds
    if assessment.quality == "fresh":
        dark = (observation.sampled_at or 0.0) - (state.sampled_at or now)
        if state.was_blind or dark > BLIND_SECONDS:
            until, because = now + window, "one window after a time without good readings"
            state = replace(state, was_blind=False).forbid_down(until, because)
    for name in assessment.vanished:
        state = state.forbid_down(now + window, f"queue {name} vanished")
    existing = {queue.name for queue in observation.queues if queue.exists}
    seen = (set(state.seen_queues) | existing) - set(assessment.vanished)
    asked = {queue.name for queue in observation.queues}
    sampled_at = observation.sampled_at if assessment.quality == "fresh" else state.sampled_at
    return replace(state, sampled_at=sampled_at, seen_queues=tuple(sorted(seen & asked)))


def _observe(
    worker: WorkerPolicy, memory: arrivals.Arrivals, backlog: Backlog, observation: Observation
) -> arrivals.Arrivals:
    busy = backlog.busy
    return arrivals.observe(
        memory,
        at=observation.sampled_at or 0.0,
        unfinished=float(backlog.waiting[1] + (busy or 0)),
        running=None if busy is None else float(busy),
        service_time=worker.service_time,
    )


def _load(state: WorkerState, backlog: Backlog, observation: Observation, current: int) -> demand.Load:
    return demand.Load(
        backlog=backlog,
        rate=arrivals.rate(state.arrivals, float(backlog.waiting[1])),
        fast_rate=arrivals.fast_rate(state.arrivals),
        queues=observation.queues,
        pods=current,
    )


def _winner(terms: tuple[Term, ...]) -> tuple[str, int]:
    """The term that asks for most (the first of equals), and its replicas rounded up."""
    winner = max(terms, key=lambda term: term.replicas or 0.0)
    return winner.name, min(math.ceil((winner.replicas or 0.0) - CEIL_SLACK), MOST_REPLICAS)


def _activity(
    worker: WorkerPolicy, state: WorkerState, backlog: Backlog, desired: int, assessment: Assessment
) -> tuple[bool, str]:
    """Whether KEDA must keep the class away from zero."""
    anything = backlog.anything
    if anything:
        running = backlog.running[0] if backlog.running else "an unknown number"
        return True, f"{backlog.waiting[0]} wait, {running} run"
    if desired > worker.replicas.min:
        return True, f"desired {desired} is above min {worker.replicas.min}"
    if backlog.eta_held:
        # Without a worker they would go back to the queue, and be taken again, until their time comes.
        return True, f"{backlog.eta_held} wait in a worker for their time"
    if assessment.quality != "fresh" and state.active:
        return True, "data isn't fresh: as it was"
    if anything is None:
        return True, "it can't be seen whether tasks are running"
    return False, "nothing waits or runs"


def _next_step(
    worker: WorkerPolicy, state: WorkerState, recommendation: int, limit: Bound, now: float
) -> float | None:
    current = state.desired or 0
    if limit == "data" or recommendation == current or current >= worker.replicas.max < recommendation:
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
