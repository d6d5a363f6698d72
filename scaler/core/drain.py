"""A step down in two parts: it is announced, and then made, if no task would be killed by it.

A ReplicaSet removes the pods with the least deletion cost first, the HPA looks up to 15 s after a
decision, and a pod that is told to end has its grace period, then it is killed. So a step down is
announced for some seconds, in which the pods are marked by the work that they still have (`victims`),
and it is made only if the tasks of those that would go end within their grace period for as good as
certain. Otherwise it waits, or is made as far as that is true.
"""

import math
from dataclasses import dataclass, replace

from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration
from scaler.core.victims import EXIT_SECONDS, PodAtWork, by_ordinal, marks, reports_by_pod

#: Seconds between announcing a step down and making it: for one patch per pod.
NOTICE_SECONDS = 5.0
#: A step waits so long, four heartbeats, for workers that were not heard yet: this service has just started.
HEARING_SECONDS = 8.0
#: So long it is remembered that pods, or their workers, could be seen: that they can't any more is no leave.
SIGHT_SECONDS = 3600.0
#: A step that was announced so long ago, before a time without decisions, is announced anew.
LONGEST_NOTICE = 60.0
#: Starts of tasks are counted for so long, in steps; before a quarter of it has passed nothing is known.
STARTS_SECONDS = 120.0
STARTS_STEP = 10.0
#: Names shown in one message.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Starts:
    """How often tasks begin, by the heartbeats: what arrives is inferred from what runs, this is seen."""

    #: Since when it is counted, and the tasks that the workers had started by the last count.
    since: float | None = None
    processed: int = 0
    #: (start of the step, tasks begun), oldest first.
    counts: tuple[tuple[float, int], ...] = ()

    def rate(self, now: float) -> float | None:
        """Per second; None while too little has been seen."""
        if self.since is None or now - self.since < STARTS_SECONDS / 4:
            return None
        return sum(count for _, count in self.counts) / min(STARTS_SECONDS, now - self.since)


@dataclass(frozen=True, slots=True)
class Sight:
    """When the pods were last seen one by one, and when a worker was last known to be in one of them."""

    pods_at: float | None = None
    heard_at: float | None = None

    def lost_pods(self, now: float) -> bool:
        """Whether pods that can't be seen now could be, not long ago."""
        return self.pods_at is not None and now - self.pods_at < SIGHT_SECONDS

    def lost_workers(self, now: float) -> bool:
        """The same of workers."""
        return self.heard_at is not None and now - self.heard_at < SIGHT_SECONDS


@dataclass(frozen=True, slots=True)
class Memory:
    """What a class remembers of a step down that isn't made yet. Times are seconds since the epoch."""

    announced_at: float | None = None
    announced_to: int = 0
    #: Since when a step is wanted whose pods haven't all been heard.
    listening_since: float | None = None
    #: Since when tasks keep a step from being made.
    waiting_since: float | None = None
    #: Whether the last announcement came to nothing because the pods didn't carry the marks.
    unmarked: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a step down now."""

    replicas: int
    memory: Memory = Memory()
    #: Why not all of it, in words; empty where nothing is held back.
    why: str = ""
    #: The announced step, and for it (pod, deletion cost) of every pod.
    stepping_down_to: int | None = None
    costs: tuple[tuple[str, int], ...] = ()
    next_at: float | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A step down that may be made as far as `target`, and what keeps it from more."""

    current: int
    target: int
    why: str
    #: Since when it waits, and until when it does.
    since: float | None
    until: float | None
    overdue: bool


def look(memory: Sight, observation: Observation, now: float) -> Sight:
    """The memory after a tick."""
    if observation.named is None:
        return memory
    return Sight(now, now if reports_by_pod(observation) else memory.heard_at)


def unseen(worker: WorkerPolicy, memory: Memory, *, current: int, desired: int, now: float) -> Plan:
    """A step down while the pods can't be read, although they could be: it waits, as for tasks."""
    since = now if memory.waiting_since is None else memory.waiting_since
    until = None if worker.drain.max_wait is None else since + worker.drain.max_wait
    if until is not None and now >= until:
        return Plan(desired)
    why = f"{desired} are enough, but the pods can't be read now: which of them run tasks isn't known"
    return Plan(current, Memory(waiting_since=since), why, next_at=until)


def held(memory: Memory) -> Memory:
    """What stays of a step down that something else forbids for the moment."""
    return Memory(waiting_since=memory.waiting_since, unmarked=memory.unmarked)


def plan(
    worker: WorkerPolicy,
    memory: Memory,
    pods: list[PodAtWork] | None,
    *,
    current: int,
    desired: int,
    told: bool,
    now: float,
) -> Plan:
    """What becomes of a step from `current` down to `desired`.

    Args:
        worker: the class.
        memory: of the tick before.
        pods: in the order in which they would go; None: they aren't known, and a step is made as it is.
        current: replicas of the last decision.
        desired: what load, window and burst policy allow.
        told: whether workers told lately in which pods they are; else nothing can be known of their tasks.
        now: seconds since the epoch.
    """
    if desired >= current or pods is None:
        return Plan(desired)
    if not told and not any(pod.heard for pod in pods if pod.seen.works):
        listening = memory.listening_since or now
        if now - listening < HEARING_SECONDS:
            return _listens(memory, desired, current, listening)
        return Plan(desired)
    return _weighed(worker, memory, pods, current=current, desired=desired, now=now)


