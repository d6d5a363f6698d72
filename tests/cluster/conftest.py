"""A stand-in for the API server, a reader on it that is in a hurry, and objects as a cluster writes them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scaler.cluster.access import Access, Mode, find_access, open_cluster
from scaler.cluster.base import ClusterReader
from scaler.cluster.pace import Pace
from scaler.core.policy import ScalingPolicy
from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Workload
from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig
from scaler.testing.kubernetes_objects import autoscaler, deployment, pod, scaled_object, usage
from scaler.testing.kubernetes_store import Object

#: Fast enough for a test, slow enough for a machine that is busy.
HURRY = Pace(watch=2.0, silence=0.6, first_retry=0.05, last_retry=0.2, refused=0.1, poll=0.1, steady=0.2)
MAKERS: dict[str, tuple[str, Callable[..., Object]]] = {
    "deployments": ("apps/v1", deployment),
    "pods": ("v1", pod),
    "usages": ("metrics.k8s.io/v1beta1", usage),
    "scaledobjects": ("keda.sh/v1alpha1", scaled_object),
    "horizontalpodautoscalers": ("autoscaling/v2", autoscaler),
}


class Cluster:
    """What a test does to the cluster, and what the reader makes of it."""

    def __init__(self, api: KubernetesApi, access: Access, reader: ClusterReader, token: Path) -> None:
        self.api = api
        self.access = access
        self.reader = reader
        self.token = token

    def put(self, plural: str, *arguments: Any, **options: Any) -> Object:
        """Write an object of `kubernetes_objects` as the cluster's controllers would."""
        group, make = MAKERS[plural]
        resource = (group, "pods" if plural == "usages" else plural)
        return self.api.store.put(resource, make(*arguments, **options))

    def ago(self, seconds: float) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=seconds)

    def seen(self, name: str = "io", *, kind: Any = "Deployment", later: float = 0.0) -> Workload:
        return self.reader.workload(ScaleTarget(kind=kind, name=name), time.time() + later)

    def follow(self, *names: str, measured: bool = False) -> None:
        targets = [ScaleTarget(name=name) for name in names]
        self.reader.follow(targets, targets if measured else ())

    async def until(
        self, condition: Callable[[Workload], object], description: str, name: str = "io"
    ) -> None:
        await wait_until(lambda: condition(self.seen(name)), timeout=15, description=description)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    """An API server with a Deployment io of 2 replicas."""
    made = KubernetesApi(bookmark_seconds=0.1)
    made.store.put(("apps/v1", "deployments"), deployment("io", 2))
    yield made
    await wait_until(lambda: len(asyncio.all_tasks()) == 1, timeout=5, description="all tasks have ended")


@pytest.fixture
async def cluster(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    """A reader that knows the server by a kubeconfig with a token file."""
    token = tmp_path / "token"
    token.write_text("first", encoding="utf-8")
    async with api.serving() as url:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", url, token)))
        access = find_access(Mode.KUBECONFIG)
        reader = open_cluster(access, clock=time.time, pace=HURRY)
        yield Cluster(api, access, reader, token)
        await reader.close()
        await access.close()


@pytest.fixture(scope="session")
def make_policy() -> Callable[..., ScalingPolicy]:
    """Policy examx with class io, 1 to 9 replicas of Deployment io; keywords change the class."""

    def build(**changes: Any) -> ScalingPolicy:
        worker = {
            "scaleTarget": {"name": "io"},
            "queues": ["email"],
            "concurrency": 10,
            "acksLate": True,
            "serviceTime": "10s",
            "replicas": {"min": 1, "max": 9},
        }
        document = {
            "apiVersion": "scaler/v1",
            "kind": "ScalingPolicy",
            "metadata": {"name": "examx"},
            "spec": {"brokers": {"main": {"url": "amqp://one"}}, "workers": {"io": worker | changes}},
        }
        return ScalingPolicy.model_validate_json(json.dumps(document))

    return build
