"""What the cluster states of a class, as JSON."""

from dataclasses import asdict
from typing import Any

from pydantic.alias_generators import to_camel

from scaler.core.workload import Workload, hindrances
from scaler.runtime.board import Key, Snapshot


def cluster_document(snapshot: Snapshot, key: Key) -> dict[str, Any]:
    """The scale target, its pods, ScaledObject and HPA; `missing` says what isn't read, and why."""
    workload = snapshot.workloads.get(key, Workload(hints=("no cluster is read",)))
    worker = snapshot.policies[key[0]].spec.workers[key[1]]
    usage = workload.utilization
    return {
        "target": workload.target or None,
        "heardSecondsAgo": None if workload.at is None else _seconds(snapshot.taken_at - workload.at),
        "replicas": workload.replicas,
        "currentReplicas": workload.current,
        "readyReplicas": workload.ready,
        "updatedReplicas": workload.updated,
        "pods": None if workload.pods is None else _camel(asdict(workload.pods)),
        "utilization": None
        if usage is None
        else {
            "ageSeconds": _seconds(snapshot.taken_at - usage.at),
            "pods": usage.pods,
            "cpu": usage.cpu and round(usage.cpu, 4),
            "memory": usage.memory and round(usage.memory, 4),
        },
        "scaledObject": None if workload.scaled_object is None else _camel(asdict(workload.scaled_object)),
        "hpa": None if workload.autoscaler is None else _camel(asdict(workload.autoscaler)),
        "hindrances": list(hindrances(worker, workload)),
        "missing": [*workload.gaps, *workload.hints],
    }


def _seconds(age: float) -> float:
    return max(0.0, round(age, 3))


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in fields.items()}
