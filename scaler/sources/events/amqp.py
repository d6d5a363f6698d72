"""Celery's events from RabbitMQ: an own queue at Celery's exchange that vanishes with the connection."""

import asyncio
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelClosed, ChannelNotFoundEntity

from scaler.sources.address import Address, TlsFiles, tls_context
from scaler.sources.base import SourceError
from scaler.sources.events.messages import BODY_LIMIT, EXCHANGE, ROUTING_KEYS
from scaler.sources.failures import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    Rule,
    denied,
    explained,
    unavailable,
)
from scaler.sources.rabbitmq_failures import RABBITMQ_RULES

#: What the broker keeps for us at most, so that a stuck service costs it 32 MB for a minute.
QUEUE_LIMITS: Mapping[str, int] = {
    "x-max-length": 50_000,
    "x-max-length-bytes": 32_000_000,
    "x-message-ttl": 30_000,
    "x-expires": 60_000,
}

#: Bytes that may wait in this process. More is a service that can't keep up; it starts anew then.
INBOX_LIMIT = 32_000_000

#: Seconds between the heartbeats of the connection. A broker that vanished is noticed after 33 s;
#: with the broker's own 60 s it would be 3 min.
HEARTBEAT = 10

_RULES = (
    Rule(
        (ChannelNotFoundEntity,),
        unavailable,
        f"RabbitMQ at {{place}}, virtual host {{vhost!r}} has no exchange {EXCHANGE!r} yet: no Celery"
        " worker with heartbeats or events has run there",
        words=("no exchange",),
    ),
    Rule(
        (ChannelClosed,),
        denied,
        "RabbitMQ at {place} lets the user receive no events in virtual host {vhost!r}; grant configure,"
        rf" write and read on ^{EXCHANGE}(\..*)?$",
        words=("ACCESS_REFUSED",),
    ),
    Rule(
        (ChannelClosed,),
        unavailable,
        "RabbitMQ at {place}, virtual host {vhost!r} refused the queue for events; see its log",
    ),
    *RABBITMQ_RULES,
)


class _Message(Protocol):
    """What is used of a message of the library below aio-pika."""

    @property
    def body(self) -> bytes: ...


class AmqpEvents:
    """One connection to one broker: opened once, read, closed."""

    def __init__(self, address: Address, files: TlsFiles) -> None:
        self._address = address
        self._files = files
        self._connection: aio_pika.Connection | None = None
        self._inbox: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._lost = ""

    async def open(self) -> None:
        """Connect and begin to receive.

        Raises:
            SourceError: with the remedy.
        """
        address, vhost = self._address, self._address.path or "/"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._consume(await self._connect())
        except SourceError:
            raise
        except (*CONNECTION_EXCEPTIONS, TimeoutError, EOFError) as error:
            raise explained(error, _RULES, place=address.place, host=address.host, vhost=vhost) from error

    async def receive(self) -> bytes:
        """The body of the next message; empty for one that is too large to be looked at.

        Raises:
            SourceError: the connection, the channel or the queue is gone.
        """
        while not self._inbox:
            if self._lost:
                raise unavailable(f"RabbitMQ at {self._address.place} {self._lost}")
            self._news.clear()
            await self._news.wait()
        body = self._inbox.popleft()
        self._waiting -= len(body)
        return body

    async def close(self) -> None:
        """End the connection, and with it the queue."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # The library waits 2 s for a hung broker's goodbye; cut short, it closes the socket all the same.
            with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.close()
        self._inbox.clear()

    async def _connect(self) -> AbstractChannel:
        address = self._address
        context = None
        if address.scheme == "amqps":
            context = await asyncio.to_thread(tls_context, self._files, address.query)
        self._connection = aio_pika.Connection(
            # From its parts: Celery's URL may have parameters that mean something else to this library.
            make_url(
                host=address.host,
                port=address.port,
                login=address.username or "guest",
                password=address.password or "guest",
                virtualhost=address.path or "/",
                ssl=address.scheme == "amqps",
                heartbeat=HEARTBEAT,
            ),
            ssl_context=context,
            client_properties={"connection_name": "celery-scaler events"},
        )
        await self._connection.connect()
        channel = self._connection.channel(publisher_confirms=False)
        await channel.initialize()
        channel.close_callbacks.add(lambda *_: self._end("closed the connection"))
        return channel

    async def _consume(self, channel: AbstractChannel) -> None:
        # Passive: only Celery knows how it wants its exchange, and another declaration would break its own.
        await channel.declare_exchange(EXCHANGE, passive=True)
        queue = await channel.declare_queue(
            # New each time: after a lost connection the broker may still keep the former one locked.
            f"{EXCHANGE}.scaler-{uuid.uuid4().hex}",
            durable=False,
            exclusive=True,
            auto_delete=True,
            # Said because a virtual host's default may be quorum queues, which can't be exclusive.
            arguments={**QUEUE_LIMITS, "x-queue-type": "classic"},
        )
        for key in ROUTING_KEYS:
            await queue.bind(EXCHANGE, key)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._end("took the queue of events away"))
        # One layer below `queue.consume`, which wraps each message: 20,000 per CPU second instead of 14,000.
        await underlay.basic_consume(queue.name, self._take, no_ack=True)

    async def _take(self, message: _Message) -> None:
        body = message.body if len(message.body) <= BODY_LIMIT else b""
        if self._waiting > INBOX_LIMIT:
            self._end("sends events faster than they can be read; begun anew")
            return
        self._inbox.append(body)
        self._waiting += len(body)
        self._news.set()

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        self._news.set()
