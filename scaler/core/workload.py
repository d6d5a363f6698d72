"""What the cluster states of a class's workload: its replicas, its pods, and who scales it.

A decision starts from the replicas and counts the pods. What hinders KEDA or the HPA from carrying it
out (a pause, a broken metric, narrower bounds) changes nothing in it: the number is still what the
load needs. It is named, so that nobody has to wonder why the Deployment doesn't follow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scaler.core.observation import Observation, PodSeen, Utilization
from scaler.core.policy import WorkerPolicy

#: What KEDA takes where a ScaledObject says nothing (apis/keda/v1alpha1/scaledobject_types.go).
KEDA_MIN = 0
KEDA_MAX = 100
#: Characters of a message that Kubernetes wrote; the HPA repeats whole error chains in them.
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Reference:
    """Names one object of the cluster, for those who write about it or to it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of an object's status; `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class KedaObject:
    """The ScaledObject of a workload."""

    name: str
    #: As written; None: KEDA's own default.
    min: int | None = None
    max: int | None = None
    #: Annotation `paused`: the replicas stay as they are; `paused-replicas`: they are set to that number.
    paused: bool = False
    paused_replicas: int | None = None
    #: Annotations `paused-scale-in` and `paused-scale-out`: one direction only.
    paused_in: bool = False
    paused_out: bool = False
    fallback_replicas: int | None = None
    hpa: str = ""
    conditions: tuple[Condition, ...] = ()
    uid: str = ""
    #: What stands between the number that KEDA is told and the one that the HPA gets: "useCachedMetrics".
    detours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """The HorizontalPodAutoscaler of a workload, as its last sync left it."""

    name: str
    min: int
    max: int
    current: int
    desired: int
    conditions: tuple[Condition, ...] = ()
    #: The wider of its two deadbands; None: it states none, and the cluster's own holds (10 % by default).
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a workload, each counted once; those that have ended aren't counted."""

    ready: int = 0
    #: Not ready yet.
    starting: int = 0
    #: Were ready and aren't any more.
    unready: int = 0
    #: Told to end.
    leaving: int = 0
    #: Since when the oldest of those that start exists, seconds since the epoch.
    starting_since: float | None = None


@dataclass(frozen=True, slots=True)
class ForeignCost:
    """A pod-deletion-cost that another writer has set; `by` is empty where the API server doesn't say who."""

    pod: str
    by: str
    #: None: Kubernetes can't read it either.
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One scale target. None is unknown, never a zero."""

    #: As people write it: "Deployment celery/io-worker"; empty where the policy names none.
    target: str = ""
    #: When the cluster was last heard of, seconds since the epoch; None: not yet, or not at all.
    at: float | None = None
    #: Replicas that were asked for (spec), that exist (status), are ready, and are of the newest revision.
    replicas: int | None = None
    current: int | None = None
    ready: int | None = None
    updated: int | None = None
    pods: Pods | None = None
    #: The pods one by one, without those that leave.
    named: tuple[PodSeen, ...] | None = None
    utilization: Utilization | None = None
    scaled_object: KedaObject | None = None
    autoscaler: Autoscaler | None = None
    #: What can't be read although it should, each with its remedy; shown with the decision.
    gaps: tuple[str, ...] = ()
    #: What isn't read because nobody asked for it.
    hints: tuple[str, ...] = ()
    #: The first reading is still under way.
    expected: bool = False
    #: The target itself, where it exists.
    reference: Reference | None = None
    #: Further ScaledObjects and HPAs that scale the same target: "HPA other".
    rivals: tuple[str, ...] = ()
    #: What those who write to the cluster have met there; each is a hindrance.
    remarks: tuple[str, ...] = ()
    #: Of the named pods, those whose deletion cost isn't ours.
    foreign_costs: tuple[ForeignCost, ...] = ()


def with_workload(observation: Observation, worker: WorkerPolicy, workload: Workload) -> Observation:
    """What a broker showed, and what the cluster states beside it."""
    pods = workload.pods
    return replace(
        observation,
        replicas_current=workload.replicas,
        utilization=workload.utilization,
        # A pod that has fallen back (an unreachable node, a probe) may work all the same.
        pods=None if pods is None else (pods.ready + pods.unready, pods.starting),
        named=workload.named,
        hindrances=tuple(hindrances(worker, workload)),
        gaps=observation.gaps + workload.gaps,
    )


def hindrances(worker: WorkerPolicy, workload: Workload) -> Iterator[str]:
    """Why the cluster won't do what is decided, each with its remedy; in shadow mode it needn't."""
    if worker.mode == "shadow":
        return
    yield from workload.remarks
    for rival in workload.rivals:
        yield f"{rival} scales {workload.target} as well; remove one of the two"
    scaled, autoscaler = workload.scaled_object, workload.autoscaler
    if scaled is not None:
        yield from _pauses(scaled)
        yield from _bounds(worker, scaled)
        for condition in scaled.conditions:
            if (condition.type, condition.status) == ("Ready", "False"):
                yield f"ScaledObject {scaled.name} isn't ready: {_told(condition)}"
            elif (condition.type, condition.status) == ("Fallback", "True"):
                yield f"ScaledObject {scaled.name} uses its fallback: {_told(condition)}"
    if autoscaler is not None:
        for condition in autoscaler.conditions:
            broken = condition.type in {"ScalingActive", "AbleToScale"} and condition.status == "False"
            # At 0 replicas an HPA does nothing, and KEDA wakes the workload.
            at_rest = condition.reason == "ScalingDisabled" and workload.replicas == 0
            if broken and not at_rest:
                yield f"HPA {autoscaler.name}: {condition.type} is False: {_told(condition)}"


def _pauses(scaled: KedaObject) -> Iterator[str]:
    name, prefix = f"ScaledObject {scaled.name}", "autoscaling.keda.sh"
    if scaled.paused_replicas is not None:
        yield (
            f"{name} is paused at {scaled.paused_replicas} replicas; remove its annotation"
            f" {prefix}/paused-replicas"
        )
    elif scaled.paused:
        yield f"{name} is paused, the replicas stay as they are; remove its annotation {prefix}/paused"
    if scaled.paused_in:
        yield f"{name} takes no replicas away; remove its annotation {prefix}/paused-scale-in"
    if scaled.paused_out:
        yield f"{name} adds no replicas; remove its annotation {prefix}/paused-scale-out"


def _bounds(worker: WorkerPolicy, scaled: KedaObject) -> Iterator[str]:
    """Bounds inside the policy's: the HPA clamps what is decided beyond them."""
    least = KEDA_MIN if scaled.min is None else scaled.min
    most = KEDA_MAX if scaled.max is None else scaled.max
    if most < worker.replicas.max:
        yield (
            f"ScaledObject {scaled.name} allows {most} replicas, the policy {worker.replicas.max};"
            f" write maxReplicaCount: {worker.replicas.max}"
        )
    if least > worker.replicas.min:
        yield (
            f"ScaledObject {scaled.name} keeps {least} replicas, the policy's min is {worker.replicas.min};"
            f" write minReplicaCount: {worker.replicas.min}"
        )


def _told(condition: Condition) -> str:
    text = ": ".join(filter(None, (condition.reason, " ".join(condition.message.split()))))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
