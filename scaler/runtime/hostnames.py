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
from itertools import count

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


class Names:
    """Node names in order, so that a class finds its own among thousands without looking at all.

    What was found is remembered: from one tick to the next the names are mostly the same.
    """

    def __init__(self, hostnames: tuple[str, ...]) -> None:
        """Sorts them once."""
        self.hostnames = hostnames
        self._names = sorted(zip(hostnames, count(), strict=False))
        self._hosts = sorted((name.partition("@")[2], number) for name, number in self._names)
        self._found: dict[tuple[Pattern, ...], tuple[int, ...]] = {}

    def fitting(self, wanted: tuple[Pattern, ...]) -> tuple[int, ...]:
        """Numbers of the names that fit one of the patterns, in the order in which they came."""
        found = self._found.get(wanted)
        if found is None:
            numbers = {number for pattern in wanted for number in self._fitting(pattern)}
            found = self._found[wanted] = tuple(sorted(numbers))
        return found

    def strangers(self, classes: Iterable[tuple[Pattern, ...]]) -> tuple[str, ...]:
        """The names that fit none of the classes."""
        known = {number for wanted in classes for number in self.fitting(wanted)}
        return tuple(name for number, name in enumerate(self.hostnames) if number not in known)

    def _fitting(self, pattern: Pattern) -> Iterable[int]:
        names, start = self._names, pattern.begins
        if not start:
            names, start = self._hosts, pattern.host_begins
        first = bisect_left(names, (start, -1))
        last = bisect_left(names, (f"{start}\U0010ffff", -1)) if start else len(names)
        candidates = (number for _, number in names[first:last])
        return (number for number in candidates if pattern.regex.fullmatch(self.hostnames[number]))


class Heard:
    """Workers by node name."""

    def __init__(self, reports: Sequence[WorkerReport], before: "Heard | None" = None) -> None:
        """`before`: those of the last tick, whose order is taken over where the names are the same."""
        self._reports = reports
        hostnames = tuple(report.hostname for report in reports)
        names = None if before is None else before.names
        self.names: Names = names if names and names.hostnames == hostnames else Names(hostnames)

    def of(self, wanted: tuple[Pattern, ...]) -> tuple[WorkerReport, ...]:
        """Those whose node name fits one of the patterns, in the order in which they came."""
        return tuple(self._reports[number] for number in self.names.fitting(wanted))
