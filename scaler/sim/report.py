"""What a simulated run shows: totals, waits, the course over time, and every change with its reason.

Plain frozen values, so that the same trace, policy and seed give the same JSON byte for byte, and
so that tables, charts and assertions need nothing but this.
"""

import json
from dataclasses import dataclass, fields
from typing import Any

from pydantic.alias_generators import to_camel

#: Digits after the point in JSON: a microsecond, and far more than any of these numbers means.
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """The state at one moment. Times are seconds from the trace's start."""

    t: float
    #: Due tasks that wait: in the broker, or prefetched and not started.
    backlog: int
    #: Tasks in slots.
    running: int
    #: Age of the oldest waiting task.
    wait: float
    #: Rejected publishes so far.
    rejected: int
    #: What the controller asks for.
    desired: int
    #: The HPA's spec.replicas.
    spec: int
    #: Pods that work.
    ready: int
    #: What the load needs by the controller's own lights, before limits.
    recommendation: float
    #: What kept `desired` from the recommendation; "none" where nothing did.
    limit: str


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the desired replicas."""

    t: float
    before: int
    desired: int
    limit: str
    #: The term that gave the recommendation.
    winner: str
    #: One sentence with the numbers.
    why: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds between a task's due time and its start, over all that started (retries: the longest)."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float
    #: Tasks that started later than the objective, or had waited longer without a start at the end.
    late: int
    #: Seconds within which a task is to start.
    objective: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run. offered = completed + rejected + expired + lost + unfinished."""

    trace: str
    policy: str
    environment: str
    worker_class: str
    controller: str
    seed: int
    #: Seconds that were simulated.
    duration: float
    #: Seconds, as in `waits`.
    objective: float
    offered: int
    completed: int
    #: Refused or dropped because a queue was full.
    rejected: int
    #: Dropped by the queue's message TTL.
    expired: int
    #: Executions cut short by SIGKILL: done again with late acknowledgement, lost with early.
    killed: int
    lost: int
    #: Tasks that hadn't ended when the run did.
    unfinished: int
    waits: Waits
    #: From a pod's creation to its end, start and warm shutdown included.
    pod_minutes: float
    scale_ups: int
    scale_downs: int
    max_backlog: int
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    #: maxLength of each queue of the class; None: unlimited.
    queue_limit: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values under sorted camelCase keys; floats rounded to 6 digits."""
        plain = _plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - a dataclass gives a dict
        return plain

    def to_text(self) -> str:
        """The JSON text, the same for the same run byte for byte."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Report | Waits | Point | Step):
        items = {to_camel(field.name): _plain(getattr(value, field.name)) for field in fields(value)}
        return dict(sorted(items.items()))
    return value
