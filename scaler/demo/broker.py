"""The demo's broker: a redis-server of its own, the embedded one, or a Redis that the user names."""

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from scaler.demo import names
from scaler.demo.names import BrokerKind
from scaler.demo.processes import Child, Children, DemoError, python

#: Seconds until a broker must answer: redis-server takes 0.1 s, the embedded one 0.5 s.
START_TIMEOUT = 15.0


class UnusableError(Exception):
    """The broker that was asked for can't be had; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers and is empty."""

    url: str
    #: For people: product and version, no credentials.
    label: str
    client: Redis


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def choose(kind: BrokerKind) -> Literal["redis-server", "embedded"]:
    """What `auto` means here.

    Raises:
        UnusableError: the kind isn't installed.
    """
    if kind == "auto":
        kind = "redis-server" if shutil.which("redis-server") else "embedded"
    if kind == "redis-server" and not shutil.which("redis-server"):
        raise UnusableError("no redis-server on PATH; install it, or leave --broker out")
    if kind == "embedded" and not (find_spec("fakeredis") and find_spec("lupa")):
        raise UnusableError("the embedded broker needs fakeredis; run: pip install 'celery-scaler[demo]'")
    return kind


@asynccontextmanager
async def own_broker(kind: BrokerKind, directory: Path) -> AsyncIterator[Broker]:
    """Start a broker on a free loopback port, without persistence; its log goes to `directory`.

    Raises:
        UnusableError: the kind isn't installed.
        DemoError: it didn't come up.
    """
    chosen = choose(kind)
    port = free_port()
    if chosen == "embedded":
        command = python("scaler.demo.embedded", str(port))
    else:
        binary = shutil.which("redis-server") or "redis-server"
        options = f"--port {port} --bind 127.0.0.1 --appendonly no --save".split()
        command = [binary, *options, "", "--dir", str(directory)]
    url = f"redis://127.0.0.1:{port}/0"
    client = _client(url)
    with Children(directory) as children:
        child = children.start("broker", command)
        try:
            await _up(client, child)
            if chosen == "embedded":
                label = "embedded broker (fakeredis)"
            else:
                label = f"redis-server {(await client.info('server'))['redis_version']}"
            yield Broker(url, label, client)
        finally:
            await client.aclose()


async def _up(client: Redis, child: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not await _answers(client):
        child.require_running()
        if time.monotonic() > deadline:
            raise DemoError(f"the broker didn't answer within {START_TIMEOUT:g} s; see {child.log}")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def users_broker(url: str) -> AsyncIterator[Broker]:
    """A Redis of the user's: used only while its database is empty, and left empty.

    Raises:
        UnusableError: no Redis, not reachable, or not empty.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise UnusableError("--broker-url takes redis://host:port/db or rediss://host:port/db")
    client = _client(url)
    try:
        place = f"{parts.hostname}:{parts.port or 6379}, database {parts.path.strip('/') or '0'}"
        try:
            count = await client.dbsize()
        except RedisError as error:
            raise UnusableError(f"Redis at {place} doesn't answer: {type(error).__name__}") from error
        if count:
            raise UnusableError(f"Redis at {place} holds {count} keys; name a database that is empty")
        try:
            yield Broker(url, f"Redis at {place}", client)
        finally:
            # A broker that has gone away can't be cleaned; why it matters is reported elsewhere.
            with suppress(RedisError):
                await _remove_all(client)
    finally:
        await client.aclose()


def _client(url: str) -> Redis:
    """A client that fails at once; by default ten tries hide a refused port for four seconds."""
    return Redis.from_url(
        url, socket_connect_timeout=2, socket_timeout=5, retry=Retry(NoBackoff(), 0), decode_responses=True
    )


async def _remove_all(client: Redis) -> None:
    for pattern in names.ALL_KEYS:
        async for key in client.scan_iter(match=pattern, count=1000):
            await client.unlink(key)


async def _answers(client: Redis) -> bool:
    try:
        await client.dbsize()
    except RedisError:
        return False
    return True
