"""One contract for every source: the same story, told to memory, Redis and RabbitMQ."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol

import kombu
import pytest

from scaler.core.observation import Holds, QueueReading
from scaler.sources.base import QueueSource
from scaler.sources.memory import MemorySource
from scaler.sources.rabbitmq import RabbitMQSource
from scaler.sources.redis import RedisSource
from scaler.testing.rabbitmq import Vhost
from scaler.testing.servers import RedisDatabase

NOW = 1_750_000_000.0


class World(Protocol):
    """A broker with the acts of a producer and of a worker, and a source that looks at it."""

    @property
    def source(self) -> QueueSource: ...

    #: Whether the source can tell delivered messages, and a queue that nobody declared.
    sees_unacked: bool
    knows_missing: bool

    def publish(self, queue: str, count: int) -> None: ...
    def deliver(self, queue: str, count: int) -> None: ...
    def acknowledge(self, queue: str, count: int) -> None: ...


class MemoryWorld:
    sees_unacked = True
    knows_missing = True

    def __init__(self) -> None:
        self.source = MemorySource()
        self.publish = self.source.publish
        self.deliver = self.source.deliver
        self.acknowledge = self.source.acknowledge


class KombuWorld:
    """What Celery does on the wire, done by the library that Celery uses."""

    def __init__(self, source: QueueSource, url: str, *, sees_unacked: bool, knows_missing: bool) -> None:
        self.source = source
        self.sees_unacked = sees_unacked
        self.knows_missing = knows_missing
        # Confirmed, so that a publish has happened when it returns.
        options = {"confirm_publish": True} if url.startswith("amqp") else {}
        self._connection = kombu.Connection(url, transport_options=options)
        self._channel = self._connection.channel()
        self._delivered: dict[str, list[Any]] = {}

    def publish(self, queue: str, count: int) -> None:
        with self._connection.SimpleQueue(queue, channel=self._channel) as simple:
            for number in range(count):
                simple.put({"number": number})

    def deliver(self, queue: str, count: int) -> None:
        for _ in range(count):
            message = self._channel.basic_get(queue, no_ack=False)
            assert message is not None
            self._delivered.setdefault(queue, []).append(message)

    def acknowledge(self, queue: str, count: int) -> None:
        for _ in range(count):
            delivered = self._delivered[queue].pop(0)
            self._channel.basic_ack(delivered.delivery_tag)
        # AMQP doesn't confirm acknowledgements; an answered question behind them on the channel does.
        self._channel.queue_declare(queue, passive=True)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.services),
        pytest.param("rabbitmq", marks=pytest.mark.services),
        pytest.param("rabbitmq with management", marks=pytest.mark.services),
    ]
)
def world(request: pytest.FixtureRequest, opened: Callable[[QueueSource], QueueSource]) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield MemoryWorld()
            return
        if request.param == "redis":
            redis: RedisDatabase = request.getfixturevalue("redis_server")
            made = KombuWorld(
                opened(RedisSource(redis.url)), redis.url, sees_unacked=True, knows_missing=False
            )
        else:
            vhost: Vhost = request.getfixturevalue("rabbitmq")
            managed = request.param != "rabbitmq"
            source = RabbitMQSource(vhost.url, management_url=vhost.management_url if managed else None)
            made = KombuWorld(opened(source), vhost.url, sees_unacked=managed, knows_missing=True)
        stack.callback(made.close)
        yield made


def counts(reading: QueueReading) -> QueueReading:
    """A reading without what goes on with time: ages, and sums over time."""
    return replace(reading, wait=None, wait_note="", held_since=(), holds=None, counters=None)


async def read(world: World, *queues: str) -> tuple[QueueReading, ...]:
    return (await world.source.sample(queues, NOW)).queues


class TestContract:
    async def test_what_was_published_is_ready(self, world: World) -> None:
        world.publish("email", 7)
        (email,) = await read(world, "email")
        assert (email.ready, email.exists) == (7, True)

    async def test_the_count_follows_each_change_at_once(self, world: World) -> None:
        seen = []
        for _ in range(3):
            world.publish("email", 5)
            seen.append((await read(world, "email"))[0].ready)
        assert seen == [5, 10, 15]

    async def test_queues_come_in_the_order_asked_also_when_asked_twice(self, world: World) -> None:
        for queue, count in (("a", 1), ("b", 2), ("c", 3)):
            world.publish(queue, count)
        asked = ("c", "a", "b", "c")
        readings = await read(world, *asked)
        assert [(reading.name, reading.ready) for reading in readings] == [
            ("c", 3),
            ("a", 1),
            ("b", 2),
            ("c", 3),
        ]

    async def test_the_sample_carries_the_moment_it_was_asked_for(self, world: World) -> None:
        assert (await world.source.sample(["email"], NOW)).sampled_at == NOW

    async def test_no_queues_give_an_empty_sample(self, world: World) -> None:
        assert await read(world) == ()

    async def test_a_queue_that_nobody_declared_is_an_answer_and_spoils_no_other(self, world: World) -> None:
        world.publish("email", 2)
        missing, email = await read(world, "typo", "email")
        assert (missing.ready, missing.unacked in {0, None}) == (0, True)
        assert missing.exists is not world.knows_missing
        assert email.ready == 2

    async def test_a_queue_that_appears_is_seen_at_the_next_sample(self, world: World) -> None:
        await read(world, "email")
        world.publish("email", 3)
        (email,) = await read(world, "email")
        assert (email.ready, email.exists) == (3, True)

    async def test_a_delivered_message_is_unacked_where_that_can_be_seen(self, world: World) -> None:
        world.publish("email", 5)
        world.publish("other", 1)
        world.deliver("email", 2)
        email, other = await read(world, "email", "other")
        assert (email.ready, other.ready) == (3, 1)
        assert (email.unacked, other.unacked) == ((2, 0) if world.sees_unacked else (None, None))

    async def test_what_cannot_be_seen_is_named_with_its_remedy(self, world: World) -> None:
        world.publish("email", 1)
        gaps = (await world.source.sample(["email"], NOW)).gaps
        assert gaps == (() if world.sees_unacked else ("unacked messages are not seen: set managementUrl",))

    async def test_nothing_waits_in_an_empty_queue(self, world: World) -> None:
        world.publish("email", 1)
        world.deliver("email", 1)
        for reading in await read(world, "email", "typo"):
            assert reading.wait in {None, (0.0, 0.0)}

    async def test_a_wait_that_is_told_includes_the_truth(self, world: World) -> None:
        await world.source.sample(["email"], NOW)
        world.publish("email", 1)
        for later in (1.0, 5.0, 60.0):
            (email,) = (await world.source.sample(["email"], NOW + later)).queues
            # Published between the first two samples.
            assert email.wait is None or (
                0.0 <= email.wait[0] <= email.wait[1] and email.wait[1] >= later - 1
            )

    async def test_sums_of_holding_only_grow_and_no_more_is_held_than_is_unacknowledged(
        self, world: World
    ) -> None:
        world.publish("email", 4)
        world.deliver("email", 3)
        sums = [(0.0, 0)]
        for acknowledged in (0, 1, 1):
            world.acknowledge("email", acknowledged)
            (email,) = (await world.source.sample(["email"], NOW + len(sums))).queues
            holds = email.holds or Holds(0.0, 0)
            sums.append((holds.watched, holds.ended))
            assert len(email.held_since) <= (email.unacked or 0)
            assert list(email.held_since) == sorted(email.held_since)
        assert sums == sorted(sums)
        assert sums[-1][1] <= 3

    async def test_an_acknowledged_message_is_gone(self, world: World) -> None:
        world.publish("email", 3)
        world.deliver("email", 2)
        world.acknowledge("email", 1)
        (email,) = await read(world, "email")
        assert email.ready == 1
        assert email.unacked == (1 if world.sees_unacked else None)

    async def test_looking_changes_nothing(self, world: World) -> None:
        world.publish("email", 4)
        world.deliver("email", 1)
        first = counts((await read(world, "email"))[0])
        for _ in range(5):
            assert counts((await read(world, "email"))[0]) == first
        world.deliver("email", 3)

    async def test_a_closed_source_can_sample_again(self, world: World) -> None:
        world.publish("email", 2)
        await read(world, "email")
        await world.source.close()
        await world.source.close()
        assert (await read(world, "email"))[0].ready == 2

    async def test_a_source_that_was_never_used_can_be_closed(self, world: World) -> None:
        await world.source.close()

    async def test_a_cancelled_sample_does_not_disturb_the_next_one(self, world: World) -> None:
        world.publish("email", 2)
        queues = [f"queue-{number}" for number in range(40)]
        # Cancelled at another point each time: before, during and after connecting and asking.
        for steps in range(12):
            asking = asyncio.create_task(world.source.sample(queues, NOW))
            for _ in range(steps * 2):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert (await read(world, "email", "typo", "email"))[0].ready == 2
