"""The API server and the network at their worst: what is read stays right, or is said to be unknown."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaler.cluster.access import Mode, find_access, open_cluster
from scaler.cluster.copies import Watched
from scaler.cluster.pace import Pace
from scaler.core.policy.worker import ScaleTarget
from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi
from scaler.testing.kubernetes_objects import deployment
from scaler.testing.tls import TlsDirectory

LISTED = ("list", "deployments")
WATCHED = ("watch", "deployments")


@pytest.fixture
async def settled(cluster: Any) -> Any:
    """Deployment io with 2 replicas is watched."""
    cluster.follow("io")
    await cluster.until(lambda seen: seen.replicas == 2, "it is read")
    await wait_until(lambda: cluster.api.watching == 4, description="all watches are open")
    return cluster


async def test_a_dropped_connection_is_resumed_where_it_ended(settled: Any) -> None:
    settled.api.drop_watches()
    settled.put("deployments", "io", 3)
    await settled.until(lambda seen: seen.replicas == 3, "the change meanwhile is known")
    assert settled.api.requests[LISTED] == 1, "without a new list"
    assert settled.seen().gaps == ()


async def test_a_version_that_is_too_old_costs_one_new_list(settled: Any) -> None:
    settled.api.store.delete(("apps/v1", "deployments"), ("celery", "io"))
    settled.put("deployments", "io", 9)
    settled.api.store.version += 10
    settled.api.compact()
    settled.api.drop_watches()
    await settled.until(lambda seen: seen.replicas == 9, "everything was listed anew")
    assert settled.api.requests[LISTED] == 2


async def test_old_values_stand_while_everything_is_listed_anew(settled: Any) -> None:
    settled.api.faults.delay = 0.2
    settled.put("deployments", "io", 3)
    settled.api.store.version += 10
    settled.api.compact()
    settled.api.drop_watches()
    seen: set[int | None] = set()

    def watched() -> bool:
        seen.add(settled.seen().replicas)
        return 3 in seen

    await wait_until(watched, description="the new value")
    assert seen == {2, 3}, "never unknown in between"


async def test_bookmarks_keep_a_quiet_watch_from_growing_old(settled: Any) -> None:
    for number in range(20):  # the history of other kinds moves on; no Deployment changes
        settled.put("pods", "io", number, created=settled.ago(5))
    marks = settled.api.bookmarks["deployments"]
    await wait_until(lambda: settled.api.bookmarks["deployments"] > marks + 1, description="two bookmarks")
    asked = settled.api.requests[WATCHED]
    settled.api.compact()
    settled.api.drop_watches()
    await wait_until(lambda: settled.api.requests[WATCHED] > asked, description="it watches again")
    settled.put("deployments", "io", 4)
    await settled.until(lambda seen: seen.replicas == 4, "from the version of the bookmark")
    assert settled.api.requests[LISTED] == 1


async def test_a_connection_that_is_dead_without_saying_so_is_noticed(settled: Any) -> None:
    settled.api.faults.mute = True
    settled.put("deployments", "io", 5)
    asked = settled.api.requests[WATCHED]
    await wait_until(lambda: settled.api.requests[WATCHED] > asked, description="silence: it watches anew")
    assert settled.seen().replicas == 2
    settled.api.faults.mute = False
    await settled.until(lambda seen: seen.replicas == 5, "the new connection brings the change")
    assert settled.api.requests[LISTED] == 1


async def test_throttling_is_obeyed(cluster: Any) -> None:
    cluster.api.faults.throttled, cluster.api.faults.retry_after = 4, 1
    began = time.monotonic()
    cluster.follow("io")
    await wait_until(lambda: cluster.api.faults.throttled == 0, description="all four lists were refused")
    asked = cluster.api.requests.total()
    await cluster.until(lambda seen: seen.replicas == 2, "it is read")
    assert asked == 4, "nothing else was asked meanwhile"
    assert time.monotonic() - began >= 1.0, "not before Retry-After"


async def test_a_server_that_comes_and_goes_is_read_in_the_end(cluster: Any) -> None:
    cluster.api.faults.unavailable = 9
    cluster.follow("io")
    await cluster.until(lambda seen: seen.gaps, "the fault is named")
    assert any("503" in gap for gap in cluster.seen().gaps)
    await cluster.until(lambda seen: seen.replicas == 2 and not seen.gaps, "and mended")


async def test_an_outage_becomes_unknown_and_never_zero(settled: Any) -> None:
    settled.api.faults.unavailable = 10_000
    settled.api.drop_watches()
    await wait_until(lambda: settled.api.requests[WATCHED] > 2, description="it tries again")
    assert settled.seen().replicas == 2, "a short outage leaves the last reading"
    seen = settled.seen(later=91.0)
    assert (seen.replicas, seen.pods, seen.scaled_object) == (None, None, None)
    assert seen.gaps[0].startswith("cluster: deployments of namespace celery: the API server answers 503")
    settled.api.faults.unavailable = 0
    asked = settled.api.requests[WATCHED]
    await wait_until(lambda: settled.api.requests[WATCHED] > asked, description="it is back")
    assert settled.seen().replicas == 2


async def test_an_expired_token_is_read_again_from_its_file(settled: Any) -> None:
    settled.token.write_text("second", encoding="utf-8")
    settled.api.faults.tokens = {"second"}
    settled.api.drop_watches()
    settled.put("deployments", "io", 3)
    await settled.until(lambda seen: seen.replicas == 3, "with the new token")
    assert settled.seen().gaps == ()


async def test_a_right_that_appears_later_is_found(cluster: Any) -> None:
    cluster.api.faults.forbidden = {("list", "pods"), ("watch", "scaledobjects")}
    cluster.follow("io")
    await cluster.until(lambda seen: len(seen.gaps) == 2, "two rights are missing")
    for plural, gap in zip(("pods", "scaledobjects"), cluster.seen().gaps, strict=True):
        right = f"no right to read {plural}; grant list and watch on {plural} in namespace celery"
        assert gap == f"cluster: {plural} of namespace celery: {right}"
    assert cluster.seen().replicas == 2, "what may be read is read"
    cluster.api.faults.forbidden.clear()
    await cluster.until(lambda seen: not seen.gaps, "both are granted")


async def test_without_keda_the_rest_is_read(cluster: Any) -> None:
    kind = cluster.api.served.pop(("keda.sh/v1alpha1", "scaledobjects"))
    cluster.follow("io")
    await cluster.until(lambda seen: seen.gaps and seen.replicas == 2, "KEDA is missed")
    assert cluster.seen().gaps == (
        "cluster: scaledobjects of namespace celery: the cluster has no scaledobjects; install KEDA",
    )
    cluster.api.served["keda.sh/v1alpha1", "scaledobjects"] = kind
    cluster.put("scaledobjects", "io")
    await cluster.until(lambda seen: seen.scaled_object and not seen.gaps, "KEDA was installed")


async def test_long_lists_come_in_pages_and_begin_again_when_a_page_expires(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "PAGE", 10)
    for number in range(35):
        cluster.put("pods", "io", number, created=cluster.ago(60), ready_at=cluster.ago(50))
    cluster.api.faults.delay = 0.05
    cluster.follow("io")
    await wait_until(lambda: cluster.api.requests["list", "pods"] == 3, description="in the midst of it")
    cluster.api.compact()
    await cluster.until(lambda seen: seen.pods and seen.pods.ready == 35, "all are there")
    assert cluster.api.requests["list", "pods"] >= 3 + 4


async def test_in_a_pod_token_and_ca_come_from_the_service_account(
    api: KubernetesApi, certificates: TlsDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert_file, certificates.server_key_file)
    for name, text in (
        ("token", "mine"),
        ("namespace", "celery"),
        ("ca.crt", certificates.ca_file.read_text()),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    api.faults.tokens = {"mine"}
    async with api.serving(context) as url:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", url.rpartition(":")[2])
        pace = Pace(first_retry=0.05, last_retry=0.2, refused=0.1)
        access = find_access(Mode.AUTO, service_account=tmp_path)
        reader = open_cluster(access, clock=time.time, pace=pace)
        target = ScaleTarget(name="io")
        reader.follow([target], ())
        seen: Callable[[], int | None] = lambda: reader.workload(target, time.time()).replicas  # noqa: E731
        await wait_until(lambda: seen() == 2, description="it is read over TLS, in its own namespace")

        (tmp_path / "token").write_text("new", encoding="utf-8")
        api.faults.tokens = {"new"}
        api.drop_watches()
        api.store.put(("apps/v1", "deployments"), deployment("io", 4))
        await wait_until(lambda: seen() == 4, description="with the token that kubelet wrote anew")
        await reader.close()
        await access.close()
