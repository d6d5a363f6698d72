"""Keeps collections of garbage short: a full one stops the process while it looks through all that lives.

With 500 classes and 5,000 workers it took 60 to 95 ms every four seconds. Most of what it looked through
lives as long as the classes do (series of metrics, books on workers and pods), so that is set aside: no
collection looks at it again. What isn't needed any more is given back all the same, by its count of
references; only a circle of objects that is garbage at such a moment, or of such objects later, stays. So it
is done once after the start and once after each change of the policies, and never by the clock.
"""

import asyncio
import gc

from scaler.runtime.board import Board
from scaler.runtime.clock import cancelled

#: Objects by which those that may be garbage grow before a collection. A tick of 500 classes makes and frees
#: about as many; Python's 700 meant 25 collections per second that found nothing.
THRESHOLD = 20_000
#: After a change of the policies: workers are heard after 8 s, pods are listed, every series is made.
SETTLING_SECONDS = 30.0


def begin() -> None:
    """What was imported stays for good: the Kubernetes client alone makes a collection 35 to 70 ms longer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD, *gc.get_threshold()[1:])


async def set_aside(board: Board) -> None:
    """Until cancelled: set aside what lives as long as the policies, once they have settled."""
    settled = None
    while not cancelled():
        policies = (await board.next()).policies
        if policies is not settled:
            await asyncio.sleep(SETTLING_SECONDS)
            gc.freeze()
            settled = policies
