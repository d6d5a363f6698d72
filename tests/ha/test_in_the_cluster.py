"""Two engines that share their decisions through the API server, in real time, clocks 5 s apart."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scaler.cluster.access import Access, Mode, find_access
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import open_store
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig
from scaler.testing.servers import free_port

KEY = ("examx", "io")
#: Nobody listens there: decisions are blind, and are written all the same.
POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: examx}
spec:
  brokers: {main: {url: "redis://127.0.0.1:1/0"}}
  workers: {io: {queues: [email], concurrency: 10, serviceTime: 10s, replicas: {min: 1, max: 5}}}
"""


class Service:
    """An engine that runs, and may be stopped as by SIGKILL."""

    def __init__(self, access: Access, source: MemorySource, name: str, ahead: float) -> None:
        self.board, self.metrics, self.ahead = Board(), Metrics(), ahead
        self.engine = Engine(
            board=self.board,
            clock=lambda: time.time() + ahead,
            metrics=self.metrics,
            store=open_store("kubernetes", access),
            open_source=lambda _: source,
            interval=0.5,
            identity=name,
        )
        self.task: asyncio.Task[None] | None = None

    async def start(self, policy: ScalingPolicy) -> None:
        await self.engine.apply({"examx": policy})
        self.task = asyncio.create_task(self.engine.run())

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    @property
    def leads(self) -> bool:
        return self.engine.leadership.election.leads()

    @property
    def desired(self) -> int | None:
        snapshot = self.board.snapshot
        decision = snapshot.decisions.get(KEY)
        if decision is None or snapshot.age(decision, time.time() + self.ahead) > 15:
            return None
        return decision.desired

    @property
    def id(self) -> str:
        return self.board.snapshot.decisions[KEY].id


@pytest.fixture
async def pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: ScalingPolicy
) -> AsyncIterator[tuple[KubernetesApi, MemorySource, Service, Service]]:
    """The API server, the broker, the leader and the follower."""
    api, source = KubernetesApi(), MemorySource()
    (tmp_path / "token").write_text("t")
    async with api.serving() as url:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", url, tmp_path / "token")))
        access = find_access(Mode.KUBECONFIG)
        one, two = Service(access, source, "one", 5.0), Service(access, source, "two", 0.0)
        try:
            await one.start(policy)
            await wait_until(lambda: one.leads and one.desired, timeout=5, description="one leads")
            await two.start(policy)
            await wait_until(lambda: two.desired, timeout=5, description="two follows")
            yield api, source, one, two
        finally:
            for service in (one, two):
                await service.kill()
                await service.engine.close()
            await access.close()


async def test_both_answer_the_same_and_ask_the_api_server_seldom(pair: Any) -> None:
    api, source, one, two = pair
    source.publish("email", 2000)
    await wait_until(lambda: one.desired == 3 and two.desired == 3, timeout=6, description="both say 3")
    assert one.id == two.id
    await wait_until(
        lambda: one.board.snapshot.decisions[KEY].quality == "fresh", timeout=5, description="quiet"
    )
    api.requests.clear()
    began = time.monotonic()
    await asyncio.sleep(6.0)  # a rate over real seconds
    seconds = time.monotonic() - began
    per_second = {verb: count / seconds for verb, count in api.requests.items()}
    assert per_second["patch", "leases"] <= 0.8
    assert per_second["patch", "configmaps"] <= 1.2
    assert sum(per_second.values()) < 6, per_second
    lease = api.store.get(("coordination.k8s.io/v1", "leases"), ("celery", "celery-scaler"))
    assert lease["spec"]["holderIdentity"] == "one"


async def test_a_dead_leader_is_replaced_without_a_gap(pair: Any) -> None:
    _, source, one, two = pair
    source.publish("email", 2000)
    await wait_until(lambda: two.desired == 3, timeout=6, description="both say 3")
    await one.kill()
    killed = time.monotonic()
    while not (two.leads and two.board.snapshot.own):
        assert two.desired in {3, 5}
        assert time.monotonic() - killed < 15
        await asyncio.sleep(0.02)
    assert two.engine.leadership.known.record.term == 2


async def test_an_api_server_that_throttles_and_forgets_costs_nothing_but_time(pair: Any) -> None:
    api, source, one, two = pair
    source.publish("email", 2000)
    await wait_until(lambda: two.desired == 3, timeout=6, description="both say 3")
    api.faults.throttled = 12
    await wait_until(lambda: not api.faults.throttled, timeout=10, description="all refused")
    assert (one.desired, two.desired) == (3, 3)
    api.store.delete(("v1", "configmaps"), ("celery", "celery-scaler-decisions"))
    api.store.delete(("coordination.k8s.io/v1", "leases"), ("celery", "celery-scaler"))
    await wait_until(
        lambda: ("celery", "celery-scaler-decisions") in api.store.objects["v1", "configmaps"],
        timeout=12,
        description="written again",
    )
    await wait_until(lambda: one.leads != two.leads, timeout=12, description="one leads")
    assert one.desired is not None
    assert one.desired >= 3


async def test_a_missing_right_is_said_to_whoever_asks(pair: Any) -> None:
    api, _, one, _ = pair
    api.faults.forbidden = {("patch", "configmaps")}
    await wait_until(
        lambda: "no right to patch configmaps" in one.board.snapshot.held_because,
        timeout=8,
        description="the reason is shown",
    )
    assert "grant patch on configmaps" in json.dumps(one.engine.standing())


async def test_serve_keeps_its_state_in_the_cluster_and_gives_the_lease_back(tmp_path: Path) -> None:
    """The command itself, by a kubeconfig."""
    api, port = KubernetesApi(), free_port()
    (tmp_path / "token").write_text("t")
    (tmp_path / "examx.yaml").write_text(POLICY)
    async with api.serving() as url:
        config = kubeconfig(tmp_path / "config", url, tmp_path / "token", namespace="scaling")
        options = [
            "--policies",
            str(tmp_path / "examx.yaml"),
            "--grpc-address",
            "127.0.0.1:0",
            "--drain",
            "0",
        ]
        options += [
            "--http-address",
            f"127.0.0.1:{port}",
            "--state",
            "kubernetes",
            "--kubernetes",
            "kubeconfig",
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scaler", "serve", *options, env={**os.environ, "KUBECONFIG": str(config)}
        )
        try:
            name = ("scaling", "celery-scaler-decisions")
            await wait_until(
                lambda: name in api.store.objects.get(("v1", "configmaps"), {}),
                timeout=20,
                description="a record is written",
            )
            lease = api.store.get(("coordination.k8s.io/v1", "leases"), ("scaling", "celery-scaler"))["spec"]
            assert lease["holderIdentity"].startswith(socket.gethostname())
            assert lease["leaseTransitions"] == 1
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        lease = api.store.get(("coordination.k8s.io/v1", "leases"), ("scaling", "celery-scaler"))["spec"]
        assert "holderIdentity" not in lease
