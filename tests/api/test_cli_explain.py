"""`celery-scaler explain` against a running HTTP server."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scaler.api.http_server import HttpServer
from scaler.cli.explain import explain

Run = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@pytest.fixture
def run(http_server: tuple[HttpServer, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command as a user does; exit status, stdout, stderr."""
    app = typer.Typer()
    app.command()(explain)
    monkeypatch.setenv("SCALER_ADDRESS", http_server[1])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def invoke(*arguments: str) -> tuple[int, str, str]:
        # A thread: the command blocks, and the server lives in this loop.
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def test_one_class_is_explained(stage: Any, run: Run) -> None:
    stage.tick(ready=400)
    status, out, _ = await run("io")
    assert status == 0
    assert out.splitlines()[0].startswith("io: 5 replicas (was 1), recommendation ")
    assert "→ drain" in out
    assert "max 5" in out


async def test_without_a_class_all_are_explained(stage: Any, run: Run) -> None:
    stage.load(a={"io": (1, 5)}, b={"cpu": (1, 3), "io": (1, 5)})
    stage.publish(stage.decision(policy="a"))
    _, out, _ = await run()
    assert [line for line in out.splitlines() if not line.startswith("  ")] == [
        "io: 1 replica (was 1), recommendation 1 from floor",
        "",
        "cpu: no decision yet",
        "",
        "io: no decision yet",
    ]
    _, out, _ = await run("--policy", "b")
    assert out == "cpu: no decision yet\n\nio: no decision yet\n"


async def test_json_is_what_the_service_says(stage: Any, run: Run) -> None:
    stage.publish(stage.decision(desired=3))
    _, out, _ = await run("io", "--output", "json")
    assert json.loads(out)["desired"] == 3
    _, out, _ = await run("--output", "json")
    assert [worker["desired"] for worker in json.loads(out)["workers"]] == [3]


async def test_an_unknown_class_is_2_and_names_the_known_and_the_address(
    stage: Any, run: Run, http_server: tuple[HttpServer, str]
) -> None:
    stage.publish(stage.decision())
    status, out, error = await run("oi")
    assert (status, out) == (2, "")
    assert error == (
        f"celery-scaler explain: unknown workerClass 'oi'; policy 'examx' has: io (asked {http_server[1]})\n"
    )


async def test_an_unknown_policy_is_2_and_names_the_known(stage: Any, run: Run) -> None:
    stage.publish(stage.decision())
    for arguments in (("io", "--policy", "exam"), ("--policy", "exam")):
        status, _, error = await run(*arguments)
        assert status == 2
        assert "unknown policy 'exam'; known policies: examx" in error


async def test_a_service_that_isnt_there_is_2_and_its_address_is_named(
    run: Run, http_server: tuple[HttpServer, str]
) -> None:
    await http_server[0].stop()
    status, _, error = await run("io")
    assert status == 2
    assert f"can't reach {http_server[1]}: " in error
    assert "refused" in error


async def test_an_address_without_a_scheme_is_http(
    stage: Any, run: Run, http_server: tuple[HttpServer, str]
) -> None:
    stage.publish(stage.decision())
    address = http_server[1].removeprefix("http://")
    assert (await run("io", "--address", address))[0] == 0


async def test_other_schemes_are_refused(run: Run) -> None:
    status, _, error = await run("--address", "file:///etc/passwd#")
    assert (status, "write http://host:port" in error) == (2, True)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "not as a celery-scaler does"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no usable answer"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello", "answered 502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no usable answer"),
        (b"", "no usable answer"),
    ],
)
async def test_another_service_on_that_port_is_2(run: Run, answer: bytes, text: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status, _, error = await run("--address", f"http://127.0.0.1:{port}")
    assert status == 2
    assert text in error
