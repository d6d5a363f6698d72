"""Builders and strategies that the core's tests share."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy

#: `make test` plays 1,000 examples of each property, `make test-deep` 10,000.
settings.register_profile(
    "thorough", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("thorough"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))


@pytest.fixture(scope="session")
def io_class() -> Callable[..., WorkerClass]:
    """The io class of the ExamX policy; keyword arguments replace fields (camelCase)."""

    def build(**changes: Any) -> WorkerClass:
        fields: dict[str, Any] = {
            "queues": ["email", "api_calls", "file_uploads"],
            "pool": "gevent",
            "concurrency": 200,
            "acksLate": True,
            "prefetchMultiplier": 1,
            "serviceTime": "1.5s",
            "startupTime": "45s",
            "objective": {"wait": "30s", "serviceLevel": 0.99, "utilization": 0.85},
            "replicas": {"min": 1, "max": 5},
            "behavior": {
                "scaleUp": {
                    "policies": [
                        {"type": "Pods", "value": 3, "periodSeconds": 60},
                        {"type": "Percent", "value": 100, "periodSeconds": 120},
                    ]
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 900,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}],
                },
            },
        }
        return WorkerClass("examx", "io", WorkerPolicy.model_validate_json(json.dumps(fields | changes)))

    return build
