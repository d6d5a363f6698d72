"""What the memory of one process is worth to another that takes over from it.

Their clocks differ by seconds, and so would the periods of the burst policy: a step that was counted at
09:00:05 by a clock that is ahead would leave its period 5 s too late or, the other way round, too early. So
every moment in the memory is moved by the difference. Sums that each process counts from its own start
(what workers told, how long messages were held) can't be compared, and are begun anew.
"""

import math
from dataclasses import replace

from scaler.core import arrivals, others, progress, service
from scaler.core.arrivals import Arrivals
from scaler.core.behavior import History
from scaler.core.drain import Starts
from scaler.core.progress import Progress
from scaler.core.state import WorkerState

#: A process that has taken over steps nothing down for so long: its own readings have to become steady.
NO_DOWN_SECONDS = 30.0


def taken_over(state: WorkerState, seconds: float, now: float) -> WorkerState:
    """The memory as a process with another clock continues it.

    Args:
        state: of the process before.
        seconds: how far the new clock is ahead of the old one (negative: behind). What people ordered
            is left alone: they mean the time on the wall.
        now: by the new clock.
    """
    moved = _moved_by(state, seconds)
    return moved.forbid_down(now + NO_DOWN_SECONDS, "another replica of the service has taken over")


def _moved_by(state: WorkerState, seconds: float) -> WorkerState:
    # Multiples of 1/1024 s keep sums and differences exact, as in `steady_time`.
    by = math.ceil(seconds * 1024) / 1024
    return replace(
        state,
        decided_at=state.decided_at + by if state.decided_at else 0.0,
        sampled_at=_moved(state.sampled_at, by),
        no_down_until=state.no_down_until + by if state.no_down_until else 0.0,
        vanished=tuple((queue, at + by) for queue, at in state.vanished),
        history=_history(state.history, by),
        arrivals=_arrivals(state.arrivals, by),
        service=replace(
            state.service,
            buckets=tuple(
                (at + _whole(by, service.BUCKET_SECONDS), ended, used)
                for at, ended, used in state.service.buckets
            ),
            workers=(),
            holds=None,
        ),
        lead=replace(state.lead, pending=tuple((at + by, count) for at, count in state.lead.pending)),
        progress=_progress(state.progress, by),
        drain=replace(
            state.drain,
            announced_at=_moved(state.drain.announced_at, by),
            listening_since=_moved(state.drain.listening_since, by),
            waiting_since=_moved(state.drain.waiting_since, by),
        ),
        others=replace(
            state.others,
            seen=tuple((at + _whole(by, others.STEP_SECONDS), count) for at, count in state.others.seen),
        ),
        sight=replace(
            state.sight,
            pods_at=_moved(state.sight.pods_at, by),
            heard_at=_moved(state.sight.heard_at, by),
        ),
        # Heartbeats are summed by each process from its own start.
        starts=Starts(),
    )


def _history(history: History, by: float) -> History:
    return History(
        lows=tuple((at + by, count) for at, count in history.lows),
        highs=tuple((at + by, count) for at, count in history.highs),
        added=tuple((at + by, count) for at, count in history.added),
        removed=tuple((at + by, count) for at, count in history.removed),
    )


def _arrivals(memory: Arrivals, by: float) -> Arrivals:
    whole = _whole(by, arrivals.BUCKET_SECONDS)
    return replace(
        memory,
        read_at=_moved(memory.read_at, by),
        buckets=tuple((at + whole, growth, used) for at, growth, used in memory.buckets),
        readings=tuple((at + by, growth, used) for at, growth, used in memory.readings),
    )


def _progress(memory: Progress, by: float) -> Progress:
    if memory.read_at is None:
        return memory
    whole = _whole(by, progress.HELD_STEP_SECONDS)
    return replace(
        memory,
        read_at=memory.read_at + by,
        moved_at=memory.moved_at + by,
        started_at=memory.started_at + by,
        ready_since=memory.ready_since + by,
        lost_at=memory.lost_at + by if memory.lost_at else 0.0,
        least=tuple((at + whole, count) for at, count in memory.least),
        rests=tuple((at + by, least, most) for at, least, most in memory.rests),
        crew=tuple((at + by, workers) for at, workers in memory.crew),
        full_since=_moved(memory.full_since, by),
    )


def _whole(by: float, step: float) -> float:
    """The nearest multiple: buckets begin at multiples of their length."""
    return round(by / step) * step


def _moved(at: float | None, by: float) -> float | None:
    return None if at is None else at + by
