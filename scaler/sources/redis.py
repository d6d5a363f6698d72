"""Queue depth from Redis as kombu uses it: all priority lists of all queues in one round trip.

Redis knows no queues: an empty one has no key, so a queue that nobody declared can't be told
from one that is empty, and every queue reads as existing. Nor does it know who waits on a list,
so consumers stay unknown.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import exceptions as failure
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.address import NO_FILES, Address, TlsFiles, parse_addresses, tls_context, verifies
from scaler.sources.base import SourceError
from scaler.sources.failures import CALL_TIMEOUT, CONNECT_TIMEOUT, capped, denied, explained
from scaler.sources.kombu_redis import queue_keys
from scaler.sources.redis_failures import REDIS_RULES
from scaler.sources.unacked import UnackedIndex, UnackedReading

#: What a sample says when the ACL lets us read lists only.
UNACKED_GAP = "unacked messages are not seen: allow the Redis user HLEN, HKEYS, HMGET and SMEMBERS"


class RedisSource:
    """Reads the queues of one database over one connection. Not for concurrent samples."""

    def __init__(
        self,
        url: str,
        *,
        global_keyprefix: str = "",
        priority_steps: Sequence[int] = (0, 3, 6, 9),
        sep: str = "\x06\x16",
        master_name: str | None = None,
        files: TlsFiles = NO_FILES,
    ) -> None:
        """Nothing is connected yet. The options are kombu's transport options of the same names.

        Raises:
            SourceDeniedError: the URL can't be understood.
        """
        self._addresses = parse_addresses(url)
        self._prefix = global_keyprefix
        self._steps = tuple(priority_steps)
        self._separator = sep
        self._master_name = master_name
        self._files = files
        self._unacked = UnackedIndex(sep, global_keyprefix)
        self._client: Redis | None = None
        self._sentinel: Sentinel | None = None

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """As `QueueSource.sample`. After an error the next call tries the next alternate of the URL."""
        address = self._addresses[0]
        known = self._client is not None
        try:
            client = await self._connected(address)
            lengths, size = await self._lengths(client, queues)
            unacked = await self._attributed(client, size, now)
        except SourceError:
            await self._give_up()
            raise
        except (failure.RedisError, OSError) as error:
            await self._give_up()
            raise explained(
                error,
                REDIS_RULES,
                place=address.place,
                host=address.host,
                database=address.path or 0,
                master=self._master_name,
                hint="" if known else "; is it Redis, and is TLS on both sides or on neither?",
            ) from error
        except BaseException:
            # Cancelled: an answer is on its way and would meet the next sweep.
            await self._disconnect()
            raise
        return BrokerSample(
            sampled_at=now,
            queues=tuple(
                _reading(name, length, unacked) for name, length in zip(queues, lengths, strict=True)
            ),
            gaps=unacked.gaps,
        )

    async def close(self) -> None:
        """Give the connections back; a later `sample` connects anew."""
        await self._disconnect()

    async def _lengths(
        self, client: Redis, queues: Sequence[str]
    ) -> tuple[list[tuple[tuple[int, int], ...]], int | failure.ResponseError]:
        """((priority, ready), …) per queue, and the number of unacknowledged messages in the database.

        The lists are read before the hash: a message delivered in between is counted twice for
        this sweep, in the other order it would be missed.
        """
        layout = [queue_keys(name, self._steps, self._separator, self._prefix) for name in queues]
        async with client.pipeline(transaction=False) as pipe:
            for keys in layout:
                for _, key in keys:
                    pipe.llen(key)
            pipe.hlen(self._unacked.key)
            *answers, size = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        values = iter(answers)
        return [tuple((step, next(values)) for step, _ in keys) for keys in layout], size

    async def _attributed(
        self, client: Redis, size: int | failure.ResponseError, now: float
    ) -> UnackedReading:
        try:
            if isinstance(size, failure.ResponseError):
                raise size
            return await self._unacked.read(client, size, now)
        except failure.NoPermissionError:
            return UnackedReading(gaps=(UNACKED_GAP,))
        except failure.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            key = self._unacked.key
            return UnackedReading(
                gaps=(capped(f"unacked messages are not seen: key {key!r} isn't kombu's hash"),)
            )

    async def _connected(self, address: Address) -> Redis:
        if self._client is not None:
            return self._client
        options = self._options(address)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if address.scheme == "rediss" or (address.scheme == "sentinel" and self._files):
                # Read here first: the client would report a missing file as a failed connection.
                await asyncio.to_thread(tls_context, self._files, address.query)
                options |= self._tls_options(address)
            if address.scheme == "sentinel":
                self._client = self._behind_sentinel(options)
            else:
                self._client = Redis(host=address.host, port=address.port, **options)
            await self._client.ping()
        return self._client

    def _behind_sentinel(self, options: dict[str, Any]) -> Redis:
        # A lost sentinel may cost only its share of the time, or the others are never asked.
        share = CONNECT_TIMEOUT / (len(self._addresses) + 1)
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
            [(address.host, address.port) for address in self._addresses],
            sentinel_kwargs={
                "socket_timeout": share,
                "socket_connect_timeout": share,
                "retry": options["retry"],
                "protocol": options["protocol"],
            },
        )
        client: Redis = self._sentinel.master_for(self._master_name or "", **options)
        return client

    def _options(self, address: Address) -> dict[str, Any]:
        database = address.path.strip("/") or "0"
        if not database.isdecimal():
            raise denied(f"the database in the broker url of {address.place} isn't a number; write /0 … /15")
        return {
            "db": int(database),
            "username": address.username,
            "password": address.password,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CALL_TIMEOUT,
            # The client's default retries 10 times, which takes 4 s at a refused port.
            "retry": Retry(NoBackoff(), 0),
            # RESP2: every Redis speaks it, and RESP3 adds a handshake for what we don't use.
            "protocol": 2,
        }

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

    async def _give_up(self) -> None:
        if self._addresses[0].scheme != "sentinel":
            self._addresses = (*self._addresses[1:], self._addresses[0])
        await self._disconnect()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        sentinel, self._sentinel = self._sentinel, None
        for closing in (client, sentinel):
            if closing is not None:
                await asyncio.gather(closing.aclose(), return_exceptions=True)


def _reading(name: str, by_priority: tuple[tuple[int, int], ...], unacked: UnackedReading) -> QueueReading:
    delivered, eta_held = unacked.of(name)
    return QueueReading(
        name=name,
        ready=sum(length for _, length in by_priority),
        unacked=delivered,
        eta_held=eta_held,
        by_priority=by_priority,
    )