def _weighed(
    worker: WorkerPolicy, memory: Memory, pods: list[PodAtWork], *, current: int, desired: int, now: float
) -> Plan:
    """The plan in front of pods whose work is known."""
    target, since = _safe_target(pods, current, desired), memory.waiting_since
    why = "" if target == desired else _waits(pods, desired)
    if not why and not memory.unmarked:
        since = None
    elif since is None:
        since = now
    until = None if since is None or worker.drain.max_wait is None else since + worker.drain.max_wait
    overdue = until is not None and now >= until
    if overdue:
        target, why = desired, ""
    if target == current:
        return Plan(current, Memory(waiting_since=since), why, next_at=until)
    return _announced(worker, memory, pods, Wish(current, target, why, since, until, overdue=overdue), now)


def _announced(worker: WorkerPolicy, memory: Memory, pods: list[PodAtWork], wish: Wish, now: float) -> Plan:
    """First the announcement of a step, then the step."""
    current, since = wish.current, wish.since
    announced_at, announced_to = memory.announced_at, memory.announced_to
    if announced_at is None or now - announced_at > LONGEST_NOTICE or announced_to >= current:
        listening = memory.listening_since or now
        if now - listening < HEARING_SECONDS and not all(pod.heard for pod in pods):
            return _listens(replace(memory, waiting_since=since), wish.target, current, listening)
        announced_at, announced_to = now, wish.target
    step = max(wish.target, announced_to)
    if now - announced_at < NOTICE_SECONDS:
        noted = Memory(announced_at, announced_to, memory.listening_since, since, memory.unmarked)
        words = f"{step} are announced: pods are marked by the work they still have, and idle ones go first"
        return Plan(current, noted, words, step, marks(pods), announced_at + NOTICE_SECONDS)
    unsafe = [] if wish.overdue else [pod for pod in _going(worker, pods, step) if not pod.safe]
    if unsafe:
        words = (
            f"{step} are enough, but Kubernetes could take {_names(unsafe)}: the pods don't carry the marks"
        )
        waits = Memory(waiting_since=now if since is None else since, unmarked=True)
        return Plan(current, waits, words, next_at=wish.until)
    return Plan(step, Memory(waiting_since=since if wish.why else None), wish.why)


def _listens(memory: Memory, target: int, current: int, since: float) -> Plan:
    words = f"{target} are enough; which pods are idle is heard within {HEARING_SECONDS:g} s"
    noted = Memory(None, 0, since, memory.waiting_since, memory.unmarked)
    return Plan(current, noted, words, next_at=since + HEARING_SECONDS)


def _going(worker: WorkerPolicy, pods: list[PodAtWork], replicas: int) -> list[PodAtWork]:
    """The pods that Kubernetes may take to come down to so many, by the marks that they carry.

    Of pods with the same mark any may go: it looks at their nodes first, and then at their age.
    """
    number = len(pods) - replicas
    if number <= 0:
        return []
    if by_ordinal(worker):
        return pods[:number]
    ranks = sorted(_rank(pod) for pod in pods)
    return [pod for pod in pods if _rank(pod) <= ranks[number - 1]]


def _rank(pod: PodAtWork) -> tuple[bool, int]:
    return pod.seen.ready, pod.seen.cost or 0


def watch(memory: Starts, observation: Observation, now: float) -> Starts:
    """The memory after a tick; without heartbeats it begins anew."""
    told = [report.processed for report in observation.workers or () if report.processed is not None]
    if not told:
        return Starts()
    processed = sum(told)
    if memory.since is None:
        return Starts(now, processed)
    # Workers that are forgotten take their sums with them; those that come bring what they had started.
    begun, step = max(0, processed - memory.processed), math.floor(now / STARTS_STEP) * STARTS_STEP
    counts = tuple(pair for pair in memory.counts if pair[0] > now - STARTS_SECONDS - STARTS_STEP)
    if begun and counts and counts[-1][0] == step:
        counts = (*counts[:-1], (step, counts[-1][1] + begun))
    elif begun:
        counts = (*counts, (step, begun))
    return Starts(memory.since, processed, counts)


def _safe_target(pods: list[PodAtWork], current: int, desired: int) -> int:
    """The fewest replicas, from `desired` on, for which only safe pods go."""
    going = max(0, len(pods) - desired)
    safe = next((number for number, pod in enumerate(pods[:going]) if not pod.safe), going)
    return min(current, max(desired, len(pods) - safe))


def _waits(pods: list[PodAtWork], desired: int) -> str:
    """Why fewer pods go than could, with the remedy."""
    unsafe = [pod for pod in pods[: max(0, len(pods) - desired)] if not pod.safe]
    worst = max(unsafe, key=lambda pod: pod.need)
    if not worst.heard:
        state = f"the worker in {worst.seen.name} isn't heard; its tasks"
    elif worst.running:
        state = f"{worst.running} tasks in {worst.seen.name}"
    else:
        state = f"tasks that may begin in {worst.seen.name} until it is told to end"
    grace = math.ceil(worst.need + EXIT_SECONDS)
    return (
        f"{desired} are enough, but tasks would be killed in {_names(unsafe)}: {state} may take"
        f" {format_duration(float(math.ceil(worst.need)))}, and it has {format_duration(worst.grace)};"
        f" with terminationGracePeriodSeconds: {grace} none would"
    )


def _names(pods: list[PodAtWork]) -> str:
    return ", ".join(pod.seen.name for pod in pods[:_SHOWN]) + (", …" if len(pods) > _SHOWN else "")
