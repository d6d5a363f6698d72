"""Queue depth from RabbitMQ: live over AMQP, unacknowledged messages and alarms over HTTP.

A passive declare tells ready messages and consumers as they are at that moment, for classic and
quorum queues, to any user that may enter the virtual host. Two properties of the client library
shape this module:

- its robust channels answer a repeated declare from a cache (the count stays frozen), and its
  plain channel objects leave a callback on the connection each time the broker closes them. So
  channels are taken from the connection underneath, which has neither;
- a missing queue closes the channel it was asked on. Each channel has one question in flight,
  so that costs this queue one more round trip (0.4 ms) and the others nothing, and a queue that
  appears is seen at the next sweep.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import aio_pika
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ConnectionClosed,
    ProbableAuthenticationError,
)
from yarl import URL

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.address import Address, TlsFiles, parse_addresses, tls_context
from scaler.sources.base import SourceError
from scaler.sources.failures import CALL_TIMEOUT, CLOSE_TIMEOUT, CONNECT_TIMEOUT, denied, unavailable
from scaler.sources.management import Management, ManagementReading

#: Channels that ask at the same time: 72 ms for 1,000 queues, against 150 ms with one. Not more,
#: for correctness: the library writes through a buffer of 10 frames and drops the confirmation
#: of a closed channel when that is full (at 16 channels, 200 missing queues end the connection).
LANES = 8

#: What a sample says about unacknowledged messages when only AMQP is configured.
UNACKED_GAP = "unacked messages are not seen: set managementUrl"


class RabbitMQSource:
    """Reads the queues of one virtual host over one connection. Not for concurrent samples."""

    def __init__(self, url: str, *, management_url: str | None = None, files: TlsFiles = TlsFiles()) -> None:
        """Nothing is connected yet.

        Raises:
            SourceDeniedError: the URL can't be understood.
        """
        self._addresses = parse_addresses(url)
        self._files = files
        self._management = Management(management_url, files) if management_url else None
        self._connection: aio_pika.Connection | None = None

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """As `QueueSource.sample`. After an error the next call tries the next alternate of the URL."""
        address = self._addresses[0]
        asking = asyncio.create_task(self._ask_management(address))
        try:
            connection = await self._connected(address)
            counts = await _sweep(connection, queues, address)
            extra = await asking
        except BaseException:
            # Also when cancelled: a question is in flight then, and its answer would meet the next sweep.
            self._addresses = (*self._addresses[1:], address)
            await self._disconnect()
            raise
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        return BrokerSample(
            sampled_at=now,
            queues=tuple(_reading(name, counts[name], extra.unacked) for name in queues),
            suspicions=extra.suspicions,
            gaps=extra.gaps,
        )

    async def close(self) -> None:
        """Give the connections back; a later `sample` connects anew."""
        await self._disconnect()
        if self._management is not None:
            await self._management.close()

    async def _ask_management(self, address: Address) -> ManagementReading:
        if self._management is None:
            return ManagementReading(gaps=(UNACKED_GAP,))
        return await self._management.read(address)

    async def _connected(self, address: Address) -> aio_pika.Connection:
        connection = self._connection
        if connection is not None:
            if connection.connected.is_set():
                return connection
            await self._disconnect()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                context = None
                if address.scheme == "amqps":
                    context = await asyncio.to_thread(tls_context, self._files, address.query)
                connection = aio_pika.Connection(
                    _library_url(address), ssl_context=context, client_properties={"connection_name": "celery-scaler"}
                )
                await connection.connect()
        except SourceError:
            raise
        except (*CONNECTION_EXCEPTIONS, TimeoutError, EOFError) as error:
            raise _connect_error(address, error) from error
        self._connection = connection
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # The library waits 2 s for a hung broker's goodbye; cut short, it closes the socket all the same.
            with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.close()


def _library_url(address: Address) -> URL:
    # Rebuilt from its parts: Celery's URL may have query parameters that mean something else to the library.
    return URL.build(
        scheme=address.scheme,
        user=address.username or "guest",
        password=address.password or "guest",
        host=address.host,
        port=address.port,
        path=f"/{address.path or '/'}",
    )


async def _sweep(
    connection: aio_pika.Connection, queues: Iterable[str], address: Address
) -> Mapping[str, tuple[int, int] | None]:
    """(ready, consumers) of each queue, None for one that doesn't exist."""
    counts: dict[str, tuple[int, int] | None] = {}
    names = list(dict.fromkeys(queues))
    waiting = iter(names)
    try:
        async with asyncio.timeout(CALL_TIMEOUT) as bound, asyncio.TaskGroup() as lanes:
            for number in range(1, min(LANES, len(names)) + 1):
                lanes.create_task(_lane(connection, number, waiting, counts, bound))
    except TimeoutError as error:
        raise unavailable(
            f"RabbitMQ at {address.place} is connected but gave no answer within {CALL_TIMEOUT:g} s; it may be hung"
        ) from error
    except ExceptionGroup as group:
        error = group.exceptions[0]
        if isinstance(error, _QueueError):
            raise unavailable(f"RabbitMQ at {address.place} can't read {error}") from error
        raise unavailable(f"RabbitMQ at {address.place} closed the connection during a sweep") from error
    return counts
