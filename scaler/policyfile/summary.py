"""One line per worker class: what a valid policy comes to, in numbers that its author can check."""

from collections.abc import Iterator
from itertools import islice

from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration
from scaler.policyfile.timeline import Move, growth, shrinking

#: Moves that a line shows before it skips to the last.
_SHOWN_MOVES = 5
#: Moves that are played at all: what needs more of them takes hours, and nobody reads on.
_PLAYED_MOVES = 200


def summarize(worker: WorkerPolicy) -> dict[str, object]:
    """What a class can do, for programs: times in seconds, keys in camelCase as policies have them."""
    slots = worker.replicas.max * worker.concurrency
    return {
        "queues": list(worker.queues),
        "pool": worker.pool,
        "minReplicas": worker.replicas.min,
        "maxReplicas": worker.replicas.max,
        "slotsAtMax": slots,
        "serviceTimeSeconds": worker.service_time,
        "tasksPerSecondAtMax": round(slots / worker.service_time, 3),
        "scaleUp": _records(growth(worker)),
        "scaleDown": _records(shrinking(worker)),
    }


def describe(worker: WorkerPolicy) -> str:
    """What a class can do, in a line."""
    low, high, slots = worker.replicas.min, worker.replicas.max, worker.concurrency
    pods = f"always {high} pod{'s' if high > 1 else ''}" if low == high else f"{low} to {high} pods"
    rate = _rate(high * slots / worker.service_time)
    parts = [
        f"queues {', '.join(worker.queues)}",
        f"{worker.pool}, {pods} of {slots} slot{'s' if slots > 1 else ''}, {high * slots} slots at max",
        f"{rate} at {format_duration(worker.service_time)} each",
    ]
    if high > max(1, low):
        parts += [f"up {_words(growth(worker))}", f"down {_words(shrinking(worker))}"]
    return "; ".join(parts)


def _rate(per_second: float) -> str:
    for unit, seconds in (("s", 1), ("min", 60)):
        rate = per_second * seconds
        if rate >= 1:
            return f"{_rounded(rate)} tasks/{unit}"
    return f"{_rounded(per_second * 3600)} tasks/h"


def _rounded(number: float) -> str:
    """Three digits where there are fewer than three before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


def _records(moves: Iterator[Move]) -> list[dict[str, object]]:
    return [{"afterSeconds": move.after, "replicas": move.replicas} for move in islice(moves, _PLAYED_MOVES)]


def _words(moves: Iterator[Move]) -> str:
    words = [
        f"{move.replicas} {f'after {format_duration(move.after)}' if move.after else 'at once'}"
        for move in islice(moves, _PLAYED_MOVES)
    ]
    if len(words) > _SHOWN_MOVES:
        words[_SHOWN_MOVES - 1 : -1] = ["..."]
    if next(moves, None):
        words.append("...")
    return ", ".join(words) or "never"
