"""The alerts: Prometheus's own checker plays stories against them, and they name metrics that exist."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import load_policy
from scaler.runtime.metrics import Metrics

STORIES = Path(__file__).with_name("alerts.test.yaml")
POLICY = Path(__file__).parents[2] / "policies" / "examx.yaml"

Document = dict[str, Any]


@pytest.fixture(scope="session")
def groups(pick: Callable[..., Document]) -> list[Document]:
    found: list[Document] = pick("overlays/production", "PrometheusRule")["spec"]["groups"]
    return found


@pytest.fixture(scope="session")
def expressions(groups: list[Document]) -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_the_stories_end_as_they_should(groups: list[Document], promtool: str, tmp_path: Path) -> None:
    YAML().dump({"groups": groups}, tmp_path / "rules.yaml")
    shutil.copy(STORIES, tmp_path)
    program = str(Path(promtool).resolve())

    for words in (["check", "rules", "rules.yaml"], ["test", "rules", STORIES.name]):
        done = subprocess.run(
            [program, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_story(expressions: dict[str, str]) -> None:
    told = set()
    for story in YAML(typ="safe", pure=True).load(STORIES)["tests"]:
        told |= {each["alertname"] for each in story["alert_rule_test"] if each["exp_alerts"]}

    assert told == set(expressions)


def test_the_metrics_are_the_services(expressions: dict[str, str]) -> None:
    """With their labels: an alert on a label that nobody sets would never fire."""
    known = {metric.name: metric for metric in Metrics().registry.collect()}
    labels = {
        name: set(instrument._labelnames)
        for instrument in vars(Metrics()).values()
        if hasattr(instrument, "_labelnames")
        for name in [instrument._name]
    }
    used = 0
    for expression in expressions.values():
        for name, matchers in re.findall(r"(celery_scaler_\w+)(?:\{([^}]*)\})?", expression):
            base = name.removesuffix("_total")
            assert base in known, name
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[base], name
            used += 1
    assert used >= 10


def test_the_thresholds_are_the_policys(expressions: dict[str, str]) -> None:
    policy: ScalingPolicy = load_policy(POLICY.read_text(), file="examx.yaml", environment=None, env={})
    critical, warning = policy.spec.alerts.critical, policy.spec.alerts.warning

    def threshold(alert: str) -> float:
        return float(expressions[alert].rsplit(">", 1)[1])

    assert threshold("CeleryQueueNearlyFull") == critical.queue_depth
    assert threshold("CeleryTasksFail") == critical.failure_rate
    assert threshold("CeleryScalerRestless") == critical.scaling_events_per_hour
    assert threshold("CeleryQueueFilling") == warning.queue_depth
