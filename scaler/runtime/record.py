"""What the leader writes at once and all replicas answer from: decisions, and the memory behind them.

Two lines of JSON: the decisions, which every replica reads each time, and the memory, which is read by
who takes over.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import structlog

from scaler.core.decide import WorkerClass
from scaler.core.decision import Decision
from scaler.core.state import StateError, WorkerState
from scaler.runtime.board import Key
from scaler.runtime.turns import Steps

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

    def to_text(self) -> Steps[str]:
        """Both lines."""
        head = {
            "format": FORMAT,
            "term": self.term,
            "sequence": self.sequence,
            "writer": self.writer,
            "takenAt": self.taken_at,
            "policies": self.policies,
        }
        decisions = yield from _joined(decision.to_json() for decision in self.decisions.values())
        return f'{_compact(head)[:-1]},"decisions":[{decisions}]}}\n{self.memory}'

    @staticmethod
    def from_text(text: str) -> Steps["Record"]:
        """The inverse; a text that isn't one, or of another format, is an empty record."""
        head, _, memory = text.partition("\n")
        if not head:
            return Record()
        try:
            document = json.loads(head)
            _require_format(document["format"])
            decisions = []
            for one in document["decisions"]:
                decisions.append(_decision(one))
                yield
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

    def states(self) -> Mapping[Key, WorkerState]:
        """The memory of each class, read when it is asked for: 0.3 ms for one of ten workers.

        Where it can't be read (another version wrote it), the replicas stay; without a time of decision
        nothing steps down for a window.
        """
        return _Memory(self)


class _Memory(Mapping[Key, WorkerState]):
    def __init__(self, record: Record) -> None:
        self._decisions = record.decisions
        self._known: dict[Key, WorkerState] = {}
        try:
            rows = [(str(policy), str(name), str(text)) for policy, name, text in json.loads(record.memory)]
        except (ValueError, TypeError, RecursionError):
            rows = []
        self._texts = {(policy, name): text for policy, name, text in rows}

    def __getitem__(self, key: Key) -> WorkerState:
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def __iter__(self) -> Iterator[Key]:
        return iter({**self._decisions, **self._texts})

    def __len__(self) -> int:
        return len(self._decisions.keys() | self._texts.keys())

    def _read(self, key: Key) -> WorkerState:
        decision = self._decisions.get(key)
        try:
            return WorkerState.from_json(self._texts[key])
        except KeyError:
            if decision is None:
                raise
        except StateError as error:
            log.warning("saved state ignored", policy=key[0], worker_class=key[1], reason=str(error))
        if decision is None:
            return WorkerState()
        return WorkerState(desired=decision.desired, active=decision.active)


def memory_of(states: Mapping[Key, WorkerState]) -> Steps[str]:
    """The second line."""
    rows = yield from _joined(_compact((*key, states[key].to_json())) for key in sorted(states))
    return f"[{rows}]"


def digest(subjects: Iterable[WorkerClass]) -> str:
    """Equal for equal classes; there are no addresses or passwords in it."""
    rows = sorted((one.policy, one.name, one.worker.model_dump_json()) for one in subjects)
    return blake2b(json.dumps(rows).encode(), digest_size=6).hexdigest()


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _joined(texts: Iterable[str]) -> Steps[str]:
    made = []
    for text in texts:
        made.append(text)
        yield
    return ",".join(made)


def _require_format(found: object) -> None:
    if found != FORMAT:
        raise ValueError(f"it is of format {found!r}, not {FORMAT}")


def _decision(document: dict[str, Any]) -> Decision:
    decision = Decision.from_dict(document)
    if type(decision.desired) is not int or type(decision.active) is not bool:
        raise TypeError("a decision needs a number of replicas and whether the class is active")
    return decision
