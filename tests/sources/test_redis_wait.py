"""Head-of-line wait on real Redis, without anything in the messages that tells when they were published.

The clock of most stories is the argument `now`: messages are pushed and popped between two sweeps
at moments that the test chooses, so the truth is known exactly and nothing has to be waited for.
"""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import json
import math
import random
import statistics
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import kombu
import pytest
import redis

from scaler.core.observation import QueueReading, Span
from scaler.sources.redis import RedisSource
from scaler.sources.redis_track import CLOSER_LOOK, ETA_NOTE, HEADER_NOTE, REQUEUED_NOTE
from scaler.testing.servers import RedisDatabase

pytestmark = pytest.mark.services

Open = Callable[[RedisSource], RedisSource]

#: Seconds between two sweeps of the stories; their own few milliseconds don't matter beside it.
PERIOD = 10.0
START = 1_900_000_000.0


@pytest.fixture
def raw(redis_server: RedisDatabase) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


def message(
    *, eta: float | None = None, headers: dict[str, Any] | None = None, size: int = 200, **properties: object
) -> bytes:
    """A task as kombu puts it into a list."""
    told = {"task": "t", "id": str(uuid.uuid4()), "eta": None, **(headers or {})}
    if eta is not None:
        told["eta"] = datetime.fromtimestamp(eta, UTC).isoformat()
    properties = {"delivery_tag": str(uuid.uuid4()), "delivery_info": {}, **properties}
    return json.dumps({"body": "x" * size, "headers": told, "properties": properties}).encode()


class Story:
    """A queue whose messages' arrivals are written down, and a source that sees only Redis."""

    def __init__(self, raw: "redis.Redis", source: RedisSource) -> None:
        self.raw, self.source = raw, source
        self.waiting: deque[float] = deque()
        self.now = START

    def publish(self, at: float, element: bytes | None = None, key: str = "email") -> None:
        self.raw.lpush(key, element or message())
        self.waiting.append(at)

    def consume(self, count: int = 1, key: str = "email") -> None:
        for _ in range(min(count, len(self.waiting))):
            self.raw.rpop(key)
            self.waiting.popleft()

    async def sweep(self) -> QueueReading:
        self.now += PERIOD
        (reading,) = (await self.source.sample(["email"], self.now)).queues
        return reading

    @property
    def truth(self) -> float:
        return self.now - self.waiting[0] if self.waiting else 0.0


def about(wait: Span | None, least: float, most: float) -> bool:
    """Whether an interval is that one, give or take the milliseconds that sweeps take."""
    assert wait is not None
    expected: object = pytest.approx((least, most), abs=0.5)
    return wait == expected


@pytest.fixture
def story(raw: "redis.Redis", redis_server: RedisDatabase, opened: Open) -> Story:
    return Story(raw, opened(RedisSource(redis_server.url)))


#: Messages that come in period number n, of 60; 8 leave in each.
PATTERNS: dict[str, Callable[[int], int]] = {
    "steady": lambda number: 10,
    "burst": lambda number: 200 if number in {5, 35} else 3,
    "ramp": lambda number: number // 3,
}


