"""Raises the replicas of classes with `fastPath: true` as soon as they are decided.

A loop beside the deciding one: it looks at each own snapshot, and a slow or broken API server delays
nothing but its own writes. What may be written is `scaler.core.fast_path`'s to say; before each write the
scale and the ScaledObject are read from the server itself, and judged once more.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import structlog

from scaler.cluster.base import ClusterReader, Remark
from scaler.cluster.errors import ClusterError, ConflictError, RefusedError
from scaler.cluster.scale import Scales
from scaler.core import fast_path
from scaler.core.decision import Decision
from scaler.core.fast_path import Verdict, Watch
from scaler.core.news import News
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Reference, Workload
from scaler.runtime.board import Board, Key, Snapshot
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

#: How often it is looked whether a number has settled.
LOOK_SECONDS = 0.25
#: After an error of the API server, and after one that a person has to mend.
RETRY_SECONDS = 5.0
REFUSED_SECONDS = 60.0
#: With a store that several replicas of the service share, the others answer from the decider's decision
#: within a second.
FOLLOWING_SECONDS = 1.0
TOPIC, ERROR_TOPIC = "fast path", "fast path: error"


class FastPath:
    """The loop; one `Watch` per class that has switched it on."""

    def __init__(
        self,
        board: Board,
        scales: Scales,
        cluster: ClusterReader,
        metrics: Metrics,
        clock: Clock,
        *,
        settle: float,
        tell: Callable[[Key, News], None],
    ) -> None:
        """Make one, not running yet.

        Args:
            board: whose own snapshots are carried out.
            scales: where they are.
            cluster: shows what hinders it.
            metrics: of the service.
            clock: seconds since the epoch.
            settle: seconds for which a number must have stood; 0 where no other replica answers KEDA.
            tell: takes news for the class's events.
        """
        self._board = board
        self._scales = scales
        self._cluster = cluster
        self._metrics = metrics
        self._clock = clock
        self._settle = settle
        self._tell = tell
        self._watches: dict[Key, Watch] = {}
        self._targets: dict[Key, ScaleTarget] = {}
        self._closed_until: dict[Key, float] = {}
        self._refused: set[Key] = set()
        self._settling = False

    async def run(self) -> None:
        """Raise replicas until cancelled."""
        while not cancelled():
            snapshot = await self._next()
            try:
                await self.turn(snapshot)
            except Exception:  # a fault here must stop neither the service nor the next try
                log.exception("the fast path failed")
                self._metrics.loop_failures_total.labels("fast-path").inc()

    async def _next(self) -> Snapshot:
        """The next snapshot, or the present one again while a number has yet to settle."""
        if not self._settling:
            return await self._board.next()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._board.next()
        except TimeoutError:
            return self._board.snapshot

    async def turn(self, snapshot: Snapshot) -> None:
        """Look at every class once, and raise what may be raised."""
        classes = dict(_classes(snapshot))
        for key, target in tuple(self._targets.items()):
            # What was seen of another workload says nothing about this one.
            if key not in classes or classes[key][1] != target:
                self._forget(key)
        self._settling = False
        raising = []
        for key, (worker, target) in classes.items():
            verdict = self._look(snapshot, key, worker, target)
            self._settling |= verdict.why == "settling"
            if self._clock() < self._closed_until.get(key, 0.0):
                continue
            if verdict.replicas is not None:
                raising.append(self._raise(key, target))
            elif key not in self._refused:
                # A failure has no meaning any more; a missing right is missing until a write shows otherwise.
                self._cluster.remark(target, ERROR_TOPIC, None)
        await asyncio.gather(*raising)

    def _look(self, snapshot: Snapshot, key: Key, worker: WorkerPolicy, target: ScaleTarget) -> Verdict:
        watch, now = self._watches.get(key, Watch()), self._clock()
        self._targets[key] = target
        decision, workload = snapshot.decisions.get(key), snapshot.workloads.get(key)
        if not snapshot.own or decision is None or workload is None:
            self._watches[key] = fast_path.interrupted(watch)
            self._reopen(key, target)
            return self._show(key, target, Verdict())
        watch = fast_path.told(watch, decision, now)
        if workload.replicas is not None:
            away = watch.away_until
            watch = fast_path.saw(watch, workload.replicas, workload, now, late=True)
            if watch.away_until != away:
                self._tell(key, News("FastPathWaits", f"{key[1]}: {watch.away_because}", warning=True))
        self._watches[key] = watch
        verdict = fast_path.judge(watch, worker, decision, workload, now, settle=self._settle)
        if now < watch.away_until:
            verdict = replace(verdict, why="foreign", text=watch.away_because)
        return self._show(key, target, verdict)

    def _show(self, key: Key, target: ScaleTarget, verdict: Verdict) -> Verdict:
        """Why it doesn't act, for those who look: a metric, and where somebody else acts a hindrance."""
        self._metrics.fast_path_held.remove_by_labels({"policy": key[0], "worker_class": key[1]})
        if verdict.why:
            self._metrics.fast_path_held.labels(*key, verdict.why).set(1)
        foreign = verdict.why == "foreign"
        self._cluster.remark(target, TOPIC, Remark(verdict.text) if foreign else None)
        return verdict

    async def _raise(self, key: Key, target: ScaleTarget) -> None:
        try:
            result = await self._write(key)
        except ConflictError:
            result = "conflict"  # somebody was faster: the next look sees what came of it
        except ClusterError as error:
            refused = isinstance(error, RefusedError)
            result = "refused" if refused else "failed"
            wait = REFUSED_SECONDS if refused else max(error.retry_after, RETRY_SECONDS)
            self._closed_until[key] = self._clock() + wait
            if refused:
                self._refused.add(key)
            self._cluster.remark(target, ERROR_TOPIC, Remark(f"fast path: {error}", gap=True))
            log.warning("replicas could not be raised", policy=key[0], worker_class=key[1], error=str(error))
        else:
            self._reopen(key, target)
        if result:
            self._metrics.fast_path_writes_total.labels(*key, result).inc()

    async def _write(self, key: Key) -> str:
        """Look at the server itself, judge once more, write; "raised", or "" where nothing was to do."""
        workload = self._board.snapshot.workloads[key]
        reference, known = workload.reference, workload.scaled_object
        if reference is None or known is None:
            return ""
        scale, scaled = await asyncio.gather(
            self._scales.read(reference), self._scales.scaled_object(reference.namespace, known.name)
        )
        newest = self._newest(key)
        if newest is None:
            return ""
        worker, decision, workload = newest
        workload, now = replace(workload, scaled_object=scaled), self._clock()
        watch = self._watches[key] = fast_path.saw(self._watches[key], scale.replicas, workload, now)
        verdict = fast_path.judge(watch, worker, decision, workload, now, settle=self._settle)
        if verdict.replicas is None:
            return ""
        await self._scales.write(reference, scale, verdict.replicas)
        now = self._clock()
        self._watches[key] = fast_path.wrote(self._watches[key], verdict.replicas, now)
        self._done(key, reference, scale.replicas, verdict.replicas, now - watch.told[-1][0])
        return "raised"

    def _newest(self, key: Key) -> tuple[WorkerPolicy, Decision, Workload] | None:
        """What is decided by now: the requests may have taken seconds."""
        snapshot = self._board.snapshot
        worker = dict(_classes(snapshot)).get(key)
        decision, workload = snapshot.decisions.get(key), snapshot.workloads.get(key)
        if not snapshot.own or worker is None or decision is None or workload is None:
            return None
        return worker[0], decision, workload

    def _done(self, key: Key, reference: Reference, before: int, after: int, seconds: float) -> None:
        self._metrics.fast_path_seconds.observe(seconds)
        text = f"{key[1]}: set the replicas of {reference.kind} {reference.name} from {before} to {after}"
        self._tell(key, News("FastPathRaised", f"{text} at once; the HPA is told the same number"))
        log.info(
            "replicas raised",
            policy=key[0],
            worker_class=key[1],
            before=before,
            after=after,
            seconds=round(seconds, 3),
        )

    def _reopen(self, key: Key, target: ScaleTarget) -> None:
        """Forget what a write met; the next one shows."""
        self._closed_until.pop(key, None)
        self._refused.discard(key)
        self._cluster.remark(target, ERROR_TOPIC, None)

    def _forget(self, key: Key) -> None:
        self._watches.pop(key, None)
        target = self._targets.pop(key)
        self._reopen(key, target)
        self._cluster.remark(target, TOPIC, None)
        labels = {"policy": key[0], "worker_class": key[1]}
        self._metrics.fast_path_held.remove_by_labels(labels)
        self._metrics.fast_path_writes_total.remove_by_labels(labels)


def _classes(snapshot: Snapshot) -> Iterator[tuple[Key, tuple[WorkerPolicy, ScaleTarget]]]:
    """Those that have switched it on."""
    for policy, loaded in snapshot.policies.items():
        for name, worker in loaded.spec.workers.items():
            if worker.fast_path and worker.mode == "scale" and worker.scale_target is not None:
                yield (policy, name), (worker, worker.scale_target)
