"""Celery's native delayed delivery on RabbitMQ: where tasks with an ETA are before they fall due.

With quorum queues and a topic exchange, kombu (5.5 and later) declares the queues
celery_delayed_0 to celery_delayed_27. A task waits in queue n for 2ⁿ s if bit n of its delay is
set, from the highest bit down; so whatever is in queue n falls due in less than 2ⁿ⁺¹ s.
"""

import re
from collections.abc import Mapping

#: Queues, one for each bit of a delay in seconds (kombu's number).
LEVELS = 28
#: Seconds between two looks whether there are any, where no list of all queues tells.
LOOK_INTERVAL = 30.0

_NAME = re.compile(r"celery_delayed_(\d{1,2})")


def delayed_names() -> tuple[str, ...]:
    """The names of all levels, lowest first."""
    return tuple(f"celery_delayed_{level}" for level in range(LEVELS))


def delayed_depths(depths: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """(level, messages) of those among `depths` (messages by queue) that are levels and hold messages."""
    found = []
    for name, messages in depths.items():
        match = _NAME.fullmatch(name)
        if match and int(match[1]) < LEVELS and messages:
            found.append((int(match[1]), messages))
    return tuple(sorted(found))


class DelayedLook:
    """Decides which of the queues to ask for over AMQP: one every 30 s, all of them where it exists."""

    def __init__(self) -> None:
        self._due = 0.0
        self._there = False

    def names(self, now: float) -> tuple[str, ...]:
        """The queues to ask for in this sweep; `now` in seconds of any clock that doesn't go back."""
        if self._there:
            return delayed_names()
        return delayed_names()[-1:] if now >= self._due else ()

    def seen(self, now: float, counts: Mapping[str, tuple[int, int] | None]) -> None:
        """What was asked for is answered; None: no such queue."""
        top = delayed_names()[-1]
        if top in counts:
            self._there = counts[top] is not None
            self._due = now + LOOK_INTERVAL
