"""Celery's events from Redis, where kombu publishes them: pub/sub, nothing is stored.

kombu 5.7 publishes to `{global_keyprefix}/{database}.celeryev/{routing key}`, and with
`fanout_patterns: False` to the same without the routing key; both are subscribed. Not heard are
workers with another `fanout_prefix`, and those behind Sentinel with kombu before 5.4, which
wrote a literal `{db}`. Channels are named one by one: an ACL that allows `&/0.celeryev*` covers
them, a pattern would have to be allowed to the letter.
"""

import asyncio
from typing import Any

from redis import exceptions as failure
from redis.asyncio import Redis, Sentinel
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scaler.sources.address import Address, TlsFiles, tls_context, verifies
from scaler.sources.base import SourceError
from scaler.sources.events.messages import EXCHANGE, ROUTING_KEYS, MessageError, body_of
from scaler.sources.failures import CALL_TIMEOUT, CONNECT_TIMEOUT, Rule, denied, explained, unavailable
from scaler.sources.redis_failures import REDIS_RULES

#: Seconds without a message after which the server is asked whether it is still there.
QUIET = 5.0

_RULES = (
    Rule(
        (failure.NoPermissionError, failure.AuthorizationError),
        denied,
        "Redis at {place} lets the user receive no events; allow SUBSCRIBE, PING and channels &{channel}*",
    ),
    *REDIS_RULES,
)


class RedisEvents:
    """One subscription at one server: opened once, read, closed."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        files: TlsFiles,
        *,
        global_keyprefix: str,
        master_name: str | None,
    ) -> None:
        """`addresses` are the sentinels, or else the first of them is the server."""
        self._addresses = addresses
        self._files = files
        self._prefix = global_keyprefix
        self._master_name = master_name
        self._client: Redis | None = None
        self._sentinel: Sentinel | None = None
        self._pubsub: PubSub | None = None

    async def open(self) -> None:
        """Connect and subscribe.

        Raises:
            SourceError: with the remedy.
        """
        address = self._addresses[0]
        database = _database(address)
        channel = f"{self._prefix}/{database}.{EXCHANGE}"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._client = await self._connect(database)
                self._pubsub = self._client.pubsub()
                channels = [channel, *(f"{channel}/{key}" for key in ROUTING_KEYS)]
                await self._pubsub.subscribe(*channels)
                for _ in channels:
                    await self._pubsub.get_message(timeout=CALL_TIMEOUT)
        except SourceError:
            raise
        except (failure.RedisError, OSError) as error:
            raise explained(
                error,
                _RULES,
                place=address.place,
                host=address.host,
                database=database,
                master=self._master_name,
                channel=channel,
                hint="; is it Redis, and is TLS on both sides or on neither?",
            ) from error

    async def receive(self) -> bytes | None:
        """The body of the next message; empty for one that isn't kombu's, None if there is nothing yet.

        Raises:
            SourceError: the server is gone, or says nothing any more.
        """
        try:
            message = await self._next()
        except (failure.RedisError, OSError) as error:
            # That includes a subscriber that Redis cuts off because it reads too slowly.
            raise unavailable(
                f"Redis at {self._addresses[0].place} closed the connection of the events"
            ) from error
        if message["type"] != "message":
            return None
        try:
            return body_of(message["data"])
        except MessageError:
            return b""

    async def close(self) -> None:
        """Give the connection back."""
        closing = (self._pubsub, self._client, self._sentinel)
        self._pubsub, self._client, self._sentinel = None, None, None
        for part in closing:
            if part is not None:
                await asyncio.gather(part.aclose(), return_exceptions=True)

    async def _next(self) -> dict[str, Any]:
        if self._pubsub is None:
            raise RuntimeError("not open")
        message: dict[str, Any] | None = await self._pubsub.get_message(timeout=QUIET)
        if message is None:
            await self._pubsub.ping()
            message = await self._pubsub.get_message(timeout=CALL_TIMEOUT)
        if message is None:
            raise failure.TimeoutError("no answer to PING")
        return message

    async def _connect(self, database: int) -> Redis:
        address = self._addresses[0]
        options: dict[str, Any] = {
            "db": database,
            "username": address.username,
            "password": address.password,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CALL_TIMEOUT,
            # One attempt: a hidden second one would hide the gap as well.
            "retry": Retry(NoBackoff(), 0),
            # RESP2: every Redis speaks it.
            "protocol": 2,
        }
        if address.scheme == "rediss" or (address.scheme == "sentinel" and self._files):
            # Read here first: the client would report a missing file as a failed connection.
            await asyncio.to_thread(tls_context, self._files, address.query)
            options |= self._tls_options(address)
        if address.scheme != "sentinel":
            return Redis(host=address.host, port=address.port, **options)
        # A lost sentinel may cost only its share of the time, or the others are never asked.
        share = CONNECT_TIMEOUT / (len(self._addresses) + 1)
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
            [(sentinel.host, sentinel.port) for sentinel in self._addresses],
            sentinel_kwargs={
                "socket_timeout": share,
                "socket_connect_timeout": share,
                "retry": options["retry"],
                "protocol": options["protocol"],
            },
        )
        client: Redis = self._sentinel.master_for(self._master_name or "", **options)
        return client

    def _tls_options(self, address: Address) -> dict[str, Any]:
        files = self._files.laid_over(address.query)
        checked = verifies(address.query)
        return {
            "ssl": True,
            "ssl_ca_certs": files.ca_file,
            "ssl_certfile": files.cert_file,
            "ssl_keyfile": files.key_file,
            "ssl_cert_reqs": "required" if checked else "none",
            "ssl_check_hostname": checked
            and address.query.get("ssl_check_hostname", "true").lower() != "false",
        }


def _database(address: Address) -> int:
    database = address.path.strip("/") or "0"
    if not database.isdecimal():
        raise denied(f"the database in the broker url of {address.place} isn't a number; write /0 … /15")
    return int(database)
