"""A coming spike that somebody declared: pods are there when it begins, because they are ordered before.

No reaction beats a dump that is shorter than a pod's start. Whoever knows of one (an exam, a
campaign) says when it comes and how big it is; the floor then rises early enough for the lead time
and for the steps that the burst policy needs on the way.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from scaler.core import behavior, queueing
from scaler.core.behavior import History
from scaler.core.policy import WorkerPolicy

#: The HPA looks every 15 s, and decisions and pods aren't exact to the second.
MARGIN_SECONDS = 30.0
#: The same bound as for the replicas of a policy.
MOST_REPLICAS = 10_000
#: The bounds of traces: a slip of the finger must not become a number that nothing can compute with.
MOST_RATE = 100_000.0
MOST_TASKS = 5_000_000
#: From 1970 to 2100, in seconds since the epoch, a day off each end for the time zones.
EARLIEST, LATEST = 86_400.0, 4_102_358_400.0
#: Steps of the burst policy that are played to see how long a climb takes; the rest goes on as fast.
MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class Announcement:
    """A declared spike: when, how much of it, who says so and why. It always ends.

    Raises:
        ValueError: it never ends or ends before it begins, says nothing about its size, or nobody
            answers for it.
    """

    #: Seconds since the epoch.
    begins: float
    until: float
    who: str
    why: str
    #: Replicas that are to be there from `begins` on.
    min_replicas: int | None = None
    #: Tasks per second that are expected on top of what comes anyway.
    rate: float | None = None
    #: Tasks that are expected at once at `begins`.
    tasks: int | None = None

    def __post_init__(self) -> None:
        if not self.begins < self.until:
            raise ValueError("an announcement needs a beginning and an end after it")
        if not EARLIEST <= self.begins <= LATEST or not self.until <= LATEST:
            raise ValueError("an announcement begins after 1970 and ends before 2100")
        if not self.who.strip() or not self.why.strip():
            raise ValueError("an announcement needs who announces it and why")
        sizes = {
            "replicas": (self.min_replicas, MOST_REPLICAS),
            "tasks per second": (self.rate, MOST_RATE),
            "tasks at once": (self.tasks, MOST_TASKS),
        }
        if all(size is None for size, _ in sizes.values()):
            raise ValueError("an announcement needs its size: replicas, tasks per second, or tasks at once")
        for what, (size, most) in sizes.items():
            if size is not None and not 0 < size <= most:
                raise ValueError(f"an announcement needs more than 0 and at most {most:.0f} {what}")

    def __str__(self) -> str:
        begin, end = (datetime.fromtimestamp(at, UTC) for at in (self.begins, self.until))
        return (
            f"announced by {self.who} from {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC:"
            f" {self.why}"
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """Replicas that an announcement asks for, the sum in words, and when they must be ordered."""

    replicas: float
    formula: str
    #: Seconds before the beginning: the lead time, a margin, and the steps of the burst policy.
    ahead: float


def current(announcements: tuple[Announcement, ...], now: float) -> tuple[Announcement, ...]:
    """Those that aren't over."""
    return tuple(announcement for announcement in announcements if now < announcement.until)


def plan(
    worker: WorkerPolicy,
    announcement: Announcement,
    *,
    history: History,
    pods: int,
    load: float,
    service_time: float,
    lead_time: float,
    now: float,
) -> Floor:
    """What an announcement asks for, as things stand.

    Args:
        worker: its slots, objective, bounds and burst policy.
        announcement: one that isn't over.
        history: of the limiter, for the steps that it still allows.
        pods: replicas now.
        load: busy slots that are needed anyway.
        service_time: seconds that a task occupies a slot.
        lead_time: seconds from deciding to a pod that works.
        now: seconds since the epoch.
    """
    begun = now >= announcement.begins
    wanted, words = _size(worker, announcement, load, service_time, begun=begun)
    top = min(math.ceil(wanted - 1e-9), worker.replicas.max)
    ahead = lead_time + MARGIN_SECONDS + _climb(worker, history, pods, top, now)
    return Floor(wanted, f"{announcement}: {words}", ahead)


def floor(plans: Iterable[tuple[Announcement, Floor]], now: float) -> Floor | None:
    """The highest of the floors whose pods must be ordered by now; None without one."""
    due = [plan for told, plan in plans if told.begins - plan.ahead <= now < told.until]
    return max(due, key=lambda found: found.replicas, default=None)


def _size(
    worker: WorkerPolicy, announcement: Announcement, load: float, service_time: float, *, begun: bool
) -> tuple[float, str]:
    """Replicas that a spike needs, and the sum in words.

    Once it has begun the load shows it, and isn't what comes on top of it any more.
    """
    besides = 0.0 if begun else load
    objective, slots = worker.objective, worker.concurrency
    sizes: list[tuple[float, str]] = []
    if announcement.min_replicas is not None:
        sizes.append((float(announcement.min_replicas), f"{announcement.min_replicas} replicas"))
    if announcement.rate is not None:
        busy = besides + announcement.rate * service_time
        pods = queueing.least_pods(
            busy,
            slots_per_pod=slots,
            utilization=objective.utilization,
            service_time=service_time,
            wait=objective.wait,
            level=objective.service_level,
            most=worker.replicas.max,
            cv=worker.service_time_cv,
        )
        words = (
            f"{announcement.rate:g} tasks/s × {service_time:.4g} s + {besides:.4g} busy slots: {pods} pods"
        )
        sizes.append((float(pods), words))
    if announcement.tasks is not None:
        pods_needed = (besides + announcement.tasks * service_time / objective.wait) / slots
        words = (
            f"({announcement.tasks} tasks × {service_time:.4g} s ÷ {objective.wait:g} s"
            f" + {besides:.4g} busy slots)"
            f" ÷ {slots} slots per pod = {pods_needed:.2f}"
        )
        sizes.append((pods_needed, words))
    return max(sizes)


def _climb(worker: WorkerPolicy, history: History, pods: int, wanted: int, now: float) -> float:
    """Seconds until the burst policy has allowed so many pods."""
    at, bounds, first = now, (worker.replicas.min, worker.replicas.max), pods
    for _ in range(MOST_STEPS):
        if pods >= wanted:
            return at - now
        step = behavior.limit(
            history, worker.behavior, current=pods, recommendation=wanted, bounds=bounds, now=at
        )
        if step.desired > pods:
            history = behavior.record(history, worker.behavior, pods, step.desired, at)
            pods = step.desired
            continue
        after = behavior.next_step_at(
            history, worker.behavior, current=pods, recommendation=wanted, bounds=bounds, now=at
        )
        if after is None:
            return at - now
        at = after
    return (at - now) * max(1.0, (wanted - first) / max(1, pods - first))
