"""The deciding loop with a cluster beside the broker: what it takes from there, and what stays as it was."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.api.workers import all_workers
from scaler.cluster.base import ClusterReader, NoCluster
from scaler.core.policy import ScalingPolicy
from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Workload
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until


def policy(**changes: Any) -> ScalingPolicy:
    """Class io, 1 to 9 replicas of Deployment io."""
    worker = {
        "scaleTarget": {"name": "io"},
        "queues": ["email"],
        "concurrency": 10,
        "acksLate": True,
        "serviceTime": "10s",
        "replicas": {"min": 1, "max": 9},
    }
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "examx"},
        "spec": {"brokers": {"main": {"url": "amqp://one"}}, "workers": {"io": worker | changes}},
    }
    return ScalingPolicy.model_validate_json(json.dumps(document))


@dataclass
class Service:
    """An engine on a broker in memory and some cluster."""

    cluster: ClusterReader
    board: Board = field(default_factory=Board)
    source: MemorySource = field(default_factory=MemorySource)

    @asynccontextmanager
    async def running(self, loaded: ScalingPolicy) -> AsyncIterator[Engine]:
        engine = Engine(
            board=self.board,
            clock=time.time,
            metrics=Metrics(),
            store=MemoryStore(),
            open_source=lambda _: self.source,
            cluster=self.cluster,
            interval=0.05,
        )
        await engine.apply({"examx": loaded})
        task = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await engine.close()

    @property
    def decision(self) -> Any:
        return self.board.snapshot.decisions.get(("examx", "io"))

    @property
    def document(self) -> dict[str, Any]:
        """As /api/v1/workers shows it."""
        (document,) = all_workers(self.board.snapshot, time.time())
        return document


@pytest.fixture
def service(cluster: Any) -> Service:
    return Service(cluster.reader)


async def test_without_history_it_starts_from_the_replicas_of_the_cluster(cluster: Any, service: Any) -> None:
    cluster.put("deployments", "io", 7)
    cluster.api.faults.delay = 0.3
    async with service.running(policy()):
        await wait_until(lambda: service.decision, description="a decision")
        assert service.decision.previous == service.decision.desired == 7, "and took none away"
        assert service.decision.replicas_seen == 7


async def test_a_cluster_that_does_not_answer_holds_nothing_up_for_long(
    cluster: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.runtime.lookout.FIRST_SIGHT_SECONDS", 0.3)
    cluster.api.faults.delay = 30.0
    async with service.running(policy()):
        await wait_until(lambda: service.decision, timeout=5, description="a decision all the same")
        assert service.decision.desired == 1
        assert service.decision.replicas_seen is None


async def test_busy_pods_ask_for_more_of_them(cluster: Any, service: Any) -> None:
    for number in (1, 2):
        times = {"created": cluster.ago(900), "ready_at": cluster.ago(880)}
        pod = cluster.put("pods", "io", number, requests={"cpu": "1", "memory": "1Gi"}, **times)
        cluster.put("usages", pod["metadata"]["name"], cluster.ago(2), "1400m", "200Mi")
    async with service.running(policy(resources={"cpu": 70, "memory": 70})):
        await wait_until(
            lambda: service.decision and service.decision.winner == "resources", description="the term wins"
        )
        assert service.decision.recommendation == 4, "2 pods at 140 %, 70 % is wanted"
        await wait_until(lambda: service.decision.desired == 4, description="it is decided")
        assert service.document["cluster"]["utilization"]["cpu"] == 1.4


async def test_a_pause_is_shown_and_the_decision_goes_on(cluster: Any, service: Any) -> None:
    note = {"autoscaling.keda.sh/paused-replicas": "2"}
    cluster.put("scaledobjects", "io", annotations=note, maxReplicaCount=9)
    cluster.put(
        "horizontalpodautoscalers", "io", ScalingActive=("False", "FailedGetExternalMetric", "no answer")
    )
    async with service.running(policy()):
        await wait_until(
            lambda: service.decision and len(service.decision.hindrances) == 2, description="both are seen"
        )
        service.source.publish("email", 500)
        await wait_until(lambda: service.decision.desired > 2, description="the load is decided upon")
        document = service.document
    assert document["hindrances"] == document["cluster"]["hindrances"]
    assert "paused at 2 replicas" in document["hindrances"][0]
    assert "ScalingActive is False: FailedGetExternalMetric" in document["hindrances"][1]
    assert any("paused at 2 replicas" in line for line in document["why"])
    assert document["cluster"]["scaledObject"]["pausedReplicas"] == 2
    assert document["cluster"]["replicas"] == 2


async def test_what_is_missing_is_said_beside_the_decision(cluster: Any, service: Any) -> None:
    cluster.api.faults.forbidden = {("list", "pods")}
    async with service.running(policy()):
        await wait_until(lambda: service.decision and service.decision.gaps, description="the gap is seen")
        assert "grant list and watch on pods" in service.decision.gaps[0]
        assert list(service.decision.gaps) == service.document["cluster"]["missing"]
        assert service.document["cluster"]["pods"] is None


async def test_without_a_cluster_all_works_and_the_page_says_what_is_missing() -> None:
    service = Service(NoCluster("no cluster is read: --kubernetes is off"))
    async with service.running(policy(resources={"cpu": 70})):
        service.source.publish("email", 500)
        await wait_until(lambda: service.decision and service.decision.desired > 1, description="it scales")
        assert service.decision.gaps == ()
        assert service.document["cluster"]["missing"] == ["no cluster is read: --kubernetes is off"]
        assert service.document["cluster"]["replicas"] is None


class Broken(NoCluster):
    """A reader that some odd object breaks."""

    def workload(self, target: ScaleTarget | None, now: float) -> Workload:
        raise ZeroDivisionError(target, now)


async def test_a_reader_that_fails_stops_no_decision() -> None:
    service = Service(Broken("broken"))
    async with service.running(policy()):
        service.source.publish("email", 500)
        await wait_until(lambda: service.decision and service.decision.desired > 1, description="it scales")
        assert "an error of this service" in service.decision.gaps[0]


async def test_a_reload_follows_the_new_target(cluster: Any, service: Any) -> None:
    cluster.put("deployments", "new", 6)
    async with service.running(policy()) as engine:
        await wait_until(
            lambda: service.decision and service.decision.replicas_seen == 2, description="the old"
        )
        await engine.apply({"examx": policy(scaleTarget={"name": "new"})})
        await wait_until(lambda: service.decision.replicas_seen == 6, description="the new one")
        assert service.document["cluster"]["target"] == "Deployment celery/new"
