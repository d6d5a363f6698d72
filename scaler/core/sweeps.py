"""The sweeps over one queue, as points of the curve of its arrivals: what holds between neighbours."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

#: Share by which departures that are steady from tick to tick may be uneven in between.
UNEVEN = 0.5


@dataclass(slots=True)
class Point:
    """One sweep. `floor` sums the departures that must have been, `low` and `high` bound all of them.

    `bottom` and `top` are narrower where the departures were steady; `guess` lies between them.
    """

    at: float
    ready: int
    floor: int
    low: float
    high: float
    guess: float
    bottom: float = -math.inf
    top: float = math.inf


@dataclass(frozen=True, slots=True)
class Tick:
    """Departures by a time between `since` and `until`."""

    since: float
    until: float
    departed: float

    @property
    def middle(self) -> float:
        """The time to compute with."""
        return (self.since + self.until) / 2


def bound(points: Sequence[Point], first: int) -> None:
    """Departures don't go back, and at least those of `floor` lie between two points."""
    for index in range(max(1, first), len(points)):
        before, point = points[index - 1], points[index]
        point.low = max(point.low, before.low + (point.floor - before.floor))
    for index in range(len(points) - 1, first, -1):
        before, point = points[index - 1], points[index]
        before.high = min(before.high, point.high - (point.floor - before.floor))
    for point in points[first:]:
        point.bottom, point.top = max(point.bottom, point.low), min(point.top, point.high)


def guess_between(points: Sequence[Point], before: Tick, tick: Tick, *, steady: bool) -> None:
    """Between two ticks: what was seen to leave, and the rest evenly."""
    points = [point for point in points if before.middle < point.at <= tick.middle]
    if not points:
        return
    seen = points[-1].floor - points[0].floor
    rest = max(0.0, tick.departed - before.departed - seen)
    span = tick.middle - before.middle
    for point in points:
        share = (point.at - before.middle) / span
        guess = before.departed + (point.floor - points[0].floor) + rest * share
        point.guess = max(min(guess, point.high), point.low)
        if steady:
            open_ = rest * share * (1 - share)
            spread = 2 * UNEVEN * open_ + math.sqrt(open_)
            point.bottom = max(point.low, point.guess - spread)
            point.top = min(point.high, point.guess + spread)


def longest_wait(points: Sequence[Point], grip: float, *, anchored: bool) -> float:
    """Of the head, if at least `grip` have left by now; `anchored`: what came by the first point has left."""
    index = bisect_right(points, grip, key=lambda point: point.top + point.ready)
    if index == 0 and not anchored:
        return math.inf
    return points[-1].at - points[max(0, index - 1)].at


def shortest_wait(points: Sequence[Point], reach: float, still_since: float | None) -> float:
    """Of the head, if at most `reach` have left, and since `still_since` none but what was seen to."""
    came, now = math.inf, points[-1]
    # Came by then at least so many; if no more can have left, the head is one of them.
    index = bisect_left(points, reach + 1, key=lambda point: point.bottom + point.ready)
    if index < len(points):
        came = points[index].at
    if still_since is not None:
        begin = bisect_left(points, still_since, key=lambda point: point.at)
        index = bisect_left(points, now.floor + 1, lo=begin, key=lambda point: point.floor + point.ready)
        if index < len(points):
            came = min(came, points[index].at)
    return max(0.0, now.at - came)


def likely_wait(points: Sequence[Point], *, anchored: bool) -> float | None:
    """Of the head, by the guesses; None where it came before the first point."""
    now = points[-1]
    head = now.guess + 1
    index = bisect_left(points, head, key=lambda point: point.guess + point.ready)
    if index == 0 and not anchored:
        return None
    if index in {0, len(points)}:
        return 0.0
    before, after = points[index - 1], points[index]
    came = before.guess + before.ready
    share = (head - 0.5 - came) / max(1.0, after.guess + after.ready - came)
    return now.at - before.at - min(1.0, max(0.0, share)) * (after.at - before.at)
