"""What is read of a scale target, and how it follows what happens in the cluster."""

from typing import Any

import pytest

from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Pods
from scaler.testing import wait_until
from scaler.testing.kubernetes_objects import pod


async def test_target_pods_scaledobject_and_hpa_are_read(cluster: Any) -> None:
    cluster.put("pods", "io", 1, created=cluster.ago(600), ready_at=cluster.ago(590))
    cluster.put("pods", "io", 2, created=cluster.ago(10))
    cluster.put("pods", "other", 3, created=cluster.ago(600), ready_at=cluster.ago(590))
    cluster.put("scaledobjects", "io", minReplicaCount=1, maxReplicaCount=5, fallback={"replicas": 3})
    cluster.put("horizontalpodautoscalers", "io")
    assert cluster.api.requests.total() == 0, "nothing is read before anything is followed"

    cluster.follow("io")
    assert cluster.seen().expected, "the first reading is under way"
    await cluster.until(
        lambda seen: seen.autoscaler and seen.scaled_object and seen.pods, "all of it is read"
    )
    await cluster.until(lambda seen: not seen.expected, "target and pods are known")

    seen = cluster.seen()
    assert seen.target == "Deployment celery/io"
    assert (seen.replicas, seen.current, seen.ready, seen.updated) == (2, 2, 2, 2)
    assert (seen.pods.ready, seen.pods.starting, seen.pods.leaving) == (1, 1, 0)
    assert (seen.scaled_object.min, seen.scaled_object.max, seen.scaled_object.fallback_replicas) == (1, 5, 3)
    assert seen.scaled_object.hpa == seen.autoscaler.name == "keda-hpa-io-so"
    assert (seen.autoscaler.current, seen.autoscaler.desired) == (2, 2)
    assert seen.gaps == seen.hints == ()


async def test_a_scaling_is_followed_from_order_to_ready_pod_and_back(cluster: Any) -> None:
    cluster.follow("io")
    await cluster.until(lambda seen: seen.replicas == 2 and seen.pods == Pods(), "2 replicas, no pod yet")

    cluster.put("deployments", "io", 3, ready=2)
    await cluster.until(lambda seen: (seen.replicas, seen.ready) == (3, 2), "3 are ordered")
    created = cluster.ago(30)
    cluster.put("pods", "io", 3, created=created, phase="Pending", ready=False)
    await cluster.until(lambda seen: seen.pods.starting == 1, "the pod is pending")
    assert cluster.seen().pods.starting_since == int(created.timestamp())
    cluster.put("pods", "io", 3, created=created, ready_at=cluster.ago(0))
    await cluster.until(lambda seen: seen.pods == Pods(ready=1), "the pod is ready")

    pod = cluster.api.store.get(("v1", "pods"), ("celery", "io-7d9f8c6b5-00003"))
    pod["metadata"]["deletionTimestamp"] = pod["metadata"]["creationTimestamp"]
    cluster.api.store.put(("v1", "pods"), pod)
    await cluster.until(lambda seen: seen.pods == Pods(leaving=1), "the pod ends")
    cluster.api.store.delete(("v1", "pods"), ("celery", "io-7d9f8c6b5-00003"))
    await cluster.until(lambda seen: seen.pods == Pods(), "the pod is gone")


async def test_deciding_asks_memory_and_not_the_server(cluster: Any) -> None:
    cluster.follow("io")
    await cluster.until(lambda seen: seen.replicas == 2, "it is read")
    await wait_until(lambda: cluster.api.watching == 4, description="four watches are open")
    asked = cluster.api.requests.copy()
    for _ in range(1000):
        cluster.seen()
    assert cluster.api.requests == asked


async def test_many_targets_of_a_namespace_share_its_watches(cluster: Any) -> None:
    names = [f"worker-{number}" for number in range(50)]
    for name in names:
        cluster.put("deployments", name, 4)
    cluster.follow(*names)
    await cluster.until(lambda seen: seen.replicas == 4, "the last one is read", name=names[-1])
    await wait_until(lambda: cluster.api.watching == 4, description="four watches for all")
    assert {cluster.seen(name).replicas for name in names} == {4}


async def test_statefulsets_and_other_namespaces_are_read(cluster: Any) -> None:
    elsewhere = {"namespace": "batch"}
    document = cluster.put("deployments", "cpu", 1, **elsewhere)
    stateful = document | {"kind": "StatefulSet", "metadata": {"name": "cpu", "namespace": "batch"}}
    cluster.api.store.put(("apps/v1", "statefulsets"), stateful | {"spec": {"replicas": 7}})
    cluster.put(
        "pods", "cpu", 0, created=cluster.ago(90), ready_at=cluster.ago(80), kind="StatefulSet", **elsewhere
    )
    target = ScaleTarget(kind="StatefulSet", name="cpu", namespace="batch")
    cluster.reader.follow([target], ())
    await wait_until(
        lambda: cluster.reader.workload(target, cluster.ago(0).timestamp()).replicas == 7,
        description="the StatefulSet is read, and not the Deployment of its name",
    )
    await wait_until(
        lambda: cluster.reader.workload(target, cluster.ago(0).timestamp()).pods == Pods(ready=1),
        description="its pod belongs to it directly",
    )


