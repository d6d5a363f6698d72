"""Poisson noise on a constant load keeps no pods: desired and needed in a closed loop."""

import json
from statistics import fmean

import pytest

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

#: Slots per pod, runtime in s, objective in s, busy slots that the constant load needs, pods that carry it.
CASES = [
    (200, "1.5s", "30s", 60, 1),
    (200, "1.5s", "30s", 150, 1),
    (200, "12s", "60s", 320, 2),
    (16, "4s", "120s", 12, 1),
    (16, "4s", "120s", 38, 3),
    (4, "18s", "600s", 3, 1),
    (4, "18s", "600s", 6, 2),
    (10, "1.5s", "30s", 80, 10),
]


def desired(case: tuple[int, str, str, int, int]) -> list[int]:
    """Desired pods at each decision of 40 min, after 20 to settle: what the start orders stays a window."""
    slots, runtime, wait, busy, start = case
    fields = {
        "queues": ["q"],
        "concurrency": slots,
        "acksLate": True,
        "prefetchMultiplier": 1,
        "serviceTime": runtime,
        "objective": {"wait": wait},
        "replicas": {"min": 1, "max": 30},
        "behavior": {
            "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
            "scaleDown": {
                "stabilizationWindowSeconds": 900,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}],
            },
        },
    }
    worker = WorkerPolicy.model_validate_json(json.dumps(fields))
    spec = {
        "workerClass": "q",
        "duration": "60m",
        "seed": 5,
        "arrivals": [{"at": "0s", "rate": busy / float(runtime[:-1])}],
        "serviceTime": [{"at": "0s", "mean": runtime, "cv": 1.0}],
        "startupTime": "45s",
        "pods": {"start": start},
    }
    trace = Trace.model_validate_json(
        json.dumps({"apiVersion": "scaler/v1", "kind": "Trace", "metadata": {"name": "noise"}, "spec": spec})
    )
    report = simulate(trace, WorkerClass("noise", "q", worker), CONTROLLERS["scaler"])
    assert report.waits.late <= 0.01 * report.offered, "the objective of 99 % comes first"
    return [point.desired for point in report.points if point.t >= 1500]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_load_keeps_no_more_pods_than_it_needs(case: tuple[int, str, str, int, int]) -> None:
    """One more clears the queue that patience has let grow; on the average it isn't there."""
    needed = case[-1]
    pods = desired(case)
    assert fmean(pods) <= needed
    assert max(pods) <= needed + 1
