"""Which worker class a Celery worker belongs to, by its node name.

Celery's default is `celery@` and the host's name, which in a pod is the pod's: the name of its
Deployment or StatefulSet, a dash, and more. Teams that name their workers mostly take the class.
"""

import re
from collections.abc import Iterable
from fnmatch import translate

from scaler.core.observation import WorkerReport
from scaler.core.policy import WorkerPolicy

#: How Kubernetes ends a pod's name: a ReplicaSet's hash and five characters, or a StatefulSet's number.
#: Anything would do but for classes whose names begin alike (celery-worker, celery-worker-high).
_POD = r"([a-z0-9]{1,10}-[a-z0-9]{5}|[0-9]+)"


def patterns(worker_class: str, worker: WorkerPolicy) -> tuple[str, ...]:
    """The policy's `hostnames` as regular expressions, or those that follow from target and class."""
    if worker.hostnames:
        return tuple(map(translate, worker.hostnames))
    target = (rf".+@{re.escape(worker.scale_target.name)}-{_POD}",) if worker.scale_target else ()
    return (*target, rf"{re.escape(worker_class)}(-[0-9]+)?@.+")


def matching(reports: Iterable[WorkerReport], wanted: tuple[str, ...]) -> tuple[WorkerReport, ...]:
    """The workers whose node name fits one of the patterns."""
    return tuple(
        report for report in reports if any(re.fullmatch(pattern, report.hostname) for pattern in wanted)
    )