class TestTruth:
    @pytest.mark.parametrize("pattern", PATTERNS)
    async def test_the_interval_holds_the_truth_and_is_one_period_wide(
        self, story: Story, pattern: str
    ) -> None:
        rng = random.Random(3)
        errors = []
        await story.sweep()
        for number in range(60):
            # Away from the edges of the period, where the milliseconds of the sweep itself are.
            moments = sorted(rng.uniform(0.1, 0.95) for _ in range(PATTERNS[pattern](number)))
            for moment in moments:
                story.publish(story.now + moment * PERIOD)
            story.consume(8)
            reading = await story.sweep()
            assert reading.ready == len(story.waiting)
            assert reading.wait is not None
            least, most = reading.wait
            assert least <= story.truth <= most
            assert most - least <= PERIOD * 1.1
            if story.waiting:
                errors.append(abs((least + most) / 2 - story.truth))
            else:
                assert reading.wait == (0.0, 0.0)
        assert len(errors) > 30
        assert statistics.median(errors) <= PERIOD / 2
        assert max(errors) <= PERIOD

    async def test_beside_a_producer_and_a_consumer_that_do_not_pause(
        self, redis_server: RedisDatabase, opened: Open
    ) -> None:
        """On the real clock: the truth is written down by the producer before and after each push."""
        source = opened(RedisSource(redis_server.url))
        published: dict[str, tuple[float, float]] = {}
        stop = threading.Event()

        def work(pause: float, act: Callable[["redis.Redis"], None]) -> None:
            with redis.Redis.from_url(redis_server.url, protocol=2) as client:
                while not stop.wait(pause):
                    act(client)

        def publish(client: "redis.Redis") -> None:
            element = message()
            began = time.time()
            client.lpush("email", element)
            published[json.loads(element)["headers"]["id"]] = (began, time.time())

        def consume(client: "redis.Redis") -> None:
            client.rpop("email")

        await source.sample(["email"], time.time())
        threads = [threading.Thread(target=work, args=args) for args in ((0.005, publish), (0.008, consume))]
        for thread in threads:
            thread.start()
        errors, periods, last = [], [], time.time()
        try:
            with redis.Redis.from_url(redis_server.url, protocol=2) as client:
                for _ in range(12):
                    await asyncio.sleep(0.2)
                    before = client.lindex("email", -1)
                    now = time.time()
                    (reading,) = (await source.sample(["email"], now)).queues
                    after = client.lindex("email", -1)
                    assert reading.wait is not None
                    periods.append(now - last)
                    last = now
                    ends = [published.get(json.loads(end)["headers"]["id"]) for end in (before, after) if end]
                    if len(ends) < 2 or None in ends:
                        continue  # empty, or pushed at this very moment
                    oldest, newest = ends[0], ends[1]
                    assert oldest is not None
                    assert newest is not None
                    took = time.time() - now
                    assert reading.wait[1] >= now - newest[1] - took
                    assert reading.wait[0] <= now - oldest[0] + took
                    errors.append(abs(sum(reading.wait) / 2 - (now - oldest[0])))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert len(errors) >= 6
        assert statistics.median(errors) <= statistics.median(periods)
        assert max(errors) <= 2 * max(periods)

    async def test_each_priority_is_a_line_of_its_own_and_the_longest_wait_counts(self, story: Story) -> None:
        await story.sweep()
        story.raw.lpush("email\x06\x169", message())
        await story.sweep()
        for _ in range(3):
            # Urgent tasks come and go beside it.
            story.raw.lpush("email", message())
            reading = await story.sweep()
            story.raw.rpop("email")
        assert about(reading.wait, 30, 40)

    async def test_a_purge_starts_anew(self, story: Story) -> None:
        await story.sweep()
        story.publish(story.now + 1)
        await story.sweep()
        story.raw.delete("email")
        assert (await story.sweep()).wait == (0.0, 0.0)
        story.raw.lpush("email", message())
        reading = await story.sweep()
        assert about(reading.wait, 0.0, PERIOD)


class TestStart:
    async def test_in_front_of_a_backlog_the_wait_has_no_upper_bound_until_it_is_worked_off(
        self, story: Story
    ) -> None:
        for _ in range(5):
            story.publish(START - 500)
        assert about((await story.sweep()).wait, 0.0, math.inf)
        story.publish(story.now + 5)
        reading = await story.sweep()
        assert about(reading.wait, PERIOD, math.inf)
        story.consume(5)
        reading = await story.sweep()
        assert about(reading.wait, PERIOD, 2 * PERIOD)

    async def test_a_lost_connection_loses_no_memory(self, story: Story) -> None:
        await story.sweep()
        story.publish(story.now + 5)
        await story.sweep()
        await story.source.close()
        reading = await story.sweep()
        assert about(reading.wait, PERIOD, 2 * PERIOD)


class TestHeaders:
    @pytest.mark.parametrize(
        "told",
        [
            lambda at: message(published_at=at),
            lambda at: message(timestamp=at),
            lambda at: message(headers={"published_at": at * 1000}),
            lambda at: message(headers={"run_at": datetime.fromtimestamp(at, UTC).isoformat()}),
        ],
    )
    async def test_a_publish_time_in_the_message_is_exact_even_at_the_start(
        self, story: Story, told: Callable[[float], bytes]
    ) -> None:
        story.publish(START - 100, told(START - 100))
        reading = await story.sweep()
        assert about(reading.wait, 110, 110)
        assert reading.wait_note == ""

    async def test_a_publish_time_that_cannot_be_is_not_believed(self, story: Story) -> None:
        await story.sweep()
        story.publish(story.now + 5, message(published_at=START - 3_600))
        reading = await story.sweep()
        assert about(reading.wait, 0.0, PERIOD)
        assert reading.wait_note == HEADER_NOTE


