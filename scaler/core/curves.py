"""How long the oldest waiting message of a first-in, first-out queue has waited, without its publish time.

Number the messages as they come. If A(s) have come by the time s and D(t) have left by now, the
head of the queue is number D(t) + 1, and it came when A passed that number: its wait is
t - A⁻¹(D(t)). The depth Q(s) = A(s) - D(s) is exact at each sweep (1 s); the broker's count of
deliveries is exact as well, but only at the broker's own ticks (5 s), whose time is known to
within a window. Between the ticks D is bounded by what must be so:

- each fall of Q, and each rise of the unacknowledged, is at least that many departures;
- where no consumer is there, nothing more than that leaves;
- a queue that is seen empty starts the count anew: whatever waits later came after it.

So the curve A is kept as points with a lower and an upper bound each, and a guess between them.
Bounds alone would leave 10 s of doubt with any flow that keeps the depth where it is. So two
things are assumed, and only as long as the depth moves as the paces of the last ticks have it:
departures that are steady from tick to tick are no more uneven in between than 1 to 3; and since
the last tick no more left than twice the fastest pace of the last minute (where no pace is known,
than twice what the depth itself shows and a few besides). Over random flows whose paces jump
between nothing and 200/s at any moment, the truth is outside in less than 1 of 100 sweeps.
"""

import math
from bisect import bisect_left
from itertools import pairwise

from scaler.core.observation import Span
from scaler.core.paces import SHORT, Paces
from scaler.core.sweeps import Point, Tick, bound, guess_between, likely_wait, longest_wait, shortest_wait

#: Points kept. Where more are needed (a backlog of over 8 min at 1 s), every second one of the
#: older half goes, which keeps the error below 1 % of the age.
POINTS = 512
#: Seconds by which the window of a tick is widened on both sides: a sweep isn't quite one moment.
BLUR = 0.05

#: Why a wait may be off by more than its width.
LEFT_OTHERWISE = "estimate: messages also leave by expiry, purge or a limit"
RETURNED = "estimate: returned messages go to the front again"


