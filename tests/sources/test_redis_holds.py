"""How long messages are held, measured from readings of tags: simulated workers, and real Redis."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import heapq
import random
import time
from collections.abc import Callable

import kombu
import pytest

from scaler.core.observation import Holds
from scaler.sources.kombu_redis import Envelope
from scaler.sources.redis import RedisSource
from scaler.sources.redis_holds import GAP_AIM
from scaler.sources.unacked import Entry, UnackedIndex
from scaler.testing import wait_until
from scaler.testing.servers import RedisDatabase

Open = Callable[[RedisSource], RedisSource]
Draw = Callable[[random.Random], float]

LENGTHS: dict[str, Callable[[float], Draw]] = {
    "constant": lambda mean: lambda rng: mean,
    "uniform": lambda mean: lambda rng: rng.uniform(0, 2 * mean),
    "exponential": lambda mean: lambda rng: rng.expovariate(1 / mean),
    "short and long": lambda mean: (
        lambda rng: rng.expovariate(1 / (mean * (0.5 if rng.random() < 0.6 else 1.75)))
    ),
}


class Workers:
    """Slots that are always busy, on a clock of their own."""

    def __init__(self, draw: Draw, rng: random.Random, slots: int, warm: float = 0.0) -> None:
        self._draw, self._rng = draw, rng
        self._busy = [(draw(rng) * rng.random() - warm, number) for number in range(slots)]
        self._count, self.ended = slots, 0
        heapq.heapify(self._busy)
        self.tags(0.0)
        self.ended = 0

    def tags(self, now: float) -> list[bytes]:
        while self._busy[0][0] <= now:
            end, _ = heapq.heappop(self._busy)
            self._count += 1
            self.ended += 1
            heapq.heappush(self._busy, (end + self._draw(self._rng), self._count))
        return [b"%d" % number for _, number in self._busy]


def entry(queue: str, *, eta: float | None = None) -> Entry:
    return Entry(Envelope("", queue, eta), (queue,), None)


def watched(
    workers: Workers, gap: Callable[[UnackedIndex], float], seconds: float, trip: float = 0.001
) -> Holds:
    """Readings at such gaps, each message asked for a `trip` after its tag was seen."""
    index, now = UnackedIndex(), 0.0
    while now < seconds:
        index.begin(workers.tags(now), now)
        there = set(workers.tags(now + trip))
        index.learn({tag: entry("q") if tag in there else None for tag in index.unknown}, now, lambda _: 0.0)
        index.finish(now)
        now += gap(index)
    holds = index.of("q").holds
    assert holds is not None
    return holds


@pytest.mark.parametrize("mean", [0.05, 0.2, 1.0, 5.0, 60.0, 600.0])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_mean_is_found_within_five_percent(mean: float, length: str) -> None:
    rng = random.Random(7)
    tasks = 2_000

    def gap(index: UnackedIndex) -> float:
        # As the source reads: late by a fifth at times, and from 5 s on once a second.
        wanted = min(max((index.shortest_mean() or 0.4) * GAP_AIM, 0.01), 1.0)
        return wanted * rng.uniform(1, 1.2)

    # 10,000 readings at most, so that tasks of ten minutes don't take a minute to simulate.
    slots = max(8, round(tasks * mean / 10_000))
    workers, seconds = Workers(LENGTHS[length](mean), rng, slots, warm=5 * mean), tasks * mean / slots
    holds = watched(workers, gap, seconds)
    # Against what was drawn: chance alone makes 2 % of 2,000 tasks.
    assert holds.watched / holds.ended == pytest.approx(slots * seconds / workers.ended, rel=0.04)


def test_tasks_that_are_too_short_for_the_readings_tell_nothing_rather_than_something_wrong() -> None:
    holds = watched(Workers(LENGTHS["constant"](0.05), random.Random(1), 8), lambda _: 1.0, 200)
    # The first few readings count, until it shows that nothing is ever there twice.
    assert holds.ended <= 16


def test_a_busy_slot_shows_before_its_task_ends() -> None:
    holds = watched(Workers(LENGTHS["constant"](600.0), random.Random(1), 4), lambda _: 0.1, 20)
    assert holds.watched == pytest.approx(4 * 20, rel=0.06)


def test_held_for_an_eta_is_not_working() -> None:
    index = UnackedIndex()
    for now in (tick / 10 for tick in range(600)):
        index.begin([b"later"] if now < 50 else [], now)
        index.learn({tag: entry("q", eta=40.0) for tag in index.unknown}, now, lambda _: 0.0)
        index.finish(now)
    holds = index.of("q").holds
    assert holds is not None
    # Due at 40, gone at 50.
    assert holds.watched == pytest.approx(10, abs=0.1)
    assert holds.ended == 1


def test_what_a_worker_gives_back_has_not_ended() -> None:
    index = UnackedIndex()

    def read(now: float, *tags: bytes) -> None:
        index.begin(tags, now)
        index.learn({tag: entry("q") for tag in index.unknown}, now, lambda _: 0.0)
        index.finish(now)

    read(0.0, b"a", b"b", b"c")
    read(0.1, b"a", b"b", b"c")
    read(0.2)
    index.take_back([b"a", b"a"])  # seen in its list again, in two sweeps
    read(0.3, b"b")  # delivered to another worker
    read(0.4)
    holds = index.of("q").holds
    assert holds is not None
    # c at first, then b.
    assert holds.ended <= 3
    read(0.5, b"a", b"b")
    assert (index.of("q").holds or Holds(0, 0)).ended <= 3


@pytest.mark.services
@pytest.mark.parametrize("seconds", [0.08, 0.4])
async def test_tasks_on_real_redis_are_timed_between_the_sweeps(
    redis_server: RedisDatabase, opened: Open, seconds: float
) -> None:
    """Four slots; each takes a message, holds it for its time and acknowledges it."""
    source = opened(RedisSource(redis_server.url))
    truth: list[float] = []
    stop = asyncio.Event()
    with kombu.Connection(redis_server.url) as connection:
        channel = connection.channel()
        with connection.SimpleQueue("email", channel=channel) as simple:

            async def slot() -> None:
                while not stop.is_set():
                    simple.put({})
                    message = channel.basic_get("email", no_ack=False)
                    began = time.monotonic()
                    await asyncio.sleep(seconds)
                    channel.basic_ack(message.delivery_tag)
                    truth.append(time.monotonic() - began)

            async def enough() -> Holds | None:
                (email,) = (await source.sample(["email"], time.time())).queues
                await asyncio.sleep(0.2)
                return email.holds if email.holds and email.holds.ended >= 60 else None

            slots = [asyncio.create_task(slot()) for _ in range(4)]
            try:
                holds = await wait_until(enough, timeout=40, description="60 tasks have ended")
            finally:
                stop.set()
                await asyncio.gather(*slots)
    assert holds is not None
    assert holds.watched / holds.ended == pytest.approx(sum(truth) / len(truth), rel=0.15)
