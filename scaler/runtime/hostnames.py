"""Which worker class a Celery worker belongs to, by its node name.

Celery's default is `celery@` and the host's name, which in a pod is the pod's: the name of its
Deployment or StatefulSet, a dash, and more. Teams that name their workers mostly take the class.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from scaler.core.observation import WorkerReport
from scaler.core.policy import WorkerPolicy


def patterns(worker_class: str, worker: WorkerPolicy) -> tuple[str, ...]:
    """The policy's `hostnames`, or those that follow from the names of target and class."""
    if worker.hostnames:
        return worker.hostnames
    by_target = (f"*@{worker.scale_target.name}-*",) if worker.scale_target else ()
    return (*by_target, f"{worker_class}@*", f"{worker_class}-*@*")


def matching(reports: Iterable[WorkerReport], wanted: tuple[str, ...]) -> tuple[WorkerReport, ...]:
    """The workers whose node name fits one of the patterns."""
    return tuple(
        report for report in reports if any(fnmatchcase(report.hostname, pattern) for pattern in wanted)
    )