class TestEta:
    async def test_what_is_not_due_does_not_wait(self, story: Story) -> None:
        await story.sweep()
        story.publish(0, message(eta=START + 1_000))
        assert (await story.sweep()).wait == (0.0, 0.0)
        story.publish(story.now + 5)
        await story.sweep()
        reading = await story.sweep()
        assert reading.ready == 2
        assert about(reading.wait, PERIOD, 2 * PERIOD)

    async def test_the_wait_of_an_overdue_task_counts_from_its_eta(self, story: Story) -> None:
        await story.sweep()
        story.publish(0, message(eta=START + 45))
        for _ in range(4):
            reading = await story.sweep()
        assert story.now == START + 50
        assert about(reading.wait, 5, 5)

    async def test_behind_many_that_are_not_due_it_is_an_interval_with_a_note(self, story: Story) -> None:
        await story.sweep()
        for _ in range(CLOSER_LOOK + 5):
            story.publish(0, message(eta=START + 1_000))
        reading = await story.sweep()
        assert about(reading.wait, 0.0, PERIOD)
        assert reading.wait_note == ETA_NOTE


class TestRequeued:
    async def test_a_message_that_a_worker_gives_back_keeps_its_age_and_did_not_end(
        self, redis_server: RedisDatabase, opened: Open
    ) -> None:
        source = opened(RedisSource(redis_server.url))

        async def sweep(later: float = 0.0) -> QueueReading:
            (reading,) = (await source.sample(["email"], time.time() + later)).queues
            return reading

        with kombu.Connection(redis_server.url) as connection:
            channel = connection.channel()
            began = time.time()
            await sweep()
            with connection.SimpleQueue("email", channel=channel) as simple:
                for _ in range(3):
                    simple.put({})
            await sweep()
            for _ in range(3):
                assert channel.basic_get("email", no_ack=False) is not None
            delivered = time.time()
            held = await sweep()
            assert (held.ready, held.unacked, held.wait) == (0, 3, (0.0, 0.0))
            # What a worker does at its shutdown.
            channel.qos.restore_unacked()
            now = time.time() + 60
            back = await sweep(60)
        assert (back.ready, back.unacked) == (3, 0)
        assert back.wait_note == REQUEUED_NOTE
        assert back.wait is not None
        assert now - delivered <= back.wait[0] <= back.wait[1] <= time.time() + 60 - began
        assert back.holds is not None
        assert back.holds.ended == 0

    async def test_a_message_that_was_given_back_before_we_looked_has_no_upper_bound(
        self, story: Story
    ) -> None:
        await story.sweep()
        story.publish(0, message(headers={"redelivered": True}))
        reading = await story.sweep()
        assert about(reading.wait, 0.0, math.inf)
        assert reading.wait_note == REQUEUED_NOTE


class TestCost:
    @pytest.mark.parametrize(("size", "count"), [(200, 90_000), (14_000, 5_000)])
    async def test_a_sweep_stays_fast_whatever_waits(
        self, story: Story, raw: "redis.Redis", size: int, count: int
    ) -> None:
        await story.sweep()
        raw.lpush("email", message(size=size))
        await story.sweep()
        for _ in range(10):
            raw.lpush("email", *(message(size=size) for _ in range(count // 10)))
        durations = []
        for _ in range(10):
            began = time.perf_counter()
            reading = await story.sweep()
            durations.append(time.perf_counter() - began)
            raw.lpush("email", *(message(size=size) for _ in range(100)))
        assert reading.ready == count + 901
        assert about(reading.wait, 100, 110)
        # Measured: 2 ms; what is excluded is anything that grows with the queue (100 ms and more).
        assert statistics.median(durations) < 0.05
        raw.delete("email")

    async def test_more_arrivals_than_a_look_goes_through_leave_an_honest_interval(
        self, story: Story, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scaler.sources.redis_track.LOOK_MESSAGES", 50)
        await story.sweep()
        story.publish(story.now + 5)
        await story.sweep()
        for _ in range(100):
            story.publish(story.now + 5)
        reading = await story.sweep()
        assert reading.wait is not None
        assert reading.wait[0] <= story.truth <= reading.wait[1] <= 2 * PERIOD + 0.5
        assert reading.ready == 101
