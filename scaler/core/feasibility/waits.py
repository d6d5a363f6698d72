"""Who waits how long, first in, first out: the horizontal distance between what arrived and what started.

The n-th task that was taken is the n-th that starts. Both moments are piecewise linear in n, so the
longest wait stands at a corner of one of them, and how many wait longer than something is exact.
"""

import math
from dataclasses import dataclass

from scaler.core import queueing
from scaler.core.feasibility.fluid import Course, Stretch, Vertex

#: Below this share of busy slots nobody waits for more than a moment by chance alone.
QUIET_UTILIZATION = 0.5


@dataclass(frozen=True, slots=True)
class Wait:
    """Tasks that were published one after the other and whose waits grow or shrink evenly."""

    #: How many.
    tasks: float
    #: When the first and the last of them were published (seconds).
    published: tuple[float, float]
    #: How long these two wait (seconds), on the average and with the allowance for chance.
    mean: tuple[float, float]
    bound: tuple[float, float]

    def later_than(self, seconds: float) -> float:
        """How many of them may wait longer than `seconds`."""
        low, high = sorted(self.bound)
        if low > seconds:
            return self.tasks
        return self.tasks * (high - seconds) / (high - low) if high > seconds else 0.0

    def crosses(self, seconds: float) -> float:
        """When the first of them that may wait longer than `seconds` was published; one must."""
        (a, b), (first, last) = self.published, self.bound
        if first > seconds or a == b:
            return a
        return a + (b - a) * (seconds - first) / (last - first)


def waits(course: Course) -> list[Wait]:
    """The waits of all tasks in the order of publishing; those that never start wait for ever."""
    vertices = course.vertices
    found: list[Wait] = []
    i = j = 0
    level = 0.0
    last = len(vertices) - 1
    while i < last:
        a, b = vertices[i], vertices[i + 1]
        if b.accepted <= level:
            i += 1
            continue
        while j < last and vertices[j + 1].started <= level:
            j += 1
        if j >= last:
            tasks = b.accepted - level
            moments = (_at(a.at, b.at, a.accepted, b.accepted, level), b.at)
            found.append(Wait(tasks, moments, (math.inf, math.inf), (math.inf, math.inf)))
            level = b.accepted
            continue
        c, d = vertices[j], vertices[j + 1]
        top = min(b.accepted, d.started)
        published, mean, bound = [], [], []
        for edge in (level, top):
            came = _at(a.at, b.at, a.accepted, b.accepted, edge)
            wait = max(0.0, _at(c.at, d.at, c.started, d.started, edge) - came)
            # Without a wait there is no queue that chance could make longer; see `chance`.
            margin = _at(_margin(c), _margin(d), c.started, d.started, edge) if wait > 0 else 0.0
            published.append(came)
            mean.append(wait)
            bound.append(wait + margin)
        found.append(
            Wait(top - level, (published[0], published[1]), (mean[0], mean[1]), (bound[0], bound[1]))
        )
        level = top
    return found


def chance(stretch: Stretch, wait: float) -> float:
    """Tasks that wait longer than `wait` although slots are free on the average (Erlang C).

    A queue by chance needs time to form: in a short stretch the share is no more than what the
    arrivals and ends of that stretch can deviate from their mean.
    """
    load, span = stretch.rate * stretch.service, stretch.end - stretch.start
    if not QUIET_UTILIZATION * stretch.slots < load < stretch.slots or span <= 0:
        return 0.0
    share = queueing.late_share(stretch.slots, load, stretch.service, wait)
    capacity = stretch.slots / stretch.service
    surplus = wait * capacity + (capacity - stretch.rate) * span
    share = min(share, math.exp(-(surplus**2) / (4 * stretch.rate * span)))
    return share * stretch.rate * span


def _margin(vertex: Vertex) -> float:
    return vertex.allowance / vertex.capacity if vertex.capacity else 0.0


def _at(first: float, last: float, low: float, high: float, level: float) -> float:
    """The value at a level between (low, first) and (high, last)."""
    return first + (last - first) * min(1.0, max(0.0, (level - low) / (high - low))) if high > low else last
