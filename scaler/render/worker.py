"""The settings of a class's workers, as a patch of their workload: what the policy says, they do.

A worker that runs other slots, queues or prefetch than its policy makes every number of the
scaler wrong, so they are rendered from it instead of being written twice.
"""

from math import ceil, exp, log
from statistics import NormalDist

from scaler.core.policy import WorkerPolicy
from scaler.render.target import Service, Target

#: Share of the tasks that end by themselves when a worker has to go.
FINISHED_SHARE = 0.99
#: Least seconds for running tasks to end: short tasks call slow databases at times.
LEAST_SOFT_SECONDS = 30
#: Seconds between the end of the soft shutdown and SIGKILL: giving the messages back took up to 4 s.
MARGIN_SECONDS = 15


def worker_patch(target: Target, service: Service) -> dict[str, object]:
    """A strategic merge patch: arguments, signal and grace period of the container that runs Celery."""
    soft = soft_shutdown_seconds(target.worker)
    container: dict[str, object] = {
        "name": service.worker_container,
        "args": _arguments(target, soft),
    }
    if target.worker.acks_late:
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
                    "terminationGracePeriodSeconds": soft + MARGIN_SECONDS,
                    "containers": [container],
                }
            }
        },
    }


def soft_shutdown_seconds(worker: WorkerPolicy) -> int:
    """Seconds in which `FINISHED_SHARE` of the running tasks end, were they to begin now; whole tens.

    Service times as everywhere: lognormal, with the policy's mean and coefficient of variation.
    """
    variance = log(1 + worker.service_time_cv**2)
    z = NormalDist().inv_cdf(FINISHED_SHARE)
    longest = worker.service_time * exp(z * variance**0.5 - variance / 2)
    return max(LEAST_SOFT_SECONDS, ceil(longest / 10) * 10)


def _arguments(target: Target, soft: int) -> list[str]:
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
    if worker.acks_late:
        arguments.append(f"worker.soft_shutdown_timeout={soft}")
    if worker.pool == "gevent":
        # With it, a restart of the broker makes Celery 5.7 lose prefetched tasks in this pool.
        arguments.append("worker.enable_prefetch_count_reduction=false")
    return arguments
