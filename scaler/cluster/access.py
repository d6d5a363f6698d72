"""How the cluster is reached: from a pod in it, by a kubeconfig, or not at all.

kubernetes-asyncio is an extra and takes 45 MB, so it is imported only where a cluster is read.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from scaler.cluster.base import ClusterReader, NoCluster
from scaler.cluster.pace import Pace

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

    from scaler.cluster.connection import Configure, Connection

#: Where Kubernetes mounts a service account.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST_VARIABLE = "KUBERNETES_SERVICE_HOST"
DEFAULT_PACE = Pace()


class Mode(StrEnum):
    """Values of `serve --kubernetes`."""

    OFF = "off"
    #: The cluster that this runs in; outside of one: off. A kubeconfig isn't taken by chance.
    AUTO = "auto"
    IN_CLUSTER = "in-cluster"
    KUBECONFIG = "kubeconfig"


class AccessError(Exception):
    """The asked way to the cluster doesn't exist; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class Access:
    """A way to an API server, shared by all who read and write there; or why there is none."""

    connection: "Connection | None" = None
    #: The one that this service runs in, or that the kubeconfig's context names.
    namespace: str = ""
    #: Why there is no connection, with the remedy.
    reason: str = ""

    async def close(self) -> None:
        """Give the connections back."""
        if self.connection is not None:
            await self.connection.close()


def find_access(mode: Mode, *, service_account: Path = SERVICE_ACCOUNT) -> Access:
    """The way for `serve --kubernetes MODE`; nothing is connected yet.

    Raises:
        AccessError: the extra, the pod's service account or the kubeconfig is missing.
    """
    if mode is Mode.OFF:
        return Access(reason="no cluster is read: --kubernetes is off")
    if mode is Mode.AUTO and HOST_VARIABLE not in os.environ:
        return Access(
            reason="no cluster is read: this doesn't run in one;"
            " --kubernetes kubeconfig reads one from outside"
        )
    try:
        import kubernetes_asyncio  # noqa: F401, PLC0415 - optional extra
    except ImportError:
        missing = "kubernetes-asyncio isn't installed; install celery-scaler[kubernetes]"
        if mode is Mode.AUTO:
            return Access(reason=f"no cluster is read: {missing}")
        raise AccessError(missing) from None
    from scaler.cluster.connection import Connection  # noqa: PLC0415 - see above

    try:
        configure, namespace = _by_kubeconfig() if mode is Mode.KUBECONFIG else _in_cluster(service_account)
    except AccessError as error:
        if mode is Mode.AUTO:
            return Access(reason=f"no cluster is read: {error}")
        raise
    return Access(Connection(configure), namespace)


def open_cluster(access: Access, *, clock: Callable[[], float], pace: Pace = DEFAULT_PACE) -> ClusterReader:
    """A reader of the scale targets. The access is its opener's to close."""
    if access.connection is None:
        return NoCluster(access.reason)
    from scaler.cluster.reader import ApiReader  # noqa: PLC0415 - see above

    return ApiReader(access.connection, access.namespace, clock=clock, pace=pace)


def _configuration() -> "Configuration":
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415

    made = Configuration()
    # Since Python 3.13 certificates must obey every "should" of RFC 5280, which the authorities of many
    # clusters don't (no key usage, no key identifier). Chain and host name are checked as ever.
    made.disable_strict_ssl_verification = True
    # One connection per list that is watched; the library's limit of 100 would let the rest wait for ever.
    made.connection_pool_maxsize = 0
    return made


def _in_cluster(folder: Path) -> "tuple[Configure, str]":
    from kubernetes_asyncio.config import load_incluster_config  # noqa: PLC0415

    if HOST_VARIABLE not in os.environ:
        raise AccessError(f"{HOST_VARIABLE} isn't set, so this is no pod of a cluster")
    if not (folder / "token").is_file():
        raise AccessError(
            f"there is no token in {folder}; give the pod a service account"
            " (automountServiceAccountToken: true)"
        )

    async def configure() -> "Configuration":
        made = _configuration()
        files = {"token_filename": str(folder / "token"), "cert_filename": str(folder / "ca.crt")}
        load_incluster_config(client_configuration=made, **files)
        return made

    return configure, _text(folder / "namespace") or "default"


def _by_kubeconfig() -> "tuple[Configure, str]":
    from kubernetes_asyncio.config import (  # noqa: PLC0415
        ConfigException,
        list_kube_config_contexts,
        load_kube_config,
    )

    # Read here and not by the library, which looks at the variable only when it is imported.
    file = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        _, context = list_kube_config_contexts(config_file=file)
    except ConfigException as error:
        raise AccessError(f"the kubeconfig {file} can't be used: {error}"[:200]) from error

    async def configure() -> "Configuration":
        made = _configuration()
        await load_kube_config(config_file=file, client_configuration=made, persist_config=False)
        return made

    return configure, ((context or {}).get("context") or {}).get("namespace") or "default"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
