"""Queues of RabbitMQ: live depths over AMQP, and over HTTP what AMQP doesn't tell.

Depth and consumers need no right but the virtual host's, so they carry the sample: if AMQP
fails, there is none. Everything else comes beside it and degrades to a gap with its remedy.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import aio_pika
from aio_pika.abc import UnderlayConnection
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.address import NO_FILES, Address, TlsFiles, parse_addresses, tls_context
from scaler.sources.amqp_sweep import Sweep, Swept
from scaler.sources.base import SourceError
from scaler.sources.failures import CLOSE_TIMEOUT, CONNECT_TIMEOUT, capped, explained
from scaler.sources.management import Management, ManagementReading
from scaler.sources.rabbitmq_delayed import DelayedLook, delayed_depths
from scaler.sources.rabbitmq_failures import RABBITMQ_RULES
from scaler.sources.rabbitmq_memory import QueueMemory

#: What a sample says about unacknowledged messages when only AMQP is configured.
UNACKED_GAP = "unacked messages are not seen: set managementUrl"

#: Suspicions about single queues that a sample names; a restarted broker has as many as queues.
SUSPICIONS = 5


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
        self._product = ""
        self._memories: dict[str, QueueMemory] = {}
        self._delayed = DelayedLook()
        # Whether the list of all queues is to be had: it shows the delayed tasks too.
        self._lists = self._management is not None

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """As `QueueSource.sample`. After an error the next call tries the next alternate of the URL."""
        address = self._addresses[0]
        began = asyncio.get_running_loop().time()
        delayed = () if self._lists else self._delayed.names(began)
        asking = asyncio.create_task(self._ask_management(address))
        try:
            transport = await self._connected(address)
            swept = await Sweep(transport, (*queues, *delayed), address.place).run()
            extra = await asking
        except BaseException:
            # Also when cancelled: a question is in flight then, and its answer would meet the next sweep.
            self._addresses = (*self._addresses[1:], address)
            await self._disconnect()
            raise
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._lists = extra.listed is not None
        self._delayed.seen(began, swept.counts)
        self._remember(queues, swept, extra, now, now - began)
        return self._sample(queues, swept, extra, now)

    def _remember(
        self, queues: Sequence[str], swept: Swept, extra: ManagementReading, now: float, offset: float
    ) -> None:
        """Carry each queue's memory on; `offset` turns the event loop's clock into the epoch's."""
        kept = {name: self._memories.get(name) for name in queues}
        self._memories = {}
        for name, known in kept.items():
            # After a clock was set back, nothing that was seen can be compared with now.
            memory = known if known is not None and known.at <= now else QueueMemory(name)
            self._memories[name] = memory
            if name in swept.unreadable:
                continue
            counts = swept.counts[name]
            if counts is None:
                memory.miss(now)
                continue
            memory.see(now, counts, extra.listed)
            if extra.collection is not None:
                window = extra.collection.window
                memory.count(
                    extra.collection.queues.get(name),
                    since=window.since + offset,
                    until=window.until + offset,
                )

    def _sample(
        self, queues: Sequence[str], swept: Swept, extra: ManagementReading, now: float
    ) -> BrokerSample:
        memories = [self._memories[name] for name in dict.fromkeys(queues)]
        doubts = [text for memory in memories for text in memory.suspicions(now)]
        if len(doubts) > SUSPICIONS:
            doubts[SUSPICIONS:] = [f"and {len(doubts) - SUSPICIONS} more queues like these"]
        if extra.listed is None:
            depths = {name: counts[0] for name, counts in swept.counts.items() if counts is not None}
        else:
            depths = {name: (told.ready or 0) + (told.unacked or 0) for name, told in extra.listed.items()}
        counters = dict(extra.paths).get("counters", "not seen") != "not seen"
        counted = "sweeps and counters" if counters else "sweeps alone, a wide interval"
        return BrokerSample(
            sampled_at=now,
            queues=tuple(
                self._memories[name].reading() if swept.counts[name] is not None else _missing(name)
                for name in queues
                if name not in swept.unreadable
            ),
            unreadable=tuple(
                (name, swept.unreadable[name]) for name in dict.fromkeys(queues) if name in swept.unreadable
            ),
            suspicions=(*extra.suspicions, *doubts),
            gaps=extra.gaps,
            delayed=delayed_depths(depths),
            product=self._product,
            paths=(("depth, consumers", "AMQP passive declare, live"), *extra.paths, ("wait", counted)),
            calls=swept.calls + extra.calls,
        )

    async def close(self) -> None:
        """Give the connections back; a later `sample` connects anew."""
        await self._disconnect()
        if self._management is not None:
            await self._management.close()

    async def _ask_management(self, address: Address) -> ManagementReading:
        if self._management is None:
            return ManagementReading(gaps=(UNACKED_GAP,), paths=(("unacked, counters, alarms", "not seen"),))
        return await self._management.read(address)

    async def _connected(self, address: Address) -> UnderlayConnection:
        if self._connection is not None and not self._connection.connected.is_set():
            await self._disconnect()
        if self._connection is None:
            if self._management is not None:
                self._management.broker_came_back()
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
        properties = transport.connection.server_properties
        self._product = f"{_text(properties.get('product'))} {_text(properties.get('version'))}".strip()
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


def _missing(name: str) -> QueueReading:
    return QueueReading(name=name, ready=0, unacked=0, eta_held=0, consumers=0, exists=False, wait=(0.0, 0.0))


def _text(value: object) -> str:
    """A property of the server, which is a stranger."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return capped(text)
