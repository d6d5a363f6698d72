"""What holds a step down back beside the behavior block: the work at hand.

Two reasons, and the larger counts. What workers hold for certain isn't taken from them. And a pod
isn't taken away while more arrives than the others can do: the forecast may let a queue build up
for some minutes and call fewer pods enough, but a pod that must come back then has cost a warm
shutdown, a start and another stabilization window.
"""

import math
from dataclasses import dataclass

from scaler.core.backlog import Backlog
from scaler.core.decision import Bound
from scaler.core.others import share
from scaler.core.policy import WorkerPolicy

#: Floats that are this little above a whole number of pods are that number.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Restraint:
    """The least replicas to stay with, the limit's name, and why in words."""

    replicas: int
    limit: Bound
    why: str


def restraint(
    worker: WorkerPolicy, backlog: Backlog, *, rate: float, service_time: float, own: int = 1, others: int = 0
) -> Restraint:
    """What a step down may not go below.

    Args:
        worker: the class.
        backlog: what waits and runs.
        rate: lasting arrivals per second, so that neither a burst that is over nor a single one holds a pod.
        service_time: seconds.
        own: replicas as they are.
        others: workers of others on the same queues; they do their share (`others.share`).
    """
    known = sum(part[0] for part in (backlog.running, backlog.prefetched) if part is not None)
    filled = math.ceil(max(known, backlog.filled) / worker.concurrency)
    in_use = math.ceil(share(filled, own=own, others=others) - SLACK)
    busy = (rate * service_time + backlog.stuck) / worker.concurrency
    needed = math.ceil(share(busy, own=own, others=others) - SLACK)
    if needed > in_use:
        beside = f", {others} of others among them" if others else ""
        words = f"{rate:.4g} tasks/s keep {busy:.2f} pods busy{beside}: not taken away while so much arrives"
        return Restraint(needed, "load", words)
    words = f"what workers hold for certain fills {in_use} pods: none is taken from it"
    return Restraint(in_use, "running", words)
