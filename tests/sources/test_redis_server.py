"""What INFO gives away, from texts and from a real Redis that is full or has lost its master."""

# mypy: disable-error-code="no-untyped-call"

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from scaler.core.observation import BrokerSample
from scaler.sources.redis import OUT_OF_MEMORY, RedisSource
from scaler.sources.redis_server import read_info
from scaler.testing import wait_until
from scaler.testing.servers import RedisServer, free_port

Open = Callable[[RedisSource], RedisSource]
MIB = 2**20


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (
            {"maxmemory": 10 * MIB, "used_memory": 11 * MIB},
            "at maxmemory (11 of 10 MiB) and refuses new tasks",
        ),
        ({"rdb_last_bgsave_status": "err"}, "couldn't save its data"),
        ({"aof_last_write_status": "err"}, "couldn't write its append-only file"),
        ({"role": "slave", "master_link_status": "down"}, "has lost its master: the numbers are old"),
    ],
)
def test_each_reason_to_distrust_is_named(info: dict[str, Any], text: str) -> None:
    (suspicion,) = read_info(info).suspicions
    assert text in suspicion


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"maxmemory": 0, "used_memory": 11 * MIB},
        {"maxmemory": 10 * MIB, "used_memory": 9 * MIB},
        {"maxmemory": 10 * MIB, "used_memory": 11 * MIB, "mem_not_counted_for_evict": 2 * MIB},
        {"role": "master", "master_link_status": "down"},
        {"maxmemory": 0, "maxmemory_policy": "allkeys-lru"},
    ],
)
def test_a_sound_server_raises_no_suspicion(info: dict[str, Any]) -> None:
    reading = read_info(info)
    assert (reading.suspicions, reading.gaps) == ((), ())


def test_a_server_that_may_throw_tasks_away_is_told_with_the_remedy() -> None:
    reading = read_info({"maxmemory": MIB, "used_memory": 5, "maxmemory_policy": "allkeys-lru"})
    assert reading.gaps == ("Redis may evict tasks (allkeys-lru): set maxmemory-policy noeviction",)


def test_the_product_is_named() -> None:
    assert read_info({"redis_version": "7.0.15"}).product == "Redis 7.0.15"
    assert read_info({"redis_version": "7.2.4", "valkey_version": "8.0.1"}).product == "Valkey 8.0.1"
    assert read_info({}).product == "Redis"


@pytest.mark.services
class TestRealServers:
    @pytest.fixture
    def full_redis(self, redis_binary: str, tmp_path: Path) -> Iterator[RedisServer]:
        assert redis_binary
        server = RedisServer(tmp_path / "full", "--maxmemory", "16mb")
        try:
            server.start()
            yield server
        finally:
            server.kill()

    @pytest.fixture
    def orphan(self, redis_binary: str, tmp_path: Path) -> Iterator[RedisServer]:
        assert redis_binary
        server = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(free_port()))
        try:
            server.start()
            yield server
        finally:
            server.kill()

    async def test_a_full_redis_that_refuses_tasks_is_suspicious(
        self, full_redis: RedisServer, opened: Open
    ) -> None:
        with redis.Redis(port=full_redis.port) as client:
            assert (await sampled(opened(RedisSource(full_redis.url())))).suspicions == ()
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                fill(client)
        sample = await sampled(opened(RedisSource(full_redis.url())))
        assert sample.queues[0].ready > 0
        assert [text for text in sample.suspicions if "of 16 MiB) and refuses new tasks" in text]
        assert sample.product == f"Redis {redis_version(full_redis)}"

    async def test_depth_is_read_while_transactions_are_refused(
        self, full_redis: RedisServer, opened: Open
    ) -> None:
        with redis.Redis(port=full_redis.port) as client:
            source = opened(RedisSource(full_redis.url()))
            client.lpush("email", b"{}", b"{}")
            known = (await sampled(source)).queues[0].wait
            # So that even what is there is too much, whatever buffers come and go.
            client.config_set("maxmemory", "1mb")
            full = await sampled(source)
            late = await sampled(opened(RedisSource(full_redis.url())))
            client.config_set("maxmemory", "16mb")
            again = await sampled(source)
        for sample in (full, late):
            assert (sample.queues[0].ready, sample.queues[0].unacked) == (2, 0)
            assert sample.queues[0].wait is None
            assert OUT_OF_MEMORY in sample.suspicions
            assert sample.gaps == ()
        assert known is not None
        assert again.queues[0].wait is not None
        assert OUT_OF_MEMORY not in again.suspicions

    async def test_a_replica_without_its_master_is_suspicious(
        self, orphan: RedisServer, opened: Open
    ) -> None:
        async def told() -> bool:
            sample = await sampled(opened(RedisSource(orphan.url())))
            return any("lost its master" in text for text in sample.suspicions)

        await wait_until(told, description="the replica is found out")


async def sampled(source: RedisSource) -> BrokerSample:
    return await source.sample(["email"], time.time())


def fill(client: "redis.Redis") -> None:
    for _ in range(5_000):
        client.lpush("email", b"x" * 10_000)


def redis_version(server: RedisServer) -> str:
    with redis.Redis(port=server.port) as client:
        return str(client.info("server")["redis_version"])
