"""The whole service beside a stand-in for the API server: what it writes there, end to end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig
from scaler.testing.kubernetes_objects import autoscaler, deployment, scaled_object

pytestmark = pytest.mark.services

POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {{name: examx}}
spec:
  brokers: {{main: {{url: "{url}"}}}}
  workers:
    io:
      scaleTarget: {{name: io}}
      queues: [email]
      concurrency: 10
      acksLate: true
      prefetchMultiplier: 1
      serviceTime: 10s
      replicas: {{min: 1, max: 5}}
      {more}
"""


@pytest.fixture
def api() -> KubernetesApi:
    """Deployment io with 1 replica, its ScaledObject and its HPA."""
    made = KubernetesApi()
    made.store.put(("apps/v1", "deployments"), deployment("io", 1))
    made.store.put(("keda.sh/v1alpha1", "scaledobjects"), scaled_object("io", maxReplicaCount=5))
    hpa = autoscaler("io", replicas=1, tolerance="0")
    made.store.put(("autoscaling/v2", "horizontalpodautoscalers"), hpa)
    return made


def replicas(api: KubernetesApi) -> int:
    found: int = api.store.get(("apps/v1", "deployments"), ("celery", "io"))["spec"]["replicas"]
    return found


def reasons(api: KubernetesApi) -> set[str]:
    return {event["reason"] for event in api.store.objects.get(("v1", "events"), {}).values()}


async def start(
    service: Any, url: str, tmp_path: Path, api_url: str, more: str, *, state: str = "memory"
) -> None:
    (tmp_path / "token").write_text("any")
    file = kubeconfig(tmp_path / "config", api_url, tmp_path / "token")
    service.policy.parent.mkdir()
    service.policy.write_text(POLICY.format(url=url, more=more))
    service.start("--kubernetes", "kubeconfig", "--state", state, KUBECONFIG=str(file))
    await wait_until(
        # In a thread: the stand-in that the service asks lives in this loop.
        lambda: asyncio.to_thread(lambda: service.ready and service.worker().get("quality") == "fresh"),
        timeout=20,
        description="ready",
    )


@pytest.mark.parametrize("state", ["memory", "redis", "kubernetes"])
async def test_a_spike_is_written_at_once_and_told(
    service: Any, redis_server: Any, publish_tasks: Any, tmp_path: Path, api: KubernetesApi, state: str
) -> None:
    """Where other replicas may answer as well, the number stands for a second before it is written."""
    state = redis_server.url if state == "redis" else state
    async with api.serving() as url:
        await start(service, redis_server.url, tmp_path, url, "fastPath: true", state=state)
        await asyncio.to_thread(publish_tasks, redis_server.url, "email", 500)
        await wait_until(lambda: replicas(api) == 5, timeout=5, description="the replicas are raised")
        await wait_until(
            lambda: {"DesiredReplicasRaised", "FastPathRaised"} <= reasons(api), description="it is told"
        )
        await asyncio.to_thread(service.stop)
    assert "failed" not in service.log


async def test_in_shadow_mode_nothing_is_written_and_the_difference_is_shown(
    service: Any, redis_server: Any, publish_tasks: Any, tmp_path: Path, api: KubernetesApi
) -> None:
    async with api.serving() as url:
        await start(service, redis_server.url, tmp_path, url, "mode: shadow\n      fastPath: true")
        await asyncio.to_thread(publish_tasks, redis_server.url, "email", 500)

        async def found() -> Any:
            _, document = await asyncio.to_thread(service.get, "/api/v1/shadow")
            return document["classes"][0]["ours"] == 5 and document["classes"][0]

        compared = await wait_until(found, description="5 would be there")
        assert compared["actual"] == 1
        assert compared["scaledBy"] == "HPA keda-hpa-io-so, ScaledObject io-so"
        await asyncio.to_thread(service.stop)
    assert replicas(api) == 1
    assert reasons(api) == set()
