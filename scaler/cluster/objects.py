"""Objects of the API, cut down to what is needed: a pod of 4 to 20 kB of JSON becomes a few hundred bytes.

A `…_of` takes the object as decoded JSON. Fields that the server leaves out are zeros where the API says
so (counts of a status), and None where it doesn't.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scaler.cluster.quantities import moment, quantity, window
from scaler.core.workload import Autoscaler, Condition, KedaObject

Document = dict[str, Any]

Owner = tuple[str, str]
"""(kind, name) of a scale target, in the namespace where the object was found."""

_PAUSED = "autoscaling.keda.sh/paused"
#: Go's strconv.ParseBool: these are false, and KEDA takes what is no bool at all for true.
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
RESOURCES = ("cpu", "memory")
#: What the ReplicaSet controller compares when it takes pods away: the least goes first, none counts as 0.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
#: The API's own default.
GRACE_SECONDS = 30.0
#: As the fields of an annotation are written, and what this service is called in them.
_COST_FIELD = f"f:{DELETION_COST}"
FIELD_MANAGER = "celery-scaler"


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts of a Deployment or StatefulSet."""

    name: str
    replicas: int
    current: int
    ready: int
    updated: int
    uid: str


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. Times are seconds since the epoch."""

    name: str
    owner: Owner
    phase: str
    leaving: bool
    created: float | None
    started: float | None
    #: Condition Ready; None: not there yet. `turned` is when it last changed.
    ready: bool | None
    turned: float | None
    #: Requests of all containers together, cores and bytes; None: a container has none.
    cpu: float | None
    memory: float | None
    #: Seconds between SIGTERM and SIGKILL.
    grace: float = GRACE_SECONDS
    #: The deletion cost; None: there is none, or one that Kubernetes couldn't read.
    cost: int | None = None
    #: Who wrote that annotation, ours last of several; "": the fields don't tell. None: it isn't there.
    cost_by: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one pod used over the `window` seconds that ended at `at`; cores and bytes."""

    at: float
    window: float
    cpu: float | None
    memory: float | None


@dataclass(frozen=True, slots=True)
class Scaled:
    """A ScaledObject or HPA with what it scales."""

    owner: Owner
    object: KedaObject | Autoscaler


def name_of(document: Document) -> str:
    """metadata.name."""
    name: str = document["metadata"]["name"]
    return name


def scale_of(document: Document) -> Scale:
    """A Deployment or StatefulSet."""
    spec, status = document.get("spec", {}), document.get("status", {})
    return Scale(
        name_of(document),
        replicas=spec.get("replicas", 1),
        current=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        uid=document["metadata"].get("uid", ""),
    )


def pod_of(document: Document) -> Pod | None:
    """A pod that a Deployment or StatefulSet made and that hasn't ended; None for others."""
    metadata, status = document["metadata"], document.get("status", {})
    owner, phase = _owner(metadata), status.get("phase", "Pending")
    if owner is None or phase in {"Succeeded", "Failed"}:
        return None
    ready = next((c for c in status.get("conditions", ()) if c.get("type") == "Ready"), None)
    spec = document.get("spec", {})
    cpu, memory = (_requests(spec, resource) for resource in RESOURCES)
    cost = (metadata.get("annotations") or {}).get(DELETION_COST)
    return Pod(
        name=metadata["name"],
        owner=owner,
        phase=phase,
        leaving="deletionTimestamp" in metadata,
        created=moment(metadata.get("creationTimestamp")),
        started=moment(status.get("startTime")),
        ready=None if ready is None else ready.get("status") == "True",
        turned=None if ready is None else moment(ready.get("lastTransitionTime")),
        cpu=cpu,
        memory=memory,
        grace=spec.get("terminationGracePeriodSeconds", GRACE_SECONDS),
        cost=_cost(cost),
        cost_by=None if cost is None else _cost_writer(metadata),
    )


def _cost(text: str | None) -> int | None:
    """As GetDeletionCostFromPodAnnotations reads it: 32 bits, no plus sign, no leading zeros."""
    if text is None or not re.fullmatch(r"-[0-9]{1,10}|0|[1-9][0-9]{0,9}", text):
        return None
    value = int(text)
    return value if -(2**31) <= value < 2**31 else None


def _cost_writer(metadata: Document) -> str:
    """The field manager that owns the annotation; interned, since thousands of pods have the same."""
    ours = ""
    for entry in metadata.get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
        if _COST_FIELD in (fields.get("f:annotations") or {}):
            manager = sys.intern(str(entry.get("manager") or "unnamed"))
            if manager != FIELD_MANAGER:
                return manager
            ours = manager
    return ours


