"""Shadow mode at the doors: KEDA gets no number, people get the comparison."""

import asyncio
import json
from typing import Any

import grpc
import pytest
import typer
from aiohttp import ClientSession
from typer.testing import CliRunner

from scaler.api.http_server import HttpServer
from scaler.api.shadow import ShadowView
from scaler.api.workers import all_workers
from scaler.cli.shadow import shadow
from scaler.core.workload import Autoscaler, Reference, Workload
from scaler.pb import externalscaler_pb2 as pb
from scaler.runtime.shadow import Shadows

KEY = ("examx", "io")
SEVEN = Workload(
    replicas=7,
    autoscaler=Autoscaler("celery-io", 1, 7, 7, 7),
    reference=Reference("apps/v1", "Deployment", "celery", "io", "uid"),
)


async def test_keda_gets_neither_a_number_nor_a_word_on_activity(stage: Any, trigger: Any) -> None:
    stage.shadow()
    stage.publish(stage.decision(desired=4))
    await trigger.stub.GetMetricSpec(trigger.reference)  # never fails, whatever is asked
    request = pb.GetMetricsRequest(scaledObjectRef=trigger.reference, metricName="desired-replicas")
    for question in (
        trigger.stub.GetMetrics(request),
        trigger.stub.IsActive(trigger.reference),
        trigger.stub.StreamIsActive(trigger.reference).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await question
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "shadow mode: something else scales it" in (refused.value.details() or "")
        assert "write mode: scale" in (refused.value.details() or "")


async def test_an_open_stream_ends_when_the_class_goes_into_the_shadow(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    stream = trigger.stub.StreamIsActive(trigger.reference)
    assert (await stream.read()).result
    stage.shadow()
    stage.publish(stage.decision())
    assert await stream.read() is grpc.aio.EOF


def test_the_explanation_says_whose_pods_are_seen(stage: Any) -> None:
    stage.shadow()
    stage.workloads = {KEY: SEVEN}
    stage.publish(stage.decision(desired=3))
    (document,) = all_workers(stage.board.snapshot, stage.now)
    assert document["mode"] == "shadow"
    assert document["why"][1:4] == [
        "  shadow:  nobody follows the 3; 7 replicas run (cluster)",
        "  shadow:  scaled by HPA celery-io",
        "  shadow:  what waits is what those 7 leave, which hides load that we would see",
    ]


@pytest.fixture
async def compared(stage: Any, stack: Any) -> str:
    """An hour in which 7 pods ran and we had wanted 3, half of it 9; the URL of the service."""
    shadows = Shadows(stage.board, stage.metrics)
    view = ShadowView(shadows, stage.board, stage.clock)
    server = HttpServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0", shadow=view)
    port = await server.start()
    stack.push_async_callback(server.stop)
    stage.shadow()
    stage.workloads = {KEY: SEVEN}
    for minute in range(61):
        for second in range(0, 60, 10):
            desired = 3 if minute < 30 else 9
            stage.publish(stage.decision(desired=desired, wait=(40.0, 50.0) if minute >= 50 else None))
            shadows.look(stage.board.snapshot)
            if (minute, second) == (60, 0):
                break
            stage.now += 10
    return f"http://127.0.0.1:{port}"


async def test_json_has_both_numbers_and_the_reasons(stage: Any, compared: str) -> None:
    async with ClientSession() as session, session.get(f"{compared}/api/v1/shadow") as answer:
        (found,) = (await answer.json())["classes"]
    assert found["scaledBy"] == "HPA celery-io"
    assert (found["ours"], found["actual"], found["actualFrom"]) == (9, 7, "cluster")
    assert found["sinceSecondsAgo"] == 3600
    assert found["podMinutes"] == {"ours": 30 * 3 + 30 * 9, "actual": 60 * 7}
    assert found["minutes"] == {
        "compared": 60,
        "oursAbove": 30,
        "oursBelow": 30,
        "equal": 0,
        "unknown": 0,
        "actualAtMax": 60,
        "waitedTooLong": 10,
    }
    assert [(one["ours"], one["actual"], one["minutes"]) for one in found["largestDifferences"]] == [
        (3, 7, 30),
        (9, 7, 30),
    ]
    assert found["largestDifferences"][0]["term"] == "floor"
    seconds = stage.metrics.registry.get_sample_value(
        "celery_scaler_shadow_pod_seconds_total", {"policy": "examx", "worker_class": "io", "which": "ours"}
    )
    assert seconds == 60 * (30 * 3 + 30 * 9)


async def test_the_command_prints_a_table_or_the_json(compared: str) -> None:
    app = typer.Typer()
    app.command()(shadow)

    async def run(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", compared, *arguments])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    lines = (await run()).splitlines()
    assert lines[1].split() == ["io", "1h", "9/7", "360/420", "30m", "30m", "0s", "1h", "10m"]
    assert "io: scaled by HPA celery-io (from cluster)" in lines
    assert "30m: ours 3, actual 7: floor: replicas.min 1" in lines[-2]
    assert json.loads(await run("--output", "json"))["classes"][0]["ours"] == 9


async def test_without_a_class_in_shadow_mode_the_command_says_how(stage: Any, stack: Any) -> None:
    view = ShadowView(Shadows(stage.board, stage.metrics), stage.board, stage.clock)
    server = HttpServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0", shadow=view)
    port = await server.start()
    stack.push_async_callback(server.stop)
    stage.publish(stage.decision())
    app = typer.Typer()
    app.command()(shadow)
    address = f"http://127.0.0.1:{port}"
    result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", address])
    assert "no worker class is in shadow mode; write mode: shadow" in result.stdout


async def test_a_class_that_leaves_the_shadow_takes_its_series_along(stage: Any, compared: str) -> None:
    del compared
    shadows = Shadows(stage.board, stage.metrics)
    shadows.look(stage.board.snapshot)
    assert set(shadows.ledgers) == {KEY}
    stage.load(examx={"io": (1, 5)})
    stage.publish(stage.decision())
    shadows.look(stage.board.snapshot)
    assert not shadows.ledgers
    families = [stage.metrics.shadow_replicas, stage.metrics.shadow_pod_seconds_total]
    assert [sample for family in families for one in family.collect() for sample in one.samples] == []
