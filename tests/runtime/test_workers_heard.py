"""What Celery's workers say of themselves, on its way into the decisions, the API and the metrics."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scaler.api.readings import broker_documents
from scaler.api.workers import worker_document
from scaler.core.observation import BrokerSample, QueueReading, WorkerReport
from scaler.core.policy import Broker, ScalingPolicy, WorkerPolicy
from scaler.core.policy.priorities import names_by_step, number_on
from scaler.runtime.board import Board
from scaler.runtime.clock import Clock
from scaler.runtime.engine import Engine
from scaler.runtime.hostnames import Heard, patterns
from scaler.runtime.metrics import Metrics
from scaler.runtime.sampling import Reading, observe
from scaler.runtime.store import MemoryStore
from scaler.runtime.tasks import TaskCounts
from scaler.sources.memory import MemorySource

T0 = 1_800_000_000.0
MakePolicy = Callable[..., ScalingPolicy]


def report(hostname: str, **changes: Any) -> WorkerReport:
    return replace(WorkerReport(hostname, T0, 2.0, T0, active=1, processed=5, counted_at=T0), **changes)


class Receiver:
    """Stands for the event stream."""

    def __init__(self) -> None:
        self.problem = ""
        self.heard: tuple[WorkerReport, ...] = ()

    async def run(self) -> None:
        return

    def reports(self, now: float) -> tuple[WorkerReport, ...]:
        del now
        return self.heard


class Bench:
    def __init__(self, policy: ScalingPolicy) -> None:
        self.now, self.board, self.metrics = T0, Board(), Metrics()
        self.source, self.receiver = MemorySource(), Receiver()
        self.policy = policy
        self.engine = Engine(
            board=self.board,
            clock=lambda: self.now,
            metrics=self.metrics,
            store=MemoryStore(),
            open_source=lambda broker: self.source,
            open_receiver=lambda broker, clock: self.receiver,
            interval=3600,
        )

    def heard(self) -> list[str] | None:
        """Hostnames that the class's last decision knew of."""
        workers = self.board.snapshot.observations["examx", "io"].workers
        return None if workers is None else [report.hostname for report in workers]

    async def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        await self.engine.sampler_of(("examx", "io")).sweep()
        await self.engine.turn()

    def broker(self) -> dict[str, Any]:
        (document,) = broker_documents(self.board.snapshot)
        return document


def test_workers_belong_to_a_class_by_the_names_that_pods_and_teams_give(make_policy: MakePolicy) -> None:
    worker = make_policy(io=["email"]).spec.workers["io"]
    target = WorkerPolicy.model_validate_json(
        json.dumps(
            {
                "scaleTarget": {"name": "celery-io-worker"},
                "queues": ["email"],
                "concurrency": 1,
                "serviceTime": "1s",
                "replicas": {"max": 2},
            }
        )
    )
    heard = [
        report(name)
        for name in (
            "celery@celery-io-worker-7d9-abcde",
            "io@pod",
            "io-2@pod",
            "celery@other",
            "celery@celery-io-worker-high-7d9-abcde",
            "io-bulk@pod",
        )
    ]
    assert [r.hostname for r in Heard(heard).of(patterns("io", target))] == [
        "celery@celery-io-worker-7d9-abcde",
        "io@pod",
        "io-2@pod",
    ]
    assert [r.hostname for r in Heard(heard).of(patterns("io", worker))] == ["io@pod", "io-2@pod"]
    own = worker.model_copy(update={"hostnames": ("*@other",)})
    assert [r.hostname for r in Heard(heard).of(patterns("io", own))] == ["celery@other"]


async def test_heartbeats_are_trusted_only_after_all_had_the_time_to_come(make_policy: MakePolicy) -> None:
    bench = Bench(make_policy(io=["email"]))
    await bench.engine.apply({"examx": bench.policy})
    bench.receiver.heard = (report("io@a"), report("celery@stranger"))
    await bench.tick()
    assert bench.heard() is None
    await bench.tick(8)
    assert bench.heard() == ["io@a"]
    assert bench.broker()["workersOfNoClass"] == ["celery@stranger"]
    bench.receiver.problem = "worker events aren't received: the exchange celeryev doesn't exist yet"
    await bench.tick()
    assert bench.heard() is None
    assert bench.receiver.problem in bench.broker()["gaps"]
    bench.receiver.problem = ""
    await bench.tick()
    assert bench.broker()["events"] == "not received", "it is deaf for 8 s after an interruption"
    await bench.engine.close()


