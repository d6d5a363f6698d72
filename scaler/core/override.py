"""A person's order: so many replicas, until then, by whom and why."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

#: The same bound as for the replicas of a policy: a slip of the finger must not ask for a million pods.
MOST_REPLICAS = 10_000


@dataclass(frozen=True, slots=True)
class Override:
    """Wins over terms, behavior, bounds and blindness while it lasts; it always ends.

    Raises:
        ValueError: no moment at which it ends, an impossible number, or nobody who answers for it.
    """

    replicas: int
    #: Seconds since the epoch.
    until: float
    who: str
    why: str

    def __post_init__(self) -> None:
        if not 0 <= self.replicas <= MOST_REPLICAS:
            raise ValueError(f"an override needs 0 to {MOST_REPLICAS} replicas, not {self.replicas}")
        if not math.isfinite(self.until):
            raise ValueError("an override needs a moment at which it ends")
        if not self.who.strip() or not self.why.strip():
            raise ValueError("an override needs who ordered it and why")

    def __str__(self) -> str:
        end = datetime.fromtimestamp(self.until, UTC)
        return f"{self.replicas} ordered by {self.who} until {end:%Y-%m-%d %H:%M:%S} UTC: {self.why}"
