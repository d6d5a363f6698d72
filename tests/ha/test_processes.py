"""Two real services on one real Redis: killed, frozen, ended, and their store taken away."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis.asyncio as redis

from scaler.pb import externalscaler_pb2 as pb
from scaler.pb import externalscaler_pb2_grpc as pb_grpc
from scaler.testing import wait_until
from scaler.testing.servers import free_port

pytestmark = pytest.mark.services

POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {{name: examx}}
spec:
  brokers: {{main: {{url: "{url}"}}}}
  workers:
    io:
      queues: [email]
      concurrency: 10
      acksLate: true
      serviceTime: 10s
      replicas: {{min: 1, max: 20}}
      behavior:
        scaleUp:
          policies: [{{type: Pods, value: 3, periodSeconds: 600}}]
        scaleDown:
          stabilizationWindowSeconds: 3
          policies: [{{type: Pods, value: 1, periodSeconds: 3}}]
"""


class Process:
    """One `celery-scaler serve`."""

    def __init__(self, folder: Path, url: str, state: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "examx.yaml").write_text(POLICY.format(url=url))
        self._folder, self._state = folder, state
        self.grpc_port, self.http_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "scaler", "serve", "--policies", str(self._folder / "examx.yaml")]
        command += ["--grpc-address", f"127.0.0.1:{self.grpc_port}"]
        command += ["--http-address", f"127.0.0.1:{self.http_port}"]
        command += ["--drain", "0", "--grace", "0", "--state", self._state]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SCALER_")}
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(number)
            self.process.wait(20)

    def get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=2) as answer:
                return json.load(answer)
        except OSError:
            return {}

    @property
    def leading(self) -> bool:
        return bool(self.get("/api/v1/replica").get("leading"))

    @property
    def following(self) -> bool:
        found = self.get("/api/v1/replica")
        return bool(found) and not found["leading"] and found["record"]["sequence"] > 0

    @property
    def term(self) -> int:
        return int(self.get("/api/v1/replica")["record"]["term"])

    def value(self) -> float | None:
        """As KEDA reads it; None: UNAVAILABLE."""
        reference = pb.ScaledObjectRef(
            name="io", namespace="examx", scalerMetadata={"policy": "examx", "workerClass": "io"}
        )
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = pb_grpc.ExternalScalerStub(channel)
            try:
                answer = stub.GetMetrics(
                    pb.GetMetricsRequest(scaledObjectRef=reference, metricName="desired-replicas"), timeout=2
                )
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return None
        return float(answer.metricValues[0].metricValueFloat)


class Gate:
    """A way to a server that can be shut: connections stay open and nothing passes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for one, other in ((reader, back), (there, writer)):
            self._tasks.add(asyncio.create_task(self._pass(one, other)))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def shut(self) -> None:
        self._open.clear()

    def reopen(self) -> None:
        self._open.set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0.05)  # aborted transports close in the next turns of the loop


Make = Callable[..., Process]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Process] = []

    def one(url: str, state: str | None = None) -> Process:
        made.append(Process(tmp_path / f"replica-{len(made)}", url, state or url))
        made[-1].start()
        return made[-1]

    yield one
    for process in made:
        process.end(signal.SIGKILL)


async def pair(make: Make, url: str, state: str | None = None) -> tuple[Process, Process]:
    """(leader, follower), both answering; `state` is the leader's way to the store."""
    leader = make(url, state)
    await wait_until(lambda: leader.leading, timeout=20, description="the first one leads")
    follower = make(url)
    await wait_until(lambda: follower.following, timeout=20, description="the second one follows")
    return leader, follower


async def publish(url: str, count: int) -> None:
    async with redis.Redis.from_url(url) as raw:
        await raw.lpush("email", *(["{}"] * count))


async def purge(url: str) -> None:
    async with redis.Redis.from_url(url) as raw:
        await raw.delete("email")


async def answers(replica: Process, until: Callable[[], bool], at_most: float) -> list[float | None]:
    """What it answers until then, ten times a second."""
    told: list[float | None] = []
    deadline = time.monotonic() + at_most
    while not await asyncio.to_thread(until):
        assert time.monotonic() < deadline, told
        told.append(await asyncio.to_thread(replica.value))
        await asyncio.sleep(0.1)
    return told


async def test_a_killed_leader_is_replaced_without_a_gap_or_a_step(make: Make, redis_server: Any) -> None:
    leader, follower = await pair(make, redis_server.url)
    await publish(redis_server.url, 5000)
    await wait_until(lambda: follower.value() == 4, timeout=5, description="3 more, told by the follower too")
    assert leader.value() == 4
    leader.end(signal.SIGKILL)
    killed = time.monotonic()
    told = await answers(follower, lambda: follower.leading, 15)
    assert time.monotonic() - killed < 15
    told += [follower.value() for _ in range(20)]
    assert set(told) == {4.0}, "no gap, no step down, and no second step of 3 within 600 s"


