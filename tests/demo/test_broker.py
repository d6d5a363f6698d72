"""The demo's broker: found, embedded, or the user's own, which must be empty and is left empty."""

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scaler.demo.broker import Broker, UnusableError, choose, own_broker, users_broker


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Broker]:
    async with own_broker("embedded", tmp_path) as broker:
        yield broker


def test_auto_takes_a_redis_server_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert choose("auto") == "redis-server"
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert choose("auto") == "embedded"
    with pytest.raises(UnusableError, match="no redis-server on PATH"):
        choose("redis-server")


async def test_the_embedded_broker_says_what_it_is(embedded: Broker) -> None:
    assert embedded.label == "embedded broker (fakeredis)"
    assert embedded.url.startswith("redis://127.0.0.1:")


async def test_the_embedded_broker_answers_a_pipeline_at_once(embedded: Broker) -> None:
    began = time.monotonic()
    for _ in range(20):
        async with embedded.client.pipeline() as pipe:
            pipe.zadd("unacked_index", {"tag": 1})
            pipe.hset("unacked", "tag", "message")
            await pipe.execute()
    assert time.monotonic() - began < 0.4, "with Nagle's algorithm it takes 0.9 s"


@pytest.mark.services
async def test_a_redis_server_of_its_own_keeps_nothing_on_disk(tmp_path: Path, redis_binary: str) -> None:
    assert redis_binary
    async with own_broker("redis-server", tmp_path) as broker:
        assert broker.label.startswith("redis-server ")
        await broker.client.set("key", "value")
        await broker.client.shutdown()  # an orderly end saves, if the server is set up to
    assert [file.name for file in tmp_path.iterdir()] == ["broker.log"]  # noqa: ASYNC240 - it takes no time


async def test_a_redis_of_the_users_that_holds_anything_is_refused_untouched(embedded: Broker) -> None:
    await embedded.client.set("orders:today", "17")
    with pytest.raises(UnusableError, match="holds 1 keys; name a database that is empty"):
        async with users_broker(embedded.url):
            pytest.fail("must not be used")
    assert await embedded.client.get("orders:today") == "17"


async def test_a_redis_of_the_users_is_left_without_a_trace_and_without_losing_foreign_keys(
    embedded: Broker,
) -> None:
    async with users_broker(embedded.url) as broker:
        await broker.client.lpush("email", "task")
        await broker.client.sadd("_kombu.binding.email", "x")
        await broker.client.rpush("celery-scaler-demo:done", "0 1 2 3 pod-1")
        await broker.client.set("orders:today", "came meanwhile")
    assert await embedded.client.keys() == ["orders:today"]


async def test_a_redis_of_the_users_is_cleaned_when_the_demo_fails_too(embedded: Broker) -> None:
    async def fail(broker: Broker) -> None:
        await broker.client.lpush("email", "task")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with users_broker(embedded.url) as broker:
            await fail(broker)
    assert await embedded.client.keys() == []


async def test_what_isnt_there_is_refused_without_showing_the_password() -> None:
    with pytest.raises(UnusableError, match=r"Redis at 127\.0\.0\.1:1, database 0 doesn't answer") as refused:
        async with users_broker("redis://:secret@127.0.0.1:1/0"):
            pytest.fail("must not be used")
    assert "secret" not in str(refused.value)


async def test_other_brokers_are_refused() -> None:
    with pytest.raises(UnusableError, match="redis://host:port/db"):
        async with users_broker("amqp://guest:guest@127.0.0.1/"):
            pytest.fail("must not be used")
