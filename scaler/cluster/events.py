"""Kubernetes events, as `kubectl describe` shows them: bounded in rate, and repeats are counted.

Events are for people and live for an hour; losing one harms nobody, and flooding the API server does.
So every object has a budget and the service another; what exceeds them is dropped, counted, and told with the
next one that is written. What can't be sent within a minute is dropped too.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from scaler.cluster.errors import ClusterError, MissingError, RefusedError
from scaler.core.workload import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.connection import Connection

COMPONENT = "celery-scaler"
#: The API's own bound (core/v1 Event, message).
MOST_LETTERS = 1024
#: Of one object: so many at once, then one a minute.
OBJECT_BURST, OBJECT_SECONDS = 10, 60.0
#: Of the service: 100 at once (an outage meets all classes together), then one in 2 s.
SERVICE_BURST, SERVICE_SECONDS = 100, 2.0
#: Events that wait for the API server, and for how many seconds they may.
MOST_WAITING = 200
WAITING_SECONDS = 60.0
#: An event that is repeated within so many seconds grows; the API server forgets it after an hour.
SERIES_SECONDS = 1800.0
#: After a refusal that a person has to mend, and after any other error that says no time.
REFUSED_SECONDS = 300.0
RETRY_SECONDS = 5.0


@dataclass(slots=True)
class Bucket:
    """A budget: `burst` at once, then one in `seconds`."""

    burst: int
    seconds: float
    left: float
    at: float

    def has(self, now: float) -> bool:
        """Whether there is one to take."""
        self.left = min(float(self.burst), self.left + max(0.0, now - self.at) / self.seconds)
        self.at = now
        return self.left >= 1

    def take(self) -> None:
        """Take one."""
        self.left -= 1


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told about an object: a reason in CamelCase and a sentence, without secrets."""

    about: Reference
    reason: str
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """An event that exists: repeats let its count grow."""

    name: str
    count: int
    last: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that waits for the API server."""

    notice: Notice
    count: int
    first: float
    last: float


class EventWriter:
    """Takes notices without waiting, and writes them when `flush` is called."""

    def __init__(
        self,
        connection: "Connection",
        clock: "Callable[[], float]",
        *,
        instance: str,
        counted: "Callable[[str, int], None]",
    ) -> None:
        """Make one; nothing is written yet.

        Args:
            connection: its opener's to close.
            clock: seconds since the epoch.
            instance: this process, as `reportingInstance` has it: the pod's name.
            counted: told of (result, how many): written, repeated, dropped, failed.
        """
        self._connection = connection
        self._clock = clock
        self._instance = instance[:128]
        self._counted = counted
        self._waiting: deque[Waiting] = deque()
        self._written: dict[Notice, Written] = {}
        self._buckets: dict[Reference, Bucket] = {}
        now = clock()
        self._bucket = Bucket(SERVICE_BURST, SERVICE_SECONDS, SERVICE_BURST, now)
        #: Dropped since the last event about an object.
        self._dropped: dict[Reference, int] = {}
        self._closed_until = 0.0
        #: Namespaces in which there is no right to write: until when it isn't tried, and the remedy.
        self._refused: dict[str, tuple[float, str]] = {}

    def tell(self, notice: Notice) -> None:
        """Take a notice; it may be dropped, and says so later."""
        now = self._clock()
        notice = replace(notice, text=_shortened(notice.text))
        if now < self._refused.get(notice.about.namespace, (0.0, ""))[0]:
            self._counted("failed", 1)
            return
        for number, waiting in enumerate(self._waiting):
            if waiting.notice == notice:
                self._waiting[number] = replace(waiting, count=waiting.count + 1, last=now)
                return
        bucket = self._buckets.setdefault(
            notice.about, Bucket(OBJECT_BURST, OBJECT_SECONDS, OBJECT_BURST, now)
        )
        full = len(self._waiting) >= MOST_WAITING
        if full or not bucket.has(now) or not self._bucket.has(now):
            self._drop(notice.about, 1)
            return
        bucket.take()
        self._bucket.take()
        self._waiting.append(Waiting(notice, 1, now, now))

    async def flush(self) -> None:
        """Write what waits, oldest first, until it is done or the API server doesn't want to."""
        while self._waiting and self._clock() >= self._closed_until:
            waiting = self._waiting.popleft()
            if self._clock() - waiting.first > WAITING_SECONDS:
                self._drop(waiting.notice.about, waiting.count)
                continue
            try:
                result = await self._write(waiting)
            except ClusterError as error:
                self._failed(waiting, error)
            else:
                self._refused.pop(waiting.notice.about.namespace, None)
                self._counted(result, 1)
        self._tidy()

    def refusal(self, namespace: str) -> str:
        """Why nothing can be written in a namespace, with the remedy; empty when all is well."""
        return self._refused.get(namespace, (0.0, ""))[1]

    async def _write(self, waiting: Waiting) -> str:
        known = self._written.get(waiting.notice)
        if known is not None and waiting.last - known.last <= SERIES_SECONDS:
            try:
                await self._grow(waiting, known)
            except MissingError:
                pass  # it was forgotten earlier than an hour; then it is written anew
            else:
                return "repeated"
        await self._create(waiting)
        return "written"

    async def _grow(self, waiting: Waiting, known: Written) -> None:
        about, count = waiting.notice.about, known.count + waiting.count
        change = {"count": count, "lastTimestamp": _stamp(waiting.last)}
        path = f"{_list(about)}/{known.name}"
        await self._connection.send("patch", path, change, place=_place(about))
        self._written[waiting.notice] = Written(known.name, count, waiting.last)

    async def _create(self, waiting: Waiting) -> None:
        notice = waiting.notice
        about, dropped = notice.about, self._dropped.get(notice.about, 0)
        # The name that client-go would choose: the object's, and something that nobody else has.
        name = f"{about.name[:236]}.{uuid4().hex[:16]}"
        body = _document(waiting, name, self._instance, dropped)
        await self._connection.send("create", _list(about), body, place=_place(about))
        self._written[notice] = Written(name, waiting.count, waiting.last)
        if dropped:
            self._dropped[about] = max(0, self._dropped[about] - dropped)

    def _failed(self, waiting: Waiting, error: ClusterError) -> None:
        now = self._clock()
        if isinstance(error, RefusedError):
            # Without the right nothing else that waits there has a chance.
            namespace = waiting.notice.about.namespace
            self._refused[namespace] = (now + REFUSED_SECONDS, f"events: {error}")
            lost = [one for one in (waiting, *self._waiting) if one.notice.about.namespace == namespace]
            self._waiting = deque(one for one in self._waiting if one.notice.about.namespace != namespace)
            self._counted("failed", sum(one.count for one in lost))
            return
        self._closed_until = now + max(error.retry_after, RETRY_SECONDS)
        self._waiting.appendleft(waiting)

    def _drop(self, about: Reference, count: int) -> None:
        self._dropped[about] = self._dropped.get(about, 0) + count
        self._counted("dropped", count)

    def _tidy(self) -> None:
        """Forget what is too old to grow, and budgets that are full again."""
        now = self._clock()
        self._written = {
            notice: written
            for notice, written in self._written.items()
            if now - written.last <= SERIES_SECONDS
        }
        for about, bucket in list(self._buckets.items()):
            if bucket.has(now) and bucket.left >= bucket.burst:
                del self._buckets[about]
        self._dropped = {about: count for about, count in self._dropped.items() if count}


def _document(waiting: Waiting, name: str, instance: str, dropped: int) -> dict[str, Any]:
    """A core/v1 Event: `kubectl describe` finds it by the uid of the object."""
    notice = waiting.notice
    about = notice.about
    note = f" (and {dropped} that are not shown)" if dropped else ""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": _shortened(notice.text, MOST_LETTERS - len(note)) + note,
        "count": waiting.count,
        "firstTimestamp": _stamp(waiting.first),
        "lastTimestamp": _stamp(waiting.last),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
    }


def _shortened(text: str, most: int = MOST_LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _list(about: Reference) -> str:
    return f"/api/v1/namespaces/{about.namespace}/events"


def _place(about: Reference) -> tuple[str, str]:
    return "events", f"namespace {about.namespace}"


def _stamp(at: float) -> str:
    """metav1.Time: whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
