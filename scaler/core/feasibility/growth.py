"""Replicas over time: the fastest that a behavior allows, by the very limiter that serves.

The asking is ideal, the moving is not. While a queue stands, all of max is asked for; otherwise what
the rate of the last half minute needs at the policy's utilization. Each step waits for its turn in
the behavior, and each pod works only after all of the ways have taken their worst.
"""

import math
from dataclasses import dataclass

from scaler.core import behavior
from scaler.core.policy import WorkerPolicy
from scaler.core.tolerance import land

#: How old a reading is at worst (seconds): RabbitMQ renews its counters every 5 s.
SEEN_SECONDS = 5.0
#: The decision is made once a second, the HPA looks at it every 15 s: both just missed it.
TICK_SECONDS = 1.0
HPA_SYNC_SECONDS = 15.0
#: Over how long (seconds) the rate is averaged before it is believed without a queue.
RATE_SECONDS = 30.0
#: From the change of the load to the order for a pod, without the pod's own start.
REACTION_SECONDS = SEEN_SECONDS + TICK_SECONDS + HPA_SYNC_SECONDS


@dataclass(frozen=True, slots=True)
class Move:
    """One step: decided when (seconds), to how many replicas, and since when these work."""

    decided: float
    replicas: int
    working: float


class Growth:
    """The replicas of one class while a spike is played; times are seconds from its start."""

    def __init__(self, worker: WorkerPolicy, *, replicas: int, startup: float) -> None:
        self._worker = worker
        self._startup = startup
        self._history = behavior.recommend(behavior.History(), worker.behavior, replicas, 0.0)
        self._asked = replicas
        #: Ordered, working, and (works at, pods) of those between.
        self.desired = replicas
        self.working = replicas
        self.pending: list[tuple[float, int]] = []
        self.moves: list[Move] = [Move(0.0, replicas, 0.0)]

    def decide(self, wanted: int, now: float) -> float | None:
        """Asks for `wanted` replicas at `now`; the next moment at which asking again changes something."""
        worker, rules = self._worker, self._worker.behavior
        low, high = worker.replicas.min, worker.replicas.max
        before = self.desired
        if wanted != self._asked:
            # What was asked for until this moment still counts in the windows.
            self._history = behavior.recommend(self._history, rules, self._asked, now)
        wanted = behavior.settle(rules, before, max(low, min(wanted, high)))
        self._asked = wanted
        if before == 0 < wanted:
            # From nothing to one it is KEDA that moves, without asking the behavior.
            desired = max(1, low)
        else:
            step = behavior.limit(
                self._history, rules, current=before, recommendation=wanted, bounds=(low, high), now=now
            )
            desired = step.desired
        if worker.hpa_tolerance and low <= before <= high:
            allowed = min(high, behavior.scale_limit(self._history, rules.scale_up, "up", before, now))
            desired = land(worker.hpa_tolerance, current=before, desired=desired, allowed=allowed).replicas
        self._history = behavior.recommend(self._history, rules, wanted, now)
        self._history = behavior.record(self._history, rules, before, desired, now)
        self._move(before, desired, now)
        if before == 0 < desired < wanted:
            return now + HPA_SYNC_SECONDS
        after = behavior.next_step_at(
            self._history, rules, current=desired, recommendation=wanted, bounds=(low, high), now=now
        )
        # What the deadband holds is asked for again at every sync.
        again = HPA_SYNC_SECONDS if worker.hpa_tolerance else TICK_SECONDS
        return after if after is None or after > now else now + again

    def arrive(self, now: float) -> None:
        """The pods whose start is over begin to work."""
        self.working += sum(pods for at, pods in self.pending if at <= now)
        self.pending = [(at, pods) for at, pods in self.pending if at > now]

    def next_arrival(self) -> float:
        """When the next pod works; infinity where none is starting."""
        return min((at for at, _ in self.pending), default=math.inf)

    def _move(self, before: int, desired: int, now: float) -> None:
        if desired == before:
            return
        self.desired = desired
        if desired > before:
            works = now + HPA_SYNC_SECONDS + self._startup
            self.pending.append((works, desired - before))
            self.moves.append(Move(now, desired, works))
            return
        surplus = before - desired
        kept = []
        for at, pods in reversed(self.pending):  # a ReplicaSet removes pods that aren't ready first
            gone = min(pods, surplus)
            surplus -= gone
            if pods > gone:
                kept.append((at, pods - gone))
        self.pending = kept[::-1]
        self.working -= surplus
        self.moves.append(Move(now, desired, now))


def needed(rate: float, service: float, worker: WorkerPolicy) -> int:
    """Pods for a rate (tasks/s) of tasks that take `service` seconds, at the policy's utilization."""
    slots = rate * service / worker.objective.utilization
    return math.ceil(slots / worker.concurrency - 1e-9)
