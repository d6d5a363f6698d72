"""What this user may ask this server, found out at connect: each refused command costs its reading, no more.

A command inside a transaction that is refused spoils the whole transaction, so it has to be known
before. Each command is tried once, on keys that kombu uses itself and that are small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from redis import exceptions as failure
from redis.asyncio import Redis

from scaler.sources.kombu_redis import UNACKED_INDEX_KEY, UNACKED_KEY, UNACKED_MUTEX_KEY, binding_key

#: What a sample says when the ACL, or an old server, lets us read less.
UNACKED_GAP = "unacked messages are not seen: allow the Redis user HLEN, HKEYS, HMGET and SMEMBERS"
WAIT_GAP = (
    "waiting times are not seen: allow the Redis user LINDEX, LRANGE, LPOS, MULTI and EXEC (Redis >= 6.0.6)"
)
TIMES_GAP = "times of delivery are estimates: allow the Redis user ZMSCORE (Redis >= 6.2)"
SERVER_GAP = "full memory and lost masters are not seen: allow the Redis user INFO"

#: Seconds after which a missing right is tried again: somebody may have granted it.
RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """Which readings are possible; `size` is the length of the hash of unacknowledged messages."""

    wait: bool
    unacked: bool
    times: bool
    server: bool
    size: int = 0

    @property
    def gaps(self) -> tuple[str, ...]:
        """What isn't possible, with the remedy."""
        missing = (
            (self.unacked, UNACKED_GAP),
            (self.wait, WAIT_GAP),
            (self.times or not self.unacked, TIMES_GAP),
            (self.server, SERVER_GAP),
        )
        return tuple(gap for possible, gap in missing if not possible)

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """What is read by which path, for people."""
        unacked = (
            ("unacked", "HKEYS of unacked, each message once, live"),
            ("held since", "ZMSCORE of unacked_index" if self.times else "first seen here"),
            ("holds", "HKEYS between the sweeps"),
        )
        return (
            ("depth", "LLEN of each priority list, live"),
            *((("wait", "LINDEX and LPOS at both ends of each list, ± one sweep"),) if self.wait else ()),
            *(unacked if self.unacked else ()),
            *((("server", "INFO every 5 s"),) if self.server else ()),
        )


async def find_access(client: Redis, list_key: str, prefix: str) -> Access:
    """Try each command once; three requests.

    Raises:
        RedisError: the server can't be asked at all, or LLEN is refused.
    """
    mutex = f"{prefix}{UNACKED_MUTEX_KEY}"
    async with client.pipeline(transaction=False) as pipe:
        pipe.llen(list_key)
        pipe.lindex(list_key, 0)
        pipe.lrange(list_key, 0, 0)
        pipe.lpos(list_key, "", maxlen=1)
        pipe.hlen(f"{prefix}{UNACKED_KEY}")
        pipe.hmget(f"{prefix}{UNACKED_KEY}", [""])
        pipe.smembers(binding_key("", prefix))
        pipe.zmscore(f"{prefix}{UNACKED_INDEX_KEY}", [""])
        pipe.info()
        answers = await pipe.execute(raise_on_error=False)
    length, *_, info = answers
    if _refused(length):
        raise length
    size = answers[4]
    return Access(
        wait=_allowed(answers[1:4]) and await _transactions(client, list_key),
        unacked=_allowed(answers[4:7]) and await _hash_keys(client, mutex),
        times=_allowed(answers[7:8]),
        server=not isinstance(info, Exception),
        size=size if isinstance(size, int) else 0,
    )


async def _hash_keys(client: Redis, key: str) -> bool:
    # By itself: the key is a string while a worker cleans up, and the embedded broker of the demo ends
    # a connection on which an error answers any but the last of several commands.
    try:
        await client.hkeys(key)
    except failure.ResponseError as error:
        return not _refused(error)
    return True


async def _transactions(client: Redis, key: str) -> bool:
    try:
        async with client.pipeline(transaction=True) as pipe:
            pipe.llen(key)
            await pipe.execute(raise_on_error=False)
    except failure.OutOfMemoryError:
        return True  # a full server, not a missing right
    except failure.ResponseError as error:
        if _refused(error):
            return False
        raise
    return True


def _allowed(answers: Sequence[object]) -> bool:
    return not any(_refused(answer) for answer in answers)


def _refused(answer: object) -> bool:
    """No right, or no such command. A key of another type is told where it is read."""
    return isinstance(answer, failure.NoPermissionError) or (
        isinstance(answer, failure.ResponseError) and "unknown command" in str(answer).lower()
    )
