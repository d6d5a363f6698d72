"""The pods of a class by the work that they still have: which go first, and whether their tasks end in time.

How long a running task still takes is unknown; how long tasks take is (lognormal, with the measured
mean and the policy's coefficient of variation). Of a task whose start was seen the rest is conditional
on its age; of one that is only known to run it is the equilibrium residual life, E[(T - t)+] / E[T].
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scaler.core.fleet import LEAST_SILENCE_SECONDS, MISSED_HEARTBEATS
from scaler.core.observation import Observation, PodSeen, WorkerReport
from scaler.core.policy import WorkerPolicy

#: Until SIGTERM: the HPA's period, and heartbeats that are 2 s old; tasks may begin meanwhile.
REACH_SECONDS = 20.0
#: Chance that one pod of a step still has a task when its grace period is over.
RISK = 0.005
#: A worker is gone so long after its last task (measured: 2 s with threads, 4 s with gevent).
EXIT_SECONDS = 4.0
#: Kubernetes' grace period where a pod states none.
DEFAULT_GRACE = 30.0
#: Costs of pods with tasks begin here, so that an idle one (0) is far from all of them.
BUSY_COST = 10
#: No task is waited for longer than this, and no cost is larger: an int32 has room for it.
MOST_SECONDS = 10 * 86400.0
#: A solo worker that was heard so many heartbeats ago has begun a task.
SOLO_HEARTBEATS = 1.5
#: Ages are told apart in so many steps per service time: 50 known ones per pod are too many to add up.
AGE_STEPS = 2


@dataclass(frozen=True, slots=True)
class Lives:
    """How long tasks of a class take: lognormal, all alike with a cv of 0."""

    mean: float
    sigma: float

    @staticmethod
    def of(mean: float, cv: float) -> "Lives":
        """By mean (seconds) and coefficient of variation."""
        return Lives(mean, math.sqrt(math.log1p(cv**2)))

    def longer(self, seconds: float) -> float:
        """Chance that a task which begins takes longer."""
        if seconds <= 0:
            return 1.0
        if self.sigma == 0:
            return float(self.mean > seconds)
        return _below((math.log(self.mean / seconds) - self.sigma**2 / 2) / self.sigma)

    def still(self, seconds: float, age: float | None) -> float:
        """Chance that a running task takes `seconds` more; `age`: what it has run, None where unknown."""
        if age is not None:
            alive = self.longer(age)
            # One that has run longer than any does is no sign of its end.
            return self.longer(age + seconds) / alive if alive > 0 else 1.0
        if seconds <= 0:
            return 1.0
        if self.sigma == 0:
            return max(0.0, 1 - seconds / self.mean)
        share = (math.log(self.mean / seconds) + self.sigma**2 / 2) / self.sigma
        rest = _below(share) - seconds / self.mean * _below(share - self.sigma)
        return min(1.0, max(0.0, rest))


def _below(deviations: float) -> float:
    """The normal distribution."""
    return math.erfc(-deviations / math.sqrt(2)) / 2


#: Running tasks by age in seconds, (age, tasks); age None: their start wasn't seen.
Ages = tuple[tuple[float | None, int], ...]


@dataclass(frozen=True, slots=True)
class PodAtWork:
    """A pod with what its worker is known to run, and how long that may take."""

    seen: PodSeen
    lives: Lives
    ages: Ages = ()
    #: Whether its worker told; otherwise all slots count as busy.
    heard: bool = True
    #: Tasks that may begin in it before it is told to end.
    coming: float = 0.0

    @property
    def running(self) -> int:
        """Tasks in its slots."""
        return sum(count for _, count in self.ages)

    @property
    def grace(self) -> float:
        """Seconds that its tasks have once it is told to end."""
        grace = DEFAULT_GRACE if self.seen.grace is None else self.seen.grace
        return max(0.0, grace - EXIT_SECONDS)

    @property
    def safe(self) -> bool:
        """Whether no task would be killed, but for the accepted risk."""
        return _unfinished(self.lives, self.ages, self.coming, self.grace) <= RISK

    @property
    def cost(self) -> int:
        """0 for an idle pod; for others the seconds that its tasks may take, on top of a gap."""
        return BUSY_COST + math.ceil(_need(self.lives, self.ages, 0.0)) if self.ages else 0

    @property
    def need(self) -> float:
        """Seconds of grace that would be safe."""
        return _need(self.lives, self.ages, self.coming)


@lru_cache(maxsize=4096)
def _need(lives: Lives, ages: Ages, coming: float) -> float:
    """Remembered, since most pods of a class are alike: of 500 with 200 slots it took 100 ms a tick."""
    low, high = 0.0, 1.0
    while _unfinished(lives, ages, coming, high) > RISK:
        low, high = high, high * 2
        if high >= MOST_SECONDS:
            return MOST_SECONDS
    while high - low > max(0.5, low / 50):
        middle = (low + high) / 2
        low, high = (middle, high) if _unfinished(lives, ages, coming, middle) > RISK else (low, middle)
    return high


def _unfinished(lives: Lives, ages: Ages, coming: float, seconds: float) -> float:
    """Tasks that still run after so many seconds, on the average."""
    running = sum(count * lives.still(seconds, age) for age, count in ages)
    return running + coming * lives.longer(seconds)


def need_of_a_full_pod(worker: WorkerPolicy) -> float:
    """Seconds of grace with which no step down has to wait, by the policy's own service time."""
    lives = Lives.of(worker.service_time, worker.service_time_cv)
    return _need(lives, ((None, worker.concurrency),), 0.0)


