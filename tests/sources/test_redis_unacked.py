"""Delivered messages on real Redis: when they fall due, since when they are held, what reading costs."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import redis

from scaler.core.observation import BrokerSample, QueueReading
from scaler.sources.base import SourceDeniedError
from scaler.sources.redis import RedisSource
from scaler.sources.redis_access import SERVER_GAP, TIMES_GAP, WAIT_GAP
from scaler.sources.redis_lists import BATCH
from scaler.sources.unacked import HELD_SHOWN, TAG_LIMIT
from scaler.testing import wait_until
from scaler.testing.servers import RedisDatabase

pytestmark = pytest.mark.services

Open = Callable[[RedisSource], RedisSource]
Raw = redis.Redis

NOW = 1_900_000_000.0


@pytest.fixture
def raw(redis_server: RedisDatabase) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


@pytest.fixture
def source(redis_server: RedisDatabase, opened: Open) -> RedisSource:
    return opened(RedisSource(redis_server.url))


def envelope(queue: str, eta: float | None = None, size: int = 10) -> bytes:
    """An entry of the unacked hash as kombu writes it."""
    told = None if eta is None else datetime.fromtimestamp(eta, UTC).isoformat()
    message = {"body": "x" * size, "headers": {"task": "t", "eta": told}, "properties": {}}
    return json.dumps([message, "", queue]).encode()


def deliver(raw: Raw, tag: str, entry: bytes, at: float | None = None) -> None:
    raw.hset("unacked", tag, entry)
    if at is not None:
        raw.zadd("unacked_index", {tag: at})


async def read(source: RedisSource, now: float = NOW, queue: str = "email") -> QueueReading:
    (reading,) = (await source.sample([queue], now)).queues
    return reading


class TestDue:
    async def test_held_tasks_are_told_by_the_step_in_which_they_fall_due(
        self, raw: Raw, source: RedisSource
    ) -> None:
        for number, seconds in enumerate((5, 8, 15, 600, 0, -30)):
            deliver(raw, f"tag-{number}", envelope("email", NOW + seconds))
        deliver(raw, "other", envelope("other", NOW + 5))
        reading = await read(source)
        assert (reading.unacked, reading.eta_held) == (6, 4)
        assert reading.due == ((NOW + 10, 2), (NOW + 20, 1), (NOW + 600, 1))
        later = await read(source, NOW + 16)
        assert (later.unacked, later.eta_held, later.due) == (6, 1, ((NOW + 600, 1),))
        raw.hdel("unacked", "tag-3")
        assert (await read(source, NOW + 17)).due == ()

    async def test_the_eta_of_task_protocol_1_is_seen(self, raw: Raw, source: RedisSource) -> None:
        task = {"task": "t", "eta": datetime.fromtimestamp(NOW + 100, UTC).isoformat()}
        message = {
            "body": base64.b64encode(json.dumps(task).encode()).decode(),
            "content-type": "application/json",
            "headers": {},
            "properties": {"body_encoding": "base64"},
        }
        deliver(raw, "old", json.dumps([message, "", "email"]).encode())
        assert (await read(source)).due == ((NOW + 100, 1),)


class TestHeldSince:
    async def test_it_is_the_time_of_delivery_but_not_before_the_eta(
        self, raw: Raw, source: RedisSource
    ) -> None:
        deliver(raw, "running", envelope("email"), NOW - 300)
        deliver(raw, "overdue", envelope("email", NOW - 100), NOW - 900)
        deliver(raw, "held", envelope("email", NOW + 100), NOW - 900)
        deliver(raw, "unindexed", envelope("email"))
        deliver(raw, "ahead", envelope("email"), NOW + 500)  # a worker's clock that is fast
        *known, first, second = (await read(source)).held_since
        assert known == [NOW - 300, NOW - 100]
        assert first == pytest.approx(NOW, abs=1)
        assert second == pytest.approx(NOW, abs=1)
        assert (await read(source, NOW + 110)).held_since[-1] == NOW + 100

    async def test_the_fifty_longest_are_named(self, raw: Raw, source: RedisSource) -> None:
        for number in range(HELD_SHOWN + 30):
            deliver(raw, f"tag-{number}", envelope("email"), NOW - number)
        held = (await read(source)).held_since
        assert held == tuple(NOW - number for number in range(HELD_SHOWN + 29, 29, -1))

    async def test_a_message_that_is_delivered_again_is_held_since_then(
        self, raw: Raw, source: RedisSource
    ) -> None:
        deliver(raw, "tag", envelope("email"), NOW - 3_600)
        assert (await read(source)).held_since == (NOW - 3_600,)
        # Given back and taken by another worker between two readings.
        raw.zadd("unacked_index", {"tag": NOW - 1})
        assert (await read(source, NOW + 1)).held_since == (NOW - 1,)


class TestBounds:
    async def test_a_hash_that_shrinks_below_the_limit_is_read_again(
        self, raw: Raw, source: RedisSource
    ) -> None:
        raw.hset("unacked", mapping={str(number): envelope("email") for number in range(TAG_LIMIT + 1)})
        assert (await read(source)).unacked is None
        raw.delete("unacked")
        deliver(raw, "last", envelope("email"))
        # One sweep finds out that it is small, the next one reads it.
        assert (await read(source)).unacked is None
        assert (await read(source)).unacked == 1

    async def test_the_loop_is_never_held_up_for_long_by_10_000_delivered_messages(
        self, raw: Raw, source: RedisSource
    ) -> None:
        entry = envelope("email", size=1_000)
        raw.hset("unacked", mapping={f"tag-{number}": entry for number in range(10_000)})
        longest = [0.0]

        async def watch_the_loop() -> None:
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0)
                longest[0] = max(longest[0], time.perf_counter() - began)

        watching = asyncio.create_task(watch_the_loop())
        durations = []
        for _ in range(8):
            began = time.perf_counter()
            reading = await read(source)
            durations.append(time.perf_counter() - began)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert reading.unacked == 10_000
        # Measured 10 ms and 25 ms; two busy CPUs may take several times that.
        assert longest[0] < 0.25
        assert statistics.median(durations) < 0.5


class TestRights:
    async def test_without_transactions_depth_and_unacked_are_there_and_the_rest_is_named(
        self, raw: Raw, redis_server: RedisDatabase, opened: Open
    ) -> None:
        raw.lpush("email", "{}", "{}")
        deliver(raw, "tag", envelope("email"))
        rights = "+ping +select +llen +lindex +lrange +lpos +hlen +hkeys +hmget +smembers"
        raw.execute_command("ACL", "SETUSER", "few", "on", ">secret", "~*", *rights.split())
        source = opened(RedisSource(redis_server.url.replace("redis://", "redis://few:secret@")))
        sample = await source.sample(["email"], NOW)
        assert sample.gaps == (WAIT_GAP, TIMES_GAP, SERVER_GAP)
        (email,) = sample.queues
        assert (email.ready, email.unacked, email.wait) == (2, 1, None)
        assert [what for what, _ in sample.paths] == ["depth", "unacked", "held since", "holds"]

    async def test_a_right_that_is_granted_later_is_found(
        self, raw: Raw, redis_server: RedisDatabase, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw.execute_command("ACL", "SETUSER", "more", "on", ">secret", "~*", "+@all", "-lpos")
        source = opened(RedisSource(redis_server.url.replace("redis://", "redis://more:secret@")))
        assert (await source.sample(["email"], NOW)).gaps == (WAIT_GAP,)
        raw.execute_command("ACL", "SETUSER", "more", "+lpos")
        assert (await source.sample(["email"], NOW)).gaps == (WAIT_GAP,)
        monkeypatch.setattr("scaler.sources.redis.RETRY_AFTER", 0.0)
        sample = await source.sample(["email"], NOW)
        assert (sample.gaps, sample.queues[0].wait) == ((), (0.0, 0.0))

    async def test_a_right_that_is_taken_away_costs_one_sweep(
        self, raw: Raw, redis_server: RedisDatabase, opened: Open
    ) -> None:
        raw.lpush("email", "{}")
        raw.execute_command("ACL", "SETUSER", "less", "on", ">secret", "~*", "+@all")
        source = opened(RedisSource(redis_server.url.replace("redis://", "redis://less:secret@")))
        assert (await source.sample(["email"], NOW)).gaps == ()
        raw.execute_command("ACL", "SETUSER", "less", "-lpos")

        async def degraded() -> bool:
            return (await source.sample(["email"], NOW)).gaps == (WAIT_GAP,)

        with pytest.raises(SourceDeniedError, match="forbids reading"):
            await degraded()
        assert await degraded()


class TestCalls:
    @staticmethod
    async def settled(source: RedisSource, queues: list[str]) -> BrokerSample:
        """The second sweep: the first one connects and meets everything for the first time."""
        await source.sample(queues, NOW)
        # Nothing between the two sweeps, so that only the sweep is counted.
        await source._unacked.stop()
        sample = await source.sample(queues, NOW + 1)
        await source._unacked.stop()
        return sample

    @pytest.mark.parametrize("filled", [False, True])
    async def test_round_trips_do_not_grow_with_the_number_of_queues(
        self, raw: Raw, source: RedisSource, filled: bool
    ) -> None:
        deliver(raw, "tag", envelope("queue-0"), NOW - 5)
        queues = [f"queue-{number}" for number in range(50)]
        if filled:
            for queue in queues:
                raw.lpush(queue, "{}")
        one = await self.settled(source, queues[:1])
        many = await self.settled(source, queues)
        # Lists and tags in one; the times of delivery of what is held longest.
        assert one.calls == many.calls == 2

    async def test_commands_are_one_per_empty_list_and_four_per_filled_one(
        self, raw: Raw, source: RedisSource
    ) -> None:
        queues = [f"queue-{number}" for number in range(50)]
        for queue in queues[:5]:
            raw.lpush(queue, "{}")
        await self.settled(source, queues)
        before = raw.info("commandstats")
        await source.sample(queues, NOW + 2)
        after = raw.info("commandstats")

        def made(command: str) -> int:
            name = f"cmdstat_{command}"
            return int(after.get(name, {"calls": 0})["calls"] - before.get(name, {"calls": 0})["calls"])

        counts = {command: made(command) for command in ("llen", "lindex", "lpos", "hlen", "hkeys", "hmget")}
        # What watches in between may have read the tags once more.
        assert counts.pop("hkeys") in {1, 2}
        assert counts == {"llen": 200, "lindex": 10, "lpos": 5, "hlen": 1, "hmget": 0}

    async def test_more_lists_than_fit_one_request_take_another(self, source: RedisSource) -> None:
        queues = [f"queue-{number}" for number in range(BATCH // 4 * 2)]
        assert (await self.settled(source, queues)).calls == 2

    async def test_what_is_read_between_sweeps_is_counted_and_ends_without_sweeps(
        self, source: RedisSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scaler.sources.redis_unacked.WATCH_LIFE", 0.3)
        await self.settled(source, ["email"])
        await source.sample(["email"], NOW)
        watching = source._unacked._watching
        assert watching is not None
        await wait_until(watching.done, description="nobody sweeps, so nobody reads")
        calls = (await source.sample(["email"], NOW)).calls
        assert 2 <= calls <= 5

    async def test_product_and_paths_are_told(self, raw: Raw, source: RedisSource) -> None:
        sample = await source.sample(["email"], NOW)
        assert sample.product == f"Redis {raw.info('server')['redis_version']}"
        assert [what for what, _ in sample.paths] == [
            "depth",
            "wait",
            "unacked",
            "held since",
            "holds",
            "server",
        ]
