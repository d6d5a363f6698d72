"""Queue depth from RabbitMQ: live over AMQP, unacknowledged messages and alarms over HTTP."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aio_pika
from aio_pika.abc import UnderlayConnection
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.address import NO_FILES, Address, TlsFiles, parse_addresses, tls_context
from scaler.sources.amqp_sweep import Counts, Sweep
from scaler.sources.base import SourceError
from scaler.sources.failures import CLOSE_TIMEOUT, CONNECT_TIMEOUT, explained
from scaler.sources.management import Management, ManagementReading
from scaler.sources.rabbitmq_failures import RABBITMQ_RULES

#: What a sample says about unacknowledged messages when only AMQP is configured.
UNACKED_GAP = "unacked messages are not seen: set managementUrl"


class RabbitMQSource:
    """Reads the queues of one virtual host over one connection. Not for concurrent samples."""

    def __init__(self, url: str, *, management_url: str | None = None, files: TlsFiles = NO_FILES) -> None:
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
            transport = await self._connected(address)
            counts = await Sweep(transport, queues, address.place).run()
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

    async def _connected(self, address: Address) -> UnderlayConnection:
        if self._connection is not None and not self._connection.connected.is_set():
            await self._disconnect()
        if self._connection is None:
            try:
                self._connection = await self._connect(address)
            except SourceError:
                raise
            except (*CONNECTION_EXCEPTIONS, TimeoutError, EOFError) as error:
                vhost = address.path or "/"
                raise explained(
                    error, RABBITMQ_RULES, place=address.place, host=address.host, vhost=vhost
                ) from error
        transport: UnderlayConnection | None = self._connection.transport
        if transport is None:  # never after connect(); the library's type allows it
            raise RuntimeError("connected without a transport")
        return transport

    async def _connect(self, address: Address) -> aio_pika.Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            context = None
            if address.scheme == "amqps":
                context = await asyncio.to_thread(tls_context, self._files, address.query)
            connection = aio_pika.Connection(
                # From its parts: Celery's URL may have parameters that mean something else to this library.
                make_url(
                    host=address.host,
                    port=address.port,
                    login=address.username or "guest",
                    password=address.password or "guest",
                    virtualhost=address.path or "/",
                    ssl=address.scheme == "amqps",
                ),
                ssl_context=context,
                client_properties={"connection_name": "celery-scaler"},
            )
            await connection.connect()
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # The library waits 2 s for a hung broker's goodbye; cut short, it closes the socket all the same.
            with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.close()


def _reading(name: str, counts: Counts, unacked: Mapping[str, int]) -> QueueReading:
    if counts is None:
        return QueueReading(name=name, ready=0, unacked=0, eta_held=0, consumers=0, exists=False)
    ready, consumers = counts
    return QueueReading(name=name, ready=ready, unacked=unacked.get(name), consumers=consumers)
