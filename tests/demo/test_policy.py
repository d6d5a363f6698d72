"""The policy that the demo ships fits the demo's own parts."""

import importlib
from collections.abc import Mapping

import pytest

from scaler.core.demand import DRAIN_BOUNDS
from scaler.core.policy import ScalingPolicy, WorkerPolicy
from scaler.demo import names
from scaler.demo.pods import GRACE_SECONDS
from scaler.demo.run import WORKER_CLASS, worker_command
from scaler.demo.service import POLICY_FILE
from scaler.demo.story import BURST_SECONDS
from scaler.demo.traffic import SPREAD
from scaler.policyfile import load_directory_or_file

ENVIRONMENT = {names.BROKER_VARIABLE: "redis://127.0.0.1:1/0", names.POD_VARIABLE: "pod-1"}


@pytest.fixture(scope="module")
def worker() -> WorkerPolicy:
    policies: Mapping[str, ScalingPolicy] = load_directory_or_file(POLICY_FILE, None, ENVIRONMENT)
    return policies["demo"].spec.workers[WORKER_CLASS]


def test_the_workers_run_as_the_policy_says(worker: WorkerPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    app = importlib.import_module("scaler.demo.app").app
    assert app.conf.task_acks_late == worker.acks_late
    assert names.TASK in app.tasks

    command = worker_command(worker, "pod-1")
    for option in ("--pool=threads", "--concurrency=20", "--prefetch-multiplier=1", "--queues=email"):
        assert option in command


def test_no_task_outlasts_the_grace_of_its_pod(worker: WorkerPolicy) -> None:
    assert worker.service_time * SPREAD[1] < GRACE_SECONDS


def test_the_burst_needs_more_than_one_pod_and_less_than_all(worker: WorkerPolicy) -> None:
    drain_within = max(worker.objective.wait - worker.startup_time, DRAIN_BOUNDS[0])
    arrived = names.DEFAULT_TASKS - worker.concurrency / worker.service_time * BURST_SECONDS
    pods = arrived * worker.service_time / drain_within / worker.concurrency
    assert 3 < pods < 4, "four pods, with room for a machine that is slow to publish"
    assert worker.replicas.max == 5
