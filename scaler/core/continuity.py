"""What holds from one tick to the next: time, the replicas to start from, and what forbids a step down."""

import math
from dataclasses import replace

from scaler.core import behavior
from scaler.core.behavior import History
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.core.quality import BLIND_SECONDS, Assessment
from scaler.core.state import WorkerState


def in_force(worker: WorkerPolicy, state: WorkerState) -> WorkerState:
    """The state for the class's mode: from shadow mode nothing is taken over but what was measured.

    The replicas that nobody followed, and the steps to them, are no place to go on from: the class starts
    from what runs, and steps down no sooner than after a window.
    """
    shadow = worker.mode == "shadow"
    if state.shadow and not shadow:
        return replace(state, shadow=False, desired=None, active=True, history=History())
    return replace(state, shadow=True) if shadow and not state.shadow else state


def steady_time(state: WorkerState, now: float, worker: WorkerPolicy) -> tuple[float, WorkerState]:
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
        kept = replace(state.orders, desired=state.desired, active=state.active)
        return now, kept.forbid_down(now + window, reason)
    if now - state.decided_at > BLIND_SECONDS:
        gap = now - state.decided_at
        return now, state.forbid_down(now + window, f"nothing was decided for {gap:.0f} s")
    return max(now, state.decided_at), state


def adopt(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, int]:
    """The replicas to start from. Without history: those that are seen, and no step down for a window."""
    if state.desired is not None:
        return state, state.desired
    seen = observation.replicas_current
    if seen is None:
        heard = len(observation.workers or ())
        seen = max(observation.consumers or 0, heard, _pods_behind(worker, observation))
    current = max(worker.replicas.min, seen)
    window = worker.behavior.scale_down.stabilization_window_seconds
    state = state.forbid_down(now + window, "started without history")
    return replace(state, history=behavior.recommend(state.history, worker.behavior, current, now)), current


def _pods_behind(worker: WorkerPolicy, observation: Observation) -> int:
    """The least pods that can hold what is unacknowledged and due."""
    due = (observation.unacked or 0) - (observation.eta_held or 0)
    return math.ceil(due / (worker.concurrency * max(1, worker.prefetch_multiplier)))


def note_quality(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, assessment: Assessment, now: float
) -> WorkerState:
    """Remember what this reading's quality means for the steps down to come."""
    window = worker.behavior.scale_down.stabilization_window_seconds
    if assessment.quality == "fresh":
        dark = (observation.sampled_at or 0.0) - (state.sampled_at or now)
        if state.was_blind or dark > BLIND_SECONDS:
            until, because = now + window, "one window after a time without good readings"
            state = replace(state, was_blind=False).forbid_down(until, because)
    for name in assessment.vanished:
        state = state.forbid_down(now + window, f"queue {name} vanished")
    if observation.sampled_at is None:
        return state
    sampled_at = observation.sampled_at if assessment.quality == "fresh" else state.sampled_at
    existing = {queue.name for queue in observation.queues if queue.exists}
    # A queue that stays away is forgotten once nobody is asked to wait for it any more.
    missing = {queue.name for queue in observation.queues if not queue.exists} & set(state.seen_queues)
    kept = missing if assessment.quality != "fresh" else set()
    since = dict(state.vanished)
    vanished = tuple((name, since.get(name, now)) for name in sorted(kept))
    return replace(
        state, sampled_at=sampled_at, seen_queues=tuple(sorted(existing | kept)), vanished=vanished
    )
