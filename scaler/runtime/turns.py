"""Long computing in short pieces: between them the event loop has its turn, and with it everybody else."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

from scaler.runtime.clock import Clock

#: The loop has its turn after so long, which costs 0.05 ms. One class takes 1 to 3 ms.
TURN_SECONDS = 0.005

Result = TypeVar("Result")
Steps = Generator[None, None, Result]
"""Computing that stops now and then, where the loop may have its turn, and returns something at its end."""


class Turns:
    """One for all that a tick computes, so that two phases that follow each other make no longer piece."""

    def __init__(self, clock: Clock) -> None:
        """Begins when the caller has just been given its turn."""
        self._clock = clock
        self._began = clock()

    async def give(self) -> None:
        """To be called at least once per class; it gives the loop its turn where that is due."""
        if self._clock() - self._began > TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = self._clock()

    async def through(self, steps: Steps[Result]) -> Result:
        """Go through steps, with turns between them; their result."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            await self.give()
