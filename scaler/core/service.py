"""How long a task occupies a slot, measured: slot-seconds used, divided by tasks that ended.

The ratio is right for every distribution, also while a burst has only just begun: the time that
unfinished tasks have used so far is in it. (The mean of the finished ones alone would show the
short tasks first: 1.6 s after the first 50 of 200 exponential tasks of 12 s.)

Three ways to get the two sums, the best that is there wins:
- task events (worker -E): runtimes as the workers measured them;
- acknowledgements: how long messages are held, times the share of the held ones that run. Only
  under late acknowledgement; under early acknowledgement it would be the time in the prefetch;
- heartbeats: busy slots over time, and tasks started minus busy slots gained. They look every
  2 s, so they need 45 s as well as 50 tasks; with a prefetch, where what is held needn't run,
  they are still better than acknowledgements.

The policy's prior holds until 8 tasks have ended, and as many as run; it counts less and less until 50
have: 50 tasks of 72 s on one pod of 4 slots take 15 min, too long to believe a policy that says 18 s.
"""

import math
from dataclasses import dataclass, replace

from scaler.core.backlog import Backlog
from scaler.core.fleet import Fleet
from scaler.core.observation import Observation, WorkerReport
from scaler.core.policy import WorkerPolicy

#: Tasks that must have ended before the measured value replaces the prior: an error of 14 % for
#: exponential tasks, of 5 % for tasks that vary by a third.
ENOUGH = 50
#: From so many on they are weighed with the prior, which counts as so many tasks at first, and less and less;
#: the result differs by no more than this factor: a few tasks may be held for a reason that nobody sees.
FIRST = 8
PRIOR_TASKS = 10.0
FIRST_FACTOR = 4.0
ENOUGH_HEARTBEATS_SECONDS = 45.0
#: The newest so many tasks make the value, where the last 10 min have more.
NEWEST = 200
#: Slot-seconds as well, where busy slots are only looked at, once a second or less: looks at Poisson
#: arrivals on m slots for t seconds are wrong by 1 ÷ √(m·t), 5 % after 400. Measured: 14 % after 50.
ENOUGH_LOOKS = 400.0
#: Messages held per busy slot that heartbeats can miss: they are 2 s old, while a burst comes at once.
BEYOND = 2.0
BUCKET_SECONDS = 15.0
WINDOW_SECONDS = 600.0
#: Older tasks count as well while there aren't enough newer ones, up to this age.
OLDEST_SECONDS = 7200.0
#: Heartbeats further apart say nothing about the time between them.
GAP_SECONDS = 15.0

#: (start of bucket, tasks ended, slot-seconds used)
Bucket = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """The sums of one worker at the last tick."""

    hostname: str
    since: float
    counted_at: float | None
    active: float
    processed: float
    finished: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Service:
    """Memory of the estimator."""

    method: str = ""
    buckets: tuple[Bucket, ...] = ()
    workers: tuple[Seen, ...] = ()
    #: (watched, ended) over all queues at the last tick.
    holds: tuple[float, int] | None = None
    #: Newest measured value, and the tasks behind it; None while the prior holds, weighed with the prior as
    #: long as they are fewer than `ENOUGH`.
    value: float | None = None
    tasks: int = 0


def observe(
    memory: Service,
    *,
    worker: WorkerPolicy,
    observation: Observation,
    fleet: Fleet,
    backlog: Backlog,
    now: float,
) -> Service:
    """The memory after a tick at `now` (seconds since the epoch)."""
    holds = _holds(observation)
    method = _method(worker, fleet, holds)
    if not method:
        return replace(memory, workers=(), holds=None)
    known = {seen.hostname: seen for seen in memory.workers}
    workers = tuple(_seen(report) for report in fleet.alive)
    if method != memory.method:
        # Sums of different origin aren't mixed; a value that was measured stays until there is a new one.
        return replace(memory, method=method, buckets=(), workers=workers, holds=holds)
    ended = used = 0.0
    if method == "acknowledgements":
        ended, used = _held(memory.holds, holds, observation, backlog, fleet)
    else:
        for seen in workers:
            more, seconds = _worked(method, known.get(seen.hostname), seen)
            ended, used = ended + more, used + seconds
    buckets = _added(memory.buckets, now, ended, used)
    value, tasks = _value(buckets, now, method, worker.service_time)
    # Of a burst the slot-seconds of all that run are there before its first tasks have ended: 100 tasks of
    # 12 s look like 60 s each at the eighth. And what was weighed with a prior doesn't outlive it.
    running = backlog.running[1] if backlog.running else 0
    if value is None or (tasks < ENOUGH and (tasks < running or memory.tasks >= ENOUGH)):
        value, tasks = (memory.value, memory.tasks) if memory.tasks >= ENOUGH else (None, 0)
    return Service(method, buckets, workers, holds, value, tasks)


