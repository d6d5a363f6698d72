"""The pods of one target, counted and averaged by the rules of the HPA.

Source: kube-controller-manager, pkg/controller/podautoscaler/replica_calculator.go (groupPods,
GetResourceReplicas) and its flags' defaults. A pod that is being deleted or has ended isn't looked at.
A pod that is pending, has no metrics, or is still starting up isn't measured: what it uses says nothing
about the load. The average is usage ÷ requests over the measured pods together, and on the way up the
others count as idle (see scaler/core/resources.py). One container without a request makes the
resource unknown, as it makes the HPA give up.

The HPA leaves out CPU of starting pods only; here their memory is left out as well. The term that
this feeds can't remove pods, so on the way down the HPA's other assumption (100 %) isn't needed.
"""

from collections.abc import Iterable, Iterator, Mapping

from scaler.cluster.objects import FIELD_MANAGER, RESOURCES, Pod, Usage
from scaler.core.observation import PodSeen, Utilization
from scaler.core.workload import ForeignCost, Pods

#: --horizontal-pod-autoscaler-cpu-initialization-period
INITIALIZATION_SECONDS = 300.0
#: --horizontal-pod-autoscaler-initial-readiness-delay
READINESS_SECONDS = 30.0


def count(pods: Iterable[Pod]) -> Pods:
    """How many are ready, start, have fallen back, or end."""
    ready = starting = unready = leaving = 0
    since: list[float] = []
    for pod in pods:
        if pod.leaving:
            leaving += 1
        elif _is_ready(pod):
            ready += 1
        elif _was_ready(pod):
            unready += 1
        else:
            starting += 1
            if pod.created is not None:
                since.append(pod.created)
    return Pods(ready, starting, unready, leaving, min(since, default=None))


def named(pods: Iterable[Pod]) -> tuple[PodSeen, ...]:
    """The pods one by one, by name; those that leave aren't among them."""
    stay = sorted((pod for pod in pods if not pod.leaving), key=lambda pod: pod.name)
    return tuple(
        PodSeen(
            pod.name,
            _is_ready(pod) or _was_ready(pod),
            pod.grace,
            pod.cost,
            pod.created,
            ready=_is_ready(pod),
        )
        for pod in stay
    )


def foreign_costs(pods: Iterable[Pod]) -> Iterator[ForeignCost]:
    """Deletion costs that somebody else has written, or that nobody knows of who did."""
    for pod in pods:
        if not pod.leaving and pod.cost_by is not None and pod.cost_by != FIELD_MANAGER:
            yield ForeignCost(pod.name, pod.cost_by, pod.cost)


def utilization(
    pods: Iterable[Pod], usages: Mapping[str, Usage], now: float
) -> tuple[Utilization | None, tuple[str, ...]]:
    """(the ratios, what is missing with the remedy); no ratios while no pod is measured.

    Args:
        pods: of one target.
        usages: by the pod's name.
        now: seconds since the epoch.
    """
    measured = [
        (pod, usages[pod.name])
        for pod in pods
        if pod.phase != "Pending"
        and not pod.leaving
        and pod.name in usages
        and not _starts(pod, usages[pod.name], now)
    ]
    if not measured:
        return None, ()
    ratios: dict[str, float | None] = {}
    gaps = []
    for resource in RESOURCES:
        requests = [getattr(pod, resource) for pod, _ in measured]
        used = [getattr(usage, resource) for _, usage in measured]
        if None in requests:
            gaps.append(f"{resource} of the pods: a container has no {resource} request; set one on each")
        known = None not in requests and None not in used
        ratios[resource] = sum(used) / sum(requests) if known else None
    at = min(usage.at for _, usage in measured)
    return Utilization(at, len(measured), **ratios), tuple(gaps)


def _is_ready(pod: Pod) -> bool:
    return pod.phase == "Running" and bool(pod.ready)


def _was_ready(pod: Pod) -> bool:
    """Whether an unready pod has been ready before: its condition changed after the start."""
    return (
        pod.ready is False
        and pod.turned is not None
        and pod.started is not None
        and pod.turned > pod.started + READINESS_SECONDS
    )


def _starts(pod: Pod, usage: Usage, now: float) -> bool:
    """The rule of groupPods for CPU: young pods need a whole window of metrics since they turned ready."""
    if pod.ready is None or pod.started is None or pod.turned is None:
        return True
    if pod.started + INITIALIZATION_SECONDS > now:
        return not pod.ready or usage.at < pod.turned + usage.window
    return not pod.ready and pod.started + READINESS_SECONDS > pod.turned
