"""Stories of reading and writing, on the stand-in and (`--cluster`) on the cluster of KUBECONFIG.

Written with kubernetes-asyncio's own models, so that the stand-in is held to what a real client expects.
On a real cluster it makes a namespace and deletes it; no pod is started on a node.
"""

import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes_asyncio import client, config

from scaler.cluster.access import Mode, find_access, open_cluster
from scaler.cluster.deletion_costs import DeletionCosts
from scaler.cluster.errors import ConflictError, MissingError
from scaler.cluster.events import EventWriter, Notice
from scaler.cluster.objects import DELETION_COST
from scaler.cluster.scale import Scales
from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import ForeignCost, Reference, Workload
from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig
from scaler.testing.kubernetes_objects import pod


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.cluster)])
async def configured(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """KUBECONFIG leads to a cluster."""
    if request.param == "real":
        if "KUBECONFIG" not in os.environ:
            pytest.fail("--cluster needs KUBECONFIG")
        yield os.environ["KUBECONFIG"]
        return
    (tmp_path / "token").write_text("any", encoding="utf-8")
    async with KubernetesApi().serving() as url:
        file = str(kubeconfig(tmp_path / "config", url, tmp_path / "token"))
        monkeypatch.setenv("KUBECONFIG", file)
        yield file


@pytest.fixture
async def api(configured: str) -> AsyncIterator[Any]:
    """A real client."""
    async with await config.new_client_from_config(config_file=configured, persist_config=False) as opened:
        yield opened


@pytest.fixture
async def namespace(api: Any) -> AsyncIterator[str]:
    """A namespace of its own."""
    core, name = client.CoreV1Api(api), f"celery-scaler-test-{uuid4().hex[:8]}"
    await core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    await core.delete_namespace(name)


def worker_deployment(*, replicas: int = 0) -> Any:
    """Its pods fit no node, so that nothing is pulled or run."""
    labels = {"app": "io"}
    container = client.V1Container(name="worker", image="registry.k8s.io/pause:3.10")
    worker = client.V1PodSpec(containers=[container], node_selector={"celery-scaler.test": "nowhere"})
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=worker)
    spec = client.V1DeploymentSpec(
        replicas=replicas,
        paused=not replicas,
        selector=client.V1LabelSelector(match_labels=labels),
        template=template,
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name="io"), spec=spec)


