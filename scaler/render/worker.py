"""The settings of a class's workers, as a patch of their workload: what the policy says, they do.

A worker that runs other slots, queues or prefetch than its policy makes every number of the
scaler wrong, so they are rendered from it instead of being written twice.
"""

from scaler.core.shutdown import gives_back, grace_seconds, shutdown_seconds
from scaler.render.target import Service, Target


def worker_patch(target: Target, service: Service) -> dict[str, object]:
    """A strategic merge patch: arguments, signal and grace period of the container that runs Celery."""
    container: dict[str, object] = {
        "name": service.worker_container,
        "args": _arguments(target),
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
                    "terminationGracePeriodSeconds": grace_seconds(target.worker),
                    "containers": [container],
                }
            }
        },
    }


def _arguments(target: Target) -> list[str]:
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
        arguments.append(f"worker.soft_shutdown_timeout={shutdown_seconds(worker)}")
    if worker.pool == "gevent":
        # With it, a restart of the broker makes Celery 5.7 lose prefetched tasks in this pool.
        arguments.append("worker.enable_prefetch_count_reduction=false")
    return arguments
