"""Head-of-line wait on a real RabbitMQ without instrumentation, against what producer and worker know."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import aio_pika
import pytest

from scaler.core.observation import Span
from scaler.sources.rabbitmq import RabbitMQSource
from scaler.testing.rabbitmq import Vhost

pytestmark = pytest.mark.services

Open = Callable[[RabbitMQSource], RabbitMQSource]

#: Seconds that the traffic lasts.
SPAN = 26.0
#: Messages per second of the producer, and of the worker, by the second of the story.
PATTERNS: dict[str, tuple[Callable[[float], float], float]] = {
    "steady": (lambda at: 60 if at < 2 else 20, 20),
    "burst": (lambda at: 400 if 3 <= at < 4 else 3, 25),
    "ramp": (lambda at: 2 * at, 18),
}


@dataclass
class Lane:
    """One queue with its producer and its worker, and what they know."""

    name: str
    published: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    waits: list[tuple[float, int, Span]] = field(default_factory=list)

    async def produce(self, channel: aio_pika.abc.AbstractChannel, begin: float) -> None:
        pace, _ = PATTERNS[self.name]
        owed, last = 0.0, begin
        while (now := time.time()) < begin + SPAN:
            owed += pace(now - begin) * (now - last)
            last = now
            while owed >= 1:
                owed -= 1
                self.published.append(time.time())
                await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key=self.name)
            await asyncio.sleep(0.01)

    async def work(self, queue: aio_pika.abc.AbstractQueue) -> None:
        _, pace = PATTERNS[self.name]
        async with queue.iterator() as messages:
            async for message in messages:
                self.delivered.append(time.time())
                await asyncio.sleep(1 / pace)
                await message.ack()

    def errors(self) -> list[float]:
        """How far the middle of each interval was off, where anything waited."""
        return sorted(abs(sum(wait) / 2 - self.truth(at)) for at, ready, wait in self.waits if ready)

    def missed(self) -> int:
        """Intervals without the truth in them, by more than a sweep isn't one moment."""
        return sum(
            not wait[0] - 0.2 <= self.truth(at) <= wait[1] + 0.2 for at, ready, wait in self.waits if ready
        )

    def truth(self, at: float) -> float:
        """First in, first out: the head is the first message that is delivered later."""
        number = bisect_right(self.delivered, at)
        return max(0.0, at - self.published[number]) if number < len(self.published) else 0.0


@pytest.mark.slow
async def test_the_wait_is_known_to_a_sampling_period_at_three_arrival_patterns(
    rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
) -> None:
    source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
    lanes = [Lane(name) for name in PATTERNS]
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as workers:
        # One message in each worker's hands, as with a prefetch multiplier of 1.
        await workers.set_qos(1)
        queues = [await workers.declare_queue(lane.name) for lane in lanes]
        begin = time.time()
        acts = [
            asyncio.create_task(act)
            for lane, queue in zip(lanes, queues, strict=True)
            for act in (lane.produce(channel, begin), lane.work(queue))
        ]
        while (now := time.time()) < begin + SPAN:
            sample = await source.sample([lane.name for lane in lanes], now)
            for lane, reading in zip(lanes, sample.queues, strict=True):
                assert reading.wait is not None
                lane.waits.append((now, reading.ready, reading.wait))
            await asyncio.sleep(max(0.0, now + 1 - time.time()))
        for act in acts:
            act.cancel()
        await asyncio.gather(*acts, return_exceptions=True)
    for lane in lanes:
        errors = lane.errors()
        assert len(errors) >= 8, lane.name
        # The counters' sampling period is 5 s; the sweeps' is 1 s.
        assert median(errors) <= 5, (lane.name, errors)
        assert errors[-1] <= 10, (lane.name, errors)
        assert lane.missed() <= 1, lane.name
    everything = sorted(error for lane in lanes for error in lane.errors())
    assert median(everything) <= 2.5, everything


async def test_without_management_the_wait_is_an_interval_from_the_depth_alone(
    rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
) -> None:
    source = opened(RabbitMQSource(rabbitmq.url))
    await channel.declare_queue("email")
    await source.sample(["email"], 100.0)
    await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="email")
    await source.sample(["email"], 101.0)
    (reading,) = (await source.sample(["email"], 160.0)).queues
    # No consumer: the message is still the one that came between the first two looks.
    assert reading.wait == (59.0, 60.0)


async def test_priorities_make_the_wait_an_estimate(
    rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
) -> None:
    await channel.declare_queue("email", arguments={"x-max-priority": 10})
    source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
    (reading,) = (await source.sample(["email"], 100.0)).queues
    assert reading.wait_note == "estimate: the queue has priorities"


async def test_a_clock_that_was_set_back_begins_the_memory_anew(
    rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
) -> None:
    source = opened(RabbitMQSource(rabbitmq.url))
    await channel.declare_queue("email")
    await source.sample(["email"], 5000.0)
    await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="email")
    waits = [(await source.sample(["email"], now)).queues[0].wait for now in (5001.0, 100.0, 110.0)]
    assert waits == [(0.0, 1.0), (0.0, float("inf")), (10.0, float("inf"))]
