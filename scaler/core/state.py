"""What a worker class remembers between ticks, and its JSON form.

State is a value: `decide` takes one and returns the next. It survives a restart through
`to_json` and `from_json`; a state that can't be read is no state (the restart rule then holds).
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from scaler.core.arrivals import Arrivals
from scaler.core.behavior import History
from scaler.core.override import Override

#: Raised when a field changes its meaning; states of another version are not loaded.
VERSION = 1


class StateError(ValueError):
    """A saved state can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Memory of one worker class. Times are seconds since the epoch."""

    #: Replicas of the last decision; None before the first.
    desired: int | None = None
    active: bool = True
    decided_at: float = 0.0
    #: Time of the newest reading that was taken for good.
    sampled_at: float | None = None
    #: No scale-down before this moment, and why (a restart or a blind spell).
    no_down_until: float = 0.0
    no_down_because: str = ""
    #: Whether the last tick was blind: the first good reading then starts a window without scale-down.
    was_blind: bool = False
    #: Queues that the broker has known, so that one that vanishes is noticed.
    seen_queues: tuple[str, ...] = ()
    #: A person's order in force; dropped at the first tick after its end.
    override: Override | None = None
    history: History = field(default_factory=History)
    arrivals: Arrivals = field(default_factory=Arrivals)

    def to_json(self) -> str:
        """Compact JSON with the version of the format."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`.

        Raises:
            StateError: no JSON, another version, or fields that don't fit.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.pop("version", None) != VERSION:
                raise StateError(f"saved state is not of version {VERSION}")
            history = History(**{name: _stamps(stamps) for name, stamps in data.pop("history").items()})
            arrivals = data.pop("arrivals")
            arrivals["buckets"] = _stamps(arrivals["buckets"])
            if data["override"] is not None:
                data["override"] = Override(**data["override"])
            data["seen_queues"] = tuple(data["seen_queues"])
            state = cls(history=history, arrivals=Arrivals(**arrivals), **data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"saved state can't be read: {error}") from error
        return state

    def forbid_down(self, until: float, because: str) -> Self:
        """The state with scale-down forbidden until a moment; a later moment already set stays."""
        if until <= self.no_down_until:
            return self
        return replace(self, no_down_until=until, no_down_because=because)


def _stamps(pairs: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(tuple(pair) for pair in pairs)
