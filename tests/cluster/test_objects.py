"""Objects of the API, cut down; and Kubernetes' notations."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from scaler.cluster.decoding import decode_list
from scaler.cluster.errors import ClusterError
from scaler.cluster.objects import autoscaler_of, pod_of, scale_of, scaled_object_of, usage_of
from scaler.cluster.quantities import moment, quantity, window
from scaler.core.workload import Condition
from scaler.testing import kubernetes_objects as real

AT = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2.0),
        ("500m", 0.5),
        ("128974848", 128974848.0),
        ("123Mi", 123 * 2**20),
        ("1.5Gi", 1.5 * 2**30),
        ("129e6", 129e6),
        ("1E3", 1000.0),
        ("1E", 1e18),
        ("12345678n", 0.012345678),
        ("100k", 100_000.0),
        ("", None),
        ("Gi", None),
        ("1Qi", None),
        ("1 Gi", None),
    ],
)
def test_quantities(text: str, value: float | None) -> None:
    assert quantity(text) == (None if value is None else pytest.approx(value))


def test_times() -> None:
    assert moment("2027-01-15T08:00:00Z") == AT.timestamp()
    assert moment("2027-01-15T08:00:00.500000Z") == AT.timestamp() + 0.5
    assert moment(None) is moment("") is moment("yesterday") is None
    assert (window("15.2s"), window("1m0s"), window("500ms"), window(None)) == (15.2, 60.0, 0.5, 0.0)


def test_counts_that_the_server_leaves_out_are_zero() -> None:
    assert scale_of(real.deployment("io", 0) | {"status": {}}).ready == 0


@pytest.mark.parametrize(
    ("name", "owners", "template", "owner"),
    [
        ("io-7d9f8c6b5-abcde", [("ReplicaSet", "io-7d9f8c6b5")], "7d9f8c6b5", ("Deployment", "io")),
        ("a-b-5c-x", [("ReplicaSet", "a-b-5c")], "5c", ("Deployment", "a-b")),
        ("cpu-0", [("StatefulSet", "cpu")], None, ("StatefulSet", "cpu")),
        ("bare", [], None, None),
        ("job-x", [("Job", "job")], None, None),
        ("rs-x", [("ReplicaSet", "rs")], None, None),
    ],
)
def test_whose_pod_it_is(name: str, owners: Any, template: str | None, owner: Any) -> None:
    document = real.pod("io", 1, created=AT)
    document["metadata"] |= {
        "name": name,
        "labels": {"pod-template-hash": template} if template else {},
        "ownerReferences": [{"kind": kind, "name": of, "controller": True} for kind, of in owners],
    }
    pod = pod_of(document)
    assert (pod.owner if pod else None) == owner


def test_pods_that_have_ended_are_not_kept() -> None:
    assert pod_of(real.pod("io", 1, created=AT, phase="Failed")) is None
    assert pod_of(real.pod("io", 1, created=AT, phase="Succeeded")) is None


COST = "controller.kubernetes.io/pod-deletion-cost"


def marked(cost: str | None, *managers: str, field: str = COST) -> Any:
    """A pod with a deletion cost, and who owns a field of its annotations."""
    document = real.pod("io", 1, created=AT)
    document["metadata"]["annotations"] = {"team": "a"} | ({} if cost is None else {COST: cost})
    document["metadata"]["managedFields"] = [
        {"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}},
        *(
            {
                "manager": manager,
                "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, f"f:{field}": {}}}},
            }
            for manager in managers
        ),
    ]
    pod = pod_of(document)
    assert pod is not None
    return pod


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("0", 0),
        ("-2147483648", -(2**31)),
        ("2147483647", 2**31 - 1),
        ("2147483648", None),
        ("99999999999", None),
        ("+1", None),
        ("007", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        (None, None),
    ],
)
def test_a_deletion_cost_is_read_as_kubernetes_reads_it(text: str | None, cost: int | None) -> None:
    assert marked(text, "someone").cost == cost


@pytest.mark.parametrize(
    ("managers", "writer"),
    [
        (["karpenter"], "karpenter"),
        (["celery-scaler"], "celery-scaler"),
        (["celery-scaler", "karpenter"], "karpenter"),
        ([], ""),
    ],
)
def test_who_wrote_it_is_told_by_the_managed_fields(managers: list[str], writer: str) -> None:
    assert marked("7", *managers).cost_by == writer
    assert marked("nonsense", *managers).cost_by == writer, "it is there all the same"
    assert marked(None, *managers).cost_by is None
    assert marked("7", *managers, field="team").cost_by == "", "they own another annotation"


def test_the_grace_period_is_the_apis_where_none_is_written() -> None:
    document = real.pod("io", 1, created=AT)
    default = pod_of(document)
    document["spec"]["terminationGracePeriodSeconds"] = 300
    long = pod_of(document)
    assert default is not None
    assert long is not None
    assert (default.grace, long.grace) == (30, 300)


def test_requests_add_up_over_containers_and_sidecars() -> None:
    document = real.pod("io", 1, created=AT, requests={"cpu": "500m", "memory": "1Gi"})
    sidecar = {"resources": {"requests": {"cpu": "100m"}}, "restartPolicy": "Always"}
    document["spec"]["initContainers"] = [sidecar, {"name": "migrate"}]
    pod = pod_of(document)
    assert pod is not None
    assert (pod.cpu, pod.memory) == (0.6, None), "the sidecar has no memory request"
    document["spec"]["resources"] = {"requests": {"cpu": "2", "memory": "3Gi"}}
    pod = pod_of(document)
    assert pod is not None
    assert (pod.cpu, pod.memory) == (2.0, 3 * 2**30), "the pod's own request"
    document["spec"]["resources"] = {"requests": {"cpu": "0"}}
    pod = pod_of(document)
    assert pod is not None
    assert pod.cpu is None, "a share of nothing is nothing to scale by"


def test_usage_adds_up_over_containers() -> None:
    document = real.usage("a", AT, "250m", "100Mi")
    document["containers"].append({"name": "sidecar", "usage": {"cpu": "50m", "memory": "28Mi"}})
    usage = usage_of(document)
    assert usage is not None
    assert (usage.at, usage.window) == (AT.timestamp(), 15.0)
    assert usage.cpu == pytest.approx(0.3)
    assert usage.memory == 128 * 2**20


@pytest.mark.parametrize(
    ("annotations", "paused", "at", "inwards", "outwards"),
    [
        ({}, False, None, False, False),
        ({"paused": "true"}, True, None, False, False),
        ({"paused": "false"}, False, None, False, False),
        ({"paused": "yes"}, True, None, False, False),
        ({"paused-replicas": "3"}, True, 3, False, False),
        ({"paused-replicas": "three"}, True, None, False, False),
        ({"paused-scale-in": "true"}, False, None, True, False),
        ({"paused-scale-out": "1"}, False, None, False, True),
    ],
)
def test_pauses_as_keda_reads_them(
    annotations: dict[str, str], paused: bool, at: int | None, inwards: bool, outwards: bool
) -> None:
    named = {f"autoscaling.keda.sh/{name}": value for name, value in annotations.items()}
    found: Any = scaled_object_of(real.scaled_object("io", annotations=named)).object
    assert (found.paused, found.paused_replicas, found.paused_in, found.paused_out) == (
        paused,
        at,
        inwards,
        outwards,
    )


def test_conditions_of_an_hpa() -> None:
    broken = ("False", "FailedGetExternalMetric", "unable to get external metric")
    found: Any = autoscaler_of(real.autoscaler("io", ScalingActive=broken))
    assert found.owner == ("Deployment", "io")
    assert Condition("ScalingActive", *broken) in found.object.conditions


async def test_a_list_is_decoded_object_by_object() -> None:
    found: list[Any] = []
    text = (
        ' {"kind": "PodList", "items" : [ {"a": [1, 2]} ,{"b": {}}], "metadata": {"resourceVersion": "7"}} '
    )
    assert await decode_list(text, found.append) == {"kind": "PodList", "metadata": {"resourceVersion": "7"}}
    assert found == [{"a": [1, 2]}, {"b": {}}]
    assert await decode_list(json.dumps({"items": [], "metadata": {}}), found.append) == {"metadata": {}}
    assert await decode_list('{"items":null,"metadata":{}}', found.append) == {"items": None, "metadata": {}}


@pytest.mark.parametrize("text", ["", "[]", "{", "<html>", '{"items":[{}', '{"items":[{}}', '{"a" 1}'])
async def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="no list of objects"):
        await decode_list(text, lambda _: None)
