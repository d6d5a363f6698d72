"""Tells people in Kubernetes what was decided: compares each snapshot with the one before.

Only the process that decides tells. A follower looks on all the same, so that after a takeover the news are
what has changed since, and a restart has the first snapshot as its base line and repeats nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import chain

import structlog

from scaler.cluster.base import ClusterReader, Remark
from scaler.cluster.events import EventWriter, Notice
from scaler.core import news
from scaler.core.announcement import Announcement
from scaler.core.decision import Decision
from scaler.core.news import News
from scaler.core.policy import ScaleTarget, WorkerPolicy
from scaler.core.workload import Reference, Workload
from scaler.runtime.board import Board, Key, Snapshot
from scaler.runtime.clock import cancelled
from scaler.runtime.metrics import Metrics
from scaler.runtime.turns import Turns

log = structlog.get_logger(__name__)

#: Seconds between two looks at what waits for the API server.
FLUSH_SECONDS = 0.5
TOPIC = "events"

Announced = Callable[[Key], tuple[Announcement, ...]]
Seen = tuple[Decision, tuple[Announcement, ...], float]
"""(decision, announcements, when) of one class."""


class Events:
    """The loop. `tell` takes what others have to say about a class."""

    def __init__(
        self,
        board: Board,
        writer: EventWriter,
        cluster: ClusterReader,
        metrics: Metrics,
        announced: Announced,
    ) -> None:
        """`announced` gives the announcements in force for a class."""
        self._board = board
        self._writer = writer
        self._cluster = cluster
        self._metrics = metrics
        self._announced = announced
        self._seen: dict[Key, Seen] = {}

    async def run(self) -> None:
        """Look and write until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._look_forever(), name="events: look")
            loops.create_task(self._write_forever(), name="events: write")

    async def _look_forever(self) -> None:
        while not cancelled():
            snapshot = await self._board.next()
            try:
                await self.look(snapshot)
            except Exception:  # a fault in telling must not stop what is told about
                log.exception("finding news failed")
                self._metrics.loop_failures_total.labels("events").inc()

    async def _write_forever(self) -> None:
        # A loop of its own: an API server that hangs must not make edges be missed.
        while not cancelled():
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self._writer.flush()
                self._show_refusals()
            except Exception:  # as above
                log.exception("writing events failed")
                self._metrics.loop_failures_total.labels("events").inc()

    async def look(self, snapshot: Snapshot) -> None:
        """Tell what has changed since the last snapshot."""
        seen: dict[Key, Seen] = {}
        turns = Turns(time.monotonic)
        for key, decision in snapshot.decisions.items():
            await turns.give()
            seen[key] = now = (decision, self._announced(key), decision.decided_at)
            before = self._seen.get(key)
            if before is None or not snapshot.own or _shadowed(snapshot, key):
                continue
            for each in _changes(before, now):
                self._tell(snapshot, key, each)
        self._seen = seen

    def tell(self, key: Key, each: News) -> None:
        """Tell something about a class; nothing where its objects aren't read."""
        self._tell(self._board.snapshot, key, each)

    def _tell(self, snapshot: Snapshot, key: Key, each: News) -> None:
        about = _subject(snapshot.workloads.get(key))
        if about is not None:
            self._writer.tell(Notice(about, each.reason, each.text, each.warning))

    def _show_refusals(self) -> None:
        """A missing right, for those who ask why a class has no events."""
        snapshot = self._board.snapshot
        for key, workload in snapshot.workloads.items():
            target = _target(snapshot, key)
            if target is not None and workload.reference is not None:
                refusal = self._writer.refusal(workload.reference.namespace)
                self._cluster.remark(target, TOPIC, Remark(refusal, gap=True) if refusal else None)


def _changes(before: Seen, now: Seen) -> Iterable[News]:
    spikes = news.spikes(before[1], now[1], now[0].worker_class, (before[2], now[2]))
    return chain(news.changes(before[0], now[0]), spikes)


def _subject(workload: Workload | None) -> Reference | None:
    """The ScaledObject, where people look for the reasons of scaling; without one the target itself."""
    if workload is None or workload.reference is None:
        return None
    scaled, target = workload.scaled_object, workload.reference
    if scaled is None:
        return target
    return Reference("keda.sh/v1alpha1", "ScaledObject", target.namespace, scaled.name, scaled.uid)


def _worker(snapshot: Snapshot, key: Key) -> WorkerPolicy | None:
    loaded = snapshot.policies.get(key[0])
    return loaded.spec.workers.get(key[1]) if loaded else None


def _shadowed(snapshot: Snapshot, key: Key) -> bool:
    """Whether nobody carries out what is decided: told on somebody else's object it would only confuse."""
    worker = _worker(snapshot, key)
    return worker is None or worker.mode == "shadow"


def _target(snapshot: Snapshot, key: Key) -> ScaleTarget | None:
    worker = _worker(snapshot, key)
    return worker.scale_target if worker else None