async def test_a_target_is_followed_from_its_making_to_its_end(api: Any, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    access, target = find_access(Mode.KUBECONFIG), ScaleTarget(name="io", namespace=namespace)
    reader = open_cluster(access, clock=time.time)

    def replicas() -> int | None:
        return reader.workload(target, time.time()).replicas

    try:
        reader.follow([target], ())
        await wait_until(
            lambda: any("there is no Deployment" in gap for gap in reader.workload(target, time.time()).gaps),
            description="it isn't there yet",
        )
        await apps.create_namespaced_deployment(namespace, worker_deployment())
        await wait_until(lambda: replicas() == 0, description="it was made with 0 replicas")

        scale = await apps.read_namespaced_deployment_scale("io", namespace)
        scale.spec.replicas = 2
        await apps.replace_namespaced_deployment_scale("io", namespace, scale)
        await wait_until(lambda: replicas() == 2, description="it was scaled to 2")

        stale = scale
        stale.spec.replicas = 5
        with pytest.raises(client.ApiException) as refused:
            await apps.replace_namespaced_deployment_scale("io", namespace, stale)
        assert refused.value.status == 409, "the scale that was read is old by now"

        await apps.patch_namespaced_deployment_scale(
            "io", namespace, {"spec": {"replicas": 0}}, _content_type="application/merge-patch+json"
        )
        await wait_until(lambda: replicas() == 0, description="and back")
        await apps.delete_namespaced_deployment("io", namespace)
        await wait_until(lambda: replicas() is None, description="it is gone, which is unknown and not 0")
    finally:
        await reader.close()
        await access.close()


async def test_leases_and_configmaps_have_one_winner(api: Any, namespace: str) -> None:
    leases, core = client.CoordinationV1Api(api), client.CoreV1Api(api)
    spec = client.V1LeaseSpec(holder_identity="one", lease_duration_seconds=15)
    made = await leases.create_namespaced_lease(
        namespace, client.V1Lease(metadata=client.V1ObjectMeta(name="scaler"), spec=spec)
    )
    with pytest.raises(client.ApiException) as taken:
        await leases.create_namespaced_lease(
            namespace, client.V1Lease(metadata=client.V1ObjectMeta(name="scaler"), spec=spec)
        )
    assert taken.value.status == 409
    made.spec.holder_identity = "two"
    after = await leases.replace_namespaced_lease("scaler", namespace, made)
    assert after.metadata.resource_version != made.metadata.resource_version
    made.spec.holder_identity = "three"
    with pytest.raises(client.ApiException) as conflict:
        await leases.replace_namespaced_lease("scaler", namespace, made)
    assert conflict.value.status == 409
    assert (await leases.read_namespaced_lease("scaler", namespace)).spec.holder_identity == "two"

    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"), data={"a": "1", "b": "2"})
    await core.create_namespaced_config_map(namespace, body)
    patched = await core.patch_namespaced_config_map(
        "state", namespace, {"data": {"a": None, "c": "3"}}, _content_type="application/merge-patch+json"
    )
    assert patched.data == {"b": "2", "c": "3"}


async def test_the_scale_is_written_by_who_saw_it_last(api: Any, namespace: str) -> None:
    apps, access = client.AppsV1Api(api), find_access(Mode.KUBECONFIG)
    assert access.connection is not None
    scales, target = Scales(access.connection), Reference("apps/v1", "Deployment", namespace, "io")
    try:
        with pytest.raises(MissingError):
            await scales.read(target)
        await apps.create_namespaced_deployment(namespace, worker_deployment())
        seen = await scales.read(target)
        assert seen.replicas == 0
        assert (await scales.write(target, seen, 2)).replicas == 2
        with pytest.raises(ConflictError):
            await scales.write(target, seen, 5)
        assert (await apps.read_namespaced_deployment("io", namespace)).spec.replicas == 2
        again = await scales.write(target, await scales.read(target), 3)
        assert again.replicas == 3
    finally:
        await access.close()


async def test_events_are_found_by_their_object_and_grow(api: Any, namespace: str) -> None:
    core, access = client.CoreV1Api(api), find_access(Mode.KUBECONFIG)
    made = await client.AppsV1Api(api).create_namespaced_deployment(namespace, worker_deployment())
    about = Reference("apps/v1", "Deployment", namespace, "io", made.metadata.uid)
    assert access.connection is not None
    counted: list[str] = []
    writer = EventWriter(
        access.connection, time.time, instance="test", counted=lambda result, _: counted.append(result)
    )
    try:
        for _ in range(3):
            writer.tell(Notice(about, "DesiredReplicasRaised", "io: 2 → 5 replicas"))
            await writer.flush()
        writer.tell(Notice(about, "DataBlind", "io: replicas stay at 5", warning=True))
        await writer.flush()
    finally:
        await access.close()
    assert counted == ["written", "repeated", "repeated", "written"]
    found = (await core.list_namespaced_event(namespace)).items
    ours = {event.reason: event for event in found if event.reporting_component == "celery-scaler"}
    assert set(ours) == {"DesiredReplicasRaised", "DataBlind"}
    raised = ours["DesiredReplicasRaised"]
    assert (raised.type, raised.count, raised.message) == ("Normal", 3, "io: 2 → 5 replicas")
    assert raised.involved_object.uid == made.metadata.uid
    assert raised.last_timestamp >= raised.first_timestamp
    assert ours["DataBlind"].type == "Warning"


async def test_a_pod_is_marked_and_its_writers_are_told_apart(
    api: Any, namespace: str, request: pytest.FixtureRequest
) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    await apps.create_namespaced_deployment(namespace, worker_deployment(replicas=1))
    if request.node.callspec.params["configured"] == "stand-in":  # it has no controllers
        made = pod("io", 0, created=datetime.now(UTC), namespace=namespace)
        await core.create_namespaced_pod(namespace, made)
    access, target = find_access(Mode.KUBECONFIG), ScaleTarget(name="io", namespace=namespace)
    assert access.connection is not None
    reader, costs = open_cluster(access, clock=time.time), DeletionCosts(access.connection)

    def seen() -> Workload:
        return reader.workload(target, time.time())

    try:
        reader.follow([target], ())
        await wait_until(lambda: seen().named, timeout=30, description="its pod is there")
        (found,) = seen().named or ()
        assert (found.works, found.cost, found.grace) == (False, None, 30)
        outcome = await costs.write(namespace, {found.name: 7, "io-gone": 3}, 10)
        assert outcome.results == {found.name: "written", "io-gone": "gone"}
        await wait_until(lambda: [one.cost for one in seen().named or ()] == [7], description="it is marked")
        assert seen().foreign_costs == (), "by this service, as the managed fields say"

        note = {"metadata": {"annotations": {DELETION_COST: "9"}}}
        await core.patch_namespaced_pod(
            found.name, namespace, note, field_manager="someone", _content_type="application/merge-patch+json"
        )
        await wait_until(
            lambda: seen().foreign_costs == (ForeignCost(found.name, "someone", 9),),
            description="somebody else has marked it",
        )
    finally:
        await reader.close()
        await access.close()
