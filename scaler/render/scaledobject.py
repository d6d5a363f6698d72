"""The ScaledObject of a worker class: KEDA asks, the HPA follows at once, the service does the pacing."""

from scaler.core.policy import WorkerPolicy
from scaler.render.target import Service, Target

#: Seconds between KEDA's polls. They matter for 0 → 1 only; with replicas the HPA asks every 15 s.
POLLING_SECONDS = 10
#: Least seconds without work before KEDA takes the last pod, where `replicas.min` is 0.
LEAST_COOLDOWN_SECONDS = 300
#: Failed calls after which KEDA falls back: 30 to 45 s, since polls and the HPA's calls both count.
FAILURES = 3
#: The HPA looks every 15 s: a shorter period would bind sooner than the next look.
HPA_PERIOD_SECONDS = 15


def scaled_object(target: Target, service: Service) -> dict[str, object]:
    """A complete ScaledObject (keda.sh/v1alpha1), named as the workload."""
    worker = target.worker
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            **target.metadata,
            "labels": {
                "app.kubernetes.io/name": target.workload.name,
                "app.kubernetes.io/component": "autoscaling",
                "app.kubernetes.io/managed-by": "celery-scaler",
            },
        },
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": target.workload.kind,
                "name": target.workload.name,
            },
            "pollingInterval": POLLING_SECONDS,
            "cooldownPeriod": max(
                LEAST_COOLDOWN_SECONDS, worker.behavior.scale_down.stabilization_window_seconds
            ),
            "minReplicaCount": worker.replicas.min,
            "maxReplicaCount": worker.replicas.max,
            "fallback": {
                "failureThreshold": FAILURES,
                "replicas": _fallback_replicas(worker),
                # More than that stay: what is unknown is no reason to take pods away.
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"behavior": _open_behavior(worker)},
            },
            "triggers": [_trigger(target, service)],
        },
    }


def _fallback_replicas(worker: WorkerPolicy) -> int:
    """One more than the minimum: room for what can't be seen, without paying for the maximum."""
    return min(worker.replicas.max, worker.replicas.min + 1)


def _open_behavior(worker: WorkerPolicy) -> dict[str, object]:
    """Behavior that never binds, every field filled.

    KEDA compares the block with what the API server returns and updates the HPA for ever where a
    default was added. The burst policy is applied by the service; a window here would come on top.
    """
    up = {"type": "Pods", "value": worker.replicas.max, "periodSeconds": HPA_PERIOD_SECONDS}
    down = {"type": "Percent", "value": 100, "periodSeconds": HPA_PERIOD_SECONDS}
    # hpaTolerance says that this cluster can't set the deadband; then the field would vanish from the
    # HPA, and KEDA would write it again at every reconcile.
    tolerance = {"tolerance": "0"} if worker.hpa_tolerance == 0 else {}
    return {
        direction: {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            **tolerance,
            "policies": [step],
        }
        for direction, step in (("scaleUp", up), ("scaleDown", down))
    }


def _trigger(target: Target, service: Service) -> dict[str, object]:
    metadata = {
        "scalerAddress": service.address,
        "policy": target.policy,
        "workerClass": target.worker_class,
    }
    trigger: dict[str, object] = {
        # Pushing wakes a class from zero within a tenth of a second; above zero it would only add
        # a status update every 20 s.
        "type": "external-push" if target.worker.replicas.min == 0 else "external",
        # The value is a number of replicas: Value would multiply it by the pods that are ready.
        "metricType": "AverageValue",
        "useCachedMetrics": False,
        "metadata": metadata,
    }
    if service.trigger_authentication:
        metadata["enableTLS"] = "true"
        trigger["authenticationRef"] = {
            "kind": "ClusterTriggerAuthentication" if service.cluster_wide else "TriggerAuthentication",
            "name": service.trigger_authentication,
        }
    return trigger
