"""The service's time: seconds since the epoch that never step.

Saved state and schedules need wall time; windows and periods need time that neither NTP nor a
person can turn back. So the wall clock is read once, and the monotonic clock carries it on.
"""

import asyncio
import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady_clock() -> Clock:
    """A clock that starts at the present wall time and advances with the monotonic clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


def cancelled() -> bool:
    """Whether the running task was asked to end.

    Loops look at it at each turn: a library may swallow a cancellation. redis-py awaits its sends
    under asyncio.wait_for, which on Python 3.11 loses one that arrives as the send completes.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
