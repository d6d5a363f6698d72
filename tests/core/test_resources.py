"""CPU and memory: the HPA's formula, and never a reason for fewer pods."""

import json

import pytest

from scaler.core.observation import Utilization
from scaler.core.policy import WorkerPolicy
from scaler.core.resources import resources

NOW = 1_800_000_000.0


def worker(pool: str = "prefork", **targets: int) -> WorkerPolicy:
    fields = {
        "queues": ["q"],
        "pool": pool,
        "concurrency": 4,
        "serviceTime": "1s",
        "replicas": {"max": 9},
        "resources": targets,
    }
    return WorkerPolicy.model_validate_json(json.dumps(fields))


def seen(
    cpu: float | None = None, memory: float | None = None, *, pods: int = 3, age: float = 5
) -> Utilization:
    return Utilization(NOW - age, pods, cpu, memory)


def test_three_pods_at_140_percent_of_a_target_of_70_need_six() -> None:
    term = resources(worker(cpu=70), seen(1.4), pods=3, waiting=0, now=NOW)
    assert term.replicas == pytest.approx(6.0)
    assert "cpu 140%" in term.formula


@pytest.mark.parametrize("usage", [0.64, 0.70, 0.76])
def test_within_ten_percent_the_pods_are_right(usage: float) -> None:
    assert resources(worker(cpu=70), seen(usage), pods=3, waiting=0, now=NOW).replicas == 3


def test_the_busier_resource_decides() -> None:
    term = resources(worker(cpu=50, memory=70), seen(0.5, 1.05), pods=2, waiting=0, now=NOW)
    assert term.replicas == pytest.approx(4.5)
    assert "memory" in term.formula


def test_pods_without_a_measurement_count_as_idle_on_the_way_up() -> None:
    """2 of 4 pods at 105 % of 70 %: 2 × 1.5 ÷ 4 is below 1, so four are right; at 210 % it isn't."""
    assert resources(worker(cpu=70), seen(1.05, pods=2), pods=4, waiting=0, now=NOW).replicas == 4
    more = resources(worker(cpu=70), seen(2.1, pods=2), pods=4, waiting=0, now=NOW)
    assert more.replicas == pytest.approx(6)


@pytest.mark.parametrize(
    ("policy", "utilization", "because"),
    [
        (worker(), seen(2.0), "no cpu or memory target"),
        (worker(cpu=70), None, "no utilization is read"),
        (worker(cpu=70), seen(2.0, age=61), "61 s old"),
        (worker(cpu=70), seen(memory=2.0), "no pod's utilization"),
        (worker(cpu=70), seen(2.0, pods=0), "no pod's utilization"),
        (worker("gevent", cpu=50), seen(2.0), "nothing waits"),
    ],
)
def test_what_is_unknown_or_means_nothing_asks_for_nothing(
    policy: WorkerPolicy, utilization: Utilization | None, because: str
) -> None:
    term = resources(policy, utilization, pods=3, waiting=0, now=NOW)
    assert term.replicas is None
    assert because in term.formula


def test_io_pods_count_once_something_waits() -> None:
    assert resources(worker("gevent", cpu=50), seen(1.0), pods=3, waiting=1, now=NOW).replicas == 6
