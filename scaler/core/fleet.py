"""The workers of one class, as their own heartbeats show them at one moment.

A Celery worker sends a heartbeat every 2 s unless it was started with --without-heartbeat; it
tells how many tasks are in its slots and how many it has started. That is the one source that
sees running tasks under early acknowledgement and tells ETA-held messages from running ones on
RabbitMQ. It is up to 2 s old, so it narrows what the broker says and doesn't replace it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from scaler.core.observation import Dues, Observation, WorkerReport
from scaler.core.policy import WorkerPolicy

#: Missed heartbeats after which a worker counts as silent, and the least time that takes.
MISSED_HEARTBEATS = 3
LEAST_SILENCE_SECONDS = 6.0
#: A worker's clock that is further off than this makes ETAs and runtimes across hosts doubtful.
SKEW_SECONDS = 10.0
#: Names shown in one message.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """Those workers of a class that were heard of in the last 5 min; without events, none."""

    alive: tuple[WorkerReport, ...] = ()
    silent: tuple[WorkerReport, ...] = ()

    @property
    def active(self) -> int | None:
        """Tasks in slots at the last heartbeats; None while a living worker hasn't told."""
        counts = [report.active for report in self.alive]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    @property
    def processed(self) -> int:
        """Tasks started by the living workers since each of them runs."""
        return sum(report.processed or 0 for report in self.alive)

    @property
    def task_events(self) -> bool:
        """Whether every living worker sends task events, so that their sums cover the class."""
        return bool(self.alive) and all(report.task_events for report in self.alive)

    @property
    def due(self) -> Dues:
        """When the tasks that workers hold fall due; only complete with `task_events`."""
        gathered: dict[float, int] = {}
        for report in self.alive:
            for at, count in report.due:
                gathered[at] = gathered.get(at, 0) + count
        return tuple(sorted(gathered.items()))

    @property
    def running_since(self) -> tuple[float, ...]:
        """When the longest-running tasks were started, oldest first."""
        return tuple(sorted(at for report in self.alive for at in report.running_since))

    def perhaps_full(self, concurrency: int) -> int:
        """Living workers that may have no idle slot now: half of them busy at the last heartbeat, or untold.

        Tasks come and go in the 2 s between heartbeats; a worker that was seen nearly idle isn't full.
        """
        return sum(report.active is None or 2 * report.active >= concurrency for report in self.alive)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why these reports, and with them the picture of the class, can't be trusted."""
        return (*self._half_gone(), *self._skewed())

    def _half_gone(self) -> Iterable[str]:
        heard = len(self.alive) + len(self.silent)
        if self.silent and len(self.silent) * 2 >= heard:
            yield (
                f"{len(self.silent)} of {heard} workers are silent ({_names(self.silent)}): stopped without a"
                " goodbye, frozen, or cut off; look at these pods"
            )

    def _skewed(self) -> Iterable[str]:
        skewed = tuple(report for report in self.alive if abs(report.skew) > SKEW_SECONDS)
        if skewed:
            worst = max(skewed, key=lambda report: abs(report.skew))
            yield (
                f"the clock of {worst.hostname} is {worst.skew:+.0f} s off"
                f" ({len(skewed)} such workers); synchronise the hosts' clocks"
            )


def fleet_of(worker: WorkerPolicy, observation: Observation, now: float) -> Fleet:
    """The class's workers by whether they still send heartbeats.

    A solo worker can't send any while it runs a task: it isn't called silent, and the count of
    busy slots in its heartbeats is always 0, so that it tells nothing.
    """
    reports = observation.workers or ()
    alive: list[WorkerReport] = []
    silent: list[WorkerReport] = []
    for report in reports:
        patience = max(LEAST_SILENCE_SECONDS, MISSED_HEARTBEATS * report.frequency)
        if worker.pool == "solo":
            alive.append(replace(report, active=None))
            continue
        heard = now - report.heard_at <= patience
        (alive if heard else silent).append(report)
    if observation.consumers is not None and observation.consumers <= len(alive):
        silent.clear()  # the broker knows of no more workers than live: the silent ones are gone, not frozen
    return Fleet(tuple(alive), tuple(silent))


def _names(reports: tuple[WorkerReport, ...]) -> str:
    names = [report.hostname for report in reports[:_SHOWN]]
    return ", ".join(names) + (", …" if len(reports) > _SHOWN else "")
