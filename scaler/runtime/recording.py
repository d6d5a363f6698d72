"""Decisions as metrics and log lines. Series of classes that are no longer loaded are removed."""

import math
from collections.abc import Iterable
from functools import partial

import structlog

from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.runtime.board import Key
from scaler.runtime.metrics import Metrics
from scaler.runtime.series import Series, show
from scaler.runtime.tasks import TaskCounts

log = structlog.get_logger(__name__)

_STATES = ("fresh", "hold", "blind")


class Recorder:
    """Writes each tick's decision; remembers only which series it has made."""

    def __init__(self, metrics: Metrics) -> None:
        self._quality: dict[Key, str] = {}
        self._tasks = TaskCounts(metrics)
        self._steps = Series(metrics.scaling_events_total)
        # What is read.
        self._queue_messages = Series(metrics.queue_messages)
        self._queue_limit = Series(metrics.queue_limit)
        self._processes = Series(metrics.worker_processes)
        # What is decided.
        self._desired = Series(metrics.desired_replicas)
        self._active = Series(metrics.active)
        self._waiting = Series(metrics.scale_in_waiting_seconds)
        self._recommended = Series(metrics.recommended_replicas)
        self._state = Series(metrics.decision_state)
        self._age = Series(metrics.decision_age_seconds)
        self._messages = Series(metrics.class_messages)
        self._wait = Series(metrics.head_of_line_wait_seconds)
        self._service_time = Series(metrics.service_time_seconds)
        self._lead_time = Series(metrics.lead_time_seconds)

    def record(self, decision: Decision, *, own: bool) -> None:
        """Set the gauges of a decision; steps are counted and logged by who decided them."""
        key = (decision.policy, decision.worker_class)
        self._desired.of(key).set(decision.desired)
        self._active.of(key).set(decision.active)
        since = decision.waiting_since
        self._waiting.of(key).set(0.0 if since is None else max(0.0, decision.decided_at - since))
        recommended: dict[tuple[str, ...], float] = {
            (term.name,): term.replicas
            for term in decision.terms
            if term.replicas is not None and term.name != "last"
        }
        show(self._recommended, key, recommended)
        for state in _STATES:
            self._state.of(key, state).set(state == decision.quality)
        if decision.sampled_at is not None:
            self._age.of(key).set(max(0.0, decision.decided_at - decision.sampled_at))
        self._record_sight(key, decision)
        if own:
            self._log(key, decision)

    def record_reading(self, key: Key, worker: WorkerPolicy, observation: Observation) -> None:
        """Set the gauges of what this process has read itself."""
        messages: dict[tuple[str, ...], float] = {
            (queue.name, state): count
            for queue in observation.queues
            for state, count in (
                ("ready", queue.ready),
                ("unacked", queue.unacked),
                ("eta_held", queue.eta_held),
            )
            if count is not None
        }
        show(self._queue_messages, key, messages)
        limit = worker.limits.max_length
        limits: dict[tuple[str, ...], float] = (
            {} if limit is None else {(queue.name,): float(limit) for queue in observation.queues}
        )
        show(self._queue_limit, key, limits)
        heard = observation.workers
        show(self._processes, key, {} if heard is None else {(): len(heard)})
        self._tasks.count(key, heard or ())

    def _record_sight(self, key: Key, decision: Decision) -> None:
        """What was measured; a series for what can't be seen any more is removed, not left standing."""
        intervals = {
            "ready": None if decision.ready is None else (decision.ready, decision.ready),
            "prefetched": decision.prefetched,
            "running": decision.running,
            "eta_held": decision.eta_held,
        }
        messages: dict[tuple[str, ...], float] = {
            (state, bound): count
            for state, interval in intervals.items()
            if interval is not None
            for bound, count in zip(("least", "most"), interval, strict=True)
        }
        show(self._messages, key, messages)
        wait: dict[tuple[str, ...], float] = {}
        if decision.wait is not None:
            least, most = decision.wait
            wait = {("least",): least, ("most",): math.inf if most is None else most}
        show(self._wait, key, wait)
        if decision.service_time:
            source = "policy" if decision.service_source == "policy" else "measured"
            show(self._service_time, key, {(source,): decision.service_time})
            self._lead_time.of(key).set(decision.lead_time)

    def _log(self, key: Key, decision: Decision) -> None:
        if decision.desired != decision.previous:
            direction = "up" if decision.desired > decision.previous else "down"
            self._steps.of(key, direction, decision.limit).inc()
            log.info(
                "replicas changed",
                policy=key[0],
                worker_class=key[1],
                previous=decision.previous,
                desired=decision.desired,
                recommendation=decision.recommendation,
                term=decision.winner,
                limit=decision.limit,
                detail=decision.limit_detail,
                decision=decision.id,
            )
        before = self._quality.get(key)
        if before != decision.quality:
            write = log.info if decision.quality == "fresh" else log.warning
            write(
                "data quality",
                worker_class=key[1],
                quality=decision.quality,
                reasons=decision.quality_reasons,
            )
            self._quality[key] = decision.quality

    def forget(self, keys: Iterable[Key], loaded: Iterable[tuple[Key, WorkerPolicy]]) -> None:
        """Remove the series of classes that are gone and of queues that a class no longer has."""
        gauges = (
            self._desired,
            self._active,
            self._waiting,
            self._recommended,
            self._state,
            self._age,
            self._messages,
            self._wait,
            self._service_time,
            self._lead_time,
            self._processes,
        )
        of_queues = (self._queue_messages, self._queue_limit)
        for key in keys:
            self._quality.pop(key, None)
            self._tasks.forget(key)
            self._steps.forget(key)
            for series in (*gauges, *of_queues):
                series.forget(key)
        for key, worker in loaded:
            for series in of_queues:
                series.forget(key, partial(_of_another_queue, worker))


def _of_another_queue(worker: WorkerPolicy, labels: tuple[str, ...]) -> bool:
    return labels[0] not in worker.queues
