"""From a recording to a trace, and to a report of what really happened.

A recording has levels and counters every few seconds, not tasks. Arrivals are what the broker's
counters say was published; where it has none, what the unfinished work grew by plus what the
busy slots must have finished. Sums telescope: an error of one interval is made good by the next.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration
from scaler.runtime.recorder import Entry
from scaler.sim.report import Point, Report, Step, Waits
from scaler.sim.trace import Trace
from scaler.simreport.columns import COLUMNS
from scaler.simreport.recording import Track
from scaler.simreport.runs import RECORDED, Run

#: Longer without an entry, and the service wasn't recording.
GAP_SECONDS = 60.0
#: Another service time becomes an entry of the trace when it differs by so much.
_NEWS = 0.15
#: The figures that a recording tells; columns and charts leave out the others.
KNOWN = frozenset(
    {"offered", "completed", "unfinished", "maxBacklog", "podMinutes", "scaleUps", "scaleDowns"}
)


@dataclass(frozen=True, slots=True)
class _Flow:
    """Arrivals of (start, tasks) per interval, and how they are known."""

    rows: tuple[tuple[float, int], ...]
    counted: bool
    gaps: float


def trace_of(track: Track) -> tuple[Trace, list[str]]:
    """The load of a recording as a trace, and what that can't know in sentences."""
    seen = _seen(track)
    begin, end = track.entries[0].t, track.entries[-1].t
    flow = _flow(seen, begin)
    service = list(_service_times(seen, begin))
    leads = sorted(entry.lead_time for entry in seen if entry.lead_time)
    name = f"replay-{track.worker_class}"[:63].rstrip("-")
    document: dict[str, object] = {
        "workerClass": track.worker_class,
        "duration": format_duration(max(end - begin, 1.0)),
        "arrivalsFile": "recording",
        "pods": {"start": max(0, track.entries[0].desired)},
    }
    if service:
        document["serviceTime"] = service
    if leads:
        document["startupTime"] = format_duration(leads[len(leads) // 2])
    trace = Trace.model_validate(
        {
            "apiVersion": "scaler/v1",
            "kind": "Trace",
            "metadata": {"name": name},
            "spec": {**document, **({"serviceTime": tuple(service)} if service else {})},
        }
    )
    spec = trace.spec.model_copy(update={"arrivals_file": None, "recorded": flow.rows})
    return trace.model_copy(update={"spec": spec}), list(_limits(track, seen, flow))


def recorded_run(track: Track, trace: Trace, worker: WorkerPolicy, environment: str) -> Run:
    """What really happened, as far as the recording tells. Replicas are those that were desired."""
    entries, begin = track.entries, track.entries[0].t
    offered = sum(count for _, count in trace.spec.recorded)
    left = _unfinished(_seen(track)[-1])
    steps = tuple(
        Step(after.t - begin, before.desired, after.desired, after.limit, after.winner, "as recorded")
        for before, after in pairwise(entries)
        if before.desired != after.desired
    )
    pod_seconds = sum(before.desired * (after.t - before.t) for before, after in pairwise(entries))
    unfinished = min(round(left), offered)
    nothing = Waits(0.0, 0.0, 0.0, 0.0, 0.0, 0, worker.objective.wait)
    report = Report(
        trace=trace.metadata.name,
        policy=track.policy,
        environment=environment,
        worker_class=track.worker_class,
        controller=RECORDED,
        seed=trace.spec.seed,
        duration=trace.spec.duration,
        objective=worker.objective.wait,
        offered=offered,
        completed=offered - unfinished,
        rejected=0,
        expired=0,
        killed=0,
        lost=0,
        unfinished=unfinished,
        waits=nothing,
        pod_minutes=pod_seconds / 60,
        scale_ups=sum(step.desired > step.before for step in steps),
        scale_downs=sum(step.desired < step.before for step in steps),
        max_backlog=max(round(entry.waiting or 0.0) for entry in entries),
        points=tuple(_point(entry, begin) for entry in entries),
        steps=steps,
        queue_limit=worker.limits.max_length,
    )
    return Run("as recorded", report, frozenset(column.name for column in COLUMNS) - KNOWN)


def _seen(track: Track) -> list[Entry]:
    """The entries that were made from readings; all of them where there is none."""
    return [entry for entry in track.entries if entry.quality == "fresh"] or track.entries


def _flow(entries: Sequence[Entry], begin: float) -> _Flow:
    with_counters = [n for n, entry in enumerate(entries) if entry.published is not None and entry.counted_at]
    counted = len(with_counters) > len(entries) / 2
    gaps = sum(after.t - before.t for before, after in pairwise(entries) if after.t - before.t > GAP_SECONDS)
    # What was there at the beginning arrives at once: its waiting so far isn't known task by task.
    rows = [(0.0, _unfinished(entries[0]))]
    # A broker's statistics may come some seconds after the first reading, and fail now and then.
    first = with_counters[0] if counted else len(entries)
    rows += _inferred(entries[: first + 1], begin)
    if counted:
        rows += _counted([entries[number] for number in with_counters], begin)
    return _Flow(tuple(_whole(rows)), counted, gaps)


def _counted(entries: Sequence[Entry], begin: float) -> Iterator[tuple[float, float]]:
    """Published messages between two moments at which the broker counted."""
    before = entries[0]
    for entry in entries[1:]:
        if entry.counted_at is None or before.counted_at is None or entry.counted_at <= before.counted_at:
            continue
        new = (entry.published or 0) - (before.published or 0)
        # A counter that fell has begun anew: what it shows came since then.
        yield max(0.0, before.counted_at - begin), float(new if new >= 0 else entry.published or 0)
        before = entry


def _inferred(entries: Sequence[Entry], begin: float) -> Iterator[tuple[float, float]]:
    """What the unfinished work grew by, and what the busy slots finished meanwhile."""
    debt = 0.0
    for before, after in pairwise(entries):
        span = after.t - before.t
        busy = ((before.running or 0.0) + (after.running or 0.0)) / 2
        done = busy * span / after.service_time if after.service_time and span <= GAP_SECONDS else 0.0
        new = _unfinished(after) - _unfinished(before) + done + debt
        debt = min(0.0, new)
        yield before.t - begin, max(0.0, new)


def _unfinished(entry: Entry) -> float:
    waiting = entry.waiting if entry.waiting is not None else float(entry.ready or 0)
    return waiting + (entry.running or 0.0)


def _whole(rows: Sequence[tuple[float, float]]) -> Iterator[tuple[float, int]]:
    """Whole tasks, and times that grow: fractions are carried on to the next row."""
    carried, last = 0.0, -math.inf
    for at, count in rows:
        carried += count
        if at <= last:
            at = last + 0.001  # noqa: PLW2901 - what was there at the start, and the first interval
        whole = math.floor(carried + 0.5)
        carried -= whole
        last = at
        yield at, max(whole, 0)


def _service_times(entries: Sequence[Entry], begin: float) -> Iterator[dict[str, str | float]]:
    """The measured ones as they changed; the first from the start on."""
    last: float | None = None
    for entry in entries:
        if not entry.measured or not entry.service_time:
            continue
        if last is None or abs(entry.service_time / last - 1) > _NEWS:
            at = 0.0 if last is None else max(0.0, entry.t - begin)
            last = entry.service_time
            yield {"at": format_duration(at), "mean": format_duration(max(last, 0.001))}


def _point(entry: Entry, begin: float) -> Point:
    return Point(
        t=entry.t - begin,
        backlog=round(entry.waiting if entry.waiting is not None else entry.ready or 0),
        running=round(entry.running or 0.0),
        wait=entry.wait or 0.0,
        rejected=0,
        desired=entry.desired,
        spec=entry.desired,
        ready=entry.workers if entry.workers is not None else entry.desired,
        recommendation=float(entry.recommendation),
        limit=entry.limit,
    )


def _limits(track: Track, seen: Sequence[Entry], flow: _Flow) -> Iterator[str]:
    """What this replay can't know."""
    name = track.worker_class
    if flow.counted:
        yield f"{name}: arrivals are the broker's count of published messages, even within 5 s."
    else:
        yield (
            f"{name}: the recording has no broker counters; arrivals are inferred from the backlog and from"
            " busy slots ÷ service time, so publishes that a full queue refused are missing."
        )
    if not any(entry.measured for entry in seen):
        yield f"{name}: no service time was measured; the policy's prior is simulated."
    yield (
        f"{name}: a recording has no single tasks: each one's service time is drawn around the mean (cv 1),"
        " the waits of what really happened are unknown (–), and priorities, retries, countdowns and"
        " killed pods are not replayed. Compare simulated runs with each other; `as recorded` shows how"
        " close the simulation of the recorded policy comes. Its pod-minutes and steps"
        " are those of the desired replicas; the simulated ones count pods from creation to end and the HPA's"
        " steps."
    )
    if flow.gaps:
        yield f"{name}: {flow.gaps / 60:.1f} min were not recorded or not readable."
    if track.policies > 1:
        yield f"{name}: the policy changed {track.policies - 1} times meanwhile; the last one is simulated."
    if track.torn:
        yield f"{track.torn} lines of the recording can't be read and were passed over."