def marks(pods: list[PodAtWork]) -> tuple[tuple[str, int], ...]:
    """(pod, deletion cost), by name."""
    return tuple(sorted((pod.seen.name, pod.cost) for pod in pods))


def order(
    worker: WorkerPolicy,
    observation: Observation,
    *,
    rate: float | None,
    waiting: int,
    running: int | None,
    service_time: float,
    now: float,
) -> list[PodAtWork] | None:
    """The pods in the order in which Kubernetes takes them away once they are marked.

    None where they aren't known, or nobody is to mark them.

    Args:
        worker: the class.
        observation: with the pods one by one, and what their workers told.
        rate: tasks that begin per second; None where that isn't known yet.
        waiting: tasks that are due and wait.
        running: tasks that run at the most; None where that can't be seen.
        service_time: seconds.
        now: seconds since the epoch.
    """
    if observation.named is None or not worker.drain.enabled or worker.mode == "shadow":
        return None
    lives = Lives.of(service_time, worker.service_time_cv)
    told = reports_by_pod(observation)
    heard = sum(_speaks(worker, report, now) for report in observation.workers or ())
    # A pod whose worker isn't heard runs nothing either where the class runs nothing, or where the broker
    # knows of no more workers than are heard: its worker hangs, and it had better go first.
    consumers = observation.consumers
    silent_idle = running == 0 or (consumers is not None and 0 < consumers <= heard)
    pods = [
        _at_work(worker, pod, told.get(pod.name, ()), lives, idle=silent_idle, now=now)
        for pod in observation.named
    ]
    free = [worker.concurrency - pod.running for pod in pods]
    # Whatever waits takes every slot that is free; what arrives goes to pods that have one.
    each = math.inf if waiting or rate is None else rate * REACH_SECONDS / max(1, sum(map(bool, free)))
    pods = [
        replace(pod, coming=min(float(max(0, room)), each)) if pod.seen.works else pod
        for pod, room in zip(pods, free, strict=True)
    ]
    if by_ordinal(worker):
        return sorted(pods, key=lambda pod: -_ordinal(pod.seen.name))
    # Those that aren't ready go before all costs; of equals the youngest.
    return sorted(pods, key=lambda pod: (pod.seen.ready, pod.cost, -(pod.seen.created or 0.0), pod.seen.name))


def _at_work(
    worker: WorkerPolicy,
    pod: PodSeen,
    reports: Sequence[WorkerReport],
    lives: Lives,
    *,
    idle: bool,
    now: float,
) -> PodAtWork:
    """A pod by all that its workers told, of which there may be several."""
    slots = worker.concurrency
    if not reports and (idle or not pod.works):
        return PodAtWork(pod, lives)
    active = 0
    since: list[float] = []
    for report in reports:
        if report.active is None or not _speaks(worker, report, now):
            return PodAtWork(pod, lives) if idle else PodAtWork(pod, lives, ((None, slots),), heard=False)
        active += report.active
        since += report.running_since[: report.active] if report.task_events else ()
    if not reports:
        return PodAtWork(pod, lives, ((None, slots),), heard=False)
    step = lives.mean / AGE_STEPS
    known = Counter(max(0.0, math.floor((now - at) / step) * step) for at in since)
    ages: list[tuple[float | None, int]] = [*sorted(known.items())]
    if active > len(since):
        ages.append((None, active - len(since)))
    return PodAtWork(pod, lives, tuple(ages))


def reports_by_pod(observation: Observation) -> dict[str, list[WorkerReport]]:
    """The workers of each pod, as far as their node names hold the pod's: `celery@pod`, `w1@pod.domain`."""
    names = {pod.name for pod in observation.named or ()}
    found: dict[str, list[WorkerReport]] = {}
    for report in observation.workers or ():
        host = report.hostname.rpartition("@")[2]
        pod = host if host in names else host.partition(".")[0]
        if pod in names:
            found.setdefault(pod, []).append(report)
    return found


def _speaks(worker: WorkerPolicy, report: WorkerReport, now: float) -> bool:
    """Whether its last heartbeat still holds. A solo worker sends none while it runs its one task."""
    beats = SOLO_HEARTBEATS if worker.pool == "solo" else MISSED_HEARTBEATS
    least = 0.0 if worker.pool == "solo" else LEAST_SILENCE_SECONDS
    return now - report.heard_at <= max(least, beats * report.frequency)


def by_ordinal(worker: WorkerPolicy) -> bool:
    """Whether the pod with the highest number goes, whatever it runs: so a StatefulSet does it."""
    return worker.scale_target is not None and worker.scale_target.kind == "StatefulSet"


def _ordinal(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1
