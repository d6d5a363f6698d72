"""How far another host's clock is off, from the times in its messages."""

#: Seconds whose best message counts. A backlog of events that lasts less than this leaves no trace.
PERIOD = 30.0


class Skew:
    """The other clock minus ours, from messages that were stamped there and received here.

    Each message shows that difference less its time of travel, and travel only ever takes away.
    So the largest difference of the last 30 to 60 s is the nearest to the truth, and messages
    that were held up on the way don't count. A clock that is turned forward is seen at once, one
    that is turned back after at most 60 s. If every message is late, that can't be told from a
    clock that is slow.
    """

    __slots__ = ("_best", "_previous", "_turn")

    def __init__(self, difference: float, now: float) -> None:
        self._best = self._previous = difference
        self._turn = now + PERIOD

    @property
    def seconds(self) -> float:
        """The present estimate; at most one travel time (milliseconds) too small."""
        return max(self._best, self._previous)

    def add(self, difference: float, now: float) -> None:
        """Take in one message: its timestamp minus the time of its receipt."""
        if now >= self._turn:
            self._previous, self._best = self._best, difference
            self._turn = now + PERIOD
        elif difference > self._best:
            self._best = difference
