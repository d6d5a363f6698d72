"""Keeps collections of garbage short: one stops the process while it looks through all that it is given.

With 500 classes and 5,000 workers a full one took 60 to 95 ms, every four seconds. Most of what it looked
through lives as long as the classes do (series of metrics, books on workers and pods), so that is set aside
and no collection looks at it again. What isn't needed any more is given back all the same, by its count of
references; what stays are circles of objects that are garbage at such a moment, or become it later. So it is
done a few times after the start and after each change of the policies, and never by the clock.
"""

import gc

from scaler.runtime.board import Board, Snapshot
from scaler.runtime.clock import Clock, cancelled

#: When Python collects by itself: by new objects, and by collections of the younger generation. Its own (700,
#: 10, 10) meant 25 collections per second at that size, which found nothing. Full ones are ours to begin.
THRESHOLDS = (2_000, 10, 1_000)
#: Objects that have come to stay before it is worth looking for garbage among them: at that size a look takes
#: 25 to 85 ms. They are counted once a minute, which takes 1 ms; their number goes up and down by thousands,
#: and by more while the metrics are being written.
GROWTH = 50_000
COUNT_SECONDS = 60.0
#: Seconds after a change of the policies: every series is made at the first decisions, pods are listed by
#: then, workers are heard after 8 s, metrics-server is read twice.
SETTLING_SECONDS = (2.0, 5.0, 10.0, 30.0)


def begin() -> None:
    """What was imported stays for good; the Kubernetes client alone is 35 to 70 ms of a collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class Caretaker:
    """Acts right after a tick, when what the one before knew is gone: it is half of what its midst holds."""

    def __init__(self, board: Board, clock: Clock) -> None:
        """Does nothing before `run`."""
        self._board = board
        self._clock = clock
        self._policies: object = None
        self._ahead: list[float] = []
        self._counted_at = clock()
        #: Objects that were left by the last full collection, or the fewest since; None: not counted yet.
        self._left: int | None = None

    async def run(self) -> None:
        """Look after each snapshot, until cancelled."""
        while not cancelled():
            self.look(await self._board.next())

    def look(self, snapshot: Snapshot) -> None:
        """Set aside or collect, if it is time for it."""
        now = self._clock()
        if snapshot.policies is not self._policies:
            self._policies, self._ahead = snapshot.policies, [now + after for after in SETTLING_SECONDS]
        if self._ahead and now >= self._ahead[0]:
            del self._ahead[0]
            gc.freeze()
            self._left = None
        elif now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
            self._count()

    def _count(self) -> None:
        there = len(gc.get_objects())
        if self._left is None or there < self._left:
            self._left = there
        elif there > self._left + GROWTH:
            gc.collect()
            self._left = len(gc.get_objects())
