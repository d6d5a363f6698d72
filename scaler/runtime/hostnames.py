"""Which worker class a Celery worker belongs to, by its node name.

Celery's default is `celery@` and the host's name, which in a pod is the pod's: the name of its
Deployment or StatefulSet, a dash, and more. Teams that name their workers mostly take the class.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from scaler.core.observation import WorkerReport
from scaler.core.policy import WorkerPolicy

#: How Kubernetes ends a pod's name: a ReplicaSet's hash and five characters, or a StatefulSet's number.
#: Anything would do but for classes whose names begin alike (celery-worker, celery-worker-high).
_POD = r"([a-z0-9]{1,10}-[a-z0-9]{5}|[0-9]+)"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a node name has to fit as a whole."""

    regex: re.Pattern[str]
    #: What such a name begins with, or its part behind the @; "" where it may be anything.
    begins: str = ""
    host_begins: str = ""


def patterns(worker_class: str, worker: WorkerPolicy) -> tuple[Pattern, ...]:
    """The policy's `hostnames`, or those that follow from target and class."""
    return _patterns(worker_class, worker.hostnames, worker.scale_target.name if worker.scale_target else "")


@lru_cache(maxsize=4096)
def _patterns(worker_class: str, hostnames: tuple[str, ...], target: str) -> tuple[Pattern, ...]:
    if hostnames:
        return tuple(
            Pattern(re.compile(translate(name)), re.split(r"[*?\[]", name, maxsplit=1)[0])
            for name in hostnames
        )
    found = [Pattern(re.compile(rf"{re.escape(worker_class)}(-[0-9]+)?@.+"), worker_class)]
    if target:
        found.insert(0, Pattern(re.compile(rf".+@{re.escape(target)}-{_POD}"), host_begins=f"{target}-"))
    return tuple(found)


class Heard:
    """Workers by node name, so that a class finds its own among thousands without looking at all."""

    def __init__(self, reports: Sequence[WorkerReport]) -> None:
        """Sorts them once."""
        self._reports = reports
        self._names = sorted((report.hostname, number) for number, report in enumerate(reports))
        self._hosts = sorted((name.partition("@")[2], number) for name, number in self._names)

    def of(self, wanted: Iterable[Pattern]) -> tuple[WorkerReport, ...]:
        """Those whose node name fits one of the patterns, in the order in which they came."""
        numbers: set[int] = set()
        for pattern in wanted:
            for number in self._candidates(pattern):
                if pattern.regex.fullmatch(self._reports[number].hostname):
                    numbers.add(number)
        return tuple(self._reports[number] for number in sorted(numbers))

    def _candidates(self, pattern: Pattern) -> Iterable[int]:
        names, start = self._names, pattern.begins
        if not start:
            names, start = self._hosts, pattern.host_begins
        first = bisect_left(names, (start, -1))
        last = bisect_left(names, (f"{start}\U0010ffff", -1)) if start else len(names)
        return (number for _, number in names[first:last])
