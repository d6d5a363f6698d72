"""What the leader writes at once and all replicas answer from: decisions, and the memory behind them.

Two lines of JSON: the decisions, which every replica reads each time, and the memory, which is read by
who takes over.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import structlog

from scaler.core.decide import WorkerClass
from scaler.core.decision import Decision
from scaler.core.state import StateError, WorkerState
from scaler.runtime.board import Key

log = structlog.get_logger(__name__)

#: Version of the format.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """The decisions of one tick as they stand in the store."""

    #: Of the lease under which it was written, and its number among all that were ever written.
    term: int = 0
    sequence: int = 0
    writer: str = ""
    #: Seconds since the epoch by the writer's clock.
    taken_at: float = 0.0
    #: A digest of the policies that were in force.
    policies: str = ""
    decisions: Mapping[Key, Decision] = field(default_factory=dict)
    #: JSON; `states` reads it.
    memory: str = "[]"

    @property
    def order(self) -> tuple[int, int]:
        """Of two records the greater one is the later one."""
        return self.term, self.sequence

    def to_text(self) -> str:
        """Both lines."""
        head = {
            "format": FORMAT,
            "term": self.term,
            "sequence": self.sequence,
            "writer": self.writer,
            "takenAt": self.taken_at,
            "policies": self.policies,
            "decisions": [decision.to_dict() for decision in self.decisions.values()],
        }
        return f"{json.dumps(head, separators=(',', ':'), ensure_ascii=False)}\n{self.memory}"

    @staticmethod
    def from_text(text: str) -> "Record":
        """The inverse; a text that isn't one, or of another format, is an empty record."""
        head, _, memory = text.partition("\n")
        if not head:
            return Record()
        try:
            document = json.loads(head)
            _require_format(document["format"])
            decisions = [_decision(one) for one in document["decisions"]]
            return Record(
                int(document["term"]),
                int(document["sequence"]),
                str(document["writer"]),
                float(document["takenAt"]),
                str(document["policies"]),
                {(decision.policy, decision.worker_class): decision for decision in decisions},
                memory,
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            log.warning(
                "what stands in the state store is ignored", reason=f"{type(error).__name__}: {error}"
            )
            return Record()

    def states(self) -> dict[Key, WorkerState]:
        """The memory of each class.

        Where it can't be read (another version wrote it), the replicas stay; without a time of decision
        nothing steps down for a window.
        """
        states = {
            key: WorkerState(desired=decision.desired, active=decision.active)
            for key, decision in self.decisions.items()
        }
        try:
            rows = [(str(policy), str(name), str(text)) for policy, name, text in json.loads(self.memory)]
        except (ValueError, TypeError, RecursionError):
            rows = []
        for policy, name, text in rows:
            try:
                states[policy, name] = WorkerState.from_json(text)
            except StateError as error:
                log.warning("saved state ignored", policy=policy, worker_class=name, reason=str(error))
        return states


def memory_of(states: Mapping[Key, WorkerState]) -> str:
    """The second line."""
    rows = [(*key, state.to_json()) for key, state in sorted(states.items())]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def digest(subjects: Iterable[WorkerClass]) -> str:
    """Equal for equal classes; there are no addresses or passwords in it."""
    rows = sorted((one.policy, one.name, one.worker.model_dump_json()) for one in subjects)
    return blake2b(json.dumps(rows).encode(), digest_size=6).hexdigest()


def _require_format(found: object) -> None:
    if found != FORMAT:
        raise ValueError(f"it is of format {found!r}, not {FORMAT}")


def _decision(document: dict[str, Any]) -> Decision:
    decision = Decision.from_dict(document)
    if type(decision.desired) is not int or type(decision.active) is not bool:
        raise TypeError("a decision needs a number of replicas and whether the class is active")
    return decision
