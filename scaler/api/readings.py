"""What was read, as JSON: the queues of a class, and how each broker is read."""

import math
from typing import Any

from scaler.core.observation import QueueReading, Span, WorkerReport
from scaler.core.policy import Spec
from scaler.core.policy.priorities import names_by_step
from scaler.runtime.board import Key, Snapshot
from scaler.runtime.sampling import BrokerStatus


def queue_documents(snapshot: Snapshot, key: Key) -> list[dict[str, Any]]:
    """The queues that the last decision of a class was made from; empty before the first reading."""
    observation = snapshot.observations.get(key)
    spec = snapshot.policies[key[0]].spec
    return [_queue(queue, spec, key[1]) for queue in observation.queues] if observation else []


def process_documents(snapshot: Snapshot, key: Key) -> list[dict[str, Any]] | None:
    """The Celery workers of a class that were heard; None while their events aren't received."""
    observation = snapshot.observations.get(key)
    if observation is None or observation.workers is None:
        return None
    return [_process(report, snapshot.taken_at) for report in observation.workers]


def broker_documents(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every broker: by which paths it is read, what is missing and how to mend it."""
    return [_broker(status, snapshot.taken_at) for status in snapshot.brokers]


def _queue(queue: QueueReading, spec: Spec, worker_class: str) -> dict[str, Any]:
    steps = spec.brokers[spec.broker_of(worker_class)].priority_steps
    names = names_by_step(spec.priorities, steps)
    return {
        "name": queue.name,
        "kind": queue.kind,
        "exists": queue.exists,
        "ready": queue.ready,
        "unacked": queue.unacked,
        "etaHeld": queue.eta_held,
        "consumers": queue.consumers,
        "wait": _span(queue.wait),
        "waitNote": queue.wait_note,
        "byPriority": [
            {"brokerPriority": step, "priorities": list(names.get(step, ())), "ready": count}
            for step, count in queue.by_priority
        ],
    }


def _process(report: WorkerReport, now: float) -> dict[str, Any]:
    return {
        "hostname": report.hostname,
        "heardSecondsAgo": max(0.0, round(now - report.heard_at, 3)),
        "active": report.active,
        "processed": report.processed,
        "taskEvents": report.task_events,
        "clockSkew": round(report.skew, 3),
    }


def _broker(status: BrokerStatus, now: float) -> dict[str, Any]:
    reading, sample = status.reading, status.reading.sample
    document: dict[str, Any] = {
        "name": status.name,
        "up": not reading.error and sample is not None,
        "error": reading.error,
        "sweepSeconds": round(status.seconds, 6),
        "product": "",
        "paths": {},
        "gaps": list(reading.gaps),
        "events": "received" if reading.workers is not None else "not received",
        "workersHeard": None if reading.workers is None else len(reading.workers),
        "workersOfNoClass": list(status.strangers),
    }
    if sample is None:
        return document
    return document | {
        "product": sample.product,
        "paths": dict(sample.paths),
        "gaps": [*sample.gaps, *reading.gaps],
        "suspicions": list(sample.suspicions),
        "sampledAt": sample.sampled_at,
        "ageSeconds": max(0.0, round(now - sample.sampled_at, 3)),
        "callsPerSweep": sample.calls,
        "queues": len(sample.queues),
        "unreadable": [{"queue": name, "reason": reason} for name, reason in sample.unreadable],
        "delayed": [{"level": level, "messages": count} for level, count in sample.delayed],
    }


def _span(span: Span | None) -> list[float | None] | None:
    if span is None:
        return None
    return [round(value, 3) if math.isfinite(value) else None for value in span]
