"""Decisions as metrics and log lines. Series of classes that are no longer loaded are removed."""

import math
from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.runtime.board import Key
from scaler.runtime.metrics import Metrics
from scaler.runtime.tasks import TaskCounts

log = structlog.get_logger(__name__)

_STATES = ("fresh", "hold", "blind")


class Recorder:
    """Writes each tick's decision; remembers only which series it has made."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._quality: dict[Key, str] = {}
        self._tasks = TaskCounts(metrics)

    def record(self, decision: Decision, *, own: bool) -> None:
        """Set the gauges of a decision; steps are counted and logged by who decided them."""
        key = (decision.policy, decision.worker_class)
        metrics = self._metrics
        metrics.desired_replicas.labels(*key).set(decision.desired)
        metrics.active.labels(*key).set(decision.active)
        since = decision.waiting_since
        waiting = 0.0 if since is None else max(0.0, decision.decided_at - since)
        metrics.scale_in_waiting_seconds.labels(*key).set(waiting)
        for term in decision.terms:
            if term.replicas is not None and term.name != "last":
                metrics.recommended_replicas.labels(*key, term.name).set(term.replicas)
        for state in _STATES:
            metrics.decision_state.labels(*key, state).set(state == decision.quality)
        if decision.sampled_at is not None:
            metrics.decision_age_seconds.labels(*key).set(max(0.0, decision.decided_at - decision.sampled_at))
        self._record_sight(key, decision)
        if own:
            self._log(key, decision)

    def record_reading(self, key: Key, worker: WorkerPolicy, observation: Observation) -> None:
        """Set the gauges of what this process has read itself."""
        metrics = self._metrics
        for queue in observation.queues:
            counts = {"ready": queue.ready, "unacked": queue.unacked, "eta_held": queue.eta_held}
            for state, count in counts.items():
                if count is not None:
                    metrics.queue_messages.labels(*key, queue.name, state).set(count)
            if worker.limits.max_length is not None:
                metrics.queue_limit.labels(*key, queue.name).set(worker.limits.max_length)
        if observation.workers is None:
            labels = dict(zip(("policy", "worker_class"), key, strict=True))
            metrics.worker_processes.remove_by_labels(labels)
        else:
            metrics.worker_processes.labels(*key).set(len(observation.workers))
        self._tasks.count(key, observation.workers or ())

    def _record_sight(self, key: Key, decision: Decision) -> None:
        """What was measured; a series for what can't be seen any more is removed, not left standing."""
        metrics = self._metrics
        labels = dict(zip(("policy", "worker_class"), key, strict=True))
        intervals = {
            "ready": None if decision.ready is None else (decision.ready, decision.ready),
            "prefetched": decision.prefetched,
            "running": decision.running,
            "eta_held": decision.eta_held,
        }
        for state, interval in intervals.items():
            if interval is None:
                metrics.class_messages.remove_by_labels({**labels, "state": state})
                continue
            for bound, count in zip(("least", "most"), interval, strict=True):
                metrics.class_messages.labels(*key, state, bound).set(count)
        if decision.wait is None:
            metrics.head_of_line_wait_seconds.remove_by_labels(labels)
        else:
            least, most = decision.wait
            metrics.head_of_line_wait_seconds.labels(*key, "least").set(least)
            metrics.head_of_line_wait_seconds.labels(*key, "most").set(math.inf if most is None else most)
        if decision.service_time:
            source = "policy" if decision.service_source == "policy" else "measured"
            metrics.service_time_seconds.remove_by_labels(labels)
            metrics.service_time_seconds.labels(*key, source).set(decision.service_time)
            metrics.lead_time_seconds.labels(*key).set(decision.lead_time)

    def _log(self, key: Key, decision: Decision) -> None:
        if decision.desired != decision.previous:
            direction = "up" if decision.desired > decision.previous else "down"
            self._metrics.scaling_events_total.labels(*key, direction, decision.limit).inc()
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
        metrics = self._metrics
        gone = set(keys)
        for key in gone:
            self._quality.pop(key, None)
            self._tasks.forget(key)
        queues = {(key, queue) for key, worker in loaded for queue in worker.queues}
        by_class = (
            metrics.desired_replicas,
            metrics.active,
            metrics.scale_in_waiting_seconds,
            metrics.recommended_replicas,
            metrics.decision_state,
            metrics.decision_age_seconds,
            metrics.scaling_events_total,
            metrics.class_messages,
            metrics.head_of_line_wait_seconds,
            metrics.service_time_seconds,
            metrics.lead_time_seconds,
            metrics.worker_processes,
            metrics.tasks_total,
            metrics.task_runtime_seconds_total,
            metrics.task_latency_seconds_total,
            metrics.task_latency_tasks_total,
        )
        for family in by_class:
            for policy, worker_class in gone:
                family.remove_by_labels({"policy": policy, "worker_class": worker_class})
        for family in (metrics.queue_messages, metrics.queue_limit):
            for labels in _label_sets(family):
                if (labels[:2], labels[2]) not in queues:
                    family.remove_by_labels(
                        dict(zip(("policy", "worker_class", "queue"), labels, strict=True))
                    )


def _label_sets(family: Gauge) -> set[tuple[str, str, str]]:
    samples = [sample for metric in family.collect() for sample in metric.samples]
    return {(s.labels["policy"], s.labels["worker_class"], s.labels["queue"]) for s in samples}