def _owner(metadata: Document) -> Owner | None:
    """The scale target that a pod belongs to.

    A Deployment's pods belong to a ReplicaSet whose name is the Deployment's, a dash, and the hash that
    the pod has as a label; so the ReplicaSets needn't be read.
    """
    for reference in metadata.get("ownerReferences", ()):
        if reference.get("controller") and reference["kind"] == "StatefulSet":
            return "StatefulSet", reference["name"]
        if reference.get("controller") and reference["kind"] == "ReplicaSet":
            template = metadata.get("labels", {}).get("pod-template-hash", "")
            name = reference["name"].removesuffix(f"-{template}") if template else ""
            return ("Deployment", name) if name not in {"", reference["name"]} else None
    return None


def _requests(spec: Document, resource: str) -> float | None:
    """The pod's own request where it has one, else the sum over containers and sidecars; so does the HPA."""
    own = spec.get("resources", {}).get("requests", {}).get(resource)
    if own is not None:
        return quantity(str(own)) or None
    sidecars = (c for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always")
    total = 0.0
    for container in (*spec.get("containers", ()), *sidecars):
        asked = container.get("resources", {}).get("requests", {}).get(resource)
        value = None if asked is None else quantity(str(asked))
        if value is None:
            return None
        total += value
    return total or None


def usage_of(document: Document) -> Usage | None:
    """A PodMetrics object; None without a readable time."""
    at = moment(document.get("timestamp"))
    if at is None:
        return None
    sums = []
    for resource in RESOURCES:
        used = [quantity(str(c.get("usage", {}).get(resource))) for c in document.get("containers", ())]
        known = [value for value in used if value is not None]
        sums.append(sum(known) if known and len(known) == len(used) else None)
    return Usage(at, window(document.get("window")), *sums)


def scaled_object_of(document: Document) -> Scaled:
    """A ScaledObject of keda.sh/v1alpha1."""
    spec, status = document["spec"], document.get("status", {})
    notes = document["metadata"].get("annotations", {})
    at = notes.get(f"{_PAUSED}-replicas")
    return Scaled(
        _target(spec),
        KedaObject(
            name=name_of(document),
            min=spec.get("minReplicaCount"),
            max=spec.get("maxReplicaCount"),
            paused=_is_set(notes, _PAUSED) or at is not None,
            paused_replicas=int(at) if at is not None and at.isascii() and at.isdigit() else None,
            paused_in=_is_set(notes, f"{_PAUSED}-scale-in"),
            paused_out=_is_set(notes, f"{_PAUSED}-scale-out"),
            fallback_replicas=(spec.get("fallback") or {}).get("replicas"),
            hpa=status.get("hpaName", ""),
            conditions=_conditions(status),
            uid=document["metadata"].get("uid", ""),
            detours=tuple(_detours(spec)),
        ),
    )


def autoscaler_of(document: Document) -> Scaled:
    """A HorizontalPodAutoscaler of autoscaling/v2."""
    spec, status = document["spec"], document.get("status", {})
    return Scaled(
        _target(spec),
        Autoscaler(
            name=name_of(document),
            min=spec.get("minReplicas", 1),
            max=spec["maxReplicas"],
            current=status.get("currentReplicas", 0),
            desired=status.get("desiredReplicas", 0),
            conditions=_conditions(status),
            tolerance=_tolerance(spec.get("behavior") or {}),
        ),
    )


def _detours(spec: Document) -> Iterator[str]:
    if any(trigger.get("useCachedMetrics") for trigger in spec.get("triggers") or ()):
        yield "useCachedMetrics"
    if ((spec.get("advanced") or {}).get("scalingModifiers") or {}).get("formula"):
        yield "scalingModifiers"


def _tolerance(behavior: Document) -> float | None:
    stated = [(behavior.get(direction) or {}).get("tolerance") for direction in ("scaleUp", "scaleDown")]
    values = [None if one is None else quantity(str(one)) for one in stated]
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _target(spec: Document) -> Owner:
    reference = spec["scaleTargetRef"]
    return reference.get("kind") or "Deployment", reference["name"]


def _is_set(annotations: Document, name: str) -> bool:
    return name in annotations and annotations[name] not in _FALSE


def _conditions(status: Document) -> tuple[Condition, ...]:
    return tuple(
        Condition(*(str(one.get(key) or "") for key in ("type", "status", "reason", "message")))
        for one in status.get("conditions") or ()
    )
