"""A board that the test fills, a clock that it turns, and the real servers over them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from scaler.api.grpc_server import GrpcServer
from scaler.api.http_server import HttpServer
from scaler.api.tls import Tls
from scaler.cli import app
from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision, Term
from scaler.core.observation import Observation, QueueReading
from scaler.core.policy import ScalingPolicy
from scaler.core.state import WorkerState
from scaler.core.workload import Workload
from scaler.demo.keda_client import KedaTrigger
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.certificates import CertificateFiles
from scaler.runtime.metrics import Metrics
from scaler.testing.tls import TlsDirectory

#: Where the tests' time begins: 2027-01-15 08:00:00 UTC.
START = 1_800_000_000.0

POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: examx}
spec:
  brokers: {main: {url: "amqp://127.0.0.1:1"}}
  workers: {io: {queues: [email], concurrency: 4, serviceTime: 1s, replicas: {max: 5}}}
"""


def policy(name: str, **classes: tuple[int, int]) -> ScalingPolicy:
    """A policy with classes of the given (min, max); each consumes the queue of its name."""
    workers = {
        worker_class: {
            "queues": [f"{name}-{worker_class}"],
            "concurrency": 10,
            "acksLate": True,
            "serviceTime": "10s",
            "replicas": {"min": low, "max": high},
        }
        for worker_class, (low, high) in classes.items()
    }
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": name},
        "spec": {"brokers": {"main": {"url": "amqp://broker"}}, "workers": workers},
    }
    return ScalingPolicy.model_validate_json(json.dumps(document))


@dataclass
class Stage:
    """What the servers read: policies, decisions and the time, all in the test's hands."""

    now: float = START
    board: Board = field(default_factory=Board)
    metrics: Metrics = field(default_factory=Metrics)
    policies: dict[str, ScalingPolicy] = field(default_factory=lambda: {"examx": policy("examx", io=(1, 5))})
    states: dict[str, WorkerState] = field(default_factory=dict)
    workloads: dict[tuple[str, str], Workload] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def shadow(self) -> None:
        """Class io of policy examx is in shadow mode from now on."""
        document = self.policies["examx"]
        worker = document.spec.workers["io"].model_copy(update={"mode": "shadow"})
        spec = document.spec.model_copy(update={"workers": {"io": worker}})
        self.policies = {"examx": document.model_copy(update={"spec": spec})}

    def load(self, **classes: Mapping[str, tuple[int, int]]) -> None:
        """Replace the policies: name = {class: (min, max)}."""
        self.policies = {name: policy(name, **given) for name, given in classes.items()}

    def decision(self, **changes: Any) -> Decision:
        """A decision of this moment: io stays at 1 because one second of work waits."""
        decision = Decision(
            policy="examx",
            worker_class="io",
            decided_at=self.now,
            desired=1,
            previous=1,
            recommendation=1,
            active=True,
            active_because="3 wait, 2 run",
            quality="fresh",
            quality_reasons=(),
            terms=(Term("floor", 1.0, "replicas.min 1"),),
            winner="floor",
            limit="none",
            limit_detail="",
            next_step_at=None,
            sampled_at=self.now - 1.0,
            ready=3,
            running=(2, 2),
            backlog=(3, 3),
        )
        return replace(decision, **changes)

    def publish(self, *decisions: Decision) -> None:
        """One tick: these are the decisions now."""
        by_key = {(decision.policy, decision.worker_class): decision for decision in decisions}
        self.board.publish(Snapshot(self.now, dict(self.policies), by_key, workloads=dict(self.workloads)))

    def tick(self, ready: int | None, *, running: int = 0, sampled_ago: float = 0.0) -> Decision:
        """Let the real core decide class io and publish it; `ready` None: the broker is dark."""
        if ready is None:
            observation = Observation(None, error="broker main: connection refused")
        else:
            queue = QueueReading("examx-io", ready=ready, unacked=running, eta_held=0, consumers=1)
            observation = Observation(self.now - sampled_ago, (queue,))
        subject = WorkerClass("examx", "io", self.policies["examx"].spec.workers["io"])
        state, decision = decide(subject, self.states.get("io", WorkerState()), observation, self.now)
        self.states["io"] = state
        self.publish(decision)
        return decision

    def calls(self) -> dict[tuple[str, str], int]:
        """How often each method ended with each code."""
        return {
            (sample.labels["method"], sample.labels["code"]): int(sample.value)
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "celery_scaler_rpc_seconds_count"
        }


