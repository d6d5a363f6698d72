"""Traces and worker classes for the simulator's tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy
from scaler.policyfile.loading import load_directory_or_file
from scaler.sim.trace import Trace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_trace() -> Callable[..., Trace]:
    def make(**spec: Any) -> Trace:
        body = {"workerClass": "io", "duration": "20m", **spec}
        text = {"apiVersion": "scaler/v1", "kind": "Trace", "metadata": {"name": "test"}, "spec": body}
        return Trace.model_validate_json(json.dumps(text))

    return make


@pytest.fixture
def make_class() -> Callable[..., WorkerClass]:
    def make(**worker: Any) -> WorkerClass:
        body = {
            "queues": ["email"],
            "concurrency": 4,
            "acksLate": True,
            "prefetchMultiplier": 1,
            "serviceTime": "5s",
            "replicas": {"min": 1, "max": 6},
            **worker,
        }
        return WorkerClass("test", "io", WorkerPolicy.model_validate_json(json.dumps(body)))

    return make


@pytest.fixture(scope="session")
def examx() -> Callable[[str], WorkerClass]:
    policy = load_directory_or_file(ROOT / "policies" / "examx.yaml", "production", {})["examx"]
    return lambda name: WorkerClass("examx", name, policy.spec.workers[name])


@pytest.fixture(scope="session")
def traces() -> Path:
    return ROOT / "loadtest" / "traces"
