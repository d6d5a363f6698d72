"""What is known of the queues, and how well: exact, an interval, or unknown. Never a guessed zero.

A source returns one `BrokerSample` per sweep for all queues of a broker; `decide` is given the
`Observation` of one worker class, which is cut out of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueReading:
    """One queue at one moment. Counts are messages; None means that this path can't see it.

    `unacked` are delivered and not acknowledged: prefetched, ETA-held and, with late
    acknowledgement, running. `eta_held` is the part of `unacked` that is not yet due.
    `exists` is False for a queue that the broker doesn't know (counts are then 0).
    """

    name: str
    ready: int
    unacked: int | None = None
    eta_held: int | None = None
    consumers: int | None = None
    exists: bool = True
    #: Ready messages per broker priority (Redis: one list per step), lowest number first.
    by_priority: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class BrokerSample:
    """One sweep over a broker: every queue that was asked for, read at the same moment."""

    #: Seconds since the epoch at the end of the sweep.
    sampled_at: float
    queues: tuple[QueueReading, ...]
    #: Reasons to distrust the numbers although they arrived (an alarm, a contradiction).
    suspicions: tuple[str, ...] = ()
    #: What this sweep could not see and how to mend it ("unacked: set managementUrl").
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker class looks like. `sampled_at` None: nothing has been read yet."""

    sampled_at: float | None
    queues: tuple[QueueReading, ...] = ()
    #: Why the last attempt to read failed; the reading before it may still be fresh.
    error: str = ""
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    #: Replicas as the cluster states them; None without a cluster.
    replicas_current: int | None = None

    @property
    def ready(self) -> int:
        """Messages that wait in the broker, all queues."""
        return sum(queue.ready for queue in self.queues)

    @property
    def unacked(self) -> int | None:
        """Delivered and not acknowledged, or None where one queue doesn't tell."""
        return _total(queue.unacked for queue in self.queues)

    @property
    def eta_held(self) -> int | None:
        """Unacked and not yet due, or None where one queue doesn't tell."""
        return _total(queue.eta_held for queue in self.queues)

    @property
    def consumers(self) -> int | None:
        """Worker processes on the class's busiest queue, or None where no queue tells.

        A Celery worker opens one consumer on each of its queues, so the maximum over the
        queues counts workers, while the sum would count each worker once per queue.
        """
        known = [queue.consumers for queue in self.queues if queue.consumers is not None]
        return max(known) if known else None


def _total(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