def ended_per_second(memory: Service, now: float, span: float) -> float | None:
    """Tasks that ended per second over the last `span` seconds; None while that isn't covered."""
    if not memory.buckets or memory.buckets[0][0] > now - span:
        return None
    return sum(ended for start, ended, _ in memory.buckets if start >= now - span) / span


def _method(worker: WorkerPolicy, fleet: Fleet, holds: tuple[float, int] | None) -> str:
    if fleet.task_events:
        return "task events"
    tells = worker.acks_late and holds is not None
    if fleet.active is not None and not (tells and worker.prefetch_multiplier == 1):
        return "heartbeats"
    return "acknowledgements" if tells else ""


def _holds(observation: Observation) -> tuple[float, int] | None:
    known = [queue.holds for queue in observation.queues if queue.exists]
    told = [holds for holds in known if holds is not None]
    if not told or len(told) < len(known):
        return None
    return sum(holds.watched for holds in told), sum(holds.ended for holds in told)


def _seen(report: WorkerReport) -> Seen:
    return Seen(
        report.hostname,
        report.since,
        report.counted_at,
        float(report.active or 0),
        float(report.processed or 0),
        float(report.finished),
        report.runtime + report.running_age,
    )


def _worked(method: str, before: Seen | None, after: Seen) -> tuple[float, float]:
    """(tasks ended, slot-seconds used) by one worker since the last tick."""
    if before is None or before.since != after.since:
        return 0.0, 0.0
    if method == "task events":
        # Less time than before: tasks that were lost sight of.
        return max(0.0, after.finished - before.finished), max(0.0, after.seconds - before.seconds)
    if before.counted_at is None or after.counted_at is None or after.processed < before.processed:
        return 0.0, 0.0
    span = after.counted_at - before.counted_at
    if not 0 < span <= GAP_SECONDS:
        return 0.0, 0.0
    # Started and not running any more; a heartbeat may catch a task between the two counts.
    ended = after.processed - before.processed - (after.active - before.active)
    return ended, (before.active + after.active) / 2 * span


def _held(
    before: tuple[float, int] | None,
    after: tuple[float, int] | None,
    observation: Observation,
    backlog: Backlog,
    fleet: Fleet,
) -> tuple[float, float]:
    if before is None or after is None or after[0] < before[0] or after[1] < before[1]:
        return 0.0, 0.0
    held = (observation.unacked or 0) - (observation.eta_held or 0)
    running = float(backlog.running[1]) if backlog.running else float(held)
    if fleet.active is not None and running > fleet.active * BEYOND + 1 and observation.eta_held is None:
        # Far more is held than runs by the heartbeats: taken in for an ETA that nobody has seen yet.
        running = fleet.active
    share = min(1.0, running / held) if held > 0 else 1.0
    return float(after[1] - before[1]), (after[0] - before[0]) * share


def _added(buckets: tuple[Bucket, ...], now: float, ended: float, used: float) -> tuple[Bucket, ...]:
    start = math.floor(now / BUCKET_SECONDS) * BUCKET_SECONDS
    if buckets and buckets[-1][0] == start:
        buckets = (*buckets[:-1], (start, buckets[-1][1] + ended, buckets[-1][2] + used))
    else:
        buckets = (*buckets, (start, ended, used))
    recent = sum(ended for at, ended, _ in buckets if at > now - WINDOW_SECONDS)
    oldest = now - (WINDOW_SECONDS if recent >= NEWEST else OLDEST_SECONDS)
    return tuple(bucket for bucket in buckets if bucket[0] > oldest)


def _value(buckets: tuple[Bucket, ...], now: float, method: str, prior: float) -> tuple[float | None, int]:
    """Seconds per task over the newest buckets that have enough of them, and how many those are."""
    span = ENOUGH_HEARTBEATS_SECONDS if method == "heartbeats" else 0.0
    steady = 0.0 if method == "task events" else ENOUGH_LOOKS
    ended = used = 0.0
    start = now
    for start, more, seconds in reversed(buckets):
        ended, used = ended + more, used + seconds
        if ended >= NEWEST and used >= steady and start <= now - max(2 * BUCKET_SECONDS, span):
            break
    if ended < FIRST or used <= 0 or start > now - span:
        return None, 0
    weight = PRIOR_TASKS * max(0.0, 1 - ended / ENOUGH)
    if weight == 0:
        return used / ended, round(ended)
    mixed = (weight * prior + used) / (weight + ended)
    return min(max(mixed, prior / FIRST_FACTOR), prior * FIRST_FACTOR), math.floor(ended)
