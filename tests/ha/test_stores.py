"""One contract for every store: a change counts only for who knows the present version."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from scaler.cluster.access import Mode, find_access
from scaler.runtime.store import (
    ChangedError,
    Document,
    KubernetesStore,
    Lease,
    MemoryStore,
    Name,
    RedisStore,
    StateStore,
    StoreError,
    open_store,
)
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig

NAMES: list[Name] = ["lease", "decisions", "orders"]
LEASES = ("coordination.k8s.io/v1", "leases")
MAPS = ("v1", "configmaps")


def text_of(name: Name, word: str) -> str:
    return Lease(word, 3, 1_800_000_000.25, 1_800_000_001.5).to_text() if name == "lease" else f"{word} ü\n2"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubernetesApi]:
    made = KubernetesApi()
    token = tmp_path / "token"
    token.write_text("t")
    async with made.serving() as url:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", url, token)))
        yield made


@pytest.fixture
async def cluster(api: KubernetesApi) -> AsyncIterator[StateStore]:
    access = find_access(Mode.KUBECONFIG)
    yield open_store("kubernetes", access)
    await access.close()


@pytest.fixture(params=["memory", "redis", "kubernetes"])
async def store(
    request: pytest.FixtureRequest, redis_server: Any, cluster: StateStore
) -> AsyncIterator[StateStore]:
    stores = {"memory": MemoryStore(), "redis": open_store(redis_server.url), "kubernetes": cluster}
    yield stores[request.param]
    for made in stores.values():
        await made.close()


@pytest.mark.services
@pytest.mark.parametrize("name", NAMES)
class TestContract:
    async def test_what_is_written_is_read(self, store: StateStore, name: Name) -> None:
        assert (await store.read(name)).version is None
        version = await store.write(name, text_of(name, "one"), None)
        assert await store.read(name) == Document(text_of(name, "one"), version)
        after = await store.write(name, text_of(name, "two"), version)
        assert await store.read(name) == Document(text_of(name, "two"), after)

    async def test_a_change_of_an_old_version_is_refused(self, store: StateStore, name: Name) -> None:
        first = await store.write(name, text_of(name, "one"), None)
        second = await store.write(name, text_of(name, "two"), first)
        for old in (None, first, "4711"):
            with pytest.raises(ChangedError):
                await store.write(name, text_of(name, "late"), old)
        assert await store.read(name) == Document(text_of(name, "two"), second)

    async def test_of_many_at_once_one_succeeds(self, store: StateStore, name: Name) -> None:
        version: str | None = None
        for turn in range(5):
            texts = [text_of(name, f"{turn}-{number}") for number in range(6)]
            outcomes = await asyncio.gather(
                *(store.write(name, text, version) for text in texts), return_exceptions=True
            )
            (won,) = [number for number, one in enumerate(outcomes) if isinstance(one, str)]
            losers = [one for one in outcomes if not isinstance(one, str)]
            assert all(isinstance(one, ChangedError) for one in losers)
            found = await store.read(name)
            assert found.text == texts[won]
            version = found.version

    async def test_the_others_are_left_alone(self, store: StateStore, name: Name) -> None:
        await store.write(name, text_of(name, "one"), None)
        for other in set(NAMES) - {name}:
            assert (await store.read(other)).version is None


@pytest.mark.services
async def test_a_record_of_a_megabyte_fits(store: StateStore) -> None:
    """Ten classes of 500 workers; compressed it is a fifth."""
    text = json.dumps([{"hostname": f"celery@io-{n:05}", "since": 1.8e9 + n, "n": n} for n in range(16_000)])
    assert len(text) > 1_000_000
    await store.write("decisions", text, None)
    assert (await store.read("decisions")).text == text


@pytest.mark.services
async def test_what_no_config_map_holds_is_refused_with_the_remedy(cluster: StateStore) -> None:
    import random

    text = random.Random(1).randbytes(1_200_000).hex()
    with pytest.raises(StoreError, match=r"a ConfigMap holds 1044480; use --state redis"):
        await cluster.write("decisions", text, None)


@pytest.mark.services
async def test_redis_forgets_decisions_after_a_day_and_orders_never(redis_server: Any) -> None:
    store = RedisStore(redis_server.url)
    for name in NAMES:
        await store.write(name, "{}", None)
    async with redis.Redis.from_url(redis_server.url) as raw:
        lives = {name: await raw.ttl(f"celery-scaler:{name}") for name in NAMES}
    assert lives["orders"] == -1
    assert 86_000 < lives["decisions"] <= 86_400
    assert 86_000 < lives["lease"] <= 86_400
    await store.close()


@pytest.mark.services
async def test_a_redis_that_refuses_scripts_says_which_right_is_missing(redis_server: Any) -> None:
    async with redis.Redis.from_url(redis_server.url) as raw:
        await raw.acl_setuser("poor", enabled=True, passwords="+pw", keys="*", commands=["+@all", "-eval"])
    store = RedisStore(redis_server.url.replace("redis://", "redis://poor:pw@"))
    with pytest.raises(StoreError, match="grant \\+eval"):
        await store.write("orders", "{}", None)
    await store.close()


@pytest.mark.services
async def test_a_redis_that_hangs_is_given_up_and_what_it_did_later_is_seen(restartable_redis: Any) -> None:
    store = RedisStore(restartable_redis.url)
    version = await store.write("decisions", "one", None)
    restartable_redis.pause()
    try:
        with pytest.raises(StoreError) as unsure:
            await store.write("decisions", "two", version)
        assert not isinstance(unsure.value, ChangedError)
    finally:
        restartable_redis.resume()
    found = await store.read("decisions")
    assert found.text in {"one", "two"}
    await store.write("decisions", "three", found.version)
    assert (await store.read("decisions")).text == "three"
    restartable_redis.kill()
    with pytest.raises(StoreError):
        await store.read("decisions")
    await store.close()


async def test_the_lease_is_one_that_kubectl_shows(api: KubernetesApi, cluster: StateStore) -> None:
    version = await cluster.write(
        "lease", Lease("pod-1a2b3c", 4, 1_800_000_000.0, 1_800_000_002.5).to_text(), None
    )
    found = api.store.get(LEASES, ("celery", "celery-scaler"))
    assert found["spec"] == {
        "holderIdentity": "pod-1a2b3c",
        "leaseTransitions": 4,
        "leaseDurationSeconds": 8,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:02.500000Z",
    }
    await cluster.write("lease", Lease("", 4).to_text(), version)
    assert "holderIdentity" not in api.store.get(LEASES, ("celery", "celery-scaler"))["spec"]


async def test_labels_of_others_stay(api: KubernetesApi, cluster: StateStore) -> None:
    await cluster.write("orders", "one", None)
    api.store.patch(MAPS, ("celery", "celery-scaler-orders"), {"metadata": {"labels": {"owner": "ops"}}})
    found = await cluster.read("orders")
    await cluster.write("orders", "two", found.version)
    labels = api.store.get(MAPS, ("celery", "celery-scaler-orders"))["metadata"]["labels"]
    assert labels["owner"] == "ops"
    assert labels["app.kubernetes.io/name"] == "celery-scaler"


async def test_an_api_server_in_trouble_is_no_empty_store(api: KubernetesApi, cluster: StateStore) -> None:
    version = await cluster.write("decisions", "one", None)
    api.faults.throttled = 1
    with pytest.raises(StoreError, match="overloaded"):
        await cluster.read("decisions")
    api.faults.unavailable = 1
    with pytest.raises(StoreError) as unsure:
        await cluster.write("decisions", "two", version)
    assert not isinstance(unsure.value, ChangedError)
    api.faults.forbidden = {("patch", "configmaps"), ("get", "leases")}
    with pytest.raises(StoreError, match="no right to patch configmaps"):
        await cluster.write("decisions", "two", version)
    with pytest.raises(StoreError, match="no right to get leases"):
        await cluster.read("lease")
    api.store.delete(MAPS, ("celery", "celery-scaler-decisions"))
    api.faults.forbidden = set()
    with pytest.raises(ChangedError):
        await cluster.write("decisions", "two", version)
    await cluster.write("decisions", "two", None)


@pytest.mark.parametrize("rubbish", ["%%%", "AAAA", ""])
async def test_rubbish_in_a_config_map_is_an_empty_text(
    api: KubernetesApi, cluster: StateStore, rubbish: str
) -> None:
    document = {
        "metadata": {"name": "celery-scaler-decisions", "namespace": "celery"},
        "binaryData": {"text.zlib": rubbish},
    }
    api.store.put(MAPS, document)
    assert (await cluster.read("decisions")).text == ""


@pytest.mark.parametrize("where", ["postgres://db/x", "", "kubernete"])
def test_an_unknown_store_is_named_with_the_known_ones(where: str) -> None:
    with pytest.raises(StoreError, match=r"memory, redis://host:6379/0, kubernetes"):
        open_store(where)


def test_without_a_cluster_there_is_no_store_in_it() -> None:
    with pytest.raises(StoreError, match="--kubernetes is off"):
        open_store("kubernetes", find_access(Mode.OFF))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(StoreError, match="write redis://"):
        open_store("redis://host:port/0")


def test_the_store_in_the_cluster_asks_for_no_write_a_second() -> None:
    assert KubernetesStore.routine == 3.0
