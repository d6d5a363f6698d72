"""Metrics, probes and JSON over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from structlog.testing import capture_logs

from scaler.api.address import AddressError
from scaler.api.http_server import HttpServer
from scaler.api.workers import decision_of
from scaler.runtime.board import Board, Snapshot


@pytest.fixture
async def client(http_server: tuple[HttpServer, str]) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(http_server[1]) as session:
        yield session


async def get(client: aiohttp.ClientSession, path: str, **options: Any) -> tuple[int, Any]:
    async with client.get(path, **options) as answer:
        return answer.status, await answer.json()


async def test_it_is_alive_without_any_decision_and_ready_with_the_first(
    stage: Any, client: aiohttp.ClientSession
) -> None:
    assert await get(client, "/healthz") == (200, {"status": "alive"})
    assert await get(client, "/readyz") == (503, {"ready": False, "why": "nothing has been decided yet"})
    stage.publish(stage.decision())
    assert await get(client, "/readyz") == (200, {"ready": True, "why": "decisions are made"})


async def test_an_outage_of_the_broker_leaves_both_probes_green(
    stage: Any, client: aiohttp.ClientSession
) -> None:
    stage.tick(ready=None)
    assert (await get(client, "/healthz"))[0] == 200
    assert (await get(client, "/readyz"))[0] == 200


async def test_draining_takes_readiness_back_and_nothing_else(
    stage: Any, client: aiohttp.ClientSession, http_server: tuple[HttpServer, str]
) -> None:
    stage.publish(stage.decision())
    http_server[0].begin_draining()
    assert await get(client, "/readyz") == (503, {"ready": False, "why": "shutting down"})
    assert (await get(client, "/healthz"))[0] == 200
    assert (await get(client, "/api/v1/workers/io"))[0] == 200


async def test_workers_are_shown_with_decision_bounds_and_reasons(
    stage: Any, client: aiohttp.ClientSession
) -> None:
    stage.load(examx={"io": (1, 5), "cpu": (0, 3)})
    decision = stage.tick(ready=400)
    stage.now += 2
    status, document = await get(client, "/api/v1/workers")
    assert status == 200
    assert (document["now"], document["takenAt"]) == (stage.now, stage.now - 2)
    cpu, io = document["workers"]
    assert cpu == {
        "policy": "examx",
        "workerClass": "cpu",
        "decisionId": None,
        "min": 0,
        "max": 3,
        "mode": "scale",
        "why": ["cpu: no decision yet"],
    }
    assert (io["workerClass"], io["min"], io["max"]) == ("io", 1, 5)
    assert (io["decisionId"], io["desired"], io["winner"]) == (
        decision.id,
        decision.desired,
        decision.winner,
    )
    assert io["limitDetail"] == decision.limit_detail
    assert io["why"][0] == f"io: 5 replicas (was 1), recommendation {decision.recommendation} from drain"
    assert not [key for worker in (cpu, io) for key in worker if "_" in key], "camelCase throughout"


async def test_a_decision_survives_the_way_through_json(stage: Any, client: aiohttp.ClientSession) -> None:
    stage.load(examx={"io": (1, 5), "cpu": (1, 3)})
    decision = stage.tick(ready=400, running=20)
    _, document = await get(client, "/api/v1/workers")
    assert [decision_of(worker) for worker in document["workers"]] == [None, decision]


async def test_one_class_can_be_asked_for(stage: Any, client: aiohttp.ClientSession) -> None:
    stage.load(a={"io": (1, 5)}, b={"io": (1, 9)})
    stage.publish(stage.decision(policy="a"), stage.decision(policy="b", desired=7))
    status, worker = await get(client, "/api/v1/workers/io", params={"policy": "b"})
    assert (status, worker["policy"], worker["desired"], worker["max"]) == (200, "b", 7, 9)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/api/v1/workers/oi?policy=a", "unknown workerClass 'oi'; policy 'a' has: io"),
        ("/api/v1/workers/io?policy=x", "unknown policy 'x'; known policies: a, b"),
        ("/api/v1/workers/io", "policy is missing; known policies: a, b"),
        (f"/api/v1/workers/{'x' * 4000}?policy=a", f"unknown workerClass '{'x' * 100}…'; policy 'a' has: io"),
    ],
)
async def test_an_unknown_class_is_404_and_names_the_known(
    stage: Any, client: aiohttp.ClientSession, path: str, error: str
) -> None:
    stage.load(a={"io": (1, 5)}, b={"io": (1, 9)})
    stage.publish()
    assert await get(client, path) == (404, {"error": error})


@pytest.mark.parametrize("path", ["/", "/metric", "/api/v1", "/api/v1/workers/io/why", "/%2e%2e/etc/passwd"])
async def test_an_unknown_path_is_404_and_lists_the_paths(client: aiohttp.ClientSession, path: str) -> None:
    status, document = await get(client, path)
    assert status == 404
    assert document["paths"] == [
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/workers",
        "/api/v1/workers/{workerClass}",
        "/api/v1/brokers",
    ]


async def test_a_wrong_method_is_405_in_json(client: aiohttp.ClientSession) -> None:
    async with client.post("/api/v1/workers", data=b"x" * 100_000) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
        assert await answer.json() == {"error": "Method Not Allowed"}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_come_in_the_format_that_was_asked_for(
    stage: Any, client: aiohttp.ClientSession, trigger: Any, accept: str
) -> None:
    stage.publish(stage.decision())
    await trigger.poll()
    async with client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200
        kind, text = answer.headers["Content-Type"], await answer.text()
    assert kind.startswith(accept or "text/plain")
    parse: Any = parse_openmetrics if accept else parse_text
    families = {family.name: family for family in parse(text)}
    counts = {
        (sample.labels["method"], sample.labels["code"]): sample.value
        for sample in families["celery_scaler_rpc_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert counts == {("GetMetricSpec", "OK"): 1, ("GetMetrics", "OK"): 1, ("IsActive", "OK"): 1}


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/v1/workers", "/nothing"])
async def test_no_answer_names_the_software_or_may_be_stored(
    client: aiohttp.ClientSession, path: str
) -> None:
    async with client.get(path) as answer:
        assert "Server" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


async def test_the_text_of_a_fault_stays_in_our_log(stage: Any, client: aiohttp.ClientSession) -> None:
    class Broken(Board):
        @property
        def snapshot(self) -> Snapshot:
            raise RuntimeError("can't connect to amqp://user:hunter2@broker")

    stage.board.__class__ = Broken
    with capture_logs() as logs:
        status, document = await get(client, "/api/v1/workers")
    assert (status, document) == (500, {"error": "internal error; the log has the details"})
    assert [(entry["event"], entry["path"]) for entry in logs] == [("request failed", "/api/v1/workers")]


async def test_a_taken_port_is_a_clear_error(stage: Any, http_server: tuple[HttpServer, str]) -> None:
    address = http_server[1].removeprefix("http://")
    second = HttpServer(stage.board, stage.metrics, stage.clock, address)
    with pytest.raises(AddressError, match=f"can't listen for HTTP on {address}: .*in use"):
        await second.start()
    await second.stop()


async def test_what_isnt_http_gets_400_and_the_next_request_an_answer(
    client: aiohttp.ClientSession, http_server: tuple[HttpServer, str]
) -> None:
    host, _, port = http_server[1].removeprefix("http://").partition(":")
    for data in (
        b"\x16\x03\x01\x02\x00\x01" + bytes(60) + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    assert (await get(client, "/healthz"))[0] == 200


async def test_stop_ends_open_connections_at_once(
    client: aiohttp.ClientSession, http_server: tuple[HttpServer, str]
) -> None:
    assert (await get(client, "/healthz"))[0] == 200  # the client keeps the connection
    await asyncio.wait_for(http_server[0].stop(), 1)
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(client, "/healthz")
