"""Where the memory of the decisions survives a restart.

A store that fails leaves the service deciding from its own memory; only a restart during the
failure loses history, and then the restart rule holds (no scale-down for one window).
"""

from typing import Protocol

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from scaler.core.state import StateError, WorkerState
from scaler.runtime.board import Key

log = structlog.get_logger(__name__)

#: A state this old says nothing about the present; it also keeps abandoned keys from piling up.
KEEP_SECONDS = 24 * 3600
#: Connecting and answering, each.
TIMEOUT = 2.0


class StoreError(Exception):
    """The store can't be used as configured; the text is safe to show."""


class StateStore(Protocol):
    """Loads and saves the states of worker classes."""

    async def load(self, key: Key) -> WorkerState | None:
        """The saved state of a class, or None where there is none that can be used.

        Raises:
            StoreError: it can't be told whether there is one.
        """
        ...

    async def save(self, states: dict[Key, WorkerState]) -> None:
        """Save several states; a failure is logged, not raised."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class MemoryStore:
    """Keeps states for the life of the process: history is lost with it."""

    def __init__(self) -> None:
        self._states: dict[Key, WorkerState] = {}

    async def load(self, key: Key) -> WorkerState | None:
        """The state last saved in this process."""
        return self._states.get(key)

    async def save(self, states: dict[Key, WorkerState]) -> None:
        """Remember the states."""
        self._states.update(states)

    async def close(self) -> None:
        """Nothing to give back."""


class RedisStore:
    """One key per worker class, JSON, expiring after a day."""

    def __init__(self, url: str) -> None:
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise StoreError("the state store's URL can't be read; write redis://host:6379/0") from error
        self._failing = False

    async def load(self, key: Key) -> WorkerState | None:
        """The saved state, or None (also where the state can't be read).

        Raises:
            StoreError: the store can't be reached: there may be a state.
        """
        try:
            text = await self._redis.get(_redis_key(key))
        except (RedisError, OSError) as error:
            self._note(error)
            raise StoreError(f"the state store can't be read ({type(error).__name__})") from error
        if text is None:
            return None
        try:
            return WorkerState.from_json(text)
        except StateError as error:
            log.warning("saved state ignored", policy=key[0], worker_class=key[1], reason=str(error))
            return None

    async def save(self, states: dict[Key, WorkerState]) -> None:
        """Write all states in one round trip."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, state in states.items():
                    pipe.set(_redis_key(key), state.to_json(), ex=KEEP_SECONDS)
                await pipe.execute()
        except (RedisError, OSError) as error:
            self._note(error)
        else:
            if self._failing:
                log.info("state store works again")
            self._failing = False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _note(self, error: Exception) -> None:
        if not self._failing:
            log.warning("state store fails; deciding goes on from memory", error=type(error).__name__)
        self._failing = True


def _redis_key(key: Key) -> str:
    return f"celery-scaler:state:{key[0]}:{key[1]}"


def open_store(where: str) -> StateStore:
    """The store for `memory` or a `redis://…` URL.

    Raises:
        StoreError: neither of them.
    """
    if where == "memory":
        return MemoryStore()
    if where.startswith(("redis://", "rediss://", "unix://")):
        return RedisStore(where)
    known = "memory, redis://host:6379/0"
    raise StoreError(f"unknown state store {where.partition('://')[0]!r}; write one of: {known}")
