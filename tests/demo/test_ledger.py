"""What became of every task is read from the broker as the workers wrote it."""

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis

from scaler.demo import names
from scaler.demo.ledger import Ledger
from scaler.demo.processes import DemoError


@pytest.fixture
async def broker() -> AsyncIterator[Redis]:
    client = FakeAsyncRedis(decode_responses=True)
    yield client
    await client.aclose()


async def test_runs_are_entered_as_they_are_recorded(broker: Redis) -> None:
    ledger = Ledger(broker, "email")
    await ledger.read()
    assert ledger.done == 0

    await broker.rpush(names.DONE_KEY, "0 100.0 101.5 103.0 pod-1", "1 100.5 101.0 102.0 pod-1")
    await ledger.read()
    assert (ledger.done, ledger.done_twice) == (2, 0)
    assert ledger.runs[0].wait == 1.5


async def test_a_task_that_was_done_twice_is_done_once_and_counted_as_twice(broker: Redis) -> None:
    ledger = Ledger(broker, "email")
    await broker.rpush(names.DONE_KEY, "7 100.0 101.0 103.0 pod-1")
    await ledger.read()
    await broker.rpush(names.DONE_KEY, "7 100.0 150.0 152.0 pod-2")
    await ledger.read()
    await ledger.read()
    assert (ledger.done, ledger.done_twice) == (1, 1)
    assert ledger.runs[7].wait == 1.0, "the first run is the one that counts"


async def test_the_depth_of_the_queue_and_the_ready_pods_come_with_it(broker: Redis) -> None:
    await broker.lpush("email", "a", "b", "c")
    await broker.hset("unacked", mapping={"tag": "message"})
    await broker.sadd(names.READY_KEY, "pod-1")
    ledger = Ledger(broker, "email")
    await ledger.read()
    assert (ledger.waiting, ledger.running) == (3, 1)
    assert ledger.ready_pods == {"pod-1"}


async def test_a_broker_that_went_away_ends_the_demo() -> None:
    gone = FakeAsyncRedis(decode_responses=True, connected=False)
    with pytest.raises(DemoError, match="the broker doesn't answer: ConnectionError"):
        await Ledger(gone, "email").read()
