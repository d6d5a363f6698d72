"""The scale targets of all policies, read from the API server: a handful of watches per namespace.

Watches are shared by all targets of a namespace, whatever their number, so that 500 Deployments cost as
many connections as one. Deciding asks memory only.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from scaler.cluster.base import Remark
from scaler.cluster.connection import Connection
from scaler.cluster.copies import Copy, Place, Polled, Watched
from scaler.cluster.objects import (
    Owner,
    Pod,
    Scale,
    Scaled,
    Usage,
    autoscaler_of,
    pod_of,
    scale_of,
    scaled_object_of,
    usage_of,
)
from scaler.cluster.pace import Pace
from scaler.cluster.pods import count, foreign_costs, named, utilization
from scaler.core.observation import PodSeen, Utilization
from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Autoscaler, ForeignCost, KedaObject, Pods, Reference, Workload

#: A copy that wasn't heard of for so long is unknown: a watch and the time to notice its loss, and a retry.
STALE_SECONDS = 90.0
PODS, SCALED_OBJECTS, AUTOSCALERS, METRICS = "pods", "scaledobjects", "horizontalpodautoscalers", "metrics"
GROUP = "apps/v1"
PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PodsSeen:
    """What was computed of which pods and metrics."""

    pods: Sequence[Pod]
    usages: Mapping[str, Usage] | None
    counts: Pods
    utilization: Utilization | None
    gaps: tuple[str, ...]
    named: tuple[PodSeen, ...]
    foreign_costs: tuple[ForeignCost, ...]


class Namespace:
    """The copies of one namespace, each read by a task of its own."""

    def __init__(self, name: str, connection: Connection, clock: Callable[[], float], pace: Pace) -> None:
        """Reads nothing before `want`."""
        self._name = name
        self._connection = connection
        self._clock = clock
        self._pace = pace
        self.scales: dict[str, Watched[Scale]] = {}
        self.pods = self._watched("api/v1", PODS, pod_of)
        self.scaled = self._watched("apis/keda.sh/v1alpha1", SCALED_OBJECTS, scaled_object_of)
        self.autoscalers = self._watched("apis/autoscaling/v2", AUTOSCALERS, autoscaler_of)
        place = Place("apis/metrics.k8s.io/v1beta1", "pods", name)
        self.metrics: Copy[Usage] = Polled(connection, place, usage_of, clock, pace)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[Owner, PodsSeen] = {}
        self._by_owner: dict[str, tuple[int, dict[Owner, list[Any]]]] = {}

    def want(self, kinds: Iterable[str], *, measured: bool) -> None:
        """Read these kinds of targets, and the metrics if any pod is to be measured."""
        plurals = {PLURALS[kind] for kind in kinds}
        for plural in plurals - self.scales.keys():
            self.scales[plural] = self._watched("apis/apps/v1", plural, scale_of)
        copies: dict[str, Copy[Any]] = {plural: self.scales[plural] for plural in plurals}
        copies |= {PODS: self.pods, SCALED_OBJECTS: self.scaled, AUTOSCALERS: self.autoscalers}
        if measured:
            copies[METRICS] = self.metrics
        for name in self._tasks.keys() - copies.keys():
            self._tasks.pop(name).cancel()
        self.scales = {plural: self.scales[plural] for plural in plurals}
        for name in copies.keys() - self._tasks.keys():
            self._tasks[name] = asyncio.create_task(copies[name].run(), name=f"read {name} of {self._name}")

    def _watched(self, group: str, plural: str, take: Callable[[dict[str, Any]], T | None]) -> Watched[T]:
        return Watched(self._connection, Place(group, plural, self._name), take, self._clock, self._pace)

    def of(self, copy: Copy[Any], owner: Owner) -> Sequence[Any]:
        """The objects of a copy that belong to a target; sorted out anew only after a change."""
        plural = copy.place.plural
        revision, groups = self._by_owner.get(plural, (-1, {}))
        if revision != copy.revision:
            before, groups = groups, {}
            for found in copy.found.values():
                groups.setdefault(found.owner, []).append(found)
            # A list that is the same stays the same object, by which `pods_of` knows it.
            groups = {
                one: before[one] if before.get(one) == group else group for one, group in groups.items()
            }
            self._by_owner[plural] = (copy.revision, groups)
        return groups.get(owner, ())

    def pods_of(self, owner: Owner, now: float, *, measured: bool) -> PodsSeen:
        """Counts and averages of a target's pods, computed anew after a change of the pods or metrics.

        Time alone changes little about them until the next metrics come.
        """
        pods, usages = self.of(self.pods, owner), self.metrics.found if measured else None
        known = self._seen.get(owner)
        if known is None or known.pods is not pods or known.usages is not usages:
            average = (None, ()) if usages is None else utilization(pods, usages, now)
            if known is not None and known.pods is pods:  # only the metrics are new
                known = replace(known, usages=usages, utilization=average[0], gaps=average[1])
            else:
                singly = named(pods), tuple(foreign_costs(pods))
                known = PodsSeen(pods, usages, count(pods), *average, *singly)
            self._seen[owner] = known
        return known

    def forget(self, owners: set[Owner]) -> None:
        """Drop what was computed for targets that aren't among these."""
        self._seen = {owner: seen for owner, seen in self._seen.items() if owner in owners}

    async def close(self) -> None:
        """Stop reading."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ApiReader:
    """A `ClusterReader` on the API server of Kubernetes."""

    def __init__(
        self,
        connection: Connection,
        own_namespace: str,
        *,
        clock: Callable[[], float],
        pace: Pace,
    ) -> None:
        """`own_namespace` is meant by targets that name none."""
        self._connection = connection
        self._own = own_namespace
        self._clock = clock
        self._pace = pace
        self._namespaces: dict[str, Namespace] = {}
        self._measured: set[tuple[str, Owner]] = set()
        self._remarks: dict[tuple[str, Owner], dict[str, Remark]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, targets: Iterable[ScaleTarget], measured: Iterable[ScaleTarget]) -> None:
        """See `ClusterReader.follow`."""
        places = [self._place(target) for target in targets]
        kinds: dict[str, set[str]] = {}
        for name, (kind, _) in places:
            kinds.setdefault(name, set()).add(kind)
        self._measured = {self._place(target) for target in measured}
        self._remarks = {place: noted for place, noted in self._remarks.items() if place in places}
        for name in self._namespaces.keys() - kinds.keys():
            closing = asyncio.create_task(self._namespaces.pop(name).close(), name=f"leave {name}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for name, wanted in kinds.items():
            if name not in self._namespaces:
                self._namespaces[name] = Namespace(name, self._connection, self._clock, self._pace)
            self._namespaces[name].want(wanted, measured=any(one[0] == name for one in self._measured))
            self._namespaces[name].forget({owner for place, owner in places if place == name})

    def workload(self, target: ScaleTarget | None, now: float) -> Workload:
        """See `ClusterReader.workload`."""
        if target is None:
            return Workload(hints=("its pods aren't read; write scaleTarget: {name: …} into the policy",))
        name, owner = self._place(target)
        namespace, title = self._namespaces[name], f"{target.kind} {name}/{target.name}"
        copy = namespace.scales[PLURALS[target.kind]]
        gaps = [*_gaps(copy, now)]
        scale = copy.found.get(target.name) if _fresh(copy, now) else None
        if scale is None and _fresh(copy, now):
            gaps.append(f"there is no {title}; check scaleTarget")
        seen: PodsSeen | None = None
        gaps += _gaps(namespace.pods, now)
        measured = (name, owner) in self._measured
        if measured:
            gaps += _gaps(namespace.metrics, now)
        if _fresh(namespace.pods, now):
            seen = namespace.pods_of(owner, now, measured=measured and _fresh(namespace.metrics, now))
            gaps += seen.gaps
        scaled, autoscaler, rivals = self._scalers(namespace, owner, gaps, now)
        noted = self._remarks.get((name, owner), {})
        gaps += [remark.text for remark in noted.values() if remark.gap]
        return Workload(
            target=title,
            at=copy.heard_at,
            replicas=scale.replicas if scale else None,
            current=scale.current if scale else None,
            ready=scale.ready if scale else None,
            updated=scale.updated if scale else None,
            pods=seen.counts if seen else None,
            named=seen.named if seen else None,
            foreign_costs=seen.foreign_costs if seen else (),
            utilization=seen.utilization if seen else None,
            scaled_object=scaled,
            autoscaler=autoscaler,
            gaps=tuple(gaps),
            expected=any(one.heard_at is None and not one.refused for one in (copy, namespace.pods)),
            reference=Reference(GROUP, target.kind, name, target.name, scale.uid) if scale else None,
            rivals=rivals,
            remarks=tuple(remark.text for remark in noted.values() if not remark.gap),
        )

    def remark(self, target: ScaleTarget, topic: str, remark: Remark | None) -> None:
        """See `ClusterReader.remark`."""
        noted = self._remarks.setdefault(self._place(target), {})
        if remark is None:
            noted.pop(topic, None)
        else:
            noted[topic] = remark

    def _scalers(
        self, namespace: Namespace, owner: Owner, gaps: list[str], now: float
    ) -> tuple[KedaObject | None, Autoscaler | None, tuple[str, ...]]:
        """The ScaledObject and the HPA of a target, where there are any, and what else scales it."""
        found: list[list[Any]] = []
        for copy in (namespace.scaled, namespace.autoscalers):
            gaps += _gaps(copy, now)
            objects: Sequence[Scaled] = namespace.of(copy, owner) if _fresh(copy, now) else ()
            found.append([scaled.object for scaled in objects])
        scaled, autoscalers = found
        if scaled:
            # KEDA's own first: another one on the same target is the rival.
            autoscalers.sort(key=lambda one: one.name != scaled[0].hpa)
        rivals = [f"ScaledObject {one.name}" for one in scaled[1:]]
        rivals += [f"HPA {one.name}" for one in autoscalers[1:]]
        return next(iter(scaled), None), next(iter(autoscalers), None), tuple(rivals)

    def _place(self, target: ScaleTarget) -> tuple[str, Owner]:
        return target.namespace or self._own, (target.kind, target.name)

    async def close(self) -> None:
        """See `ClusterReader.close`."""
        await asyncio.gather(*(namespace.close() for namespace in self._namespaces.values()), *self._closing)
        self._namespaces.clear()


def _fresh(copy: Copy[Any], now: float) -> bool:
    return copy.heard_at is not None and now - copy.heard_at <= STALE_SECONDS


def _gaps(copy: Copy[Any], now: float) -> list[str]:
    """Why a copy is missing or old; a short failure with a fresh copy is none."""
    old = copy.heard_at is not None and not _fresh(copy, now)
    if not (copy.refused or old or (copy.error and copy.heard_at is None)):
        return []
    plural, place = copy.place.words
    return [f"cluster: {plural} of {place}: {copy.error or 'nothing heard for too long'}"]
