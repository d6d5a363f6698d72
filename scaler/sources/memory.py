"""A broker in memory with a broker's rules, for tests and simulations.

It keeps the contract of the real sources, so what runs on it runs on them: messages move from
ready to unacknowledged to gone, an acknowledgement can't come before its delivery, and while it
is told to fail, every sample raises and nothing is lost.

It knows when things happened where that is told (`at`), and otherwise what a real source knows:
between which two samples.
"""

import math
from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from scaler.core.observation import BrokerSample, Holds, QueueReading, Span
from scaler.sources.base import SourceError
from scaler.sources.dues import as_dues, gathered

#: Longest-held messages that a reading names.
HELD_SHOWN = 50


@dataclass(order=True, slots=True)
class _Message:
    priority: int
    number: int
    eta: float | None = field(compare=False)
    #: Between these moments it was published; the second is None until a sample has seen it.
    after: float = field(compare=False)
    until: float | None = field(compare=False)
    delivered_at: float = field(default=0.0, compare=False)
    returned: bool = field(default=False, compare=False)

    def due_from(self, moment: float) -> float:
        """The later one of a moment and the ETA."""
        return moment if self.eta is None else max(moment, self.eta)

    def waited(self, now: float) -> Span:
        """How long it has been ready and due."""
        until = now if self.until is None else self.until
        return (max(0.0, now - self.due_from(until)), max(0.0, now - self.due_from(self.after)))


@dataclass(slots=True)
class _Queue:
    ready: list[_Message] = field(default_factory=list)
    delivered: list[_Message] = field(default_factory=list)
    consumers: int = 0
    #: Message-seconds of due messages held, up to the last sample or acknowledgement.
    watched: float = 0.0
    ended: int = 0
    #: Up to this moment `watched` has all messages that are delivered now.
    watched_until: float = -math.inf

    def watch(self, messages: Sequence[_Message], now: float) -> None:
        """Count how long these delivered messages have been held, due and not yet counted."""
        for message in messages:
            since = max(message.due_from(message.delivered_at), self.watched_until)
            self.watched += max(0.0, now - since)


class MemorySource:
    """Queues that exist from their first message or consumer on; the lowest priority number goes first."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._published = 0
        self._failure: SourceError | None = None
        #: Time of the last sample; before the first one nothing is known.
        self._sampled_at = -math.inf
        #: Reported with each sample.
        self.suspicions: tuple[str, ...] = ()
        self.gaps: tuple[str, ...] = ()

    def publish(
        self,
        queue: str,
        count: int = 1,
        *,
        priority: int = 0,
        eta: float | None = None,
        at: float | None = None,
    ) -> None:
        """Put `count` messages at the end of a queue; `eta` and `at` in seconds since the epoch."""
        waiting = self._declared(queue).ready
        after = self._sampled_at if at is None else at
        for _ in range(count):
            self._published += 1
            insort(waiting, _Message(priority, self._published, eta, after, at))

    def deliver(self, queue: str, count: int = 1, *, at: float | None = None) -> None:
        """Give the first `count` ready messages to a worker that doesn't acknowledge yet.

        Raises:
            ValueError: so many aren't ready.
        """
        declared = self._declared(queue)
        taken = _taken(declared.ready, count)
        for message in taken:
            message.delivered_at = max(0.0, self._sampled_at) if at is None else at
        declared.delivered += taken

    def acknowledge(self, queue: str, count: int = 1, *, at: float | None = None) -> None:
        """The `count` messages delivered first are done.

        Raises:
            ValueError: so many aren't delivered.
        """
        declared = self._declared(queue)
        taken = _taken(declared.delivered, count)
        declared.watch(taken, self._sampled_at if at is None else at)
        declared.ended += count

    def requeue(self, queue: str, count: int = 1) -> None:
        """The `count` messages delivered first come back to their old places: their worker died.

        Raises:
            ValueError: so many aren't delivered.
        """
        declared = self._declared(queue)
        for message in _taken(declared.delivered, count):
            message.returned = True
            insort(declared.ready, message)

    def set_consumers(self, queue: str, count: int) -> None:
        """How many workers listen on a queue."""
        self._declared(queue).consumers = count

    def delete(self, queue: str) -> None:
        """Forget a queue and all that is in it."""
        self._queues.pop(queue, None)

    def fail(self, error: SourceError | None) -> None:
        """Raise `error` from each sample from now on; None ends the outage."""
        self._failure = error

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """As `QueueSource.sample`."""
        if self._failure is not None:
            raise self._failure
        self._sampled_at = now
        return BrokerSample(
            sampled_at=now,
            queues=tuple(_reading(name, self._queues.get(name), now) for name in queues),
            suspicions=self.suspicions,
            gaps=self.gaps,
            product="memory",
            paths=(("depth", "this process"),),
        )

    async def close(self) -> None:
        """Nothing is open; the messages stay."""

    def _declared(self, queue: str) -> _Queue:
        return self._queues.setdefault(queue, _Queue())


def _taken(messages: list[_Message], count: int) -> list[_Message]:
    if count > len(messages):
        raise ValueError(f"{count} messages wanted, {len(messages)} there")
    taken = messages[:count]
    del messages[:count]
    return taken


def _reading(name: str, queue: _Queue | None, now: float) -> QueueReading:
    if queue is None:
        return QueueReading(name=name, ready=0, unacked=0, eta_held=0, consumers=0, exists=False)
    for message in queue.ready:
        message.until = now if message.until is None else message.until
    queue.watch(queue.delivered, now)
    queue.watched_until = now
    waiting = [message for message in queue.ready if not _later(message, now)]
    waits = [message.waited(now) for message in waiting]
    oldest = max(waiting, key=lambda message: message.waited(now), default=None)
    later = [message.eta for message in queue.delivered if message.eta is not None and message.eta > now]
    held = sorted(
        message.due_from(message.delivered_at) for message in queue.delivered if not _later(message, now)
    )
    return QueueReading(
        name=name,
        ready=len(queue.ready),
        unacked=len(queue.delivered),
        eta_held=len(later),
        consumers=queue.consumers,
        by_priority=tuple(sorted(Counter(message.priority for message in queue.ready).items())),
        wait=(
            max((least for least, _ in waits), default=0.0),
            max((most for _, most in waits), default=0.0),
        ),
        wait_note="the oldest message was given back by a worker" if oldest and oldest.returned else "",
        due=as_dues(gathered(later)),
        held_since=tuple(held[:HELD_SHOWN]),
        holds=Holds(queue.watched, queue.ended),
    )


def _later(message: _Message, now: float) -> bool:
    return message.eta is not None and message.eta > now
