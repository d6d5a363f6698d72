"""A Redis as the store: one hash per text, changed by a script that compares the version first.

A script and not WATCH with MULTI: one command is one answer, so nothing is left half done on a connection
when a time runs out in between. A user of an ACL needs `+eval`; Celery's own transport needs scripts
as well (its mutex is released by one).
"""

import secrets
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from scaler.runtime.store.base import KEEP_SECONDS, ChangedError, Document, Name, StoreError

#: Seconds for connecting and for an answer, each. A lease lasts four times as long.
TIMEOUT = 2.0
#: What people ordered doesn't expire: it may be for next month. The rest is of no use after a day.
_EXPIRES: dict[Name, int] = {"lease": int(KEEP_SECONDS), "decisions": int(KEEP_SECONDS), "orders": 0}

#: A missing version comes as the empty string, and HGET gives false for a field that isn't there.
_WRITE = """\
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
if ARGV[4] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
"""


class RedisStore:
    """Keys `celery-scaler:ENVIRONMENT:lease`, `…:decisions` and `…:orders` of one database."""

    shared = True
    routine = 0.8
    poll = 0.5

    def __init__(self, url: str, environment: str = "") -> None:
        """Nothing is connected yet.

        Args:
            url: `redis://…`, with the number of a database at its end.
            environment: part of the keys, so that two of them never answer each other's numbers.

        Raises:
            StoreError: this is no URL of a Redis.
        """
        self._prefix = f"celery-scaler:{environment}:" if environment else "celery-scaler:"
        try:
            path = urlsplit(url).path.strip("/")
        except ValueError as error:
            raise StoreError("the state store's URL can't be read; write redis://host:6379/0") from error
        if not url.startswith("unix://") and path and not path.isdecimal():
            # redis-py would take database 0.
            raise StoreError(
                f"the state store's database {path[:20]!r} is no number; write redis://host:6379/0"
            )
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise StoreError("the state store's URL can't be read; write redis://host:6379/0") from error

    async def read(self, name: Name) -> Document:
        """A text as it stands.

        Raises:
            StoreError: it can't be told.
        """
        try:
            version, text = await self._redis.hmget(self._key(name), ["version", "text"])
        except (RedisError, OSError) as error:
            raise _failed("read", error) from error
        if version is None or text is None:
            return Document()
        return Document(_decoded(text), _decoded(version))

    async def write(self, name: Name, text: str, version: str | None) -> str:
        """Replace a text.

        Raises:
            ChangedError: it has another version.
            StoreError: it may have been done or not.
        """
        # By chance and not counted: a Redis that came back empty or with older data starts no number again.
        written = secrets.token_hex(8)
        arguments = [version or "", written, text, str(_EXPIRES[name])]
        try:
            done = await self._redis.eval(_WRITE, 1, self._key(name), *arguments)
        except NoPermissionError as error:
            raise StoreError("the state store refuses EVAL; grant +eval to its user") from error
        except (RedisError, OSError) as error:
            raise _failed("written", error) from error
        if not done:
            raise ChangedError(f"the {name} in the state store have changed")
        return written

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _key(self, name: Name) -> str:
        return f"{self._prefix}{name}"


def _decoded(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _failed(how: str, error: Exception) -> StoreError:
    return StoreError(f"the state store can't be {how} ({type(error).__name__})")
