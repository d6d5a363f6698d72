"""A declared spike: who publishes how much and when, as contiguous pieces of constant rate.

All later arithmetic is exact on such pieces. Ramps become short steps that hold the exact number of
tasks; a dump "at once" lasts a millisecond, so that every piece has a length.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

#: The shortest time (seconds) in which tasks are published: what stands for "at once".
AT_ONCE = 0.001
#: Steps that stand for one ramp at the most, and their least length in seconds. A step holds as many
#: tasks as the ramp in that time; between its ends it is off by slope × length² ÷ 8, less than a
#: handful of tasks for a ramp of 300 tasks/s over an hour.
RAMP_STEPS = 200
RAMP_STEP_SECONDS = 1.0

FaultKind = Literal["broker-down", "blind", "workers-lost"]


@dataclass(frozen=True, slots=True)
class Flow:
    """Tasks published at a constant rate (tasks/s) from `start` to `end` (seconds); flows add up."""

    start: float
    end: float
    rate: float
    #: Published on a fixed schedule; otherwise at random moments (Poisson) with this mean rate.
    even: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is broken meanwhile.

    broker-down: nothing is delivered, producers hold their tasks and publish them within `flush`
    seconds afterwards, and nothing can be read. blind: nothing can be read. workers-lost: all pods
    are gone at `start` and back at `end`; what they ran goes back to the queue.
    """

    start: float
    end: float
    kind: FaultKind
    flush: float = 5.0
    #: workers-lost: the part of the pods that is gone.
    share: float = 1.0
    #: workers-lost: they are replaced at once and start as long as any other pod, `end` or not.
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A span without any change: all tasks per second, and how many of these come at random moments."""

    start: float
    end: float
    rate: float
    random: float


@dataclass(frozen=True, slots=True)
class Spike:
    """What is declared. Seconds from the start of the declaration."""

    name: str
    flows: tuple[Flow, ...]
    #: When the declaration ends; nothing is published afterwards.
    duration: float
    #: (from when on, seconds that a task takes); empty: the policy's serviceTime.
    service: tuple[tuple[float, float], ...] = ()
    #: Seconds from creating a pod to its first task; None: the policy's startupTime.
    startup: float | None = None
    #: Standard deviation ÷ mean of the service time.
    variation: float = 1.0
    faults: tuple[Fault, ...] = ()
    #: How many standard deviations of chance a promise must survive; 0 takes every mean for the truth.
    deviations: float = 2.0
    #: Tasks/s before the declaration begins; None: the least rate of all, see `base`.
    before: float | None = None
    #: Pods at the beginning; None: what the base needs.
    pods: int | None = None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The arrivals as the broker gets them: flows added up, and held back while it is down."""
        return merged(self.flows, self.duration, self.faults)

    @property
    def base(self) -> float:
        """Tasks per second at random moments beside the spike: the least rate, silence at the end apart."""
        if self.before is not None:
            return self.before
        rates = [piece.random for piece in merged(self.flows, self.duration)]
        while len(rates) > 1 and rates[-1] == 0:
            rates.pop()
        return min(rates)

    @property
    def window(self) -> tuple[float, float]:
        """From when until when more is published than the base; all of it where nothing is."""
        least = self.base * (1 + 1e-9)
        over = [piece for piece in merged(self.flows, self.duration) if piece.rate > least]
        return (over[0].start, over[-1].end) if over else (0.0, self.duration)

    @property
    def extra(self) -> float:
        """Tasks published on top of the base."""
        base = self.base
        return sum(
            max(0.0, piece.rate - base) * (piece.end - piece.start)
            for piece in merged(self.flows, self.duration)
        )


def ramp(start: float, end: float, first: float, last: float) -> Iterable[Flow]:
    """A rate that goes evenly from `first` to `last` tasks/s, as steps."""
    steps = max(1, min(RAMP_STEPS, round((end - start) / RAMP_STEP_SECONDS)))
    for step in range(steps):
        a, b = (start + (end - start) * edge / steps for edge in (step, step + 1))
        yield Flow(a, b, first + (last - first) * (step + 0.5) / steps)


def burst(at: float, tasks: float, over: float) -> Flow:
    """So many tasks, evenly over so many seconds."""
    over = max(over, AT_ONCE)
    return Flow(at, at + over, tasks / over, even=True)


def spread(spike: Spike, seconds: float) -> Spike:
    """The same tasks above the base, published over `seconds` instead of the present window."""
    base, (start, end) = spike.base, spike.window
    factor = seconds / (end - start)
    flows = []
    for piece in merged(spike.flows, spike.duration):
        over = max(0.0, piece.rate - base)
        at_random = min(over, max(0.0, piece.random - base))
        for rate, even in ((at_random, False), (over - at_random, True)):
            if rate > 1e-9 * max(1.0, base):
                a, b = (start + (edge - start) * factor for edge in (piece.start, piece.end))
                flows.append(Flow(a, b, rate / factor, even))
    duration = spike.duration + max(0.0, seconds - (end - start))
    return replace(spike, flows=(Flow(0.0, duration, base), *flows), duration=duration)


def merged(flows: Iterable[Flow], duration: float, faults: Iterable[Fault] = ()) -> tuple[Piece, ...]:
    """Flows as one row of pieces from 0 to `duration`, or to the end of a flush that lasts longer."""
    flows = [flow for flow in flows if flow.rate > 0 and flow.start < min(flow.end, duration)]
    for fault in faults:
        if fault.kind == "broker-down":
            flows, held = _held_back(flows, fault, duration)
            if held > 0:
                flows.append(burst(fault.end, held, fault.flush))
                duration = max(duration, flows[-1].end)
    edges = sorted(
        {0.0, duration, *(min(edge, duration) for flow in flows for edge in (flow.start, flow.end))}
    )
    change = dict.fromkeys(edges, (0.0, 0.0))
    for flow in flows:
        for edge, sign in ((flow.start, 1), (min(flow.end, duration), -1)):
            every, at_random = change[edge]
            change[edge] = (every + sign * flow.rate, at_random + (0.0 if flow.even else sign * flow.rate))
    pieces, rate, random = [], 0.0, 0.0
    for start, end in pairwise(edges):
        rate, random = rate + change[start][0], random + change[start][1]
        tiny = 1e-9 * max(1.0, abs(change[start][0]))  # what adding and taking away again leaves
        rate, random = (0.0 if value < tiny else value for value in (rate, random))
        pieces.append(Piece(start, end, rate, min(rate, random)))
    return tuple(pieces)


def tasks_between(pieces: tuple[Piece, ...], start: float, end: float) -> float:
    """Tasks published from `start` to `end`."""
    first = max(0, bisect_right(pieces, start, key=lambda piece: piece.start) - 1)
    total = 0.0
    for piece in pieces[first:]:
        if piece.start >= end:
            break
        total += piece.rate * max(0.0, min(end, piece.end) - max(start, piece.start))
    return total


def _held_back(flows: Iterable[Flow], fault: Fault, duration: float) -> tuple[list[Flow], float]:
    """The flows without what falls into an outage, and the tasks that this is."""
    left, held = [], 0.0
    for flow in flows:
        end = min(flow.end, duration)
        inside = min(end, fault.end) - max(flow.start, fault.start)
        if inside <= 0:
            left.append(flow)
            continue
        held += inside * flow.rate
        left += [
            replace(flow, start=a, end=b)
            for a, b in ((flow.start, min(end, fault.start)), (max(flow.start, fault.end), end))
            if a < b
        ]
    return left, held
