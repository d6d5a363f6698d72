"""A scale-in from the load to the last pod: broker, heartbeats, decision, marks, a ReplicaSet controller."""

import asyncio
import contextlib
import json
import time
from datetime import datetime
from typing import Any

from scaler.cluster.deletion_costs import DeletionCosts
from scaler.cluster.objects import DELETION_COST
from scaler.core.observation import WorkerReport
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.draining import Draining
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until
from scaler.testing.kubernetes_objects import HASH

PODS = ("v1", "pods")
#: Neither the youngest nor the oldest.
IDLE = {4, 9}


def name(number: int) -> str:
    return f"io-{HASH}-{number:05}"


class Heartbeats:
    """12 workers with four slots; all but two have four tasks."""

    problem = ""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def reports(self, now: float) -> tuple[WorkerReport, ...]:
        return tuple(
            WorkerReport(
                f"celery@{name(n)}",
                now,
                2.0,
                now - 600,
                active=0 if n in IDLE else 4,
                processed=9,
                counted_at=now,
            )
            for n in range(12)
        )


def policy() -> ScalingPolicy:
    worker = {
        "scaleTarget": {"name": "io"},
        "queues": ["email"],
        "concurrency": 4,
        "acksLate": True,
        "prefetchMultiplier": 1,
        "serviceTime": "500ms",
        "objective": {"wait": "10m"},
        "replicas": {"min": 1, "max": 12},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "examx"},
        "spec": {"brokers": {"main": {"url": "amqp://one"}}, "workers": {"io": worker}},
    }
    return ScalingPolicy.model_validate_json(json.dumps(document))


class ReplicaSet:
    """Does what is decided, as KEDA, the HPA and the controller do together; which pods went, in order."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.gone: list[str] = []

    def follow(self, replicas: int) -> None:
        pods = list(self.api.store.objects[PODS].values())
        for pod in sorted(pods, key=self.order)[: max(0, len(pods) - replicas)]:
            self.api.store.delete(PODS, ("celery", pod["metadata"]["name"]))
            self.gone.append(pod["metadata"]["name"])

    def order(self, pod: dict[str, Any]) -> tuple[int, float]:
        metadata = pod["metadata"]
        cost = int(metadata.get("annotations", {}).get(DELETION_COST, "0"))
        return cost, -datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()


async def test_the_idle_two_of_twelve_go_and_no_pod_with_tasks(cluster: Any) -> None:
    for number in range(12):
        at = cluster.ago(3600 - 60 * number)
        cluster.put("pods", "io", number, created=at, ready_at=at)
    cluster.put("deployments", "io", 12)
    source, board, metrics = MemorySource(), Board(), Metrics()
    source.set_consumers("email", 12)
    source.publish("email", 40)
    source.deliver("email", 40)
    engine = Engine(
        board=board,
        clock=time.time,
        metrics=metrics,
        store=MemoryStore(),
        open_source=lambda _: source,
        open_receiver=lambda *_: Heartbeats(),
        cluster=cluster.reader,
        interval=0.2,
    )
    await engine.apply({"examx": policy()})
    costs = DeletionCosts(cluster.access.connection)
    marks = Draining(board, costs, cluster.reader, metrics, time.time, tell=lambda *_: None)
    tasks = [asyncio.create_task(engine.run()), asyncio.create_task(marks.run())]
    controller, limits = ReplicaSet(cluster.api), set()

    def stepped() -> bool:
        decision = board.snapshot.decisions.get(("examx", "io"))
        if decision is None:
            return False
        limits.add(decision.limit)
        controller.follow(decision.desired)
        return decision.desired == 10

    try:
        await wait_until(stepped, timeout=30, description="two replicas fewer")
        for _ in range(20):
            await board.next()
            stepped()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await engine.close()
    assert set(controller.gone) == {name(number) for number in IDLE}
    assert "draining" in limits, "it was announced"
