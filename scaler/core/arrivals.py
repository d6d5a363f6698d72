"""Arrival rate from readings of a queue: what repeats is a rate, what came once is a backlog.

Brokers without counters show levels only, so arrivals are inferred: what the unfinished work
grew by, plus what must have been finished meanwhile (busy slots ÷ service time). The sums
telescope, so noise in single readings doesn't accumulate; single buckets may be negative.

Two views, because a dump must not be counted twice (as backlog that waits and as a rate
that goes on) while a ramp must be seen within half a minute:

- slow: arrivals of the last 5 min that no longer wait, per second, with the three fullest
  buckets cut to the fourth: a dump within 10 s, which touches three buckets at the most, adds
  nothing, neither at first nor when it has been worked off; what comes every minute counts.
- fast: what arrived in at least four of the last six 5 s buckets. A dump fills one or two
  buckets and leaves it at 0; a sustained flow shows after 20 s. It counts only where it rises
  above the slow view by 2.5 standard deviations of a bucket (arrivals and finished tasks are
  both random, hence the 2 under the root), so that noise doesn't become pods.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

BUCKET_SECONDS = 5.0
SLOW_SECONDS = 300.0
#: Six buckets; the third lowest is reached or exceeded in four of them.
FAST_BUCKETS = 6
FAST_RANK = 2
#: Buckets of the slow view that may be a dump: as many as the fast view ignores, and one to straddle.
DUMP_BUCKETS = 3
#: Standard deviations of one bucket by which the fast view must exceed the slow one.
CONTROL_LIMIT = 2.5
#: Longer without a reading, and the difference says nothing about a rate any more.
GAP_SECONDS = 15.0
#: Spans of the view of a rate that has fallen, seconds: the shortest that shows it beyond chance.
FALLEN_SPANS = (30.0, 60.0, 120.0)
#: Spans of the forecast's view, seconds; each is told by what it shows beyond chance.
COMING_SPANS = (30.0, 60.0, 120.0, SLOW_SECONDS)
#: The surge view: so many readings' spans of this length, all of them as full as the least of them.
SURGE_PARTS = 3
SURGE_SECONDS = 2.0
#: Tasks in each of them; fewer may come together by chance.
SURGE_COUNT = 10.0
#: Below this the control limit isn't narrowed further: ten arrivals in 100 s are no trend.
LEAST_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Memory of the estimator, oldest bucket first."""

    read_at: float | None = None
    unfinished: float = 0.0
    #: Busy slots; None where they can't be seen.
    running: float | None = None
    #: (start, growth, slot-seconds used): arrivals are growth + slot-seconds ÷ service time, whatever that
    #: turns out to be, so that measuring it anew doesn't change the load of the minutes before.
    buckets: tuple[tuple[float, float, float], ...] = ()
    #: The same per reading, for the surge view: (read at, growth, slot-seconds used) of the last few seconds.
    readings: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages per second, and which view they come from."""

    value: float
    view: str


def observe(
    memory: Arrivals,
    *,
    at: float,
    unfinished: float,
    running: float | None,
    service_time: float,
    exact: bool = True,
) -> Arrivals:
    """The memory after a reading.

    Args:
        memory: before the reading.
        at: seconds since the epoch; a reading no newer than the last changes nothing.
        unfinished: messages that wait or run.
        running: busy slots; None where they can't be seen (the rate is then a lower bound, and
            a reading that sees them isn't compared with one that doesn't).
        service_time: seconds.
        exact: whether a fall of `unfinished` by more than has run must be a purge or an expiry.
    """
    if memory.read_at is not None and at <= memory.read_at:
        return memory
    buckets, readings = memory.buckets, memory.readings
    comparable = (memory.running is None) == (running is None)
    if memory.read_at is not None and comparable and at - memory.read_at <= GAP_SECONDS:
        span = at - memory.read_at
        before = memory.running or 0.0
        finished = (before + (running or 0.0)) / 2 * span / service_time
        grown = unfinished - memory.unfinished
        # No more can have finished at once than was running; a larger fall is a purge or an expiry.
        # Where running tasks can't be seen, or only some seconds late, every fall may be one that started.
        least = -max(before, finished) if exact and running is not None else -math.inf
        growth = max(grown + finished, least) - finished
        used = finished * service_time
        start = math.floor(at / BUCKET_SECONDS) * BUCKET_SECONDS
        if buckets and buckets[-1][0] == start:
            buckets = (*buckets[:-1], (start, buckets[-1][1] + growth, buckets[-1][2] + used))
        else:
            buckets = (*buckets, (start, growth, used))
        readings = (*readings, (at, growth, used))
    else:
        readings = ()
        # What couldn't be seen is no time without arrivals: the minutes before move up.
        unseen = math.floor((at - (memory.read_at or at)) / BUCKET_SECONDS) * BUCKET_SECONDS
        buckets = tuple((start + unseen, growth, used) for start, growth, used in buckets)
    oldest = at - SLOW_SECONDS
    return replace(
        memory,
        read_at=at,
        unfinished=unfinished,
        running=running,
        buckets=tuple(bucket for bucket in buckets if bucket[0] > oldest),
        readings=tuple(reading for reading in readings if reading[0] > at - SURGE_PARTS * SURGE_SECONDS),
    )


def arrived(memory: Arrivals, service_time: float) -> dict[float, float]:
    """Arrivals by start of the bucket."""
    return {start: growth + used / service_time for start, growth, used in memory.buckets}


def slow_rate(memory: Arrivals, waiting: float, service_time: float) -> float:
    """Arrivals of the last 5 min without dumps and without what still waits, per second."""
    counts = arrived(memory, service_time)
    return max(0.0, min(_usual(memory, service_time), (sum(counts.values()) - waiting) / SLOW_SECONDS))


def _usual(memory: Arrivals, service_time: float) -> float:
    """Arrivals of the last 5 min without dumps, per second."""
    return max(0.0, sum(_without_dumps(arrived(memory, service_time)).values())) / SLOW_SECONDS


def _without_dumps(counts: dict[float, float]) -> dict[float, float]:
    """The buckets with the three fullest cut to the fourth."""
    ranked = sorted(counts.values())
    # Sparse arrivals leave the fourth fullest bucket empty or absent; they are too few to matter.
    usual = max(0.0, ranked[-1 - DUMP_BUCKETS]) if len(ranked) > DUMP_BUCKETS else 0.0
    return {start: min(count, usual) for start, count in counts.items()}


def fast_rate(memory: Arrivals, service_time: float) -> float:
    """What arrived in at least four of the last six full or present buckets, per second."""
    if memory.read_at is None:
        return 0.0
    newest = math.floor(memory.read_at / BUCKET_SECONDS) * BUCKET_SECONDS
    counts = arrived(memory, service_time)
    recent = sorted(counts.get(newest - (1 + i) * BUCKET_SECONDS, 0.0) for i in range(FAST_BUCKETS))
    return max(0.0, recent[FAST_RANK]) / BUCKET_SECONDS


def surge_rates(memory: Arrivals, service_time: float) -> tuple[float, float]:
    """What arrived per second in each third of the last 6 s: the least and the most of the three.

    Six seconds can't tell a flow from a dump of six seconds: only for what can't wait (`demand`).
    0 where readings are too far apart to look so closely.
    """
    if memory.read_at is None:
        return 0.0, 0.0
    parts = [0.0] * SURGE_PARTS
    seen = [False] * SURGE_PARTS
    for at, growth, used in memory.readings:
        part = min(int((memory.read_at - at) / SURGE_SECONDS), SURGE_PARTS - 1)
        parts[part] += growth + used / service_time
        seen[part] = True
    if not all(seen) or min(parts) < SURGE_COUNT:
        return 0.0, 0.0
    return min(parts) / SURGE_SECONDS, max(parts) / SURGE_SECONDS


def rate(memory: Arrivals, waiting: float, service_time: float) -> Rate:
    """The arrival rate to size for."""
    slow, fast = slow_rate(memory, waiting, service_time), fast_rate(memory, service_time)
    # Chance is as large as all that arrives makes it, whether it waits or not.
    if fast > slow + CONTROL_LIMIT * _noise(_usual(memory, service_time)):
        return Rate(fast, "last 30 s, rising")
    return _fallen(memory, slow, service_time) or Rate(slow, "last 5 min")


def coming_rates(memory: Arrivals, service_time: float) -> tuple[float, float]:
    """What goes on coming per second, whether it waits or not, for a forecast of the queue: (likely, sure).

    The views above leave out what waits, because it is counted as a backlog. A forecast that did so would
    see nothing come as long as all of it waits: few long tasks never make a flow that the fast view sees.
    Of each span counts what is no dump, less one standard deviation of arrivals by chance; or, to be sure,
    less two of arrivals and of the finished tasks that they are inferred from.
    """
    if memory.read_at is None:
        return 0.0, 0.0
    newest = math.floor(memory.read_at / BUCKET_SECONDS) * BUCKET_SECONDS
    counts = arrived(memory, service_time)
    likely = sure = 0.0
    for span in COMING_SPANS:
        recent = {start: count for start, count in counts.items() if newest - span <= start < newest}
        seen = max(0.0, sum(_without_dumps(recent).values()))
        likely = max(likely, (seen - math.sqrt(seen)) / span)
        sure = max(sure, (seen - 2 * math.sqrt(2 * seen)) / span)
    return likely, sure


def lasting_rate(memory: Arrivals, waiting: float, service_time: float) -> float:
    """The arrivals of the last 5 min per second, or of less where they have fallen beyond chance."""
    slow = slow_rate(memory, waiting, service_time)
    fallen = _fallen(memory, slow, service_time)
    return slow if fallen is None else fallen.value


def _fallen(memory: Arrivals, slow: float, service_time: float) -> Rate | None:
    """The rate of the shortest span with too few arrivals for what came before it to go on; None: none has.

    The slow view would take 5 min to forget a load that is over, and the policy's window begins only
    then. A span says nothing where pauses half as long are usual.
    """
    if memory.read_at is None:
        return None
    newest = math.floor(memory.read_at / BUCKET_SECONDS) * BUCKET_SECONDS
    counts = arrived(memory, service_time)
    usual = _without_dumps(counts)
    for span in FALLEN_SPANS:
        since = newest - span
        before = {start: count for start, count in usual.items() if start < since}
        rest = SLOW_SECONDS - span
        expected = max(slow, sum(before.values()) / rest) * span
        seen = max(0.0, sum(count for start, count in counts.items() if since <= start < newest))
        # Both counts are random: the one in the span, and the one that it is compared with.
        chance = CONTROL_LIMIT * math.sqrt(2 * expected * (1 + span / rest))
        if seen < min(expected - chance, slow * span) and 2 * _longest_pause(before) <= span:
            return Rate(seen / span, f"last {span:.0f} s, fallen")
    return None


def _longest_pause(counts: dict[float, float]) -> float:
    """Seconds between buckets with an arrival, at the most; without arrivals none is known."""
    busy = [start for start, count in sorted(counts.items()) if count >= 1.0]
    return max((late - early for early, late in pairwise(busy)), default=0.0)


def _noise(rate: float) -> float:
    """The standard deviation of a bucket's rate."""
    return math.sqrt(2 * max(rate, LEAST_RATE) / BUCKET_SECONDS)
