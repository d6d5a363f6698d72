"""The queue as a fluid: what arrives, what starts, what is refused, exact between events.

Tasks in slots end at a rate of running ÷ service time, and a free slot takes the next task at once.
While a queue stands all slots are busy, so the queue changes at a constant rate: the backlog is
piecewise linear. While none stands, the busy slots approach rate × service time exponentially; only
the moment at which they run out is of interest, and it has a closed form. So idle slots swallow the
first part of a spike, as they do in reality, and nothing is stepped through in small intervals.

Single tasks differ from their mean: beside the backlog runs the variance of what arrived at random
moments and of what was worked off since the queue formed, from which `allowance` is made.
"""

import math
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from scaler.core.feasibility.growth import RATE_SECONDS, SEEN_SECONDS, TICK_SECONDS, Growth, Move, needed
from scaler.core.feasibility.spike import Piece, Spike, tasks_between
from scaler.core.policy import WorkerPolicy

#: What isn't worked off so long (seconds) after the last task was published counts as never.
PATIENCE_SECONDS = 7 * 86400.0
#: Arrivals that a flow takes to be told from chance: twenty differ by a quarter at most, two times in three.
TOLD_TASKS = 20.0


@dataclass(frozen=True, slots=True)
class Vertex:
    """The state at a moment (seconds); between two of them all counts change evenly."""

    at: float
    #: Tasks that wait for a slot.
    backlog: float
    #: Tasks that the queue took and refused so far; what was taken and doesn't wait has started.
    accepted: float
    rejected: float
    #: Pods that work.
    working: int
    #: Tasks by which chance may make the backlog longer, and tasks/s that all slots work off.
    allowance: float
    capacity: float

    @property
    def started(self) -> float:
        """Tasks that found a slot so far."""
        return self.accepted - self.backlog


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time without a queue: tasks/s, slots, and seconds per task."""

    start: float
    end: float
    rate: float
    slots: int
    service: float


@dataclass(frozen=True, slots=True)
class Course:
    """What becomes of a spike."""

    vertices: tuple[Vertex, ...]
    stretches: tuple[Stretch, ...]
    moves: tuple[Move, ...]
    #: Whether the queue is empty at the end.
    drained: bool


def play(worker: WorkerPolicy, spike: Spike) -> Course:
    """The course of a spike in front of a worker class, all load on one queue of it."""
    return _Player(worker, spike).play()


class _Player:
    def __init__(self, worker: WorkerPolicy, spike: Spike) -> None:
        self.worker, self.spike = worker, spike
        self.pieces = spike.pieces
        self.end = self.pieces[-1].end
        self.limit = math.inf if worker.limits.max_length is None else float(worker.limits.max_length)
        self.service_steps = spike.service or ((0.0, worker.service_time),)
        first = self._service(0.0)
        begin = needed(spike.base, first, worker) if spike.pods is None else spike.pods
        start = max(worker.replicas.min, min(worker.replicas.max, begin))
        startup = worker.startup_time if spike.startup is None else spike.startup
        self.growth = Growth(worker, replicas=start, startup=startup)
        self.faults = [
            replace(fault, end=max(fault.end, fault.start + startup)) if fault.restarted else fault
            for fault in spike.faults
        ]
        edges = {edge for piece in self.pieces for edge in (piece.start, piece.end)}
        edges |= {at for at, _ in self.service_steps}
        edges |= {edge for fault in self.faults for edge in (fault.start, fault.end)}
        self.edges = sorted(edge for edge in edges if edge > 0)
        # A rate counts without a queue once it has filled the window over which it is averaged.
        self.asking = sorted(
            _next_tick(max(piece.start + RATE_SECONDS, self._told(piece)) + SEEN_SECONDS)
            for piece in self.pieces[1:]
        )
        self.now, self.index = 0.0, 0
        self.backlog = self.accepted = self.rejected = self.variance = 0.0
        self.busy = min(spike.base * first, float(start * worker.concurrency))
        self.vertices: list[Vertex] = []
        self.stretches: list[Stretch] = []

    def play(self) -> Course:
        self._note()
        statics = iter([*self.edges, math.inf])
        edge = next(statics)
        horizon = self.end + PATIENCE_SECONDS
        while True:
            deadline = min(
                edge, self.growth.next_arrival(), self.asking[0] if self.asking else math.inf, horizon
            )
            self._advance(deadline)
            over = self.now >= self.end and edge == math.inf
            if (over and self.backlog == 0) or self.now >= horizon:
                break
            if self.now < deadline:
                continue
            while edge <= self.now:
                self._lose(edge)
                edge = next(statics)
            self.growth.arrive(self.now)
            while self.asking and self.asking[0] <= self.now:
                heappop(self.asking)
                self._ask()
            self._take()
            self._note()
        return Course(
            tuple(self.vertices), tuple(self.stretches), tuple(self.growth.moves), drained=self.backlog == 0
        )

    def _advance(self, until: float) -> None:
        """Up to `until`, or less far where something comes up, or the queue is empty at the very end."""
        while self.now < until:
            rate, random = self._rates()
            service, slots = self._service(self.now), self._slots()
            if self._down("broker-down"):
                # Nothing is delivered; what runs ends, one by one.
                self.busy *= math.exp(-(until - self.now) / service)
                self._pass(until, 0.0, 0.0)
            elif self.backlog > 0 or (self.busy >= slots and rate * service > slots):
                self._drain_or_fill(until, rate, random, slots / service)
            elif self.now >= self.end and not any(edge > self.now for edge in self.edges):
                return
            else:
                self._flow(until, rate, service, slots)
            self._note()
            if self.asking and self.asking[0] < until:
                return  # a decision has become due before

    def _drain_or_fill(self, until: float, rate: float, random: float, capacity: float) -> None:
        """All slots are busy: the queue changes evenly, until it is full or empty or something happens."""
        net, start = rate - capacity, self.now
        if self.backlog == 0:
            self._change(self._told(self.pieces[self.index]))  # a queue forms
            until = min(until, self.asking[0])
        if net > 0 and self.backlog >= self.limit:
            self.rejected += net * (until - start)
            self._pass(until, capacity, 0.0)
        else:
            goal = self.limit if net > 0 else 0.0
            moment = start + (goal - self.backlog) / net if net else math.inf
            end = min(until, moment)
            self._pass(end, rate, net)
            if moment <= until:
                self.backlog = goal
        chance = random + self.spike.variation**2 * capacity
        self.variance += chance * (self.now - start)
        if self.backlog == 0:
            self.busy = min(self.busy, float(self._slots()))
            self._gone()

    def _flow(self, until: float, rate: float, service: float, slots: int) -> None:
        """No queue: every task finds a slot, until they are all busy or something happens."""
        aim, end = rate * service, until
        if aim > slots:
            end = min(until, self.now + service * math.log((aim - self.busy) / (aim - slots)))
        self.stretches.append(Stretch(self.now, end, rate, slots, service))
        if end < until:
            self.busy = float(slots)
        else:
            self.busy = aim + (self.busy - aim) * math.exp(-(end - self.now) / service)
        self._pass(end, rate, 0.0)

    def _pass(self, until: float, accepted: float, net: float) -> None:
        self.accepted += accepted * (until - self.now)
        self.backlog = max(0.0, self.backlog + net * (until - self.now))
        self.now = until

    def _take(self) -> None:
        """Slots that are free now take what waits."""
        slots = self._slots()
        self.busy = min(self.busy, float(slots))
        if self.backlog > 0 and not self._down("broker-down"):
            taken = min(self.backlog, slots - self.busy)
            self.busy += taken
            self.backlog -= taken
            if self.backlog == 0:
                self._gone()

    def _gone(self) -> None:
        """The queue is worked off; the last of it waits with all the chance that its queue has gathered."""
        self._note()
        self.variance = 0.0
        self._change()

    def _change(self, known: float = 0.0) -> None:
        """A queue forms or is gone: to be decided on as soon as that is seen, and its flow is known."""
        heappush(self.asking, _next_tick(max(self.now, known) + SEEN_SECONDS))

    def _told(self, piece: Piece) -> float:
        """When a flow that all pods together can't do is told from chance; 0 for others."""
        slots = self.worker.replicas.max * self.worker.concurrency
        if piece.rate * self._service(piece.start) <= slots:
            return 0.0
        return piece.start + TOLD_TASKS / piece.rate

    def _lose(self, now: float) -> None:
        """Pods that die give back what they ran where it was acknowledged late."""
        if any(fault.kind == "workers-lost" and fault.start == now for fault in self.faults):
            lost = max(0.0, self.busy - self._slots())
            self.busy -= lost
            if self.worker.acks_late:
                if self.backlog == 0 < lost:
                    self._change()
                self.accepted += lost
                self.backlog += lost

    def _ask(self) -> None:
        """One decision; while nothing can be read it is put off."""
        for fault in self.faults:
            clear = fault.end + SEEN_SECONDS
            if fault.kind != "workers-lost" and fault.start <= self.now < clear:
                heappush(self.asking, _next_tick(clear))
                return
        wanted = self.worker.replicas.max
        if self.backlog == 0:
            seen = self.now - SEEN_SECONDS
            rate = tasks_between(self.pieces, seen - RATE_SECONDS, seen) / RATE_SECONDS
            if seen < RATE_SECONDS:
                rate += self.spike.base * (RATE_SECONDS - seen) / RATE_SECONDS
            wanted = needed(rate, self._service(self.now), self.worker)
        after = self.growth.decide(wanted, self.now)
        if after is not None and after not in self.asking:
            heappush(self.asking, after)

    def _rates(self) -> tuple[float, float]:
        while self.index + 1 < len(self.pieces) and self.pieces[self.index].end <= self.now:
            self.index += 1
        piece = self.pieces[self.index]
        return (piece.rate, piece.random) if piece.start <= self.now < piece.end else (0.0, 0.0)

    def _service(self, now: float) -> float:
        return next(
            (mean for at, mean in reversed(self.service_steps) if at <= now), self.service_steps[0][1]
        )

    def _slots(self) -> int:
        left = self.growth.working
        for fault in self.faults:
            if fault.kind == "workers-lost" and fault.start <= self.now < fault.end:
                left -= math.ceil(left * fault.share)
        return left * self.worker.concurrency

    def _down(self, kind: str) -> bool:
        return any(fault.kind == kind and fault.start <= self.now < fault.end for fault in self.faults)

    def _note(self) -> None:
        service = self._service(self.now)
        vertex = Vertex(
            self.now,
            self.backlog,
            self.accepted,
            self.rejected,
            self._slots() // self.worker.concurrency,
            self.spike.deviations * math.sqrt(self.variance),
            self._slots() / service,
        )
        if not self.vertices or vertex != self.vertices[-1]:
            self.vertices.append(vertex)


def _next_tick(moment: float) -> float:
    """The first decision after a moment; they are made at whole seconds, and one was just missed."""
    return math.floor(moment) + TICK_SECONDS
