"""One worker as its events tell it, added up; which of its tasks run is told only while it is sure.

Events can be lost: while this service is away, while a broker sheds load, or because Celery sends
none (a task that raises Ignore, a task with send_events=False). So the tasks that were started
and not ended are compared with each heartbeat's `active`:

* What began before a gap may have ended unseen: it is doubtful and isn't counted. What began since
  is a part of what runs, and once there are as many as `active` says, it is all of it.
* A heartbeat may overtake task events, so it is compared when the next one arrives, with the
  tasks that ran at its own time.
* Three heartbeats in a row that contradict: if too few tasks are known, some run unseen; if too
  many, some ended unseen, and all of them become doubtful.
"""

from collections.abc import Iterator
from itertools import islice

from scaler.core.observation import WorkerReport
from scaler.sources.dues import as_dues, due_step
from scaler.sources.events.skew import Skew

#: Heartbeats that must contradict the count of running tasks before it is given up, and that must be
#: missing before it counts as unknown.
PATIENCE = 3

#: Start times told in a report.
SHOWN = 50


class Worker:
    """Mutable and without I/O. `now` is this service's clock, `stamp` the worker's own."""

    __slots__ = (
        "_active",
        "_agreed",
        "_comparing",
        "_counted_stamp",
        "_doubtful",
        "_due",
        "_excess",
        "_failed",
        "_finished",
        "_frequency",
        "_heard_at",
        "_held",
        "_hostname",
        "_latencies",
        "_latency",
        "_mismatches",
        "_pid",
        "_processed",
        "_running",
        "_runtime",
        "_since",
        "_skew",
        "_task_events",
        "_told",
    )

    def __init__(self, hostname: str, pid: float | None, stamp: float, now: float) -> None:
        self._hostname = hostname
        self._pid = pid
        self._since = self._heard_at = now
        self._skew = Skew(stamp - now, now)
        # A worker that doesn't say how often it sends heartbeats owes none.
        self._frequency = float("inf")
        self._active: int | None = None
        self._processed: int | None = None
        #: The last heartbeat's timestamp, and how many tasks more than its `active` are known from that time.
        self._counted_stamp: float | None = None
        self._excess = 0
        self._comparing = False
        self._mismatches = 0
        self._agreed = False
        #: Tasks started and not ended: id and the worker's time. Doubtful ones may have ended unseen.
        self._running: dict[str, float] = {}
        self._doubtful: dict[str, float] = {}
        #: Tasks received and not yet due: id and the step in which they are.
        self._held: dict[str, float] = {}
        self._due: dict[float, int] = {}
        self._task_events = False
        self._finished = self._failed = self._latencies = 0
        self._runtime = self._latency = 0.0
        #: The last report, as long as it holds.
        self._told: WorkerReport | None = None

    @property
    def pid(self) -> float | None:
        """Its process, as it says itself."""
        return self._pid

    @property
    def heard_at(self) -> float:
        """When anything was last heard of it."""
        return self._heard_at

    @property
    def held(self) -> Iterator[str]:
        """Ids of the tasks that it keeps until they are due."""
        return iter(self._held)

    @property
    def size(self) -> int:
        """Tasks that are remembered."""
        return len(self._running) + len(self._doubtful) + len(self._held)

    def ours(self, stamp: float) -> float:
        """A time of its clock on this service's clock."""
        return stamp - self._skew.seconds

    def heard(self, stamp: float, now: float) -> None:
        """Anything came from it."""
        self._told = None
        self._heard_at = now
        self._skew.add(stamp - now, now)

    def replaced(self, pid: float | None) -> None:
        """Its process is another, of which nothing is known yet."""
        self._told = None
        self._pid = pid
        self._task_events = False
        self.forget_running()

    def forget_running(self) -> None:
        """Remember no task that was started."""
        self.doubt()
        self._doubtful.clear()

    def release(self) -> None:
        """It keeps no task for later any more."""
        self._held.clear()
        self._due.clear()

    def doubt(self) -> None:
        """Events were lost: what is known to run may have ended, and other tasks may have begun."""
        self._doubtful.update(self._running)
        self._running.clear()
        self._agreed = False
        self._comparing = False
        self._mismatches = 0

    def heartbeat(self, active: int, processed: int, frequency: float, stamp: float) -> None:
        """It told how many tasks are in its slots, and how many it has started since it runs."""
        self._told = None
        if self._comparing:
            self._compare()
        self._active, self._processed, self._frequency = active, processed, frequency
        self._counted_stamp = stamp
        self._comparing = True
        self._excess = len(self._running) - active

    def received(self, uuid: str, eta: float | None) -> None:
        """It has taken a task, which it keeps until `eta`."""
        self._task_events = True
        if eta is not None:
            step = due_step(eta)
            self._held[uuid] = step
            self._due[step] = self._due.get(step, 0) + 1

    def drop(self, uuid: str) -> None:
        """It no longer keeps that task for later, if it did."""
        step = self._held.pop(uuid, None)
        if step is not None:
            self._due[step] -= 1
            if not self._due[step]:
                del self._due[step]

    def started(self, uuid: str, stamp: float) -> None:
        """A task has a slot."""
        self._task_events = True
        self._doubtful.pop(uuid, None)
        if uuid not in self._running:
            self._running[uuid] = stamp
            self._later_told(stamp, 1)

    def ended(self, uuid: str, stamp: float) -> float | None:
        """A task has left its slot; when it was started, if that is known."""
        self._task_events = True
        began = self._running.pop(uuid, None)
        if began is None:
            return self._doubtful.pop(uuid, None)
        self._later_told(stamp, -1)
        return began

    def finished(self, runtime: float | None, began: float | None, stamp: float, *, failed: bool) -> bool:
        """Add an attempt up: a success, a failure or a retry; whether it could be.

        Celery measures the runtime of a success; of the others it is the time between their
        events. An attempt whose start was missed is in none of the sums, which are there for
        their ratios. A failure without a start while nothing was missed is a task that couldn't
        even begin (it isn't registered): it took no time.
        """
        if runtime is None and began is not None:
            runtime = max(0.0, stamp - began)
        if runtime is None and failed and self._agreed:
            runtime = 0.0
        if runtime is None:
            return False
        self._finished += 1
        self._runtime += runtime
        self._failed += failed
        return True

    def took(self, latency: float) -> None:
        """A task is done that long after it was published, or after it was due."""
        self._latencies += 1
        self._latency += max(0.0, latency)

    def report(self, now: float) -> WorkerReport:
        """What is known at this moment; of a worker without task events the same until it is heard again."""
        if self._told is not None:
            return self._told
        report = self._report(now)
        if not self._task_events and (report.counted_at is None or report.counted_at < now):
            self._told = report
        return report

    def _report(self, now: float) -> WorkerReport:
        skew = self._skew.seconds
        known = self._task_events and self._agreed and now - self._heard_at <= PATIENCE * self._frequency
        starts = [min(now, stamp - skew) for stamp in self._running.values()] if known else []
        return WorkerReport(
            hostname=self._hostname,
            heard_at=self._heard_at,
            frequency=self._frequency,
            since=self._since,
            active=self._active,
            processed=self._processed,
            counted_at=None if self._counted_stamp is None else min(now, self._counted_stamp - skew),
            skew=skew,
            task_events=self._task_events,
            finished=self._finished,
            runtime=self._runtime,
            failed=self._failed,
            latencies=self._latencies,
            latency=self._latency,
            running=len(starts) if known else None,
            # They are in the order of their events, which is that of their times but for milliseconds.
            running_since=tuple(sorted(islice(starts, SHOWN))),
            running_age=now * len(starts) - sum(starts),
            due=as_dues({step: count for step, count in self._due.items() if step > now}),
        )

    def _compare(self) -> None:
        if self._excess == 0:
            self._agreed = True
            self._mismatches = 0
            self._doubtful.clear()
            return
        self._mismatches += 1
        if self._mismatches < PATIENCE:
            return
        if self._excess > 0:
            self.doubt()
        self._agreed = False

    def _later_told(self, stamp: float, change: int) -> None:
        """An event that came after a heartbeat and happened before it."""
        if self._counted_stamp is not None and stamp <= self._counted_stamp:
            self._excess += change
