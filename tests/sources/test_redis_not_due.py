"""ETA tasks that no worker has taken yet: they are ready, and no work before their time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from loadtest.accuracy.rig import Publisher
from scaler.core.observation import QueueReading
from scaler.sources.redis import RedisSource
from scaler.testing.servers import RedisDatabase

pytestmark = pytest.mark.services

Open = Callable[[RedisSource], RedisSource]


def publish(url: str, *groups: tuple[int, float | None]) -> None:
    """Groups of (count, seconds until due), one after the other."""
    publisher = Publisher(url)
    publisher.open()
    for count, delay in groups:
        eta = None if delay is None else datetime.fromtimestamp(time.time() + delay, UTC).isoformat()
        for _ in range(count):
            publisher.send("email", 1.0, eta=eta)
    publisher.close()


async def look(source: RedisSource) -> QueueReading:
    (reading,) = (await source.sample(["email"], time.time())).queues
    return reading


async def test_a_flood_of_eta_tasks_is_seen_as_such_before_any_worker_has_it(
    redis_server: RedisDatabase, opened: Open
) -> None:
    publish(redis_server.url, (400, 600.0))
    source = opened(RedisSource(redis_server.url))
    await look(source)
    reading = await look(source)
    assert reading.ready == reading.not_due == 400
    assert sum(count for _, count in reading.due) == pytest.approx(400, abs=2)
    assert all(590 < at - time.time() < 620 for at, _ in reading.due)


async def test_tasks_that_may_start_are_told_from_them(redis_server: RedisDatabase, opened: Open) -> None:
    publish(redis_server.url, (200, 600.0), (200, None))
    source = opened(RedisSource(redis_server.url))
    await look(source)
    reading = await look(source)
    assert reading.ready == 400
    assert reading.not_due == pytest.approx(200, abs=30)


async def test_a_few_are_counted_exactly(redis_server: RedisDatabase, opened: Open) -> None:
    publish(redis_server.url, (3, 600.0), (4, None), (2, 600.0))
    source = opened(RedisSource(redis_server.url))
    await look(source)
    assert (await look(source)).not_due == 5
