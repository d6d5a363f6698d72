"""The cluster as the store: a Lease that says who leads, and two ConfigMaps.

The condition of each write is the object's `resourceVersion`. Patches name only what they change, so labels
that others put on the objects stay. An API server isn't asked for a write per second: decisions in which
nothing changed that anybody sees are written every 3 s.
"""

import base64
import binascii
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scaler.cluster.errors import ClusterError, ConflictError, MissingError
from scaler.runtime.store.base import ChangedError, Document, Lease, Name, StoreError

if TYPE_CHECKING:
    from scaler.cluster.connection import Connection

LEASE = "celery-scaler"
_OBJECTS: dict[Name, str] = {
    "lease": LEASE,
    "decisions": "celery-scaler-decisions",
    "orders": "celery-scaler-orders",
}
#: Where a ConfigMap has its text, compressed: a class of 500 workers makes 76 kB of JSON.
_KEY = "text.zlib"
#: A ConfigMap holds 1 MiB.
MOST_BYTES = (1 << 20) - 4096
#: Of what is unpacked, against a text that others made.
_MOST_UNPACKED = 64 << 20
#: Seconds without a byte. A lease lasts four times as long.
TIMEOUT = 2.0
#: The API server asks for a number above 0; nobody but people reads it.
LEASE_SECONDS = 8
_LABELS = {"app.kubernetes.io/name": "celery-scaler"}


class KubernetesStore:
    """Objects in one namespace. The connection is its opener's to close."""

    shared = True
    routine = 3.0
    poll = 1.0

    def __init__(self, connection: "Connection", namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def read(self, name: Name) -> Document:
        """A text as it stands.

        Raises:
            StoreError: it can't be told.
        """
        path, place = self._where(name)
        try:
            found = await self._connection.send(
                "get", f"{path}/{_OBJECTS[name]}", place=place, silence=TIMEOUT
            )
        except MissingError:
            return Document()
        except ClusterError as error:
            raise StoreError(f"the {name} can't be read: {error}") from error
        return Document(_text(name, found), _version(found))

    async def write(self, name: Name, text: str, version: str | None) -> str:
        """Replace a text.

        Raises:
            ChangedError: it has another version.
            StoreError: it may have been done or not, or it is too long.
        """
        path, place = self._where(name)
        body = _body(name, text)
        metadata: dict[str, Any] = {"name": _OBJECTS[name], "labels": _LABELS}
        try:
            if version is None:
                body["metadata"] = metadata
                written = await self._connection.send("create", path, body, place=place, silence=TIMEOUT)
            else:
                body["metadata"] = {"resourceVersion": version}
                written = await self._connection.send(
                    "patch", f"{path}/{_OBJECTS[name]}", body, place=place, silence=TIMEOUT
                )
        except ClusterError as error:
            gone = isinstance(error, MissingError) and version is not None
            if gone or isinstance(error, ConflictError):
                raise ChangedError(f"the {name} in the cluster have changed") from error
            raise StoreError(f"the {name} can't be written: {error}") from error
        return _version(written)

    async def close(self) -> None:
        """The connection stays with its opener."""

    def _where(self, name: Name) -> tuple[str, tuple[str, str]]:
        group, plural = (
            ("apis/coordination.k8s.io/v1", "leases") if name == "lease" else ("api/v1", "configmaps")
        )
        path = f"/{group}/namespaces/{self._namespace}/{plural}"
        return path, (plural, f"namespace {self._namespace}")


def _version(found: dict[str, Any]) -> str:
    return str((found.get("metadata") or {}).get("resourceVersion", ""))


def _text(name: Name, found: dict[str, Any]) -> str:
    """The text in an object; empty where it can't be read."""
    if name == "lease":
        spec = found.get("spec") or {}
        lease = Lease(
            str(spec.get("holderIdentity") or ""),
            int(spec.get("leaseTransitions") or 0),
            _seconds(spec.get("acquireTime")),
            _seconds(spec.get("renewTime")),
        )
        return lease.to_text()
    packed = (found.get("binaryData") or {}).get(_KEY, "")
    try:
        return zlib.decompressobj().decompress(base64.b64decode(packed), _MOST_UNPACKED).decode()
    except (ValueError, zlib.error, binascii.Error, TypeError):
        return ""


def _body(name: Name, text: str) -> dict[str, Any]:
    if name == "lease":
        lease = Lease.from_text(text)
        spec = {
            # The API server refuses an empty name; null takes it away.
            "holderIdentity": lease.holder or None,
            "leaseTransitions": lease.term,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": _written(lease.acquired),
            "renewTime": _written(lease.renewed),
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
    packed = zlib.compress(text.encode(), 6)
    if len(packed) > MOST_BYTES:
        raise StoreError(
            f"the {name} take {len(packed)} bytes, a ConfigMap holds {MOST_BYTES}; use --state redis://…"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "binaryData": {_KEY: base64.b64encode(packed).decode()},
    }


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
