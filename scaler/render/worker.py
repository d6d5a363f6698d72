"""The settings of a class's workers, as a patch of their workload: what the policy says, they do.

A worker that runs other slots, queues or prefetch than its policy makes every number of the
scaler wrong, so they are rendered from it instead of being written twice.
"""

from math import ceil

from scaler.core.policy import WorkerPolicy
from scaler.core.victims import need_of_a_full_pod
from scaler.render.target import Service, Target

#: Least seconds for running tasks to end: short tasks call slow databases at times.
LEAST_SOFT_SECONDS = 30
LEAST_WARM_SECONDS = 60
#: Seconds on top until SIGKILL: an idle worker took up to 4 s to go, gevent the longest.
MARGIN_SECONDS = 15


def worker_patch(target: Target, service: Service) -> dict[str, object]:
    """A strategic merge patch: arguments, signal and grace period of the container that runs Celery."""
    seconds = shutdown_seconds(target.worker)
    container: dict[str, object] = {
        "name": service.worker_container,
        "args": _arguments(target, seconds),
    }
    if gives_back(target.worker):
        # Kubernetes sends SIGTERM, to which Celery answers with a wait without end; SIGQUIT is its soft
        # shutdown: it waits, then gives back what still runs. SIGKILL would leave that to the broker,
        # which on Redis notices after an hour.
        container["env"] = [{"name": "REMAP_SIGTERM", "value": "SIGQUIT"}]
    return {
        "apiVersion": "apps/v1",
        "kind": target.workload.kind,
        "metadata": target.metadata,
        "spec": {
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": seconds + MARGIN_SECONDS,
                    "containers": [container],
                }
            }
        },
    }


def gives_back(worker: WorkerPolicy) -> bool:
    """Whether a worker can return its running tasks to the queue when it has to go.

    Celery's soft shutdown (5.7) works for prefork only: gevent can't sleep in the signal's handler,
    and threads can't be stopped. Both raise, and the worker stays until it is killed.
    """
    return worker.acks_late and worker.pool == "prefork"


def shutdown_seconds(worker: WorkerPolicy) -> int:
    """Seconds in which the tasks of a full pod end, but for the risk that a step down takes; whole tens.

    By the same reckoning as `scaler.core.victims`, so that no step down has to wait for a grace period that
    was rendered, as long as tasks take what the policy says.
    """
    least = LEAST_SOFT_SECONDS if gives_back(worker) else LEAST_WARM_SECONDS
    return max(least, ceil(need_of_a_full_pod(worker) / 10) * 10)


def _arguments(target: Target, seconds: int) -> list[str]:
    """Arguments of `celery`; behind `--` settings that have no option of their own."""
    worker = target.worker
    arguments = [
        "worker",
        "--loglevel=INFO",
        f"--pool={worker.pool}",
        f"--concurrency={worker.concurrency}",
        f"--queues={','.join(worker.queues)}",
    ]
    if target.events:
        arguments.append("--task-events")
    # Mingling makes a new worker wait a second for the others, and gossip makes each hear all others.
    arguments += ["--without-mingle", "--without-gossip", "--"]
    arguments += [
        f"worker.prefetch_multiplier={worker.prefetch_multiplier}",
        f"task.acks_late={'true' if worker.acks_late else 'false'}",
    ]
    if gives_back(worker):
        arguments.append(f"worker.soft_shutdown_timeout={seconds}")
    if worker.pool == "gevent":
        # With it, a restart of the broker makes Celery 5.7 lose prefetched tasks in this pool.
        arguments.append("worker.enable_prefetch_count_reduction=false")
    return arguments
