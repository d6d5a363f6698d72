"""The memory of a stand-in for the API server: objects with versions, and the history that watches read.

As etcd behind a real server: one counter of versions for everything, writes are refused when they name an
old version, and history that was compacted is gone.
"""

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

Resource = tuple[str, str]
"""(group and version as in apiVersion, plural): ("apps/v1", "deployments")."""

Name = tuple[str, str]
"""(namespace, name); the namespace is empty for what has none."""


class ApiError(Exception):
    """An answer that is a Status: HTTP code, reason and message."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after: int | None = None) -> None:
        """`retry_after` becomes the header."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    @property
    def status(self) -> Object:
        """The body."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the history."""

    version: int
    resource: Resource
    kind: str
    object: Object


@dataclass
class Store:
    """Objects by resource and name; times come from `now`."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    version: int = 100
    objects: dict[Resource, dict[Name, Object]] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    #: Versions up to this one can't be watched from any more.
    compacted: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, resource: Resource, name: Name) -> Object:
        """A copy of an object; raises NotFound."""
        found = self.objects.get(resource, {}).get(name)
        if found is None:
            raise ApiError(404, "NotFound", f'{resource[1]} "{name[1]}" not found')
        return copy.deepcopy(found)

    def put(self, resource: Resource, document: Object) -> Object:
        """Create or replace an object as it stands, status included, whatever its version: for tests."""
        document = copy.deepcopy(document)
        metadata = document.setdefault("metadata", {})
        name = (metadata.get("namespace", ""), metadata["name"])
        before = self.objects.get(resource, {}).get(name)
        known = before["metadata"] if before else {}
        metadata.setdefault("uid", known.get("uid") or f"uid-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", known.get("creationTimestamp") or stamp(self.now()))
        return self._commit(resource, name, document, "MODIFIED" if before else "ADDED")

    def create(self, resource: Resource, namespace: str, document: Object) -> Object:
        """POST: refuses a name that is taken."""
        metadata = document.setdefault("metadata", {})
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._numbers):05}"
        if namespace:
            metadata["namespace"] = namespace
        if (namespace, metadata["name"]) in self.objects.get(resource, {}):
            raise ApiError(409, "AlreadyExists", f'{resource[1]} "{metadata["name"]}" already exists')
        return self.put(resource, document)

    def update(self, resource: Resource, name: Name, document: Object, *, part: str = "") -> Object:
        """PUT: refuses an old version. `part` "status" changes the status alone, else it is left alone."""
        before = self.get(resource, name)
        wanted = document.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != before["metadata"]["resourceVersion"]:
            raise ApiError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {resource[1]} "{name[1]}": the object has been modified;'
                " please apply your changes to the latest version and try again",
            )
        after = copy.deepcopy(before if part == "status" else document)
        source = document if part == "status" else before
        if "status" in source:
            after["status"] = copy.deepcopy(source["status"])
        for key in ("uid", "creationTimestamp", "name", "namespace", "resourceVersion"):
            if key in before["metadata"]:
                after.setdefault("metadata", {})[key] = before["metadata"][key]
        if after == before:
            return before  # as etcd: nothing changed, no new version
        return self._commit(resource, name, after, "MODIFIED")

    def patch(
        self, resource: Resource, name: Name, change: Object, *, part: str = "", manager: str = ""
    ) -> Object:
        """PATCH: a JSON merge patch (RFC 7386); a version in it is a condition.

        `manager` is noted as the owner of the annotations that change; other fields have no owners here.
        """
        before = self.get(resource, name)
        merged = merge(before, change)
        if manager:
            _own_annotations(before["metadata"], merged["metadata"], manager)
        if "resourceVersion" not in change.get("metadata", {}):
            merged["metadata"].pop("resourceVersion", None)
        return self.update(resource, name, merged, part=part)

    def delete(self, resource: Resource, name: Name) -> Object:
        """DELETE, at once."""
        found = self.get(resource, name)
        del self.objects[resource][name]
        return self._record(resource, found, "DELETED")

    def compact(self) -> None:
        """Forget the history, as a real server does after 5 min."""
        self.compacted = self.version
        self.history.clear()

    def since(self, version: int, resource: Resource) -> list[Change]:
        """Changes after a version; raises Expired for one that was compacted."""
        if version < self.compacted:
            raise ApiError(410, "Expired", f"too old resource version: {version} ({self.compacted})")
        return [one for one in self.history if one.version > version and one.resource == resource]

    def _commit(self, resource: Resource, name: Name, document: Object, kind: str) -> Object:
        self.objects.setdefault(resource, {})[name] = document
        return self._record(resource, document, kind)

    def _record(self, resource: Resource, document: Object, kind: str) -> Object:
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, resource, kind, copy.deepcopy(document)))
        waiting, self.changed = self.changed, asyncio.Event()
        waiting.set()
        return copy.deepcopy(document)


def _own_annotations(before: Object, after: Object, manager: str) -> None:
    """Note in `managedFields` who has changed annotations: an "Update" takes them from all others."""
    old, new = before.get("annotations", {}), after.get("annotations", {})
    changed = {f"f:{key}" for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    entries: dict[str, set[str]] = {}
    for entry in after.get("managedFields", []):
        entries[entry["manager"]] = set(entry["fieldsV1"]["f:metadata"]["f:annotations"]) - changed
    entries[manager] = entries.get(manager, set()) | {key for key in changed if key[2:] in new}
    after["managedFields"] = [
        {
            "manager": name,
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:annotations": {key: {} for key in sorted(keys)}}},
        }
        for name, keys in entries.items()
        if keys
    ]


def merge(target: Any, change: Any) -> Any:  # noqa: ANN401 - JSON
    """RFC 7386."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def stamp(moment: datetime) -> str:
    """RFC 3339 with whole seconds, as metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
