"""What the deciding loop asks of a cluster, without knowing which kind of cluster it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from scaler.core.policy.worker import ScaleTarget
from scaler.core.workload import Workload


@dataclass(frozen=True, slots=True)
class Remark:
    """What a writer has met; a hindrance, or a gap: something that it can't do, with the remedy."""

    text: str
    gap: bool = False


class ClusterReader(Protocol):
    """Follows scale targets in the background; every question is answered from memory."""

    def follow(self, targets: Iterable[ScaleTarget], measured: Iterable[ScaleTarget]) -> None:
        """Read these targets from now on, and the CPU and memory of those in `measured`; forget others."""
        ...

    def workload(self, target: ScaleTarget | None, now: float) -> Workload:
        """What is known of a target; `now` in seconds since the epoch, None where the policy names none."""
        ...

    def remark(self, target: ScaleTarget, topic: str, remark: Remark | None) -> None:
        """Show with this target, from now on, what a writer has met there; None takes it back."""
        ...

    async def close(self) -> None:
        """Stop reading."""
        ...


class NoCluster:
    """Stands where no cluster is read, and says why."""

    def __init__(self, reason: str) -> None:
        """`reason` names the remedy."""
        self._reason = reason

    def follow(self, targets: Iterable[ScaleTarget], measured: Iterable[ScaleTarget]) -> None:
        """Nothing is read."""

    def workload(self, target: ScaleTarget | None, now: float) -> Workload:
        """Nothing is known but the reason."""
        del target, now
        return Workload(hints=(self._reason,))

    def remark(self, target: ScaleTarget, topic: str, remark: Remark | None) -> None:
        """Nobody writes where nothing is read."""

    async def close(self) -> None:
        """Nothing is open."""
