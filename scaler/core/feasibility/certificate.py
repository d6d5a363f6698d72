"""SAFE or UNSAFE: the answer to "can this policy survive that spike", with everything that it rests on."""

from dataclasses import dataclass

from scaler.core.feasibility.fixes import Fix, fixes
from scaler.core.feasibility.growth import REACTION_SECONDS
from scaler.core.feasibility.outcome import Outcome, outcome
from scaler.core.feasibility.spike import Spike
from scaler.core.policy import WorkerPolicy


@dataclass(frozen=True, slots=True)
class Certificate:
    """A worker class and a spike, what becomes of the two, and what would make it safe."""

    worker: WorkerPolicy
    spike: Spike
    outcome: Outcome
    #: The smallest single changes, one per kind; empty where it is safe already.
    fixes: tuple[Fix, ...]

    @property
    def safe(self) -> bool:
        """Nothing is rejected, nothing expires, and the service level is met."""
        return self.outcome.safe

    @property
    def startup(self) -> float:
        """Seconds from creating a pod to its first task."""
        return self.worker.startup_time if self.spike.startup is None else self.spike.startup

    @property
    def lead(self) -> float:
        """Seconds from a change of the load to a pod that works on it, at worst."""
        return REACTION_SECONDS + self.startup

    @property
    def service(self) -> float:
        """Seconds that a task takes, the longest where that changes."""
        return max((mean for _, mean in self.spike.service), default=self.worker.service_time)


def certify(worker: WorkerPolicy, spike: Spike) -> Certificate:
    """The certificate of a class for a spike; the same inputs give the same one.

    SAFE: nothing is rejected, nothing waits longer than messageTtl, and objective.serviceLevel of the
    spike's tasks start within objective.wait, also if chance is `spike.deviations` standard deviations
    worse than the mean.
    """
    found = outcome(worker, spike)
    return Certificate(worker, spike, found, () if found.safe else fixes(worker, spike))
