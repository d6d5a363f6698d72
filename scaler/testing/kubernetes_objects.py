"""Objects as a real cluster writes them, for the stand-in: with all that clients have to read past."""

from datetime import datetime
from typing import Any

from scaler.testing.kubernetes_store import Object, stamp

NAMESPACE = "celery"
HASH = "7d9f8c6b5"


def deployment(name: str, replicas: int, *, ready: int | None = None, namespace: str = NAMESPACE) -> Object:
    """A Deployment that has come to rest at `replicas`, of which `ready` are ready (all by default)."""
    settled = replicas if ready is None else ready
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "worker", "image": "celery"}]},
            },
        },
        "status": {
            "replicas": replicas,
            "updatedReplicas": replicas,
            **({"readyReplicas": settled} if settled else {}),
        },
    }


def pod(
    target: str,
    number: int,
    *,
    created: datetime,
    ready_at: datetime | None = None,
    phase: str = "Running",
    ready: bool | None = None,
    requests: dict[str, str] | None = None,
    kind: str = "Deployment",
    namespace: str = NAMESPACE,
    padding: int = 0,
) -> Object:
    """A pod of a target: ready since `ready_at`, or not ready yet; `padding` bytes of other fields."""
    is_ready = (ready_at is not None) if ready is None else ready
    owner: Object = {"kind": "ReplicaSet", "name": f"{target}-{HASH}", "uid": f"uid-of-{target}-{HASH}"}
    owner |= {"controller": True, "apiVersion": "apps/v1"}
    name = f"{target}-{HASH}-{number:05}"
    if kind == "StatefulSet":
        owner, name = {"kind": "StatefulSet", "name": target, "controller": True}, f"{target}-{number}"
    container: dict[str, Any] = {"name": "worker", "image": "celery"}
    if requests is not None:
        container["resources"] = {"requests": requests}
    if padding:
        container["env"] = [{"name": f"VARIABLE_{at}", "value": "x" * 60} for at in range(padding // 100)]
    condition = {
        "type": "Ready",
        "status": str(is_ready),
        "lastTransitionTime": stamp(ready_at or created),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": target, "pod-template-hash": HASH},
            "ownerReferences": [owner],
            "creationTimestamp": stamp(created),
        },
        "spec": {"containers": [container], "nodeName": "node-1"},
        "status": {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True"}, condition],
            "startTime": stamp(created),
        },
    }


def usage(name: str, at: datetime, cpu: str, memory: str, *, namespace: str = NAMESPACE) -> Object:
    """What metrics-server says of a pod."""
    return {
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "PodMetrics",
        "metadata": {"name": name, "namespace": namespace},
        "timestamp": stamp(at),
        "window": "15s",
        "containers": [{"name": "worker", "usage": {"cpu": cpu, "memory": memory}}],
    }


def scaled_object(
    target: str,
    *,
    annotations: dict[str, str] | None = None,
    namespace: str = NAMESPACE,
    **spec: int | dict[str, int],
) -> Object:
    """A ScaledObject that works; further keywords go into its spec."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": f"{target}-so", "namespace": namespace, "annotations": annotations or {}},
        "spec": {"scaleTargetRef": {"name": target}, "triggers": [{"type": "external"}], **spec},
        "status": {
            "hpaName": f"keda-hpa-{target}-so",
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "ScaledObjectReady"},
                {"type": "Active", "status": "True"},
                {"type": "Fallback", "status": "False"},
            ],
        },
    }


def autoscaler(
    target: str,
    *,
    namespace: str = NAMESPACE,
    replicas: int = 2,
    tolerance: str | None = None,
    **conditions: tuple[str, str, str],
) -> Object:
    """An HPA that works; keywords replace conditions: ScalingActive=(status, reason, message).

    `replicas` is what it found and wants; `tolerance` is its deadband in both directions.
    """
    given = {
        "AbleToScale": ("True", "ReadyForNewScale", "recommended size matches current size"),
        "ScalingActive": ("True", "ValidMetricFound", "the HPA was able to calculate a replica count"),
        **conditions,
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"keda-hpa-{target}-so", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1,
            "maxReplicas": 5,
            **({} if tolerance is None else {"behavior": _behavior(tolerance)}),
        },
        "status": {
            "currentReplicas": replicas,
            "desiredReplicas": replicas,
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": message}
                for kind, (status, reason, message) in given.items()
            ],
        },
    }


def _behavior(tolerance: str) -> Object:
    """Wide open, as it is rendered."""
    rules = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "tolerance": tolerance}
    steps = {
        "scaleUp": {"type": "Pods", "value": 100, "periodSeconds": 15},
        "scaleDown": {"type": "Percent", "value": 100, "periodSeconds": 15},
    }
    return {direction: {**rules, "policies": [step]} for direction, step in steps.items()}
