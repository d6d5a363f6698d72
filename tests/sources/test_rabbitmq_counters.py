"""Counters, holds, delayed tasks and doubts: what a RabbitMQ's slower answers add to the live sweep."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import aio_pika
import kombu
import pytest
from kombu.transport.native_delayed_delivery import (
    MAX_LEVEL,
    calculate_routing_key,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

from scaler.core.observation import BrokerSample, Holds
from scaler.sources.management import Listed, Statistics
from scaler.sources.management_ticks import PERIOD, Ticks
from scaler.sources.rabbitmq import RabbitMQSource
from scaler.sources.rabbitmq_memory import PATIENCE, RESET_TOLD, STREAK, Holding, QueueMemory
from scaler.testing import wait_until
from scaler.testing.amqp import FakeManagement
from scaler.testing.rabbitmq import Vhost

pytestmark = pytest.mark.services

Open = Callable[[RabbitMQSource], RabbitMQSource]

#: Seconds for the broker's statistics to come: they are collected every 5 s.
COLLECTED = 15.0


async def seen(
    source: RabbitMQSource,
    queue: str,
    found: Callable[[BrokerSample], bool],
    description: str,
    *,
    within: float = COLLECTED,
) -> BrokerSample:
    """The first sample of a queue that shows something."""

    async def look() -> BrokerSample | None:
        sample = await source.sample([queue], time.time())
        return sample if found(sample) else None

    sample = await wait_until(look, timeout=within, description=description)
    assert sample is not None
    return sample


class TestCounters:
    async def test_counters_come_with_the_time_when_they_were_true(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        queue = await channel.declare_queue("email")
        begin = time.time()
        (reading,) = (await source.sample(["email"], begin)).queues
        assert reading.counters is None
        for _ in range(7):
            await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="email")
        first, second, third = [await queue.get() for _ in range(3)]
        await first.ack()
        await second.reject(requeue=True)
        await third.ack()
        await queue.get(no_ack=True)

        def counted(sample: BrokerSample) -> bool:
            counters = sample.queues[0].counters
            return counters is not None and (counters.delivered, counters.acked) == (4, 2)

        sample = await seen(source, "email", counted, "all deliveries are counted")
        counters = sample.queues[0].counters
        assert counters is not None
        assert (counters.published, counters.redelivered) == (7, 1)
        assert begin - 0.2 <= counters.at <= sample.sampled_at + 1
        assert sample.queues[0].wait_note == "estimate: returned messages go to the front again"

    async def test_counters_that_go_back_are_told_for_a_while_and_delivered_as_they_are(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        for count in (5, 2):
            await channel.declare_queue("email")
            for _ in range(count):
                await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="email")

            def published(sample: BrokerSample, count: int = count) -> bool:
                counters = sample.queues[0].counters
                return counters is not None and counters.published == count

            sample = await seen(source, "email", published, f"{count} are counted")
            await channel.queue_delete("email")
        assert sample.suspicions == ("counters of queue 'email' went back: broker restarted or queue remade",)
        later = await source.sample(["email"], sample.sampled_at + RESET_TOLD + 1)
        assert later.suspicions == ()

    async def test_holds_are_the_seconds_that_a_worker_had_its_messages(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        queue = await channel.declare_queue("email")
        working = True

        async def work() -> None:
            while working:
                await channel.default_exchange.publish(aio_pika.Message(b"{}"), routing_key="email")
                message = await queue.get()
                await asyncio.sleep(0.2)
                await message.ack()

        worker = asyncio.create_task(work())

        def held(sample: BrokerSample) -> bool:
            holds = sample.queues[0].holds
            return holds is not None and holds.ended >= 20

        # A span begins at a count that is sharp in time, which is waited for.
        sample = await seen(source, "email", held, "20 messages have been held", within=PATIENCE + COLLECTED)
        working = False
        await worker
        holds = sample.queues[0].holds
        assert holds is not None
        # One message at a time in hand: message-seconds are seconds, and it takes 0.2 s and a little.
        assert 0.15 <= holds.watched / holds.ended <= 0.35


class TestHolding:
    def test_both_sums_belong_to_the_same_span(self) -> None:
        holding = Holding()
        for at in range(21):
            holding.see(float(at), 4)
            # 2 acknowledged per second: each message is held for 2 s.
            if at % 5 == 0:
                holds = holding.count(at - 3.0, at - 2.0, max(0, 2 * at - 5))
        assert holds == Holds(watched=4 * 17.5, ended=35)

    def test_nothing_is_known_before_two_counts(self) -> None:
        holding = Holding()
        assert holding.count(0.0, 0.0, 5) is None
        holding.see(0.0, 1)
        assert holding.count(0.0, 0.0, 5) is None

    def test_a_span_begins_when_the_time_of_the_count_is_known_well(self) -> None:
        """Begun at a count of some time in 5 s, the first spans would be wrong by half of that."""
        holding = Holding()
        told = []
        for at, width, acked in [(0.0, 5.0, 0), (5.0, 2.5, 10), (10.0, 1.2, 20), (15.0, 1.2, 30)]:
            holding.see(at, 4)
            told.append(holding.count(at - width / 2, at + width / 2, acked))
        assert told == [None, None, None, Holds(20.0, 10)]

    def test_where_no_rhythm_is_found_any_count_does_after_a_while(self) -> None:
        holding = Holding()
        told = []
        for at in range(0, 50, 5):
            holding.see(float(at), 4)
            told.append(holding.count(at - 5.0, float(at), 2 * at))
        assert told[:8] == [None] * 8
        assert told[8:] == [Holds(20.0, 10), Holds(40.0, 20)]

    def test_a_count_that_went_back_begins_a_new_span(self) -> None:
        holding = Holding()
        told = []
        for at, acked in [(0.0, 100), (10.0, 110), (20.0, 3), (30.0, 13)]:
            holding.see(at, 1)
            told.append(holding.count(at, at, acked))
        assert told == [None, Holds(10.0, 10), Holds(10.0, 10), Holds(20.0, 20)]

    def test_time_in_which_nothing_was_seen_is_not_watched(self) -> None:
        holding = Holding()
        for at, unacked, acked in [(0.0, 1, 0), (10.0, 1, 5), (20.0, None, 9), (30.0, 1, 12), (40.0, 1, 20)]:
            holding.see(at, unacked)
            holds = holding.count(at, at, acked)
        assert holds == Holds(watched=20.0, ended=5 + 8)


class TestTicks:
    @pytest.mark.parametrize("phase", [0.3, 1.9, 3.4, 4.8])
    def test_the_rhythm_of_the_broker_is_found_with_at_most_three_looks_at_two_collections(
        self, phase: float
    ) -> None:
        ticks, looks, told, shown = Ticks(), 0, [], -1
        ticks.alone = True
        for step in range(300):
            now = step * 1.007
            if not ticks.due(now):
                continue
            looks += 1
            number = int((now - phase) // PERIOD)
            window = ticks.looked(now, changed=number != shown)
            if number != shown and step:
                assert window.since - 1e-6 <= phase + number * PERIOD <= window.until + 1e-6
                told.append(window.until - window.since)
            shown = number
        assert looks <= 1.5 * 300 / PERIOD
        assert sorted(told)[len(told) // 2] <= 1.6

    def test_without_a_change_the_numbers_were_true_within_the_last_period(self) -> None:
        ticks = Ticks()
        ticks.alone = True
        ticks.looked(0.0, changed=True)
        window = ticks.looked(7.0, changed=False)
        assert 7 - PERIOD - 0.3 < window.since < 7 - PERIOD
        assert window.until == 7.0

    def test_a_cluster_whose_nodes_have_their_own_rhythm_gets_a_window_that_holds_them_all(self) -> None:
        ticks = Ticks()
        shown = None
        for step in range(200):
            now = float(step)
            if ticks.due(now):
                # One node collects at 0.5, 5.5 …, the other at 2.9, 7.9 …
                number = ((now - 0.5) // PERIOD, (now - 2.9) // PERIOD)
                window = ticks.looked(now, changed=number != shown)
                assert window.since <= 0.5 + number[0] * PERIOD <= window.until
                assert window.since <= 2.9 + number[1] * PERIOD <= window.until
                shown = number


@pytest.fixture
async def fake(leaves_nothing_behind: None) -> AsyncIterator[FakeManagement]:
    async with FakeManagement().running() as made:
        yield made


class TestCapabilities:
    async def test_the_sample_names_the_product_and_which_path_tells_what(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await channel.declare_queue("email", durable=True)
        await channel.declare_queue("pay", durable=True, arguments={"x-queue-type": "quorum"})
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        sample = await source.sample(["email", "pay"], time.time())
        assert sample.product.startswith("RabbitMQ 3.") or sample.product.startswith("RabbitMQ 4.")
        assert [queue.kind for queue in sample.queues] == ["classic", "quorum"]
        paths = dict(sample.paths)
        assert paths["depth, consumers"] == "AMQP passive declare, live"
        assert paths["unacked"].startswith("management list with totals")
        assert paths["counters"].startswith("management statistics")
        alone = await opened(RabbitMQSource(rabbitmq.url)).sample(["email"], time.time())
        assert dict(alone.paths)["unacked, counters, alarms"] == "not seen"
        assert (alone.queues[0].counters, alone.queues[0].holds) == (None, None)

    async def test_calls_grow_by_one_declare_per_queue_and_nothing_else(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        names = [f"queue-{number}" for number in range(60)]
        for name in names:
            await channel.declare_queue(name)
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        for asked in (names[:10], names, [*names, *names]):
            # The first sweep opens channels and asks what the broker offers.
            calls = [(await source.sample(asked, time.time())).calls for _ in range(3)]
            assert calls[1:] == [len(set(asked)) + 1] * 2

    async def test_statistics_that_are_switched_off_are_a_gap_and_the_totals_stay(
        self, rabbitmq: Vhost, opened: Open, fake: FakeManagement, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await channel.declare_queue("email")
        fake.overview = {"disable_stats": True, "rates_mode": "basic"}
        fake.totals = [{"name": "email", "type": "classic", "messages_unacknowledged": 4}]
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake.url))
        sample = await source.sample(["email"], time.time())
        assert (sample.queues[0].unacked, sample.queues[0].counters) == (4, None)
        assert sample.gaps == (
            "message counters are not seen: the broker's setting management.disable_stats is on",
        )
        assert dict(sample.paths)["counters"] == "not seen"
        assert fake.asked("/api/queues") == 0

    async def test_a_refusal_is_not_repeated_each_second_and_heals_by_itself(
        self,
        rabbitmq: Vhost,
        opened: Open,
        fake: FakeManagement,
        channel: aio_pika.abc.AbstractChannel,
    ) -> None:
        await channel.declare_queue("email")
        fake.status = 401
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake.url))
        samples = [await source.sample(["email"], time.time()) for _ in range(20)]
        assert fake.asked("totals") <= 4
        assert all("refused the user (401)" in sample.gaps[0] for sample in samples)
        fake.status = 200
        fake.totals = [{"name": "email", "type": "classic", "messages_unacknowledged": 0}]
        assert source._management is not None
        # As if the 30 s were over.
        source._management._failure.until = 0.0
        sample = await source.sample(["email"], time.time())
        assert (sample.gaps, sample.queues[0].unacked) == ((), 0)

    async def test_publishers_that_an_alarm_blocks_are_counted_while_it_lasts(
        self, rabbitmq: Vhost, fake: FakeManagement, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await channel.declare_queue("email")
        fake.connections = [{"state": "blocked"}, {"state": "running"}, {"state": "blocked"}]
        for health, suspicions in (
            (200, ()),
            (
                503,
                (
                    "broker alarm (memory): publishers are blocked",
                    "2 of 3 connections published and are blocked by the alarm",
                ),
            ),
        ):
            assert fake.asked("/connections") == 0
            fake.health = health
            fake.alarms = {"alarms": [{"resource": "memory"}]}
            source = RabbitMQSource(rabbitmq.url, management_url=fake.url)
            assert (await source.sample(["email"], time.time())).suspicions == suspicions
            await source.close()


class TestDelayed:
    @pytest.mark.parametrize("managed", [True, False])
    async def test_tasks_with_an_eta_are_counted_by_the_queue_that_they_wait_in(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel, *, managed: bool
    ) -> None:
        await channel.declare_queue("jobs", durable=True, arguments={"x-queue-type": "quorum"})
        await asyncio.to_thread(delay, rabbitmq.url, (10, 100, 100, 3600))
        management = rabbitmq.management_url if managed else None
        source = opened(RabbitMQSource(rabbitmq.url, management_url=management))
        # 10 s is 2^3 and less than 2^4; 100 s is 2^6 and more, an hour 2^11 and more.
        sample = await seen(
            source, "jobs", lambda sample: sum(n for _, n in sample.delayed) == 4, "all four are seen"
        )
        assert sample.delayed == ((3, 1), (6, 2), (11, 1))
        assert [queue.name for queue in sample.queues] == ["jobs"]

    async def test_without_management_one_queue_is_asked_for_now_and_then(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await channel.declare_queue("email")
        source = opened(RabbitMQSource(rabbitmq.url))
        calls = [(await source.sample(["email"], time.time())).calls for _ in range(5)]
        # The first opens two channels; the missing one costs the second sweep nothing.
        assert calls == [4, 1, 1, 1, 1]


def delay(url: str, seconds: Sequence[int]) -> None:
    """What Celery does with a countdown where its queues are quorum queues."""
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        producer = connection.Producer()
        for countdown in seconds:
            producer.publish(
                {},
                exchange=level_name(MAX_LEVEL),
                routing_key=calculate_routing_key(countdown, "jobs"),
            )


class TestContradictions:
    LISTED: Mapping[str, Listed] = {"email": Listed("classic", ready=0, unacked=0, live=True)}

    def test_a_queue_that_the_management_api_does_not_have(self) -> None:
        memory = QueueMemory("email")
        for at in range(STREAK):
            assert memory.suspicions(float(at)) == ()
            memory.see(float(at), (3, 1), {})
        (text,) = memory.suspicions(3.0)
        assert "is there over AMQP but not in the management API" in text
        memory.see(3.0, (3, 1), self.LISTED)
        assert memory.suspicions(3.0) == ()

    def test_depths_that_differ_while_nothing_moves(self) -> None:
        memory = QueueMemory("email")
        for at in range(STREAK + 1):
            memory.see(float(at), (5000, 1), self.LISTED)
        (text,) = memory.suspicions(4.0)
        assert "tell different depths of queue 'email'" in text

    def test_depths_that_differ_because_they_move_are_no_contradiction(self) -> None:
        memory = QueueMemory("email")
        for at in range(20):
            memory.see(float(at), (5000 + at, 1), self.LISTED)
            assert memory.suspicions(float(at)) == ()

    def test_a_publish_time_at_the_head_bounds_the_wait(self) -> None:
        memory = QueueMemory("email")
        memory.see(100.0, (3, 1), self.LISTED)
        memory.count(Statistics(None, head=90.0), since=99.0, until=100.0)
        wait = memory.reading().wait
        assert wait is not None
        assert wait[1] == 10.0
