"""Which cluster is read, if any: `serve --kubernetes`."""

import builtins
import time
from pathlib import Path
from typing import Any

import pytest

from scaler.cluster.access import AccessError, Mode, find_access, open_cluster
from scaler.cluster.base import ClusterReader, NoCluster


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside of any cluster, without a kubeconfig."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def opened(mode: Mode, **options: Any) -> ClusterReader:
    return open_cluster(find_access(mode, **options), clock=time.time)


def missing(reader: ClusterReader) -> str:
    assert isinstance(reader, NoCluster)
    (hint,) = reader.workload(None, 0.0).hints
    return hint


def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def importing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("kubernetes_asyncio"):
            raise ImportError(name)
        return honest(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_off_and_auto_outside_of_a_cluster_read_nothing_and_say_so() -> None:
    assert missing(opened(Mode.OFF)) == "no cluster is read: --kubernetes is off"
    assert "--kubernetes kubeconfig reads one from outside" in missing(opened(Mode.AUTO))


def test_auto_takes_no_kubeconfig_by_chance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert isinstance(opened(Mode.AUTO), NoCluster)


def test_without_the_extra_auto_does_without_and_the_others_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_extra(monkeypatch)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert "install celery-scaler[kubernetes]" in missing(opened(Mode.AUTO))
    for mode in (Mode.IN_CLUSTER, Mode.KUBECONFIG):
        with pytest.raises(AccessError, match=r"install celery-scaler\[kubernetes\]"):
            opened(mode)


def test_in_cluster_needs_a_pod_and_its_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="KUBERNETES_SERVICE_HOST isn't set"):
        opened(Mode.IN_CLUSTER)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert "automountServiceAccountToken" in missing(opened(Mode.AUTO, service_account=tmp_path))
    with pytest.raises(AccessError, match="automountServiceAccountToken"):
        opened(Mode.IN_CLUSTER, service_account=tmp_path)


def test_a_kubeconfig_must_exist_and_have_a_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="the kubeconfig"):
        opened(Mode.KUBECONFIG)
    file = tmp_path / "config"
    file.write_text("{}", encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(AccessError, match="the kubeconfig"):
        opened(Mode.KUBECONFIG)
