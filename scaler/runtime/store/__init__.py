"""Where decisions survive a restart and are shared by replicas: memory, Redis, or the cluster itself."""

from scaler.cluster.access import Access
from scaler.runtime.store.base import ChangedError, Document, Lease, Name, StateStore, StoreError
from scaler.runtime.store.kubernetes import KubernetesStore
from scaler.runtime.store.memory import MemoryStore
from scaler.runtime.store.redis import RedisStore

__all__ = [
    "ChangedError",
    "Document",
    "KubernetesStore",
    "Lease",
    "MemoryStore",
    "Name",
    "RedisStore",
    "StateStore",
    "StoreError",
    "open_store",
]


def open_store(where: str, access: Access | None = None, *, environment: str = "") -> StateStore:
    """The store for `memory`, `redis://…` or `kubernetes`.

    Args:
        where: as given to `serve --state`.
        access: the way to the cluster, which stays its opener's to close.
        environment: services of different ones keep apart in one Redis database.

    Raises:
        StoreError: none of them, or there is no way to the cluster.
    """
    if where == "memory":
        return MemoryStore()
    if where.startswith(("redis://", "rediss://", "unix://")):
        return RedisStore(where, environment)
    if where == "kubernetes":
        if access is None or access.connection is None:
            reason = access.reason if access is not None else "no cluster is read"
            raise StoreError(f"--state kubernetes keeps its state in the cluster, but {reason}")
        return KubernetesStore(access.connection, access.namespace)
    known = "memory, redis://host:6379/0, kubernetes"
    raise StoreError(f"unknown state store {where.partition('://')[0]!r}; write one of: {known}")
