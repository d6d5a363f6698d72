"""How long it takes from deciding to a worker that listens, measured at each step up.

When desired rises to N, the moment is noted; when N workers are seen (consumers on the broker,
or workers that send heartbeats), the time between is one measurement. The median of the last
five replaces the policy's startupTime once there are three.
"""

from dataclasses import dataclass, replace
from statistics import median

#: Measurements that make the value, and how many it takes.
KEPT = 5
ENOUGH = 3
#: A step that hasn't arrived after this long was stopped by something else (quota, image, crash).
LONGEST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Lead:
    """Memory: steps that are under way as (decided at, replicas), and the last measurements in seconds."""

    pending: tuple[tuple[float, int], ...] = ()
    measured: tuple[float, ...] = ()

    @property
    def value(self) -> float | None:
        """Seconds, or None while there are too few measurements."""
        return median(self.measured) if len(self.measured) >= ENOUGH else None


def observe(memory: Lead, *, desired: int, seen: int | None, now: float) -> Lead:
    """The memory after a tick.

    Args:
        memory: before the tick.
        desired: replicas of the decision before this tick.
        seen: workers that listen now; None where nothing tells.
        now: seconds since the epoch.
    """
    pending = tuple(
        (at, replicas)
        for at, replicas in memory.pending
        if replicas <= desired and now - at <= LONGEST_SECONDS
    )
    if seen is None:
        return replace(memory, pending=())
    arrived = tuple(now - at for at, replicas in pending if replicas <= seen)
    waiting = tuple((at, replicas) for at, replicas in pending if replicas > seen)
    return Lead(waiting, (*memory.measured, *arrived)[-KEPT:])


def ordered(memory: Lead, *, before: int, desired: int, seen: int | None, now: float) -> Lead:
    """The memory after a decision; a step up starts a measurement for each pod that isn't there yet."""
    if seen is None:
        return memory
    steps = tuple((now, replicas) for replicas in range(max(before, seen) + 1, desired + 1)[:KEPT])
    return replace(memory, pending=(*memory.pending, *steps)[-2 * KEPT :]) if steps else memory
