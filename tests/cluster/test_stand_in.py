"""The stand-in for the API server against the documented behaviour of the real one, over plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from scaler.testing.kubernetes_api import KubernetesApi
from scaler.testing.kubernetes_objects import deployment
from scaler.testing.kubernetes_store import merge

MAPS = "/api/v1/namespaces/celery/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/celery/deployments"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
async def api() -> KubernetesApi:
    return KubernetesApi(bookmark_seconds=0.1)


@pytest.fixture
async def http(api: KubernetesApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with api.serving() as url, aiohttp.ClientSession(url) as session:
        yield session


async def made(http: aiohttp.ClientSession, name: str, path: str = MAPS) -> Any:
    async with http.post(path, json={"metadata": {"name": name}, "data": {}}) as answer:
        assert answer.status == 201
        return await answer.json()


async def test_objects_are_made_read_replaced_and_deleted(http: aiohttp.ClientSession) -> None:
    document = await made(http, "a")
    assert document["metadata"].keys() >= {"uid", "resourceVersion", "creationTimestamp", "namespace"}
    async with http.post(MAPS, json={"metadata": {"name": "a"}}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (409, "AlreadyExists")
    async with http.put(f"{MAPS}/a", json=document | {"data": {"k": "v"}}) as answer:
        after = await answer.json()
    assert int(after["metadata"]["resourceVersion"]) > int(document["metadata"]["resourceVersion"])
    async with http.put(f"{MAPS}/a", json=document) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (409, "Conflict")
    async with http.delete(f"{MAPS}/a") as answer:
        assert answer.status == 200
    async with http.get(f"{MAPS}/a") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (404, "NotFound")


async def test_a_patch_may_be_conditional(http: aiohttp.ClientSession) -> None:
    document = await made(http, "a")
    async with http.patch(f"{MAPS}/a", json={"data": {"x": "1"}}, headers=MERGE) as answer:
        assert (await answer.json())["data"] == {"x": "1"}
    late = {"metadata": {"resourceVersion": document["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    async with http.patch(f"{MAPS}/a", json=late, headers=MERGE) as answer:
        assert answer.status == 409


async def test_names_may_be_generated(http: aiohttp.ClientSession) -> None:
    names = set()
    for _ in range(2):
        async with http.post(
            "/api/v1/namespaces/celery/events", json={"metadata": {"generateName": "e-"}}
        ) as answer:
            names.add((await answer.json())["metadata"]["name"])
    assert len(names) == 2


async def test_status_and_scale_are_subresources(api: KubernetesApi, http: aiohttp.ClientSession) -> None:
    api.store.put(("apps/v1", "deployments"), deployment("io", 2))
    change = {"spec": {"replicas": 9}, "status": {"replicas": 1}}
    async with http.patch(f"{DEPLOYMENTS}/io/status", json=change, headers=MERGE) as answer:
        document = await answer.json()
    assert (document["spec"]["replicas"], document["status"]["replicas"]) == (2, 1)
    async with http.patch(
        f"{DEPLOYMENTS}/io", json=change | {"status": {"replicas": 5}}, headers=MERGE
    ) as answer:
        document = await answer.json()
    assert (document["spec"]["replicas"], document["status"]["replicas"]) == (9, 1)
    async with http.get(f"{DEPLOYMENTS}/io/scale") as answer:
        scale = await answer.json()
    assert (scale["spec"]["replicas"], scale["status"]) == (9, {"replicas": 1, "selector": "app=io"})


async def test_pages_are_of_one_moment(http: aiohttp.ClientSession) -> None:
    for number in range(5):
        await made(http, f"m{number}")
    found, query = [], {"limit": "2"}
    while True:
        async with http.get(MAPS, params=query) as answer:
            page = await answer.json()
        found += [one["metadata"]["name"] for one in page["items"]]
        if "continue" not in page["metadata"]:
            break
        await made(http, f"a-later-{len(found)}")
        query = {"limit": "2", "continue": page["metadata"]["continue"]}
    assert found == [f"m{number}" for number in range(5)]


async def test_a_watch_goes_on_from_a_version_and_sends_bookmarks(http: aiohttp.ClientSession) -> None:
    first = await made(http, "a")
    await made(http, "b")
    version = first["metadata"]["resourceVersion"]
    query = {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "1",
    }
    async with http.get(MAPS, params=query) as answer:
        events = [json.loads(line) async for line in answer.content]
    assert [(one["type"], one["object"]["metadata"].get("name")) for one in events[:2]] == [
        ("ADDED", "b"),
        ("BOOKMARK", None),
    ]


async def test_old_versions_are_gone(api: KubernetesApi, http: aiohttp.ClientSession) -> None:
    await made(http, "a")
    query = {"watch": "true", "resourceVersion": "1", "timeoutSeconds": "5"}
    api.compact()
    async with http.get(MAPS, params=query) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (410, "Expired")
    query["resourceVersion"] = str(api.store.version)
    async with http.get(MAPS, params=query) as answer:
        api.store.version += 5
        api.compact()
        api.store.changed.set()
        event = json.loads(await answer.content.readline())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410), (
        "in the midst of a watch it is an event"
    )


async def test_selectors_choose(http: aiohttp.ClientSession) -> None:
    for name, app in (("a", "io"), ("b", "cpu")):
        async with http.post(MAPS, json={"metadata": {"name": name, "labels": {"app": app}}}) as answer:
            assert answer.status == 201
    for query in ({"labelSelector": "app=cpu"}, {"fieldSelector": "metadata.name=b"}):
        async with http.get(MAPS, params=query) as answer:
            assert [one["metadata"]["name"] for one in (await answer.json())["items"]] == ["b"]


async def test_unknown_kinds_and_faults(api: KubernetesApi, http: aiohttp.ClientSession) -> None:
    async with http.get("/apis/example.com/v1/things") as answer:
        assert answer.status == 404
    api.faults.throttled, api.faults.retry_after = 1, 7
    async with http.get(MAPS) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    api.faults.tokens = {"good"}
    async with http.get(MAPS) as answer:
        assert answer.status == 401
    async with http.get(MAPS, headers={"Authorization": "Bearer good"}) as answer:
        assert answer.status == 200
    api.faults.delay = 5.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), http.get(MAPS, headers={"Authorization": "Bearer good"}):
            pass


def test_merge_patches_by_the_examples_of_rfc_7386() -> None:
    assert merge({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merge({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merge({"a": "foo"}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}
    assert merge([1, 2], {"a": "b", "c": None}) == {"a": "b"}
