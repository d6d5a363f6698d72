"""RabbitMQ's management API: what it adds to a sweep, and everything that may be wrong with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

import aio_pika
import pytest

from scaler.sources.failures import CALL_TIMEOUT
from scaler.sources.rabbitmq import RabbitMQSource
from scaler.testing import wait_until
from scaler.testing.amqp import FakeManagement, one, publish
from scaler.testing.rabbitmq import Vhost
from scaler.testing.servers import free_port

pytestmark = pytest.mark.services

Open = Callable[[RabbitMQSource], RabbitMQSource]

NOW = 1_750_000_000.0


async def _unacked_is(source: RabbitMQSource, count: int) -> bool:
    return (await one(source, "email")).unacked == count


@pytest.fixture
async def fake_management(leaves_nothing_behind: None) -> AsyncIterator[FakeManagement]:
    async with FakeManagement().running() as fake:
        yield fake


class TestManagement:
    async def test_unacked_messages_are_those_of_this_virtual_host(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await publish(channel, "email", 3)
        queue = await channel.declare_queue("email", durable=True)
        messages = [await queue.get(no_ack=False) for _ in range(2)]
        source = opened(RabbitMQSource(rabbitmq.url, management_url=rabbitmq.management_url))
        reading = await one(source, "email")
        assert (reading.ready, reading.unacked) == (1, 2)
        for message in messages:
            await message.ack()
        await wait_until(
            lambda: _unacked_is(source, 0), timeout=2, description="the acknowledgements have arrived"
        )

    async def test_credentials_of_the_broker_url_serve_for_the_management_api(
        self, rabbitmq: Vhost, opened: Open
    ) -> None:
        management = f"http://localhost:{rabbitmq.server.management_port}/"
        sample = await opened(RabbitMQSource(rabbitmq.url, management_url=management)).sample(["email"], NOW)
        assert sample.gaps == ()

    @pytest.mark.parametrize(
        ("management", "gap"),
        [
            ("http://guest:guest@127.0.0.1:{free}", "can't be reached; check managementUrl and the plugin"),
            ("http://guest:hunter2@127.0.0.1:{port}", "refused the user (401); check the credentials"),
            ("http://guest:guest@127.0.0.1:{port}/wrong", "no management API or no such virtual host"),
            ("https://guest:guest@127.0.0.1:{port}", "fails at TLS"),
            ("127.0.0.1:{port}", "managementUrl has no known scheme; write one of http, https"),
        ],
    )
    async def test_a_management_api_that_fails_is_a_gap_and_the_depth_stays(
        self,
        rabbitmq: Vhost,
        opened: Open,
        channel: aio_pika.abc.AbstractChannel,
        management: str,
        gap: str,
    ) -> None:
        await publish(channel, "email", 2)
        url = management.format(free=free_port(), port=rabbitmq.server.management_port)
        sample = await opened(RabbitMQSource(rabbitmq.url, management_url=url)).sample(["email"], NOW)
        assert (sample.queues[0].ready, sample.queues[0].unacked) == (2, None)
        (told,) = sample.gaps
        assert gap in told
        assert "hunter2" not in told

    async def test_a_user_with_the_tag_management_and_no_permission_is_enough(
        self, rabbitmq: Vhost, opened: Open, channel: aio_pika.abc.AbstractChannel
    ) -> None:
        await publish(channel, "email", 1)
        rabbitmq.server.add_user("viewer", "secret", "management")
        rabbitmq.server.add_permission(rabbitmq.name, "viewer", "^$")
        management = rabbitmq.management_url.replace("guest:guest", "viewer:secret")
        sample = await opened(RabbitMQSource(rabbitmq.url, management_url=management)).sample(["email"], NOW)
        assert sample.queues[0].unacked == 0
        assert sample.gaps == ()

    async def test_alarms_that_need_another_tag_are_a_gap_and_unacked_stays(
        self,
        rabbitmq: Vhost,
        opened: Open,
        fake_management: FakeManagement,
        channel: aio_pika.abc.AbstractChannel,
    ) -> None:
        await publish(channel, "email", 1)
        fake_management.totals = [{"name": "email", "messages_unacknowledged": 4}]
        fake_management.health = 401
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake_management.url))
        sample = await source.sample(["email"], NOW)
        assert sample.queues[0].unacked == 4
        assert sample.gaps == (
            "broker alarms are not seen (401): give the management user the tag monitoring",
        )

    async def test_a_memory_alarm_makes_the_sample_suspect_until_it_ends(
        self, restartable_rabbitmq: Vhost
    ) -> None:
        broker = restartable_rabbitmq.server
        management = restartable_rabbitmq.management_url

        async def suspicions() -> tuple[str, ...]:
            source = RabbitMQSource(restartable_rabbitmq.url, management_url=management)
            sample = await source.sample(["email"], NOW)
            await source.close()
            return sample.suspicions

        assert await suspicions() == ()
        try:
            await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "absolute", "1MB")
            assert await wait_until(suspicions, description="the alarm is seen") == (
                "broker alarm (memory): publishers are blocked",
            )
        finally:
            await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.4")

        async def clear() -> bool:
            return await suspicions() == ()

        await wait_until(clear, description="the alarm has ended")

    async def test_alarms_are_asked_for_every_few_seconds_only(
        self, rabbitmq: Vhost, opened: Open, fake_management: FakeManagement
    ) -> None:
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake_management.url))
        for _ in range(5):
            await source.sample(["email"], NOW)
        assert fake_management.asked("/api/health/checks/alarms") == 1
        # Five lean lists; the statistics and what the broker offers once.
        assert fake_management.asked("totals") == 5
        assert fake_management.asked(f"/api/queues/{quote(rabbitmq.name)}") == 1
        assert fake_management.asked("/api/overview") == 1

    async def test_a_broker_without_totals_is_asked_for_its_statistics(
        self,
        rabbitmq: Vhost,
        opened: Open,
        fake_management: FakeManagement,
        channel: aio_pika.abc.AbstractChannel,
    ) -> None:
        await publish(channel, "email", 1)
        fake_management.totals = [{"name": "email"}]
        fake_management.statistics = [{"name": "email", "messages_unacknowledged": 4}, {"name": "other"}]
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake_management.url))
        assert (await one(source, "email")).unacked == 4

    @pytest.mark.parametrize("nonsense", [{"error": "no"}, "<html>", [1, {"name": None}, {"name": "email"}]])
    async def test_an_answer_that_makes_no_sense_is_no_number(
        self,
        rabbitmq: Vhost,
        opened: Open,
        fake_management: FakeManagement,
        channel: aio_pika.abc.AbstractChannel,
        nonsense: object,
    ) -> None:
        await publish(channel, "email", 1)
        fake_management.totals = fake_management.statistics = nonsense
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake_management.url))
        reading = await one(source, "email")
        assert (reading.ready, reading.unacked) == (1, None)

    async def test_a_management_api_that_hangs_costs_its_bound_and_the_depth_stays(
        self, rabbitmq: Vhost, opened: Open, fake_management: FakeManagement
    ) -> None:
        fake_management.hangs = True
        source = opened(RabbitMQSource(rabbitmq.url, management_url=fake_management.url))
        began = time.monotonic()
        sample = await source.sample(["email"], NOW)
        assert time.monotonic() - began < CALL_TIMEOUT + 1
        assert "didn't answer within 2 s" in sample.gaps[0]