async def test_what_is_not_followed_any_more_is_not_read_any_more(cluster: Any) -> None:
    cluster.follow("io", measured=True)
    await wait_until(lambda: cluster.api.watching == 4, description="it is watched")
    cluster.follow()
    await wait_until(lambda: cluster.api.watching == 0, description="no watch is left")
    cluster.follow("io")
    await cluster.until(lambda seen: seen.replicas == 2, "and again")


async def test_cpu_and_memory_of_ready_pods_against_their_requests(cluster: Any) -> None:
    requests = {"cpu": "500m", "memory": "1Gi"}
    for number, cpu in ((1, "400m"), (2, "350m")):
        old = {"created": cluster.ago(900), "ready_at": cluster.ago(890)}
        name = cluster.put("pods", "io", number, requests=requests, **old)["metadata"]["name"]
        cluster.put("usages", name, cluster.ago(5), cpu, "768Mi")
    starting = cluster.put("pods", "io", 3, requests=requests, created=cluster.ago(20))["metadata"]["name"]
    cluster.put("usages", starting, cluster.ago(5), "900m", "100Mi")

    cluster.follow("io", measured=True)
    await cluster.until(lambda seen: seen.utilization, "it is measured")
    measured = cluster.seen().utilization
    assert (measured.pods, measured.cpu, measured.memory) == (2, 0.75, 0.75)


async def test_metrics_are_asked_for_only_where_the_policy_uses_them(cluster: Any) -> None:
    cluster.follow("io")
    await cluster.until(lambda seen: seen.replicas == 2, "it is read")
    assert cluster.seen().utilization is None
    assert cluster.seen().gaps == ()
    cluster.api.served.pop(("metrics.k8s.io/v1beta1", "pods"))
    cluster.follow("io", measured=True)
    await cluster.until(lambda seen: seen.gaps, "metrics are missed")
    assert cluster.seen().gaps == (
        "cluster: metrics of namespace celery: the cluster has no metrics; install metrics-server",
    )


async def test_a_target_that_does_not_exist_is_said_to_be_missing(cluster: Any) -> None:
    cluster.follow("oi")
    await cluster.until(lambda seen: not seen.expected, "everything is read", name="oi")
    seen = cluster.seen("oi")
    assert seen.replicas is None
    assert seen.gaps == ("there is no Deployment celery/oi; check scaleTarget",)
    cluster.put("deployments", "oi", 6)
    await cluster.until(lambda seen: seen.replicas == 6 and not seen.gaps, "it was made", name="oi")


async def test_a_class_without_a_target_is_told_what_it_misses(cluster: Any) -> None:
    seen = cluster.reader.workload(None, 0.0)
    assert seen.replicas is None
    assert "write scaleTarget" in seen.hints[0]


async def test_pods_are_told_one_by_one_and_anew_only_after_a_change(cluster: Any) -> None:
    old, requests = cluster.ago(3600), {"cpu": "500m", "memory": "1Gi"}
    for number, ready in enumerate((old, None, old)):
        cluster.put("pods", "io", number, created=old, ready_at=ready, requests=requests)
    leaving = pod("io", 3, created=old, ready_at=old)
    leaving["metadata"]["deletionTimestamp"] = leaving["metadata"]["creationTimestamp"]
    cluster.api.store.put(("v1", "pods"), leaving)
    cluster.follow("io", measured=True)
    await cluster.until(lambda seen: seen.pods and seen.pods.leaving == 1, "all pods are read")
    first = cluster.seen().named
    assert [(one.name[-1], one.works, one.grace, one.cost) for one in first] == [
        ("0", True, 30, None),
        ("1", False, 30, None),
        ("2", True, 30, None),
    ], "by name, without the one that leaves"
    assert first[0].created == pytest.approx(old.timestamp(), abs=1)

    cluster.put("usages", first[0].name, cluster.ago(5), "300m", "768Mi")
    await cluster.until(lambda seen: seen.utilization, "metrics have come")
    assert cluster.seen().named is first, "new metrics change no pod"
    change = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "7"}}}
    cluster.api.store.patch(("v1", "pods"), ("celery", first[2].name), change)
    await cluster.until(lambda seen: seen.named[2].cost == 7, "the mark is seen")
    assert cluster.seen().named[:2] == first[:2]
