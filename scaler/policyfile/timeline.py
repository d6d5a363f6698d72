"""How fast a class can grow and shrink, by its own behavior: the limiter of the core, played ahead.

What a policy says in windows and periods, a person wants to know in minutes: "5 → 1 takes 45".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scaler.core.behavior import History, limit, next_step_at, recommend, record
from scaler.core.policy import Behavior, WorkerPolicy


@dataclass(frozen=True, slots=True)
class Move:
    """So many replicas, so many seconds after the load rose or ended."""

    after: float
    replicas: int


def growth(worker: WorkerPolicy) -> Iterator[Move]:
    """From the least replicas to the most, when the load jumps and stays."""
    return moves(worker.behavior, lowest(worker), worker.replicas.max)


def shrinking(worker: WorkerPolicy) -> Iterator[Move]:
    """From the most replicas to the least, when all load ends at once."""
    return moves(worker.behavior, worker.replicas.max, lowest(worker))


def lowest(worker: WorkerPolicy) -> int:
    """The least that the behavior decides about: between 0 and 1, KEDA does."""
    return max(1, worker.replicas.min)


def moves(behavior: Behavior, start: int, goal: int) -> Iterator[Move]:
    """The moves from one number of replicas to another that is wanted from second 0 on."""
    bounds = (min(start, goal), max(start, goal))
    history, current, now = recommend(History(), behavior, start, now=0.0), start, 0.0
    while current != goal:
        at = next_step_at(history, behavior, current=current, recommendation=goal, bounds=bounds, now=now)
        if at is None:
            return
        step = limit(history, behavior, current=current, recommendation=goal, bounds=bounds, now=at)
        history = record(history, behavior, current, step.desired, at)
        current, now = step.desired, at
        yield Move(at, current)
