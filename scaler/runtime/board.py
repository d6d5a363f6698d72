"""The latest decisions, for everyone who answers questions.

Handlers read one immutable `Snapshot`; asking never changes anything. The decider replaces the
whole snapshot at each tick, so GetMetrics and IsActive of one poll speak of the same decision.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import ScalingPolicy
from scaler.core.workload import Workload
from scaler.runtime.sampling import BrokerStatus

Key = tuple[str, str]
"""(policy name, worker class)"""


class UnknownClassError(LookupError):
    """The asked policy or worker class isn't loaded; the text names the key and the known values."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What this process knows at one moment; the decisions of a tick are made from it."""

    now: float
    observations: Mapping[Key, Observation]
    workloads: Mapping[Key, Workload]
    brokers: tuple[BrokerStatus, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at one tick. A class without a decision has never been decided."""

    #: Seconds since the epoch; 0 before the first tick.
    taken_at: float = 0.0
    policies: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    decisions: Mapping[Key, Decision] = field(default_factory=dict)
    #: What the decisions were made from.
    observations: Mapping[Key, Observation] = field(default_factory=dict)
    brokers: tuple[BrokerStatus, ...] = ()
    #: What the cluster states, where one is read.
    workloads: Mapping[Key, Workload] = field(default_factory=dict)
    #: Whether this process made these decisions just now, and so is the one to carry them out.
    own: bool = True
    #: When they became known here, by this process's clock; `taken_at` is by the clock of who decided.
    #: None: they are one clock.
    seen_at: float | None = None
    #: The replica that made them, and the term of its lease; empty where there is but one.
    decider: str = ""
    term: int = 0
    #: Why newer decisions don't come into force; empty when all is well.
    held_because: str = ""

    def moment(self, now: float) -> float:
        """What the clock of who decided shows when this process's shows `now`."""
        return now if self.seen_at is None else self.taken_at + now - self.seen_at

    def age(self, decision: Decision, now: float) -> float:
        """Seconds since one of these decisions, by this process's clock alone."""
        # One class whose deciding fails keeps its old decision while the snapshots go on.
        return self.moment(now) - min(self.taken_at, decision.decided_at)

    def find(self, worker_class: str, policy: str | None = None) -> Key:
        """The key of a worker class. The policy may be left out while only one is loaded.

        Raises:
            UnknownClassError: no such policy or class, or the policy is needed and missing.
        """
        if policy is None:
            if len(self.policies) != 1:
                raise UnknownClassError(f"policy is missing; known policies: {_listed(self.policies)}")
            policy = next(iter(self.policies))
        loaded = self.policies.get(policy)
        if loaded is None:
            raise UnknownClassError(f"unknown policy {policy!r}; known policies: {_listed(self.policies)}")
        if worker_class not in loaded.spec.workers:
            known = _listed(loaded.spec.workers)
            raise UnknownClassError(f"unknown workerClass {worker_class!r}; policy {policy!r} has: {known}")
        return policy, worker_class


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"


class Board:
    """Holds the snapshot and wakes those who wait for the next one."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._changed = asyncio.Event()

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    @property
    def ready(self) -> bool:
        """Whether there is anything honest to answer: policies are loaded and a tick has passed.

        Brokers don't matter here: an outage must not take the service out of its endpoints.
        """
        return self._snapshot.taken_at > 0

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the snapshot and wake every waiter."""
        self._snapshot = snapshot
        self._changed.set()
        self._changed = asyncio.Event()

    async def next(self) -> Snapshot:
        """Wait for the snapshot after the present one."""
        await self._changed.wait()
        return self._snapshot
