"""Keeps the books of the classes in shadow mode: one ledger each, in memory, since the service started.

It writes nothing to the cluster, so it looks at every snapshot, whoever decided it.
"""

from collections.abc import Iterator, Mapping

import structlog

from scaler.core import shadow
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.core.shadow import Ledger, Sight
from scaler.core.workload import Workload
from scaler.runtime.board import Board, Key, Snapshot
from scaler.runtime.clock import cancelled
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)


class Shadows:
    """The loop, and what it has counted."""

    def __init__(self, board: Board, metrics: Metrics) -> None:
        self._board = board
        self._metrics = metrics
        self._ledgers: dict[Key, Ledger] = {}

    @property
    def ledgers(self) -> Mapping[Key, Ledger]:
        """By class; one that has never been decided has none."""
        return self._ledgers

    async def run(self) -> None:
        """Count until cancelled."""
        while not cancelled():
            snapshot = await self._board.next()
            try:
                self.look(snapshot)
            except Exception:  # comparing must never end the service
                log.exception("comparing in shadow mode failed")
                self._metrics.loop_failures_total.labels("shadow").inc()

    def look(self, snapshot: Snapshot) -> None:
        """Count one more tick."""
        classes = dict(shadowed(snapshot))
        for key in self._ledgers.keys() - classes.keys():
            self._forget(key)
        for key, worker in classes.items():
            decision = snapshot.decisions.get(key)
            if decision is None:
                continue
            observation = snapshot.observations.get(key, Observation(None))
            workload = snapshot.workloads.get(key, Workload())
            before = self._ledgers.get(key)
            sight = shadow.look(worker, decision, observation, workload)
            self._ledgers[key] = after = shadow.account(before, sight)
            self._measure(key, before, after, sight)

    def _measure(self, key: Key, before: Ledger | None, after: Ledger, sight: Sight) -> None:
        metrics = self._metrics
        metrics.shadow_replicas.labels(*key, "ours").set(sight.ours)
        if sight.actual is None:
            labels = {"policy": key[0], "worker_class": key[1], "which": "actual"}
            metrics.shadow_replicas.remove_by_labels(labels)
        else:
            metrics.shadow_replicas.labels(*key, "actual").set(sight.actual)
        if before is None:
            return
        for which in ("ours", "actual"):
            grown = getattr(after, which) - getattr(before, which)
            metrics.shadow_pod_seconds_total.labels(*key, which).inc(grown)
        for state in ("above", "below", "equal", "unknown"):
            grown = getattr(after, state) - getattr(before, state)
            metrics.shadow_seconds_total.labels(*key, state).inc(grown)

    def _forget(self, key: Key) -> None:
        """A class that is gone, or that is scaled by us from now on."""
        del self._ledgers[key]
        labels = {"policy": key[0], "worker_class": key[1]}
        for family in (
            self._metrics.shadow_replicas,
            self._metrics.shadow_pod_seconds_total,
            self._metrics.shadow_seconds_total,
        ):
            family.remove_by_labels(labels)


def shadowed(snapshot: Snapshot) -> Iterator[tuple[Key, WorkerPolicy]]:
    """The classes in shadow mode."""
    for policy, loaded in snapshot.policies.items():
        for name, worker in loaded.spec.workers.items():
            if worker.mode == "shadow":
                yield (policy, name), worker
