"""The service's time: seconds since the epoch that never step.

Saved state and schedules need wall time; windows and periods need time that neither NTP nor a
person can turn back. So the wall clock is read once, and the monotonic clock carries it on.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady_clock() -> Clock:
    """A clock that starts at the present wall time and advances with the monotonic clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset
