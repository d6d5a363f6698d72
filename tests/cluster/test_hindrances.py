"""Why the cluster won't do what is decided: every reason with its remedy, and none without need."""

import json
from dataclasses import replace
from typing import Any

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.explain import explain
from scaler.core.observation import Observation, QueueReading
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState
from scaler.core.workload import Autoscaler, Condition, KedaObject, Pods, Workload, hindrances, with_workload

NOW = 1_800_000_000.0
WORKER = WorkerPolicy.model_validate_json(
    json.dumps(
        {
            "queues": ["email"],
            "concurrency": 10,
            "acksLate": True,
            "serviceTime": "10s",
            "replicas": {"min": 1, "max": 5},
            "scaleTarget": {"name": "io"},
        }
    )
)
SOUND = Workload(
    target="Deployment celery/io",
    at=NOW,
    replicas=2,
    pods=Pods(ready=1, starting=1),
    scaled_object=KedaObject("io-so", min=1, max=5, conditions=(Condition("Ready", "True"),)),
    autoscaler=Autoscaler("io-hpa", 1, 5, 2, 2, (Condition("ScalingActive", "True", "ValidMetricFound"),)),
)


def found(scaled: dict[str, Any] | None = None, *conditions: Condition, **changes: Any) -> list[str]:
    workload = SOUND
    if scaled and workload.scaled_object:
        workload = replace(workload, scaled_object=replace(workload.scaled_object, **scaled))
    if conditions and workload.autoscaler:
        workload = replace(workload, autoscaler=replace(workload.autoscaler, conditions=conditions))
    return list(hindrances(WORKER, replace(workload, **changes)))


def test_a_sound_cluster_hinders_nothing_and_neither_does_none() -> None:
    assert found() == []
    assert list(hindrances(WORKER, Workload())) == []


@pytest.mark.parametrize(
    ("scaled", "text"),
    [
        ({"paused": True}, "is paused, the replicas stay as they are; remove its annotation"),
        ({"paused": True, "paused_replicas": 0}, "is paused at 0 replicas; remove its annotation"),
        ({"paused_in": True}, "takes no replicas away; remove its annotation"),
        ({"paused_out": True}, "adds no replicas; remove its annotation"),
        ({"max": 3}, "allows 3 replicas, the policy 5; write maxReplicaCount: 5"),
        ({"min": 2}, "keeps 2 replicas, the policy's min is 1; write minReplicaCount: 1"),
        (
            {"conditions": (Condition("Ready", "False", "TriggerError", "no\n scaler"),)},
            "TriggerError: no scaler",
        ),
        ({"conditions": (Condition("Fallback", "True", "FallbackExists"),)}, "uses its fallback"),
    ],
)
def test_each_hindrance_of_keda_is_named(scaled: dict[str, Any], text: str) -> None:
    (hindrance,) = found(scaled)
    assert hindrance.startswith("ScaledObject io-so ")
    assert text in hindrance


def test_a_broken_hpa_is_named_with_its_own_words() -> None:
    broken = Condition("ScalingActive", "False", "FailedGetExternalMetric", "unable to get external metric")
    stuck = Condition("AbleToScale", "False", "FailedGetScale", "x" * 500)
    first, second = found(None, broken, stuck)
    assert first == (
        "HPA io-hpa: ScalingActive is False: FailedGetExternalMetric: unable to get external metric"
    )
    assert len(second) < 250


def test_an_hpa_at_rest_at_zero_is_not_broken() -> None:
    resting = Condition("ScalingActive", "False", "ScalingDisabled", "scaling is disabled at 0 replicas")
    assert found(None, resting, replicas=0) == []
    assert found(None, resting, replicas=1) != []


def test_hindrances_are_shown_and_change_nothing() -> None:
    queue = QueueReading("email", ready=400, unacked=10, eta_held=0, consumers=1)
    subject, observation = WorkerClass("examx", "io", WORKER), Observation(NOW, (queue,))
    paused = replace(SOUND, scaled_object=KedaObject("io-so", paused=True, paused_replicas=2, max=5))
    free_state, free = decide(subject, WorkerState(), with_workload(observation, WORKER, SOUND), NOW)
    held_state, held = decide(subject, WorkerState(), with_workload(observation, WORKER, paused), NOW)

    assert free_state == held_state
    assert (free.desired, free.limit, free.terms) == (held.desired, held.limit, held.terms)
    assert (free.previous, free.hindrances) == (2, ()), "it starts from the replicas of the cluster"
    lines = explain(held, NOW, (1, 5))
    assert "  cluster: 2 replicas asked for; pods: 1 ready, 1 starting" in lines
    (line,) = [line for line in lines if "paused" in line]
    assert line == (
        "  cluster: ScaledObject io-so is paused at 2 replicas; remove its annotation"
        " autoscaling.keda.sh/paused-replicas"
    )
