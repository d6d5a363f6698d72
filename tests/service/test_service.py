"""End to end: tasks in a real broker become the number that KEDA is told, and an outage does no harm."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from scaler.testing import wait_until

pytestmark = pytest.mark.services


async def test_4000_slow_mails_raise_io_from_1_to_4_at_once_and_to_5_a_period_later(
    service: Any, broker: tuple[str, str], publish_tasks: Any, purge_queue: Any
) -> None:
    """Real periods, shortened: +3 per 10 s; scale-down after 8 s, then 1 per 3 s."""
    url, management = broker
    service.write(url, management=management, period=10, window=8, down=3)
    service.start()
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    assert (service.value(), service.active()) == (1, service.worker()["active"])

    # Publishing takes some seconds on a slow machine: the first step comes while it goes on, or within 2 s.
    published = asyncio.create_task(at_the_end_of(asyncio.to_thread(publish_tasks, url, "email", 4000)))
    await wait_until(lambda: service.value() == 4, timeout=20, description="4 replicas")
    stepped = time.monotonic()
    assert stepped - await published < 2
    assert service.active()

    await wait_until(lambda: service.worker()["ready"] == 4000, timeout=5, description="all seen")
    explained = await explain(service)
    assert "drain" in explained
    assert "4000 × 12 s ÷ 30 s = 1600" in explained
    assert "3 pods per 10 s" in explained

    await wait_until(lambda: service.value() == 5, timeout=14, description="5 replicas")
    assert 8.5 < time.monotonic() - stepped < 13.5
    assert service.worker()["limit"] == "max"

    await asyncio.to_thread(purge_queue, url, "email")
    purged = time.monotonic()
    await wait_until(lambda: service.value() == 4, timeout=14, description="the first step down")
    assert time.monotonic() - purged > 6
    await wait_until(lambda: service.value() == 1, timeout=15, description="down to min")
    assert time.monotonic() - purged > 6 + 3 * 3 - 2


async def test_the_same_4000_fast_mails_need_one_pod_and_explain_shows_the_sum(
    service: Any, broker: tuple[str, str], publish_tasks: Any
) -> None:
    url, management = broker
    service.write(url, management=management, service_time="1.5s")
    service.start()
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    await asyncio.to_thread(publish_tasks, url, "email", 4000)
    await wait_until(lambda: service.worker()["ready"] == 4000, timeout=5, description="all seen")
    for _ in range(4):
        await wait_for_next_decision(service)
        assert service.value() == 1
    assert "4000 × 1.5 s ÷ 30 s = 200" in await explain(service)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["rabbitmq", "redis"])
async def test_a_killed_broker_freezes_the_number_and_nothing_falls_when_it_is_back(
    service: Any, kind: str, publish_tasks: Any, request: pytest.FixtureRequest
) -> None:
    """The whole story in real time: hold after 15 s, UNAVAILABLE after 60 s, fresh again within 10 s."""
    broker = request.getfixturevalue(f"restartable_{kind}")
    service.write(broker.url, management="", period=600, window=30, down=3)
    service.start()
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    await asyncio.to_thread(publish_tasks, broker.url, "email", 4000)
    await wait_until(lambda: service.value() == 4, timeout=5, description="4 replicas")

    broker.kill()
    killed = time.monotonic()
    await wait_until(lambda: service.worker()["quality"] == "hold", timeout=25, description="hold")
    assert (service.value(), service.active()) == (4, True)
    refusal = None
    while refusal is None and time.monotonic() - killed < 90:
        try:
            assert service.value() == 4
        except grpc.RpcError as error:
            refusal = error
        assert service.active()
        await asyncio.sleep(0.5)
    assert refusal is not None
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert 55 < time.monotonic() - killed < 70
    text = refusal.details() or ""
    assert "guest" not in text
    assert "127.0.0.1" in text
    assert service.active()
    assert service.call("GetMetricSpec", service.ref()).metricSpecs[0].targetSize == 1

    await asyncio.to_thread(broker.start)
    back = time.monotonic()
    await wait_until(lambda: service.worker()["quality"] != "blind", timeout=10, description="fresh again")
    assert service.value() == 4
    while time.monotonic() - back < 25:  # the window is 30 s; messages that weren't persistent are gone
        assert service.value() >= 4
        await asyncio.sleep(0.5)


async def test_a_restart_with_a_shared_store_goes_on_where_it_was(
    service: Any, redis_server: Any, publish_tasks: Any, purge_queue: Any
) -> None:
    service.write(redis_server.url)
    service.start("--state", redis_server.url)
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    publish_tasks(redis_server.url, "email", 4000)
    await wait_until(lambda: service.value() == 4, timeout=5, description="4 replicas")
    await asyncio.sleep(1.5)  # a crash may lose what the last second hadn't saved
    service.stop(signal.SIGKILL)
    purge_queue(redis_server.url, "email")
    service.start("--state", redis_server.url)
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="back"
    )
    assert service.value() == 4


async def test_it_stops_in_order_on_sigterm_and_leaves_with_0(service: Any, redis_server: Any) -> None:
    service.write(redis_server.url)
    service.start()
    await wait_until(lambda: service.ready, timeout=20, description="ready")
    assert service.stop() == 0
    assert [word for word in ("serving", "shutting down", "stopped") if word in service.log] == [
        "serving",
        "shutting down",
        "stopped",
    ]
    assert "Traceback" not in service.log


async def test_no_secret_is_ever_written_or_answered(service: Any) -> None:
    service.write("${BROKER_URL}")
    service.start(BROKER_URL="amqp://user:hunter2@127.0.0.1:1//")
    await wait_until(lambda: service.ready, timeout=20, description="ready")
    await wait_until(lambda: "can't be read" in service.log, timeout=5, description="the outage is logged")
    with pytest.raises(grpc.RpcError) as unavailable:
        service.value()
    answers = [
        service.log,
        unavailable.value.details(),
        str(service.get("/api/v1/workers")),
        service.get("/metrics")[1],
    ]
    assert all("hunter2" not in answer for answer in answers)
    assert service.active(), "unknown counts as active"


def test_a_broken_policy_keeps_it_from_starting_and_names_the_place(service: Any) -> None:
    service.write("redis://127.0.0.1:1/0")
    service.policy.write_text(service.policy.read_text().replace("concurrency", "concurency"))
    service.start()
    assert service.process.wait(20) == 2
    assert "examx.yaml:10:7" in service.log
    assert "concurrency" in service.log


async def wait_for_next_decision(service: Any) -> None:
    before = service.worker()["decidedAt"]
    await wait_until(lambda: service.worker()["decidedAt"] > before, timeout=5, description="the next tick")


async def at_the_end_of(work: Awaitable[None]) -> float:
    """The moment on the clock at which it ended."""
    await work
    return time.monotonic()


async def explain(service: Any) -> str:
    """What a person sees who asks why."""
    command = [
        sys.executable,
        "-m",
        "scaler",
        "explain",
        "io",
        "--address",
        f"http://127.0.0.1:{service.http_port}",
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


async def test_the_metrics_pass_promtools_rules(
    service: Any, broker: tuple[str, str], promtool: str, publish_tasks: Any
) -> None:
    url, management = broker
    service.write(url, management=management)
    service.start()
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    await asyncio.to_thread(publish_tasks, url, "email", 40)
    await wait_until(lambda: service.worker()["ready"] == 40, timeout=5, description="all seen")
    service.value()
    text = service.get("/metrics")[1]
    command = [promtool, "check", "metrics"]
    checked = await asyncio.to_thread(
        subprocess.run, command, input=text, capture_output=True, text=True, timeout=20, check=False
    )
    assert checked.returncode == 0, checked.stderr
    series = 'celery_scaler_queue_messages{policy="examx",queue="email",state="ready",worker_class="io"} 40.0'
    assert series in text
