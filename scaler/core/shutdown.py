"""How long a pod of a class is given to end: what `render` writes and what the simulator plays."""

from math import ceil

from scaler.core.policy import WorkerPolicy
from scaler.core.victims import need_of_a_full_pod

#: Least seconds for running tasks to end: short tasks call slow databases at times.
LEAST_SOFT_SECONDS = 30
LEAST_WARM_SECONDS = 60
#: Seconds on top until SIGKILL: an idle worker took up to 4 s to go, gevent the longest.
MARGIN_SECONDS = 15


def gives_back(worker: WorkerPolicy) -> bool:
    """Whether a worker can return its running tasks to the queue when it has to go.

    Celery's soft shutdown (5.7) works for prefork only: gevent can't sleep in the signal's handler,
    and threads can't be stopped. Both raise, and the worker stays until it is killed.
    """
    return worker.acks_late and worker.pool == "prefork"


def shutdown_seconds(worker: WorkerPolicy) -> int:
    """Seconds in which the tasks of a full pod end, but for the risk that a step down takes; whole tens.

    By the same reckoning as `scaler.core.victims`, so that no step down has to wait for such a grace
    period, as long as tasks take what the policy says.
    """
    least = LEAST_SOFT_SECONDS if gives_back(worker) else LEAST_WARM_SECONDS
    return max(least, ceil(need_of_a_full_pod(worker) / 10) * 10)


def grace_seconds(worker: WorkerPolicy) -> int:
    """Kubernetes' terminationGracePeriodSeconds for the pods of a class."""
    return shutdown_seconds(worker) + MARGIN_SECONDS