async def test_a_frozen_leader_that_wakes_follows(make: Make, redis_server: Any) -> None:
    leader, follower = await pair(make, redis_server.url)
    await publish(redis_server.url, 5000)
    await wait_until(lambda: follower.value() == 4, timeout=5, description="up")
    leader.send(signal.SIGSTOP)
    told = await answers(follower, lambda: follower.leading, 15)
    assert set(told) <= {4.0}
    await wait_until(lambda: follower.term == 2, timeout=5, description="it decides")
    await purge(redis_server.url)
    leader.send(signal.SIGCONT)
    await wait_until(lambda: leader.following and leader.term == 2, timeout=10, description="it follows")
    assert follower.leading
    for _ in range(10):
        assert leader.value() in {4.0, 3.0}
        assert follower.term == leader.term == 2


async def test_a_leader_that_is_cut_off_from_the_store_is_replaced_and_comes_back_as_a_follower(
    make: Make, redis_server: Any
) -> None:
    """What it sent before the cut may arrive when the way is open again: it changes nothing."""
    gate, url = Gate(redis_server.server.port), redis_server.url
    state = url.replace(str(redis_server.server.port), str(await gate.start()))
    leader, follower = await pair(make, url, state)
    await publish(url, 5000)
    await wait_until(lambda: follower.value() == 4, timeout=5, description="up")
    gate.shut()
    told = await answers(follower, lambda: follower.leading, 15)
    assert set(told) == {4.0}
    assert leader.value() in {4.0, None}
    await wait_until(lambda: leader.value() is None, timeout=12, description="it knows that it knows nothing")
    gate.reopen()
    await wait_until(lambda: leader.following and leader.term == 2, timeout=10, description="it follows")
    assert follower.leading
    assert leader.value() == follower.value() == 4
    leader.end(signal.SIGKILL)
    await gate.close()


async def test_a_leader_that_ends_hands_over_at_once(make: Make, redis_server: Any) -> None:
    leader, follower = await pair(make, redis_server.url)
    leader.end(signal.SIGTERM)
    ended = time.monotonic()
    await wait_until(lambda: follower.term == 2, timeout=5, description="the other decides")
    assert time.monotonic() - ended < 3


async def test_a_store_that_is_killed_freezes_and_comes_back(make: Make, restartable_redis: Any) -> None:
    """The broker is the same Redis, so this is an outage of all at once; what was decided stands."""
    url = restartable_redis.url
    leader, follower = await pair(make, url)
    await publish(url, 5000)
    await wait_until(lambda: follower.value() == 4, timeout=5, description="up")
    await asyncio.sleep(1.5)  # appendonly writes to the disk once a second
    restartable_redis.kill()
    killed = time.monotonic()
    while time.monotonic() - killed < 12:
        assert {leader.value(), follower.value()} == {4.0}
        await asyncio.sleep(0.2)
    await wait_until(lambda: leader.value() is None, timeout=8, description="UNAVAILABLE, the HPA freezes")
    await asyncio.to_thread(restartable_redis.start)
    await wait_until(
        lambda: leader.value() == follower.value() == 4, timeout=15, description="both answer again"
    )
    assert leader.leading != follower.leading


async def test_an_announcement_told_to_a_follower_is_heard_by_the_leader(
    make: Make, redis_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery")
    honest = subprocess.Popen.__init__

    def with_token(self: Any, command: list[str], **options: Any) -> None:
        if "serve" in command:
            command = [*command, "--token-file", str(token)]
        honest(self, command, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", with_token)
    leader, follower = await pair(make, redis_server.url)
    now = time.time()
    moments = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + after)) for after in (-5, 600)]
    body = {
        "workerClass": "io",
        "begins": moments[0],
        "until": moments[1],
        "who": "m",
        "why": "x",
        "replicas": 3,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{follower.http_port}/api/v1/announcements",
        json.dumps(body).encode(),
        {"Authorization": "Bearer correct-horse-battery"},
    )
    with await asyncio.to_thread(urllib.request.urlopen, request, timeout=5) as answer:
        assert answer.status == 201
    await wait_until(lambda: leader.value() == follower.value() == 3, timeout=6, description="3 pods")
    assert len(leader.get("/api/v1/announcements")["announcements"]) == 1


async def test_a_changed_policy_that_has_reached_one_of_them_alone_is_said(
    make: Make, redis_server: Any, tmp_path: Path
) -> None:
    leader, follower = await pair(make, redis_server.url)
    (file,) = (tmp_path / "replica-1").glob("*.yaml")
    changed = file.read_text().replace("max: 20", "max: 2")
    file.write_text(changed)

    def agree(replica: Process) -> Any:
        return replica.get("/api/v1/replica")["record"]["policiesAgree"]

    await wait_until(lambda: agree(follower) is False, timeout=10, description="the follower has another one")
    await publish(redis_server.url, 500)
    await wait_until(lambda: leader.value() == follower.value() == 4, timeout=15, description="4, not 2")

    assert "the leader's policies count" in follower.get("/api/v1/workers/io")["why"][-1]
    log = (tmp_path / "replica-1" / "log").read_text()
    assert log.count("this replica's policies differ") == 1

    (tmp_path / "replica-0" / file.name).write_text(changed)
    await wait_until(lambda: leader.value() == follower.value() == 2, timeout=15, description="2 for both")
    await wait_until(lambda: agree(follower) is True, timeout=5, description="it has the leader's")
    await wait_until(
        lambda: "policies count" not in follower.get("/api/v1/workers/io")["why"][-1],
        timeout=5,
        description="and says nothing more",
    )
