"""What survives a restart, in memory and in a real Redis."""

from typing import Any

import pytest
import redis.asyncio as redis

from scaler.core.arrivals import Arrivals
from scaler.core.behavior import History
from scaler.core.state import WorkerState
from scaler.runtime.store import RedisStore, StoreError, open_store

KEY = ("examx", "io")
STATE = WorkerState(
    desired=4,
    decided_at=1_800_000_000.5,
    sampled_at=1_800_000_000.0,
    seen_queues=("email",),
    history=History(highs=((1_800_000_000.0, 4),), added=((1_800_000_000.0, 3),)),
    arrivals=Arrivals(1_800_000_000.0, 12.0, None, ((1_800_000_000.0, 2.5, 0.0),)),
)


@pytest.mark.parametrize("where", ["kubernetes", "postgres://db/x", ""])
def test_an_unknown_store_is_named_with_the_known_ones(where: str) -> None:
    with pytest.raises(StoreError, match=r"memory, redis://"):
        open_store(where)


async def test_memory_gives_back_what_it_was_given() -> None:
    store = open_store("memory")
    assert await store.load(KEY) is None
    await store.save({KEY: STATE})
    assert await store.load(KEY) == STATE


@pytest.mark.services
async def test_redis_keeps_states_for_a_day_and_another_process_finds_them(redis_server: Any) -> None:
    first, second = RedisStore(redis_server.url), RedisStore(redis_server.url)
    await first.save({KEY: STATE})
    assert await second.load(KEY) == STATE
    assert await second.load(("examx", "cpu")) is None
    async with redis.Redis.from_url(redis_server.url) as raw:
        keys = [key async for key in raw.scan_iter("celery-scaler:*")]
        assert keys == [b"celery-scaler:state:examx:io"]
        assert 86_000 < await raw.ttl(keys[0]) <= 86_400
    await first.close()
    await second.close()


@pytest.mark.services
async def test_rubbish_in_redis_is_no_state(redis_server: Any) -> None:
    store = RedisStore(redis_server.url)
    async with redis.Redis.from_url(redis_server.url) as raw:
        await raw.set("celery-scaler:state:examx:io", b"\xff{")
    assert await store.load(KEY) is None
    await store.close()


async def test_a_redis_that_is_not_there_is_no_empty_one() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    await store.save({KEY: STATE})
    with pytest.raises(StoreError):
        await store.load(KEY)
    await store.close()
