"""A broker in memory with a broker's rules, for tests and simulations.

It keeps the contract of the real sources, so what runs on it runs on them: messages move from
ready to unacknowledged to gone, an acknowledgement can't come before its delivery, and while it
is told to fail, every sample raises and nothing is lost.
"""

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.base import SourceError


@dataclass(order=True, slots=True)
class _Message:
    priority: int
    number: int
    eta: float | None = field(compare=False)


@dataclass(slots=True)
class _Queue:
    ready: list[_Message] = field(default_factory=list)
    delivered: list[_Message] = field(default_factory=list)
    consumers: int = 0


class MemorySource:
    """Queues that exist from their first message or consumer on; the lowest priority number goes first."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._published = 0
        self._failure: SourceError | None = None
        #: Reported with each sample.
        self.suspicions: tuple[str, ...] = ()
        self.gaps: tuple[str, ...] = ()

    def publish(self, queue: str, count: int = 1, *, priority: int = 0, eta: float | None = None) -> None:
        """Put `count` messages at the end of a queue; `eta` in seconds since the epoch."""
        waiting = self._declared(queue).ready
        for _ in range(count):
            self._published += 1
            insort(waiting, _Message(priority, self._published, eta))

    def deliver(self, queue: str, count: int = 1) -> None:
        """Give the first `count` ready messages to a worker that doesn't acknowledge yet.

        Raises:
            ValueError: so many aren't ready.
        """
        declared = self._declared(queue)
        declared.delivered += _taken(declared.ready, count)

    def acknowledge(self, queue: str, count: int = 1) -> None:
        """The `count` messages delivered first are done.

        Raises:
            ValueError: so many aren't delivered.
        """
        _taken(self._declared(queue).delivered, count)

    def requeue(self, queue: str, count: int = 1) -> None:
        """The `count` messages delivered first come back to their old places: their worker died.

        Raises:
            ValueError: so many aren't delivered.
        """
        declared = self._declared(queue)
        for message in _taken(declared.delivered, count):
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
        return BrokerSample(
            sampled_at=now,
            queues=tuple(_reading(name, self._queues.get(name), now) for name in queues),
            suspicions=self.suspicions,
            gaps=self.gaps,
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
    return QueueReading(
        name=name,
        ready=len(queue.ready),
        unacked=len(queue.delivered),
        eta_held=sum(message.eta is not None and message.eta > now for message in queue.delivered),
        consumers=queue.consumers,
        by_priority=tuple(sorted(Counter(message.priority for message in queue.ready).items())),
    )
