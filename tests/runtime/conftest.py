"""An engine on brokers in memory, with a clock that the test turns."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.core.policy import Broker, ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore, StateStore
from scaler.sources.memory import MemorySource

MakePolicy = Callable[..., ScalingPolicy]


@pytest.fixture(scope="session")
def make_policy() -> MakePolicy:
    """A policy with one class per keyword argument: its queues."""

    def build(
        name: str = "examx", *, broker: str = "amqp://one", changes: Any = None, **queues: list[str]
    ) -> ScalingPolicy:
        workers = {
            worker_class: {
                "queues": names,
                "concurrency": 10,
                "acksLate": True,
                "serviceTime": "10s",
                "replicas": {"min": 1, "max": 5},
            }
            | (changes or {})
            for worker_class, names in queues.items()
        }
        spec = {"brokers": {"main": {"url": broker}}, "workers": workers}
        document = {
            "apiVersion": "scaler/v1",
            "kind": "ScalingPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        return ScalingPolicy.model_validate_json(json.dumps(document))

    return build


@dataclass
class Bench:
    """The engine under test and all that it touches."""

    store: StateStore = field(default_factory=MemoryStore)
    now: float = 1_800_000_000.0
    board: Board = field(default_factory=Board)
    metrics: Metrics = field(default_factory=Metrics)
    sources: dict[str, MemorySource] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(
            board=self.board,
            clock=lambda: self.now,
            metrics=self.metrics,
            store=self.store,
            open_source=self.open_source,
            interval=0.05,
        )

    def open_source(self, broker: Broker) -> MemorySource:
        url = broker.url.get_secret_value() if broker.url else ""
        self.opened.append(url)
        return self.sources.setdefault(url, MemorySource())

    def desired(self, worker_class: str = "io", policy: str = "examx") -> int | None:
        decision = self.board.snapshot.decisions.get((policy, worker_class))
        return decision.desired if decision else None

    def quality(self, worker_class: str = "io", policy: str = "examx") -> str | None:
        decision = self.board.snapshot.decisions.get((policy, worker_class))
        return decision.quality if decision else None

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == name
        }


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A bench whose engine is closed at the end."""
    made = Bench()
    yield made
    await made.engine.close()