async def test_a_silent_half_of_the_workers_holds_the_decision(make_policy: MakePolicy) -> None:
    bench = Bench(make_policy(io=["email"]))
    await bench.engine.apply({"examx": bench.policy})
    bench.receiver.heard = (report("io@a", heard_at=T0 + 30), report("io@b", heard_at=T0 + 1))
    bench.source.set_consumers("email", 2)
    await bench.tick(29)
    decision = bench.board.snapshot.decisions["examx", "io"]
    assert decision.quality == "hold"
    assert "1 of 2 workers are silent (io@b)" in decision.quality_reasons[0]
    bench.source.set_consumers("email", 1)
    await bench.tick()
    decision = bench.board.snapshot.decisions["examx", "io"]
    assert decision.quality == "fresh", "the broker knows of no second worker: it is gone, not frozen"
    await bench.engine.close()


async def test_the_documents_tell_queues_priorities_and_paths(make_policy: MakePolicy) -> None:
    policy = make_policy(io=["email"], broker="redis://one")
    spec = policy.spec.model_copy(update={"priorities": {"critical": 9, "bulk": 4}})
    bench = Bench(policy.model_copy(update={"spec": spec}))
    await bench.engine.apply({"examx": bench.policy})
    bench.source.publish("email", 3, priority=0)
    bench.source.publish("email", 2, priority=3)
    await bench.tick()
    document = worker_document(bench.board.snapshot, ("examx", "io"), bench.now)
    json.dumps(document, allow_nan=False)
    (queue,) = document["queues"]
    assert queue["ready"] == 5
    assert queue["byPriority"] == [
        {"brokerPriority": 0, "priorities": ["critical"], "ready": 3},
        {"brokerPriority": 3, "priorities": ["bulk"], "ready": 2},
    ]
    assert document["processes"] is None
    broker = bench.broker()
    json.dumps(broker, allow_nan=False)
    assert broker["up"]
    assert broker["queues"] == 1
    await bench.engine.close()


def test_one_mapping_turns_the_policys_priorities_into_each_brokers() -> None:
    assert [number_on("rabbitmq", level) for level in (9, 4, 0)] == [9, 4, 0]
    assert [number_on("redis", level) for level in (9, 4, 0)] == [0, 5, 9]
    named = names_by_step({"critical": 9, "auth": 8, "email": 6, "bulk": 4, "maintenance": 1}, (0, 3, 6, 9))
    assert named == {0: ("critical", "auth"), 3: ("email", "bulk"), 6: ("maintenance",), 9: ()}


def test_an_unreadable_queue_makes_only_its_own_class_stale(make_policy: MakePolicy) -> None:
    policy = make_policy(io=["email"], cpu=["reports"])
    sample = BrokerSample(T0, (QueueReading("reports", 4),), unreadable=(("email", "it is exclusive"),))
    io = observe("io", policy.spec.workers["io"], Reading(sample))
    assert io.sampled_at is None
    assert io.error == "queue email: it is exclusive"
    assert observe("cpu", policy.spec.workers["cpu"], Reading(sample)).ready == 4


def test_finished_tasks_are_counted_once_whatever_comes_and_goes() -> None:
    metrics = Metrics()
    counts = TaskCounts(metrics)
    key = ("examx", "io")

    def total(state: str) -> float:
        return (
            metrics.registry.get_sample_value(
                "celery_scaler_tasks_total", {"policy": "examx", "worker_class": "io", "state": state}
            )
            or 0.0
        )

    counts.count(key, [report("io@a", finished=100, failed=2)])
    assert total("succeeded") == 0, "what was done before this service listened is not counted"
    counts.count(key, [report("io@a", finished=110, failed=3, runtime=20.0)])
    assert (total("succeeded"), total("failed")) == (9, 1)
    counts.count(key, [])
    counts.count(key, [report("io@a", finished=130, failed=3)])
    assert total("succeeded") == 9
    counts.count(key, [report("io@a", finished=5, since=T0 + 60)])
    counts.count(key, [report("io@a", finished=6, since=T0 + 60)])
    assert total("succeeded") == 10


@pytest.mark.parametrize("events", [True, False])
async def test_a_policy_may_switch_the_listening_off(make_policy: MakePolicy, events: bool) -> None:
    policy = make_policy(io=["email"])
    broker = policy.spec.brokers["main"].model_copy(update={"events": events})
    spec = policy.spec.model_copy(update={"brokers": {"main": broker}})
    bench = Bench(policy)
    opened: list[Broker] = []

    def open_receiver(broker: Broker, clock: Clock) -> Receiver:
        del clock
        opened.append(broker)
        return bench.receiver

    bench.engine._brokers._open_receiver = open_receiver
    await bench.engine.apply({"examx": policy.model_copy(update={"spec": spec})})
    assert bool(opened) is events
    await bench.engine.close()
