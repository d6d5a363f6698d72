"""Writing single objects through the shared connection: what an answer means, and what is left undone."""

from typing import Any

import pytest

from scaler.cluster.errors import ClusterError, ConflictError, MissingError, RefusedError

LEASES = "/apis/coordination.k8s.io/v1/namespaces/celery/leases"
PLACE = ("leases", "namespace celery")


def lease(holder: str) -> dict[str, Any]:
    return {"metadata": {"name": "scaler"}, "spec": {"holderIdentity": holder}}


async def test_of_two_writers_one_is_told_that_it_came_too_late(cluster: Any) -> None:
    connection = cluster.access.connection
    with pytest.raises(MissingError, match="no such object among leases in namespace celery"):
        await connection.send("get", f"{LEASES}/scaler", place=PLACE)
    made = await connection.send("create", LEASES, lease("one"), place=PLACE)
    with pytest.raises(ConflictError):
        await connection.send("create", LEASES, lease("two"), place=PLACE)

    first = await connection.send("update", f"{LEASES}/scaler", made | lease("two"), place=PLACE)
    assert first["spec"]["holderIdentity"] == "two", "no version: it was written whatever stood there"
    stale = {
        "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
        "spec": {"holderIdentity": "x"},
    }
    with pytest.raises(ConflictError, match="changed by somebody else"):
        await connection.send("patch", f"{LEASES}/scaler", stale, place=PLACE)
    kept = await connection.send("get", f"{LEASES}/scaler", place=PLACE)
    assert kept["spec"]["holderIdentity"] == "two"

    await connection.send("delete", f"{LEASES}/scaler", place=PLACE)
    with pytest.raises(MissingError):
        await connection.send("get", f"{LEASES}/scaler", place=PLACE)


async def test_a_patch_takes_away_what_it_names_as_nothing(cluster: Any) -> None:
    connection, path = cluster.access.connection, "/api/v1/namespaces/celery/configmaps"
    body = {"metadata": {"name": "state"}, "data": {"a": "1", "b": "2"}}
    await connection.send("create", path, body, place=("configmaps", "namespace celery"))
    patched = await connection.send(
        "patch", f"{path}/state", {"data": {"a": None, "c": "3"}}, place=("configmaps", "namespace celery")
    )
    assert patched["data"] == {"b": "2", "c": "3"}


async def test_a_missing_right_is_named_with_the_verb_to_grant(cluster: Any) -> None:
    cluster.api.faults.forbidden = {("create", "leases")}
    with pytest.raises(RefusedError, match="no right to create leases; grant create on leases in namespace"):
        await cluster.access.connection.send("create", LEASES, lease("one"), place=PLACE)


async def test_a_throttled_write_says_how_long_to_wait(cluster: Any) -> None:
    cluster.api.faults.throttled, cluster.api.faults.retry_after = 1, 7
    with pytest.raises(ClusterError) as refused:
        await cluster.access.connection.send("create", LEASES, lease("one"), place=PLACE)
    assert refused.value.retry_after == 7
    await cluster.access.connection.send("create", LEASES, lease("one"), place=PLACE)


async def test_a_server_that_says_nothing_is_given_up(cluster: Any) -> None:
    cluster.api.faults.delay = 5.0
    with pytest.raises(ClusterError, match=r"nothing came from the API server for 0.3 s"):
        await cluster.access.connection.send("get", f"{LEASES}/scaler", place=PLACE, silence=0.3)
