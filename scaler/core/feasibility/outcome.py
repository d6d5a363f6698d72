"""What a course comes to: worst backlog, worst wait, what is lost, and whether the promise is kept."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from scaler.core.feasibility.fluid import Course, Vertex, play
from scaler.core.feasibility.growth import Move
from scaler.core.feasibility.spike import Spike
from scaler.core.feasibility.waits import Wait, chance, waits
from scaler.core.policy import WorkerPolicy

#: rejected: the queue is full. close: only chance decides whether it gets full. expired: a task waits
#: longer than messageTtl. late: more than 1 − serviceLevel start after the objective. stuck: never done.
Kind = Literal["rejected", "close", "expired", "late", "stuck"]
LOSSES: tuple[Kind, ...] = ("rejected", "close", "expired")
#: Fractions of a task that a fluid leaves behind.
CRUMB = 1e-6


@dataclass(frozen=True, slots=True)
class Problem:
    """Why it isn't safe: since when (seconds), and how many tasks are concerned."""

    kind: Kind
    at: float
    tasks: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One spike in front of one policy. Times are seconds from the declaration's start, counts are tasks."""

    problems: tuple[Problem, ...]
    #: Published from the spike's beginning until its queue is worked off.
    tasks: float
    worst_backlog: float
    worst_backlog_at: float
    #: By how much chance may raise the worst backlog and the worst wait.
    backlog_allowance: float
    wait_allowance: float
    #: Infinite where a task never starts.
    worst_wait: float
    #: When the task that waits longest was published.
    worst_wait_at: float
    #: Share of `tasks` that may start after the objective.
    late_share: float
    rejected: float
    rejected_at: float | None
    expired: float
    expired_at: float | None
    #: When the last task of the spike has started, and when it is done; None: never.
    started_at: float | None
    done_at: float | None
    moves: tuple[Move, ...]
    #: (from when on, pods that work)
    working: tuple[tuple[float, int], ...]

    @property
    def safe(self) -> bool:
        """Nothing is rejected, nothing expires, and the service level is met."""
        return not self.problems

    @property
    def loses(self) -> bool:
        """Tasks are rejected or expire, or may be rejected by chance."""
        return any(problem.kind in LOSSES for problem in self.problems)


def outcome(worker: WorkerPolicy, spike: Spike) -> Outcome:
    """Plays the spike and judges it by the policy's limits and objective."""
    course = play(worker, spike)
    start, end = spike.window
    queued = [vertex.at for vertex in course.vertices if vertex.backlog > 0 and vertex.at >= start]
    calm = _calm_after(course, max([end, *queued]))
    inside = [wait for wait in waits(course) if wait.published[1] > start and wait.published[0] < calm]
    ttl, objective = worker.limits.message_ttl or math.inf, worker.objective
    tasks = sum(wait.tasks for wait in inside)
    by_chance = sum(
        chance(stretch, objective.wait)
        for stretch in course.stretches
        if stretch.end > start and stretch.start < calm
    )
    late = sum(wait.later_than(objective.wait) for wait in inside) + by_chance
    expired = [wait for wait in inside if wait.later_than(ttl) > CRUMB]
    highest = max(course.vertices, key=lambda vertex: vertex.backlog)
    close = max(course.vertices, key=lambda vertex: vertex.backlog + vertex.allowance)
    longest = max(inside, key=lambda wait: max(wait.mean), default=None)
    worst, worst_at = _longest(longest)
    refused = course.vertices[-1].rejected
    refused_at = _first_refusal(course)
    offered = tasks + refused
    found = Outcome(
        problems=(),
        tasks=offered,
        worst_backlog=highest.backlog,
        worst_backlog_at=highest.at,
        backlog_allowance=max(0.0, close.backlog + close.allowance - highest.backlog),
        wait_allowance=0.0 if longest is None or worst == math.inf else max(longest.bound) - worst,
        worst_wait=worst,
        worst_wait_at=worst_at,
        late_share=late / offered if offered > 0 else 0.0,
        rejected=refused,
        rejected_at=refused_at,
        expired=sum(wait.later_than(ttl) for wait in expired),
        expired_at=expired[0].crosses(ttl) + ttl if expired else None,
        started_at=calm if course.drained else None,
        done_at=calm + _service_at(worker, spike, calm) if course.drained else None,
        moves=course.moves,
        working=tuple(_working(course.vertices)),
    )
    return replace(found, problems=tuple(_problems(worker, found, close, inside)))


def _problems(worker: WorkerPolicy, found: Outcome, close: Vertex, inside: list[Wait]) -> Iterator[Problem]:
    limit, objective = worker.limits.max_length, worker.objective
    if found.rejected > CRUMB and found.rejected_at is not None:
        yield Problem("rejected", found.rejected_at, found.rejected)
    elif limit is not None and close.backlog + close.allowance > limit + CRUMB:
        yield Problem("close", close.at, close.backlog + close.allowance - limit)
    if found.expired_at is not None:
        yield Problem("expired", found.expired_at, found.expired)
    if found.started_at is None:
        yield Problem("stuck", found.worst_backlog_at, found.worst_backlog)
    elif found.late_share > 1 - objective.service_level + CRUMB:
        late = (wait for wait in inside if wait.later_than(objective.wait) > CRUMB)
        first = next((wait.crosses(objective.wait) for wait in late), found.worst_wait_at)
        yield Problem("late", first, found.late_share * found.tasks)


def _calm_after(course: Course, moment: float) -> float:
    """The first moment from `moment` on without a queue, or the end."""
    calm = (vertex.at for vertex in course.vertices if vertex.at >= moment and vertex.backlog == 0)
    return next(calm, course.vertices[-1].at)


def _longest(wait: Wait | None) -> tuple[float, float]:
    if wait is None:
        return 0.0, 0.0
    return max(zip(wait.mean, wait.published, strict=True), key=lambda pair: pair[0])


def _first_refusal(course: Course) -> float | None:
    for before, after in pairwise(course.vertices):
        if after.rejected > before.rejected:
            return before.at
    return None


def _service_at(worker: WorkerPolicy, spike: Spike, at: float) -> float:
    return next((mean for since, mean in reversed(spike.service) if since <= at), worker.service_time)


def _working(vertices: Iterable[Vertex]) -> Iterator[tuple[float, int]]:
    before: int | None = None
    for vertex in vertices:
        if vertex.working != before:
            before = vertex.working
            yield vertex.at, before
