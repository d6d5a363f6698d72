"""One passive declare for each of many queues, over a few channels of one connection.

A passive declare tells ready messages and consumers as they are at that moment, for classic and
quorum queues, to any user that may enter the virtual host. Two properties of the client library
shape this module:

- its robust channels answer a repeated declare from a cache (the count stays frozen), and its
  plain channel objects leave a callback on the connection each time the broker closes them. So
  channels are taken from the connection underneath, which has neither;
- a missing or unreadable queue closes the channel it was asked on. Each channel has one question in flight,
  so that costs this queue one more round trip (0.4 ms) and the others nothing, and a queue that
  appears is seen at the next sweep.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from aio_pika.abc import UnderlayConnection
from aio_pika.exceptions import AMQPConnectionError, ChannelClosed, ChannelNotFoundEntity

from scaler.sources.failures import CALL_TIMEOUT, unavailable

#: Channels that ask at the same time: 72 ms for 1,000 queues, against 150 ms with one. Not more,
#: for correctness: the library writes through a buffer of 10 frames and drops the confirmation
#: of a closed channel when that is full (at 16 channels, 200 missing queues end the connection).
LANES = 8

#: (ready, consumers) of a queue, None for one that doesn't exist.
Counts = tuple[int, int] | None


@dataclass(slots=True)
class Swept:
    """What a sweep found. Each asked queue is in one of the two."""

    counts: dict[str, Counts] = field(default_factory=dict)
    #: Why queues that exist didn't tell.
    unreadable: dict[str, str] = field(default_factory=dict)
    #: Declares, and channels that had to be opened for them.
    calls: int = 0


class Sweep:
    """Asks once for each queue."""

    def __init__(self, transport: UnderlayConnection, queues: Sequence[str], place: str) -> None:
        """Nothing is asked yet; `place` is the broker's host:port for messages."""
        self._connection = transport.connection
        self._names = tuple(dict.fromkeys(queues))
        self._waiting = iter(self._names)
        self._place = place
        self._swept = Swept()
        # Moves with each answer: it says "hung", not "many queues".
        self._bound = asyncio.timeout(CALL_TIMEOUT)

    async def run(self) -> Swept:
        """The counts of all queues, or why one of them has none.

        Raises:
            SourceError: the connection failed or fell silent; it is then of no more use.
        """
        try:
            async with self._bound, asyncio.TaskGroup() as lanes:
                for number in range(1, min(LANES, len(self._names)) + 1):
                    lanes.create_task(self._lane(number))
        except TimeoutError as error:
            raise unavailable(
                f"RabbitMQ at {self._place} is connected but silent for {CALL_TIMEOUT:g} s; is it hung?"
            ) from error
        except ExceptionGroup as group:
            raise unavailable(
                f"RabbitMQ at {self._place} closed the connection during a sweep"
            ) from group.exceptions[0]
        return self._swept

    async def _lane(self, number: int) -> None:
        """One question after the other on channel `number`, which is nobody else's."""
        loop = asyncio.get_running_loop()
        for name in self._waiting:
            await self._ask(number, name)
            if not self._bound.expired():
                self._bound.reschedule(loop.time() + CALL_TIMEOUT)

    async def _ask(self, number: int, name: str) -> None:
        swept = self._swept
        try:
            # The library forgets a channel that the broker closed. The number is fixed, because
            # one that the library chooses may belong to a channel whose close isn't confirmed yet.
            channel = self._connection.channels.get(number)
            if channel is None:
                swept.calls += 1
                channel = await self._connection.channel(number, publisher_confirms=False)
            swept.calls += 1
            answer = await channel.queue_declare(name, passive=True)
        except ChannelNotFoundEntity as error:
            if "no queue" in str(error):
                swept.counts[name] = None
            else:
                # The other 404: a queue whose node is down. It exists and has messages, so it is no zero.
                swept.unreadable[name] = "the node that holds it is down"
        except ChannelClosed:
            swept.unreadable[name] = "the broker doesn't tell of it; is it exclusive to a connection?"
        except asyncio.CancelledError:
            # The library cancels its waiters when a connection ends; only our own cancellation may pass.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise AMQPConnectionError from None
        else:
            swept.counts[name] = (answer.message_count or 0, answer.consumer_count or 0)
