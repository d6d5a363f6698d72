"""Marks pods by the work that they still have, just before a step down: the idle ones go first.

A loop beside the deciding one: a slow or broken API server delays nothing but these marks. They are written
once per step down, when it is announced; while it is, only a pod that was idle and has taken a task
since is marked again. Whoever else writes the annotation is named and left alone.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from scaler.cluster.base import ClusterReader, Remark
from scaler.cluster.deletion_costs import DeletionCosts, Outcome
from scaler.cluster.errors import RefusedError, ThrottledError
from scaler.core.decision import Decision
from scaler.core.news import News
from scaler.core.policy import ScaleTarget
from scaler.core.workload import ForeignCost, Workload
from scaler.runtime.board import Board, Key, Snapshot
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

#: For all marks of a step; it is announced 5 s before.
WRITE_SECONDS = 4.0
#: An announcement that goes on for longer (the number changed again and again) is a new one.
STEP_SECONDS = 60.0
#: How long the marks of a step that was made without an announcement are still of use: the HPA's period.
ORDERED_SECONDS = 20.0
#: After a refusal that a person has to mend, and after a 429 that says no time.
REFUSED_SECONDS = 60.0
THROTTLED_SECONDS = 1.0
#: Costs that are remembered of one pod; two are written at the most between two looks at it.
MOST_REMEMBERED = 4
#: A pod that has nothing to do; see `Decision.costs`.
IDLE = 0
TOPIC = "deletion costs"
#: Results of a request that the API server didn't look into.
TURNED_AWAY = frozenset({"refused", "throttled"})
#: Who copies the annotations of a pod template into the pods.
TEMPLATE_MANAGER = "kube-controller-manager"


@dataclass(slots=True)
class Step:
    """A step down that is announced: when, and from how many replicas."""

    began: float
    desired: int
    #: Made already, and not announced before.
    ordered: bool = False
    #: What was sent, by pod; and pods that were marked a second time.
    sent: dict[str, int] = field(default_factory=dict)
    raised: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written for a step."""

    key: Key
    target: ScaleTarget
    namespace: str
    step: Step
    costs: Mapping[str, int]


@dataclass(slots=True)
class Marked:
    """What is remembered of one class."""

    target: ScaleTarget
    step: Step | None = None
    #: The last costs that were written, by pod, where the API server doesn't say who wrote them.
    ours: dict[str, tuple[int, ...]] = field(default_factory=dict)
    #: Another writer, as it is shown; "": there is none. None: not shown yet.
    foreign: str | None = None
    writing: asyncio.Task[None] | None = None


class Draining:
    """The loop; one `Marked` per class that has it switched on."""

    def __init__(
        self,
        board: Board,
        costs: DeletionCosts,
        cluster: ClusterReader,
        metrics: Metrics,
        clock: Clock,
        *,
        tell: Callable[[Key, News], None],
    ) -> None:
        """Make one, not running yet.

        Args:
            board: whose own snapshots are carried out.
            costs: writes them.
            cluster: shows what hinders it.
            metrics: of the service.
            clock: seconds since the epoch.
            tell: takes news for the class's events.
        """
        self._board = board
        self._costs = costs
        self._cluster = cluster
        self._metrics = metrics
        self._clock = clock
        self._tell = tell
        self._marked: dict[Key, Marked] = {}
        self._throttled_until = 0.0
        #: By namespace: without the right there one class is as good as any to find out.
        self._refused_until: dict[str, float] = {}

    async def run(self) -> None:
        """Mark pods until cancelled."""
        try:
            while not cancelled():
                self._turn(await self._board.next())
        finally:
            writing = [marked.writing for marked in self._marked.values() if marked.writing is not None]
            for task in writing:
                task.cancel()
            await asyncio.gather(*writing, return_exceptions=True)

    def _turn(self, snapshot: Snapshot) -> None:
        """Look at every class once; what is to be written is written beside the loop."""
        classes = dict(_classes(snapshot))
        for key, marked in tuple(self._marked.items()):
            # What was met at another workload says nothing about this one.
            if classes.get(key) != marked.target:
                self._forget(key)
        for key, target in classes.items():
            try:
                self._look(snapshot, key, target)
            except Exception:  # a fault here must stop neither the service nor the other classes
                log.exception("looking for pods to mark failed", policy=key[0], worker_class=key[1])
                self._metrics.loop_failures_total.labels("draining").inc()

    def _look(self, snapshot: Snapshot, key: Key, target: ScaleTarget) -> None:
        marked = self._marked.setdefault(key, Marked(target))
        decision, workload = snapshot.decisions.get(key), snapshot.workloads.get(key)
        if not snapshot.own or decision is None or workload is None:
            marked.step = None
            self._show(key, marked, "")
            self._cluster.remark(target, f"{TOPIC}: error", None)
            return
        now = self._clock()
        marked.step = _step(marked.step, decision, now)
        if workload.named is None:  # then nobody knows whose annotations they have
            return
        self._show(key, marked, _other_writer(workload, marked.ours))
        if marked.step is None or marked.foreign or marked.writing:
            return
        if workload.reference is None or now < self._closed_until(workload.reference.namespace):
            return
        costs = _due(marked.step, decision, workload)
        if costs:
            # Remembered before it is sent: what is given up may have been done all the same.
            _remember(marked.ours, costs)
            order = Order(key, target, workload.reference.namespace, marked.step, costs)
            marked.writing = asyncio.create_task(self._write(order, marked), name=f"mark pods of {key[1]}")

    async def _write(self, order: Order, marked: Marked) -> None:
        try:
            outcome = await self._costs.write(order.namespace, order.costs, WRITE_SECONDS)
            self._done(order, outcome)
        except Exception:  # as above
            log.exception("marking pods failed", policy=order.key[0], worker_class=order.key[1])
            self._metrics.loop_failures_total.labels("draining").inc()
        finally:
            marked.writing = None

    def _done(self, order: Order, outcome: Outcome) -> None:
        (key, target), costs = (order.key, order.target), order.costs
        for result in outcome.results.values():
            self._metrics.deletion_cost_writes_total.labels(*key, result).inc()
        # What may have been done isn't sent twice; what was turned away or not tried has another turn.
        order.step.sent.update(
            (pod, costs[pod]) for pod, result in outcome.results.items() if result not in TURNED_AWAY
        )
        written, now = sum(one == "written" for one in outcome.results.values()), self._clock()
        if isinstance(outcome.error, RefusedError):
            self._refused_until[order.namespace] = now + REFUSED_SECONDS
            self._cluster.remark(target, f"{TOPIC}: error", Remark(f"{TOPIC}: {outcome.error}", gap=True))
        elif written:
            self._cluster.remark(target, f"{TOPIC}: error", None)
        if isinstance(outcome.error, ThrottledError):
            self._throttled_until = now + (outcome.error.retry_after or THROTTLED_SECONDS)
        write = log.info if outcome.error is None else log.warning
        write(
            "pods marked for a step down",
            policy=key[0],
            worker_class=key[1],
            pods=len(costs),
            written=written,
            **({} if outcome.error is None else {"error": str(outcome.error)}),
        )

    def _closed_until(self, namespace: str) -> float:
        return max(self._throttled_until, self._refused_until.get(namespace, 0.0))

    def _show(self, key: Key, marked: Marked, foreign: str) -> None:
        """Another writer, for those who look: a hindrance, a metric, and an event when it appears."""
        if foreign == marked.foreign:
            return
        self._metrics.deletion_costs_foreign.labels(*key).set(bool(foreign))
        self._cluster.remark(marked.target, TOPIC, Remark(foreign) if foreign else None)
        if foreign and not marked.foreign:
            self._tell(key, News("DeletionCostsForeign", f"{key[1]}: {foreign}", warning=True))
        marked.foreign = foreign

    def _forget(self, key: Key) -> None:
        marked = self._marked.pop(key)
        if marked.writing is not None:
            marked.writing.cancel()
        for topic in (TOPIC, f"{TOPIC}: error"):
            self._cluster.remark(marked.target, topic, None)
        labels = {"policy": key[0], "worker_class": key[1]}
        self._metrics.deletion_costs_foreign.remove_by_labels(labels)
        self._metrics.deletion_cost_writes_total.remove_by_labels(labels)


