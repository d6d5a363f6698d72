"""How few pods are enough for now: the least that keep every wait within a share of the objective.

What a load needs in the long run is not what it needs now. A queue is a buffer, and the wait
objective says how much of it may be used: with 10 min to start, one pod at 112 % is fine for the
next half hour, and if the spike is over by then, the second pod was never needed. Pods that are
added too early are paid for a whole stabilization window and the steps down after it.

So the queue is played forward as a fluid, first in, first out, over the time in which an order
placed now could not help yet, and then some: arrivals at the present rate, the pods that work, those
that start with the seconds they still need, and those that would be ordered now at the end of the
lead time. As long as nobody is forecast to wait longer than `patience` × the objective, waiting
with the order costs nothing; the rest of the objective is the reserve for what the forecast can't
know. Where not even all pods would help in time (a dump that is worked off before a pod has
started), more than what comes out the same is not asked for.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

#: Decisions, the HPA's sync (15 s) and a slow tick come on top of the lead time.
REACTION_SECONDS = 30.0
#: A fluid has no luck; tasks do. This many must be able to start within the share of the objective, or
#: chance decides: 48 slots of 5 min leave 3 in 18 s, and Erlang's formula is right, not the forecast. The
#: time in which 20 start is off by 1 ÷ √20 = 22 %; with patience 0.7 the reserve is 43 %, twice that.
LEAST_STARTS = 20.0
#: A wait that is longer by no more than this isn't worth a pod, where the objective can't be kept.
EQUAL_SHARE = 0.02
EQUAL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Queue:
    """What is played forward: messages, messages per second, and seconds."""

    waiting: float
    rate: float
    #: Pods that work now, and (seconds until they do, pods) of those that start, soonest first.
    working: int
    starting: tuple[tuple[float, int], ...]
    #: Of a pod that is ordered now.
    lead_time: float
    #: Tasks per second that one pod ends, all slots busy, and the share of it that arrivals may take.
    pace: float
    utilization: float

    @property
    def pods(self) -> int:
        """All that work or start."""
        return self.working + sum(count for _, count in self.starting)


def enough(queue: Queue, *, wait: float, length: float, relief: float, most: int) -> int | None:
    """The least pods that are forecast to keep every wait (seconds) and the queue's length (messages).

    When pods must be ordered, they are so many that the queue is gone `relief` seconds after they work,
    where `most` could do that: a queue that stands is what the next trouble (an outage, a second burst)
    comes on top of.

    None: the forecast asks for all that `most` allows, so that it is no reason for patience.
    """
    slowest, longest = worst(queue, most)
    if slowest == math.inf:
        return None
    wait = max(wait, slowest * (1 + EQUAL_SHARE) + EQUAL_SECONDS)
    length = max(length, longest * (1 + EQUAL_SHARE))

    def kept(pods: int) -> bool:
        waits, waiting = worst(queue, pods)
        return waits <= wait and waiting <= length

    found = bisect_left(range(most), x=True, key=kept)
    if found > queue.pods and standing(queue, most, relief) <= 0:
        found = bisect_left(range(most), x=True, lo=found, key=lambda n: standing(queue, n, relief) <= 0)
    return found if found < most else None


def at_last(queue: Queue, pods: int, seconds: float) -> float:
    """The wait (seconds) of a task that comes `seconds` from now, if the flow goes on till then."""
    return _start(_capacity(queue, pods), queue.waiting + queue.rate * seconds, seconds) - seconds


def standing(queue: Queue, pods: int, relief: float) -> float:
    """Messages that still stand `relief` seconds after the pods that are ordered now work."""
    end = queue.lead_time + relief
    left = queue.waiting
    for (start, speed), (until, _) in pairwise([*_capacity(queue, pods), (end, 0.0)]):
        left = max(0.0, left + (queue.rate - speed) * max(0.0, min(until, end) - start))
    return left


def filled(queue: Queue, level: float) -> float:
    """Seconds until the queue grows to so many messages or beyond them; infinite: it never does.

    With the pods that work and those that start, and none besides.
    """
    left = queue.waiting
    for (start, speed), (end, _) in pairwise([*_capacity(queue, queue.pods), (math.inf, 0.0)]):
        growth = queue.rate - speed
        if growth > 0 and left + growth * (end - start) >= level:
            return start + max(0.0, level - left) / growth
        left = max(0.0, left + growth * (end - start))
    return math.inf


def worst(queue: Queue, pods: int) -> tuple[float, float]:
    """(seconds, messages): the longest wait and queue of what is there or comes before an order helps.

    What arrives is reckoned with the utilization, as steady load is, so that an objective of a second
    gets its reserve; what waits keeps all slots busy, and is worked off as fast as they can.
    """
    horizon = queue.lead_time + REACTION_SECONDS
    steps, rate = _capacity(queue, pods), queue.rate / queue.utilization
    moments = {0.0, horizon}
    done = 0.0
    for (start, pace), (end, _) in pairwise(steps):
        done += pace * (end - start)
        moments.add(min(end, horizon))
        if rate > 0:
            # The task that starts just when the capacity changes.
            moments.add(min(max((done - queue.waiting) / rate, 0.0), horizon))
    waits = [_start(steps, queue.waiting + rate * at, at) - at for at in moments]
    return (
        max(waits),
        max(queue.waiting + queue.rate * at - _done(steps, at) for at in moments),
    )


def _capacity(queue: Queue, pods: int) -> list[tuple[float, float]]:
    """(from second, tasks per second that are done) with so many pods in all."""
    working, pace = min(queue.working, pods), queue.pace
    steps = [(0.0, working * pace)]
    for seconds, count in (*queue.starting, (queue.lead_time, pods)):
        working = min(working + count, pods)
        steps.append((max(seconds, steps[-1][0]), working * pace))
    return steps


def _start(steps: list[tuple[float, float]], ahead: float, at: float) -> float:
    """When a task starts that comes at `at` behind so many others."""
    done = 0.0
    for number, (start, pace) in enumerate(steps):
        end = steps[number + 1][0] if number + 1 < len(steps) else math.inf
        if pace > 0 and done + pace * (end - start) >= ahead:
            return max(at, start + (ahead - done) / pace)
        done += 0.0 if math.isinf(end) else pace * (end - start)
    return math.inf if ahead > done else at


def _done(steps: list[tuple[float, float]], at: float) -> float:
    """Tasks that have started by then."""
    ends = [start for start, _ in steps[1:]] + [math.inf]
    return sum(
        pace * (min(end, at) - start) for (start, pace), end in zip(steps, ends, strict=True) if start < at
    )