class ArrivalCurve:
    """The memory of one queue: at most `POINTS` sweeps, and only those that its messages came in."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        # Whether the first point is one whose messages have all left.
        self._anchored = False
        self._unacked: int | None = None
        self._consumers: int | None = None
        # Since when nothing can leave but what is seen to leave.
        self._still_since: float | None = None
        self._tick: Tick | None = None
        self._paces = Paces()
        # The most that may have left by now; infinite while nothing bounds it.
        self._reach = 0.0
        # And the least, if what was steady hasn't stopped.
        self._grip = 0.0
        self._delivered = 0
        # Departures that the broker doesn't count as deliveries.
        self._uncounted = 0.0
        self._uncounted_at = -math.inf
        self._returned = 0
        self._returned_at = -math.inf

    def see(self, at: float, ready: int, *, unacked: int | None = None, consumers: int | None = None) -> None:
        """A sweep saw `ready` messages.

        Args:
            at: seconds since the epoch, not before the sweep before.
            ready: messages that wait.
            unacked: messages with the workers, where that is as live as `ready`; else None.
            consumers: those on the queue, None where they can't be seen.
        """
        if self._points:
            self._step(at, ready, unacked, consumers)
        else:
            self._points.append(Point(at, ready, 0, 0.0, 0.0, 0.0, 0.0, 0.0))
        if consumers != 0:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = at
        self._unacked, self._consumers = unacked, consumers
        self._forget()

    def count(self, delivered: int, *, since: float, until: float, redelivered: int = 0) -> None:
        """The broker has delivered so many, repetitions included, by a time from `since` to `until`.

        A count below the one before is a new beginning (the broker restarted, the queue was made
        anew): what is known of the backlog stays, with wider bounds until the next count.
        """
        if not self._points:
            return
        tick = Tick(since - BLUR, until + BLUR, delivered + self._uncounted)
        if self._tick is None or delivered < self._delivered:
            self._count_anew(Tick(tick.since, tick.until, delivered))
        else:
            if redelivered > self._returned:
                self._returned_at = until
            self._settle(tick, self._tick)
        self._delivered, self._returned = delivered, redelivered
        self._forget()

    def wait(self, oldest: float | None = None) -> Span | None:
        """Seconds that the head has waited at the last sweep, (least, most); None before a sweep.

        The middle is the best estimate, except where that would stretch a bound that is known.

        Args:
            oldest: a time before which no waiting message was published, where one is known.
        """
        if not self._points:
            return None
        now = self._points[-1]
        if now.ready == 0:
            return (0.0, 0.0)
        most = longest_wait(self._points, self._grip, anchored=self._anchored)
        least = shortest_wait(self._points, self._reach, self._still_since)
        if oldest is not None:
            # Of another clock, and in whole seconds: it never outdoes what the queue itself shows.
            most = min(most, max(least, now.at - oldest))
        least = min(least, most)
        best = likely_wait(self._points, anchored=self._anchored)
        if best is None or math.isinf(most):
            return (least, most)
        best = min(max(best, least), most)
        return (max(0.0, min(least, 2 * best - most)), most)

    @property
    def note(self) -> str:
        """Why the wait is more of an estimate than its width says; empty: it isn't."""
        begin = self._points[0].at if self._points else math.inf
        if self._returned_at >= begin:
            return RETURNED
        return LEFT_OTHERWISE if self._uncounted_at >= begin else ""

    def _step(self, at: float, ready: int, unacked: int | None, consumers: int | None) -> None:
        last = self._points[-1]
        taken = 0 if unacked is None or self._unacked is None else unacked - self._unacked
        left = max(0, last.ready - ready, taken)
        still = self._still_since is not None and consumers == 0
        least = self._tick.departed if self._tick and at >= self._tick.until else -math.inf
        if consumers is not None and self._consumers is not None:
            self._paces.count_hands(self._consumers, consumers)
        span = at - last.at
        point = Point(
            at=at,
            ready=ready,
            floor=last.floor + left,
            low=max(last.low + left, least),
            high=last.high + left if still and self._tick is None else math.inf,
            guess=last.guess + (left if still else self._paces.usual(span, left, ready - last.ready)),
        )
        point.bottom, point.top = point.low, point.high
        self._points.append(point)
        grown = ready - last.ready
        self._reach += left if still else self._possible(span, left, grown)
        self._grip = max(self._grip + (left if still else self._paces.likely(span, left, grown)), point.low)

    def _possible(self, span: float, seen: int, grown: int) -> float:
        return math.inf if self._tick is None else self._paces.possible(span, seen, grown)

    def _count_anew(self, tick: Tick) -> None:
        """The scale of the departures begins at this tick; points before it have what is certain."""
        last = self._points[-1]
        for point in self._points:
            surely = last.floor - point.floor
            spread = self._reach - point.low
            point.low = tick.departed - spread if point.at < tick.until else tick.departed
            point.high = tick.departed if point.at <= tick.since else math.inf
            point.guess = tick.departed - surely if point.at < tick.until else tick.departed
            point.bottom, point.top = -math.inf, math.inf
        self._tick, self._uncounted = tick, 0.0
        self._paces.forget()
        bound(self._points, 0)
        self._foresee(0)

    def _settle(self, tick: Tick, before: Tick) -> None:
        """Give the points up to this tick both bounds, and guess the ones between."""
        points = self._points
        first = bisect_left(points, before.since, key=lambda point: point.at)
        first = max(0, first - 1)
        inside = [point for point in points[first:] if point.at <= tick.since]
        if inside and inside[-1].low > tick.departed:
            more = inside[-1].low - tick.departed
            self._uncounted += more
            if more > max(3.0, 0.02 * (tick.departed - before.departed)):
                self._uncounted_at = tick.until
            tick = Tick(tick.since, tick.until, tick.departed + more)
        for point in points[first:]:
            if point.at <= tick.since:
                point.high = min(point.high, tick.departed)
            if point.at >= tick.until:
                point.low = max(point.low, tick.departed)
        bound(self._points, first)
        span = tick.middle - before.middle
        if span < SHORT and tick.departed == before.departed:
            return
        if span >= SHORT:
            self._paces.note(points[first:], before, tick)
        guess_between(points[first:], before, tick, steady=self._paces.steady)
        self._tick = tick
        self._foresee(first)

    def _foresee(self, first: int) -> None:
        """Bounds and guesses of the points after the last tick."""
        tick = self._tick
        if tick is None:
            return
        points = self._points
        begin = bisect_left(points, tick.middle, lo=first, key=lambda point: point.at)
        guess = reach = grip = tick.departed
        for before, point in pairwise(points[max(0, begin - 1) :]):
            still = self._still_since is not None and before.at >= self._still_since
            left, grown = point.floor - before.floor, point.ready - before.ready
            # The step in which the tick lies counts in part.
            share = min(1.0, (point.at - tick.middle) / max(point.at - before.at, BLUR))
            span = share * (point.at - before.at)
            guess += (
                share * left if still else self._paces.usual(span, round(share * left), round(share * grown))
            )
            point.guess = guess = max(guess, point.low)
            span = min(point.at - before.at, point.at - tick.since)
            reach += left if still else self._possible(span, left, grown)
            span = min(point.at - before.at, max(0.0, point.at - tick.until))
            grip = max(grip + (left if still else self._paces.likely(span, 0, grown)), point.low)
        self._reach, self._grip = max(reach, points[-1].low), max(grip, points[-1].low)

    def _forget(self) -> None:
        """Drop the points whose messages have all left, but for the last such: everything came after it."""
        points = self._points
        now = points[-1]
        gone = bisect_left(points, now.floor + 1, key=lambda point: point.floor + point.ready) - 1
        while gone + 1 < len(points) and points[gone + 1].high + points[gone + 1].ready <= now.low:
            gone += 1
        if gone >= 0:
            del points[:gone]
            self._anchored = True
        if len(points) == 1 and self._tick is None:
            # Empty, and no count gives a scale: it begins here.
            now.low = now.high = now.guess = now.bottom = now.top = self._reach = self._grip = 0.0
        if len(points) > POINTS:
            del points[1 : len(points) // 2 : 2]
