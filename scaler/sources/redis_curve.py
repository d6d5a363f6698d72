"""When the messages of one list arrived, from looking at its two ends; pure, no connection.

Messages carry no publish time, but kombu pushes at one end and pops at the other, and a message
never changes. So the message that was newest at the last look tells how many arrived since (its
index now), and counting them gives a curve: message number n arrived between two looks. The
oldest message has the number "arrived so far - length + 1", whatever happened in between. That
is exact to one period of looking, and costs the same for ten messages as for a million.
"""

import math
from collections import deque
from dataclasses import dataclass

from scaler.core.observation import Span

#: Stretches kept per list (150 bytes each): every look of the last 14 minutes at one look a second.
STRETCHES = 1_024

#: Share of its age by which a stretch may be uncertain once older ones are joined to make room;
#: doubled until there is room. With one look a second 0.5 % is ± 9 s for a wait of 1 h.
JOIN_PRECISION = 0.005


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Messages up to number `end` (from the end of the stretch before) arrived in (after, until]."""

    end: int
    after: float
    until: float


class ArrivalCurve:
    """The curve of one list. Times are seconds since the epoch, on the clock of this service."""

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()
        self._arrived = 0
        self._length = 0
        self._looked_at = -math.inf

    def look(self, length: int, since_newest: int | None, sent: float, answered: float) -> None:
        """Take in one look at the list, which happened between `sent` and `answered`.

        Args:
            length: Messages in the list.
            since_newest: How many came after the message that was newest at the look before;
                None where that one is gone (or the list was empty): then all are new.
            sent: Nothing that arrived before this moment can be missing in the look.
            answered: Nothing that arrived after it can be in it.
        """
        if since_newest is None:
            self._stretches.clear()
            self._arrived = 0
            since_newest = length
        if since_newest:
            self._arrived += since_newest
            self._stretches.append(_Stretch(self._arrived, self._looked_at, answered))
        self._length = length
        self._looked_at = sent
        oldest = self._arrived - length + 1
        while self._stretches and self._stretches[0].end < oldest:
            self._stretches.popleft()
        if len(self._stretches) > STRETCHES:
            self._make_room(answered)

    def lose_track(self, length: int, sent: float, answered: float) -> None:
        """As `look` where nothing tells how many came: none is older than the oldest was before."""
        oldest = self._stretches[0].after if self._stretches else self._looked_at
        self._stretches.clear()
        self._arrived = self._length = length
        self._stretches.append(_Stretch(length, oldest, answered))
        self._looked_at = sent

    def arrival(self, place: int = 0) -> Span:
        """Between which moments the message `place` places behind the oldest one arrived.

        The earlier one is minus infinity for messages that were there at the first look.
        """
        number = self._arrived - self._length + 1 + place
        for stretch in self._stretches:
            if stretch.end >= number:
                return (stretch.after, stretch.until)
        raise ValueError(f"the list has no place {place}")

    def _make_room(self, now: float) -> None:
        precision = JOIN_PRECISION
        while (surplus := len(self._stretches) - STRETCHES * 7 // 8) > 0:
            joined: deque[_Stretch] = deque()
            # The oldest first, and no more than needed: the young ones stay exact.
            for stretch in self._stretches:
                last = joined[-1] if joined and surplus else None
                if last is not None and stretch.until - last.after <= precision * (now - stretch.until):
                    joined[-1] = _Stretch(stretch.end, last.after, stretch.until)
                    surplus -= 1
                else:
                    joined.append(stretch)
            self._stretches = joined
            precision *= 2
