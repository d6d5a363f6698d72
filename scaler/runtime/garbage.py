"""Keeps collections of garbage short: one stops the process while it looks through all that it is given.

With 500 classes and 5,000 workers a full one took 60 to 95 ms, every four seconds. Most of what it looked
through lives as long as the classes do (series of metrics, books on workers and pods), so that is set aside
and no collection looks at it again. What isn't needed any more is given back all the same, by its count of
references; what stays are circles of objects that are garbage at such a moment, or become it later. So it is
done a few times after the start and after each change of the policies, and never by the clock.
"""

import gc

from scaler.runtime.board import Board
from scaler.runtime.clock import Clock, cancelled

#: When Python collects by itself: by new objects, and by collections of the younger generation. Its own (700,
#: 10, 10) meant 25 collections per second at that size, which found nothing. Full ones are ours to begin.
THRESHOLDS = (2_000, 10, 1_000)
#: Seconds between two full collections.
FULL_SECONDS = 60.0
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
        self._since = self._collected_at = clock()
        self._ahead: list[float] = []

    async def run(self) -> None:
        """Collect, and set aside, until cancelled."""
        while not cancelled():
            snapshot = await self._board.next()
            self._look(snapshot.policies)

    def _look(self, policies: object) -> None:
        now = self._clock()
        if policies is not self._policies:
            self._policies, self._since, self._ahead = policies, now, [*SETTLING_SECONDS]
        if self._ahead and now - self._since >= self._ahead[0]:
            del self._ahead[0]
            gc.freeze()
        elif now - self._collected_at >= FULL_SECONDS:
            self._collected_at = now
            gc.collect()
