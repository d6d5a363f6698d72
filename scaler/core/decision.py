"""What a tick decides, and why: plain values that survive JSON and name every number that mattered."""

import json
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, Literal, Self

Quality = Literal["fresh", "hold", "blind"]
#: What kept the replicas from following the recommendation; "none" where they did.
Bound = Literal[
    "none",
    "min",
    "max",
    "scale-up-policy",
    "scale-up-window",
    "scale-down-policy",
    "scale-down-window",
    "deadband",
    "data",
    "recovery",
    "running",
    "load",
    "draining",
    "unfollowed",
    "override",
]


@dataclass(frozen=True, slots=True)
class Term:
    """One opinion on how many replicas are needed, with the arithmetic that led to it."""

    name: str
    #: Replicas, before rounding up; None where the term can't be known or doesn't apply.
    replicas: float | None
    #: The sum in words and numbers, for people.
    formula: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one tick for one worker class. Times are seconds since the epoch."""

    policy: str
    worker_class: str
    decided_at: float
    desired: int
    previous: int
    recommendation: int
    active: bool
    active_because: str
    quality: Quality
    #: Why the data is not fresh, or what is worth knowing about it; empty when all is well.
    quality_reasons: tuple[str, ...]
    terms: tuple[Term, ...]
    #: Name of the term that gave the recommendation.
    winner: str
    limit: Bound
    limit_detail: str
    #: When the replicas may next move towards the recommendation, if it stays as it is.
    next_step_at: float | None
    sampled_at: float | None
    ready: int | None = None
    running: tuple[int, int] | None = None
    backlog: tuple[int, int] | None = None
    #: Parts of the picture that this broker path can't show, each with its remedy.
    gaps: tuple[str, ...] = ()
    prefetched: tuple[int, int] | None = None
    eta_held: tuple[int, int] | None = None
    #: The best single numbers for (running, waiting), inside the intervals.
    likely: tuple[float, float] | None = None
    #: Not yet due, but due before a pod that is ordered now could start.
    due_soon: int = 0
    stuck: int = 0
    #: Age in seconds of the oldest task that is ready and due: (least, most), most None: no bound is known.
    wait: tuple[float, float | None] | None = None
    #: Seconds that were computed with, and where they come from ("policy", or how they were measured).
    service_time: float = 0.0
    service_source: str = "policy"
    lead_time: float = 0.0
    lead_source: str = "policy"
    #: Replicas that the cluster was asked for, and its pods as (ready, starting); None: not read.
    replicas_seen: int | None = None
    pods: tuple[int, int] | None = None
    #: Replicas of the step down that comes within seconds; None: none is announced.
    stepping_down_to: int | None = None
    #: For that step, what each pod still has to do, as (pod, cost): the least goes first.
    costs: tuple[tuple[str, int], ...] = ()
    #: Since when a step down waits for tasks that it would kill, seconds since the epoch; None: none waits.
    waiting_since: float | None = None
    #: Why the cluster doesn't carry out decisions at present; they are made all the same.
    hindrances: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Twelve hex digits that are equal for equal decisions, on every replica of the service."""
        return blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, keys in a fixed order."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["terms"] = [
            {"name": term.name, "replicas": term.replicas, "formula": term.formula} for term in self.terms
        ]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    def to_json(self) -> str:
        """Compact JSON, the same bytes for the same decision."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown keys are ignored so that versions can be mixed."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        known["terms"] = tuple(Term(**term) for term in data["terms"])
        for name in (
            "quality_reasons",
            "gaps",
            "running",
            "backlog",
            "prefetched",
            "eta_held",
            "wait",
            "likely",
            "pods",
            "hindrances",
        ):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        known["costs"] = tuple((str(pod), int(cost)) for pod, cost in known.get("costs", ()))
        return cls(**known)
