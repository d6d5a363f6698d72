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
from scaler.core.policy import WorkerPolicy

#: Floats that are this little above a whole number of pods are that number.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Restraint:
    """The least replicas to stay with, the limit's name, and why in words."""

    replicas: int
    limit: Bound
    why: str


def restraint(worker: WorkerPolicy, backlog: Backlog, *, rate: float, service_time: float) -> Restraint:
    """What a step down may not go below.

    Args:
        worker: the class.
        backlog: what waits and runs.
        rate: lasting arrivals per second, so that neither a burst that is over nor a single one holds a pod.
        service_time: seconds.
    """
    known = sum(part[0] for part in (backlog.running, backlog.prefetched) if part is not None)
    in_use = math.ceil(max(known, backlog.filled) / worker.concurrency)
    busy = (rate * service_time + backlog.stuck) / worker.concurrency
    needed = math.ceil(busy - SLACK)
    if needed > in_use:
        words = f"{rate:.4g} tasks/s keep {busy:.2f} pods busy: not taken away while so much arrives"
        return Restraint(needed, "load", words)
    words = f"what workers hold for certain fills {in_use} pods: none is taken from it"
    return Restraint(in_use, "running", words)