@dataclass
class SecretVolume:
    """A Secret as the kubelet mounts it: the files are links, and an update swaps the one link `..data`."""

    path: Path
    swaps: int = 0

    @property
    def files(self) -> CertificateFiles:
        """The files as `serve` is given them."""
        return CertificateFiles(self.path / "tls.crt", self.path / "tls.key", self.path / "ca.crt")

    def swap(self, certificates: TlsDirectory, *, key: Path | None = None) -> None:
        """The Secret holds these now; `key` puts another one in the place of the right one."""
        self.swaps += 1
        held = self.path / f"..{self.swaps}"
        held.mkdir(parents=True)
        sources = {
            "tls.crt": certificates.server_cert_file,
            "tls.key": key or certificates.server_key_file,
            "ca.crt": certificates.ca_file,
        }
        for name, source in sources.items():
            (held / name).write_bytes(source.read_bytes())
            if self.swaps == 1:
                (self.path / name).symlink_to(Path("..data") / name)
        (self.path / "..new").symlink_to(held.name)
        (self.path / "..new").replace(self.path / "..data")


@pytest.fixture
def make_stage() -> Callable[[], Stage]:
    """Stages for tests with several replicas of the service."""
    return Stage


@pytest.fixture
def stage() -> Stage:
    """Class io of policy examx, 1 to 5 replicas; nothing is decided yet."""
    return Stage()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a test opens is closed after it, last things first."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def serve_grpc(stage: Stage, stack: AsyncExitStack) -> Callable[..., Awaitable[tuple[GrpcServer, str]]]:
    """Starts a gRPC server over a stage; (server, address)."""

    async def serve(
        over: Stage = stage, *, address: str = "127.0.0.1:0", tls: Tls | None = None, **times: float
    ) -> tuple[GrpcServer, str]:
        server = GrpcServer(over.board, over.metrics, over.clock, address, tls=tls, **times)
        port = await server.start()
        stack.push_async_callback(server.stop, 0, 0)
        return server, f"127.0.0.1:{port}"

    return serve


@pytest.fixture
async def grpc_address(serve_grpc: Any) -> str:
    """Address of a gRPC server over the stage."""
    _, address = await serve_grpc()
    return str(address)


@pytest.fixture
def trigger_at(stack: AsyncExitStack) -> Callable[..., KedaTrigger]:
    """Opens KEDA's side of a trigger; metadata as keywords, workerClass io without any."""

    def connect(target: str | grpc.aio.Channel, **metadata: str) -> KedaTrigger:
        given = {"scalerAddress": "celery-scaler:9090", **(metadata or {"workerClass": "io"})}
        trigger = KedaTrigger(target, "celery-io", "examx", given)
        stack.push_async_callback(trigger.close)
        return trigger

    return connect


@pytest.fixture
def secret(certificates: TlsDirectory, tmp_path: Path) -> SecretVolume:
    """A mounted Secret with the certificates of this run."""
    volume = SecretVolume(tmp_path / "secret")
    volume.swap(certificates)
    return volume


@pytest.fixture
def serve_tls(
    stage: Stage, secret: SecretVolume, serve_grpc: Any, stack: AsyncExitStack
) -> Callable[..., Awaitable[tuple[Tls, str]]]:
    """Starts a gRPC server with TLS over the stage that looks at the Secret all the time; (tls, address)."""

    async def serve(*client_names: str) -> tuple[Tls, str]:
        names = frozenset(client_names)
        tls = Tls(secret.files, stage.metrics, time.time, client_names=names, look_seconds=0.02)
        following = asyncio.create_task(tls.follow())
        stack.callback(following.cancel)
        _, address = await serve_grpc(tls=tls)
        return tls, address

    return serve


@pytest.fixture
def trigger(grpc_address: str, trigger_at: Callable[..., KedaTrigger]) -> KedaTrigger:
    """A trigger of class io at the server over the stage."""
    return trigger_at(grpc_address)


@pytest.fixture
async def http_server(stage: Stage, stack: AsyncExitStack) -> tuple[HttpServer, str]:
    """An HTTP server over the stage, and its URL."""
    server = HttpServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0")
    port = await server.start()
    stack.push_async_callback(server.stop)
    return server, f"http://127.0.0.1:{port}"


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Result]:
    """Runs `celery-scaler serve` with a good policy and these options; all of them end at once."""

    def run(**options: str | Path) -> Result:
        policy = tmp_path / "policy.yaml"
        policy.write_text(POLICY)
        given = [
            part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))
        ]
        doors = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
        return CliRunner().invoke(
            app, ["serve", "--policies", str(policy), *doors, *given], env={"COLUMNS": "200"}
        )

    return run
