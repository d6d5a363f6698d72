"""Reports made by hand, so that what is written about them can be checked by eye."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaler.sim.report import Point, Report, Step, Waits
from scaler.simreport.runs import Run

POLICY = """
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  brokers: {main: {url: "amqp://127.0.0.1:5672//"}}
  workers:
    mail:
      queues: [mail]
      concurrency: 10
      acksLate: true
      prefetchMultiplier: 1
      serviceTime: 2s
      startupTime: 20s
      objective: {wait: 30s}
      replicas: {min: 1, max: 4}
      limits: {maxLength: 2000, overflow: reject-publish}
"""

TRACE = """
apiVersion: scaler/v1
kind: Trace
metadata: {name: campaign}
spec:
  workerClass: mail
  duration: 15m
  arrivals:
    - {at: 0s, rate: 2}
    - {at: 2m, rate: 12}
    - {at: 5m, rate: 2}
"""

#: 600 tasks, 6 of them late, 12 rejected; three points, five seconds apart.
REPORT = Report(
    trace="campaign",
    policy="shop",
    environment="",
    worker_class="mail",
    controller="scaler",
    seed=1,
    duration=15.0,
    objective=30.0,
    offered=600,
    completed=588,
    rejected=12,
    expired=0,
    killed=0,
    lost=0,
    unfinished=0,
    waits=Waits(p50=0.5, p95=12.25, p99=29.0, max=61.0, mean=2.0, late=6, objective=30.0),
    pod_minutes=20.5,
    scale_ups=2,
    scale_downs=1,
    max_backlog=140,
    points=(
        Point(0.0, 10, 5, 1.0, 0, 1, 1, 1, 1.0, "none"),
        Point(5.0, 140, 10, 61.0, 12, 3, 2, 1, 5.2, "scale-up-policy"),
        Point(10.0, 0, 2, 0.0, 12, 3, 3, 3, 0.4, "scale-down-window"),
    ),
    steps=(Step(5.0, 1, 3, "scale-up-policy", "drain", "drain: 140 tasks ÷ 30 s"),),
    queue_limit=2000,
)


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """A run of `REPORT` with changes; `late` and the waits may be given directly."""

    def make(label: str = "scaler", **changes: Any) -> Run:
        waits = {name: changes.pop(name) for name in ("late", "p50", "p95", "p99", "max") if name in changes}
        if waits:
            changes["waits"] = replace(REPORT.waits, **waits)
        return Run(label, replace(REPORT, **{"controller": label, **changes}))

    return make


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with policy.yaml and trace.yaml."""
    (tmp_path / "policy.yaml").write_text(POLICY, "utf-8")
    (tmp_path / "trace.yaml").write_text(TRACE, "utf-8")
    return tmp_path
