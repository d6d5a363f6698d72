"""Which pods the HPA would measure, and what it would call their average (groupPods, GetResourceReplicas)."""

from typing import Any

import pytest

from scaler.cluster.objects import Pod, Usage
from scaler.cluster.pods import count, utilization
from scaler.core.observation import Utilization
from scaler.core.workload import Pods

NOW = 1_800_000_000.0


def pod(name: str = "a", **changes: Any) -> Pod:
    """Started 20 min ago, ready since; 1 core and 100 bytes requested."""
    fields: dict[str, Any] = {
        "name": name,
        "owner": ("Deployment", "io"),
        "phase": "Running",
        "leaving": False,
        "created": NOW - 1201,
        "started": NOW - 1200,
        "ready": True,
        "turned": NOW - 1190,
        "cpu": 1.0,
        "memory": 100.0,
    }
    return Pod(**fields | changes)


def usage(cpu: float | None = 0.5, memory: float | None = 50.0, *, ago: float = 10.0) -> Usage:
    return Usage(NOW - ago, 15.0, cpu, memory)


def test_the_average_is_usage_over_requests_of_all_pods_together() -> None:
    pods = [pod("a", cpu=1.0), pod("b", cpu=3.0)]
    measured, gaps = utilization(pods, {"a": usage(1.0), "b": usage(1.0, ago=30.0)}, NOW)
    assert measured == Utilization(NOW - 30.0, 2, cpu=0.5, memory=0.5)
    assert gaps == ()


YOUNG = {"started": NOW - 120, "created": NOW - 121}


@pytest.mark.parametrize(
    ("changes", "ago", "measured"),
    [
        ({}, 10, True),
        ({"leaving": True}, 10, False),
        ({"phase": "Pending"}, 10, False),
        ({"ready": None, "turned": None}, 10, False),
        ({"started": None}, 10, False),
        # Within 5 min of the start: ready, and a whole window (15 s) measured since.
        ({**YOUNG, "turned": NOW - 60}, 10, True),
        ({**YOUNG, "turned": NOW - 24}, 10, False),
        ({**YOUNG, "turned": NOW - 25}, 10, True),
        ({**YOUNG, "ready": False, "turned": NOW - 60}, 10, False),
        # Later: an unready pod counts if it has ever been ready, that is if it turned after 30 s.
        ({"ready": False, "turned": NOW - 1171}, 10, False),
        ({"ready": False, "turned": NOW - 1169}, 10, True),
    ],
)
def test_which_pods_are_measured(changes: dict[str, Any], ago: float, measured: bool) -> None:
    pods = [pod("steady"), pod("this", **changes)]
    found, _ = utilization(pods, {"steady": usage(), "this": usage(0.9, ago=ago)}, NOW)
    assert found is not None
    assert found.pods == (2 if measured else 1)
    assert found.cpu == pytest.approx(0.7 if measured else 0.5)


def test_a_pod_without_metrics_is_not_measured_and_none_at_all_is_unknown() -> None:
    found, _ = utilization([pod("a"), pod("b")], {"b": usage()}, NOW)
    assert found is not None
    assert found.pods == 1
    assert utilization([pod("a")], {}, NOW) == (None, ())
    assert utilization([], {"a": usage()}, NOW) == (None, ())


def test_a_container_without_a_request_makes_that_resource_unknown() -> None:
    found, gaps = utilization([pod("a"), pod("b", cpu=None)], {"a": usage(), "b": usage()}, NOW)
    assert found == Utilization(NOW - 10.0, 2, cpu=None, memory=0.5)
    assert gaps == ("cpu of the pods: a container has no cpu request; set one on each",)


def test_every_pod_counts_once() -> None:
    never: dict[str, Any] = {"ready": False, "turned": NOW - 1200}
    fallen = never | {"turned": NOW - 100}
    pods = [
        pod(),
        pod(leaving=True),
        pod(**never, created=NOW - 1300),
        pod(phase="Pending", ready=None, turned=None, started=None, created=NOW - 20),
        pod(**fallen),
    ]
    assert count(pods) == Pods(ready=1, starting=2, unready=1, leaving=1, starting_since=NOW - 1300)
    assert count([]) == Pods()
