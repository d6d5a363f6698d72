"""How fast a queue is worked off and filled, as the broker's ticks of the last minute have it.

What may have left within the seconds that no tick has counted yet is told from these paces: the usual, the
most and the least.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaler.core.sweeps import UNEVEN, Point, Tick

#: Seconds over which the fastest departures are remembered.
MEMORY = 60.0
#: Messages per second that may pass a queue unseen while nothing tells how fast its workers are.
HIDDEN = 10.0
#: Seconds between two ticks below which they say nothing about a rate.
SHORT = 1.0
#: How much faster than the fastest seen the departures may have become since the last tick.
FACTOR = 2.0


@dataclass(slots=True)
class _Pace:
    """Messages per second between two ticks."""

    until: float
    left: float
    came: float
    #: Nothing was seen of an empty queue, so `left` is what the workers can do.
    busy: bool


class Paces:
    """Those of the last minute, newest last."""

    def __init__(self) -> None:
        self._known: list[_Pace] = []

    def forget(self) -> None:
        """The broker counts anew."""
        self._known = []

    def note(self, points: Sequence[Point], before: Tick, tick: Tick) -> None:
        """A tick after another one, and the sweeps between them."""
        within = [point for point in points if before.since <= point.at <= tick.until]
        if len(within) < 2:  # noqa: PLR2004 - a span has two ends
            return
        begin, end = within[0], within[-1]
        left = (tick.departed - before.departed) / (tick.middle - before.middle)
        grown = (end.ready - begin.ready) / max(SHORT, end.at - begin.at)
        busy = left > 0 and all(point.ready > 0 for point in within)
        self._known = [pace for pace in self._known if pace.until > tick.until - MEMORY]
        self._known.append(_Pace(tick.until, left, max(0.0, left + grown), busy))

    def count_hands(self, before: int, now: int) -> None:
        """Workers came: the pace grows with them, or says nothing if they are the first. Or they left."""
        if now > before:
            for pace in self._known:
                pace.left *= now / before if before else 0.0
                pace.busy = pace.busy and before > 0
        elif now < before:
            # Whether the others do their work shows at the next tick: one pace alone isn't steady.
            del self._known[:-1]

    def usual(self, span: float, seen: int, grown: int) -> float:
        """Departures to expect within `span` seconds, at least `seen`, if the queue grew by so many.

        Both paces go on, and the slower one is the surer guide. But a queue that grows beyond
        chance has been given more, it isn't served less.
        """
        if not self._known:
            return seen
        pace = self._known[-1]
        left, came = pace.left * span, pace.came * span - grown
        chance = 3 * math.sqrt((pace.left + pace.came) * span + 1)
        by_arrivals = pace.came < pace.left and came > left - chance
        return max(seen, came if by_arrivals or came > left + chance else left)

    def possible(self, span: float, seen: int, grown: int) -> float:
        """The most that may have left within `span` seconds in which `seen` must have."""
        fastest = max(_mean(pace.left for pace in self._known), _mean(p.left for p in self._known[-2:]))
        left = _stretched(fastest * span)
        if self.steady and self._known[-1].busy and not self._beyond_chance(span, grown):
            left = (1 + UNEVEN) * fastest * span + math.sqrt(fastest * span)
        if not any(pace.busy for pace in self._known):
            # A queue that was empty at times doesn't show how fast it could go.
            left = max(left, FACTOR * seen + HIDDEN * span)
        if self._known:
            came = _stretched(max(pace.came for pace in self._known[-3:]) * span)
            if seen + grown <= came:
                left = min(left, came - grown)
        return max(left, seen)

    def likely(self, span: float, seen: int, grown: int) -> float:
        """The least that will have left within `span` seconds, unless arrivals stopped with it."""
        if not self.steady or self._beyond_chance(span, grown):
            return seen
        usual = self._known[-1].left * span
        return max(seen, (1 - UNEVEN) * usual - math.sqrt(usual))

    @property
    def steady(self) -> bool:
        """The last two paces of the departures are about the same."""
        if len(self._known) < 2:  # noqa: PLR2004 - two can be compared
            return False
        one, other = self._known[-2].left, self._known[-1].left
        return 0 < max(one, other) <= FACTOR * min(one, other)

    def _beyond_chance(self, span: float, grown: int) -> bool:
        """Whether the depth moved otherwise than both paces have it."""
        pace = self._known[-1]
        return abs((pace.came - pace.left) * span - grown) > 3 * math.sqrt((pace.left + pace.came) * span + 1)


def _stretched(messages: float) -> float:
    """What `messages` in the mean may come to: another pace, and chance."""
    return FACTOR * messages + 2 * math.sqrt(messages)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 0.0