def _classes(snapshot: Snapshot) -> Iterator[tuple[Key, ScaleTarget]]:
    """Those that have it switched on. A StatefulSet ends its highest ordinal, whatever that costs."""
    for policy, loaded in snapshot.policies.items():
        for name, worker in loaded.spec.workers.items():
            target = worker.scale_target
            if target is None or target.kind != "Deployment":
                continue
            if worker.drain.enabled and worker.mode == "scale":
                yield (policy, name), target


def _step(step: Step | None, decision: Decision, now: float) -> Step | None:
    """The step that is announced: the same one for as long as the announcement stands.

    Where it leads may change meanwhile; once it is made, desired has changed.
    """
    if not decision.costs:
        # An order or a lowered max comes without an announcement: its marks are given in one decision.
        return step if step is not None and step.ordered and now - step.began < ORDERED_SECONDS else None
    if step is None or step.desired != decision.desired or not 0 <= now - step.began < STEP_SECONDS:
        return Step(now, decision.desired, ordered=decision.stepping_down_to is None)
    return step


def _due(step: Step, decision: Decision, workload: Workload) -> dict[str, int]:
    """What has yet to be written: the first cost of each pod, and that of an idle one that works now."""
    present = {pod.name: pod.cost or 0 for pod in workload.named or ()}
    due = {}
    for pod, cost in decision.costs:
        first = step.sent.get(pod)
        if pod not in present:
            continue
        if first is None:
            if cost == present[pod]:
                step.sent[pod] = cost  # as it is already
            else:
                due[pod] = cost
        elif first <= IDLE < cost and pod not in step.raised:
            step.raised.add(pod)
            due[pod] = cost
    return due


def _remember(ours: dict[str, tuple[int, ...]], costs: Mapping[str, int]) -> None:
    for pod, cost in costs.items():
        ours[pod] = (*ours.get(pod, ()), cost)[-MOST_REMEMBERED:]


def _other_writer(workload: Workload, ours: dict[str, tuple[int, ...]]) -> str:
    """Who else sets the costs of these pods, with the remedy; empty where nobody does."""
    if ours:
        there = {pod.name for pod in workload.named or ()}
        for pod in ours.keys() - there:
            del ours[pod]
    foreign = [one for one in workload.foreign_costs if one.by or one.cost not in ours.get(one.pod, ())]
    if not foreign:
        return ""
    return f"{TOPIC}: {_sentence(foreign, workload)}; nothing is written here as long as it is there"


def _sentence(foreign: Iterable[ForeignCost], workload: Workload) -> str:
    names = sorted({one.by for one in foreign})
    pods = f"pods of {workload.target}"
    if names == [TEMPLATE_MANAGER]:
        return f"the template of {workload.target} sets the annotation; remove it there"
    if names == [""]:
        return (
            f"somebody else sets the annotation on {pods}, the API server doesn't say who; find and stop it"
        )
    others = " and ".join(name for name in names if name)
    return (
        f"{others} sets the annotation on {pods}; let only one of the two do it (or set drain.enabled: false)"
    )
