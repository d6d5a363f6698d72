"""A small worker class whose arithmetic can be done by hand, and fewer examples than the core's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from scaler.core.policy import WorkerPolicy

Build = Callable[..., WorkerPolicy]


@pytest.fixture(scope="session")
def build() -> Build:
    """10 slots per pod, 1 s per task: 10 tasks/s per pod; keyword arguments replace fields (camelCase)."""

    def make(**changes: Any) -> WorkerPolicy:
        fields: dict[str, Any] = {
            "queues": ["q"],
            "concurrency": 10,
            "acksLate": True,
            "prefetchMultiplier": 1,
            "serviceTime": "1s",
            "startupTime": "39s",  # with the reaction of 21 s: a lead of a minute
            "objective": {"wait": "30s", "serviceLevel": 0.99, "utilization": 0.8},
            "replicas": {"min": 1, "max": 4},
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
            "limits": {"maxLength": 100, "overflow": "reject-publish"},
        }
        return WorkerPolicy.model_validate_json(json.dumps(fields | changes))

    return make
