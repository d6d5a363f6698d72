"""What waits and what runs, from what broker and workers show: exact, an interval, or unknown.

Brokers count messages, not tasks in progress (measured on RabbitMQ 4.0 and Redis 7.0 with
Celery 5.7): with late acknowledgement `unacked` is running + prefetched + ETA-held; with early
acknowledgement a task leaves every count when it starts, so `unacked` is prefetched + ETA-held
and the running ones are in no count at all.

What limits the parts, and with them the intervals:
- a worker runs at most its slots, and takes at most prefetchMultiplier × slots due messages;
- a task waits inside a worker only while all slots of that worker are busy;
- heartbeats tell the busy slots, up to 2 s late.
"""

import math
from dataclasses import dataclass

from scaler.core.fleet import Fleet
from scaler.core.observation import Interval, Observation
from scaler.core.policy import WorkerPolicy

#: A slot held for this many service times is stuck: its task hangs.
STUCK_FACTOR = 10.0
#: And no shorter than this: one of 1,400 lognormal tasks (cv 1) takes ten times its mean. With 13 tasks of
#: 1 s a second there is one every two minutes, gone long before a pod for it has started.
STUCK_SECONDS = 60.0

#: More than any broker holds.
UNLIMITED = 10**9


@dataclass(frozen=True, slots=True)
class Sight:
    """What the memory adds to one observation."""

    #: Pods that are thought to work, (least, most), for brokers that don't show consumers.
    pods: Interval
    #: The most messages that can have been ETA-held all through the last minute.
    held_most: int | None = None
    #: Held for their ETA as the last heartbeats show it: least and most of unacknowledged minus busy
    #: slots, the least also without what may wait in full workers.
    rest: Interval | None = None
    #: Workers that don't listen any more and may be in a warm shutdown.
    gone: int = UNLIMITED
    #: Busy slots by Little's law from acknowledgements, where nothing shows them directly.
    flow: float | None = None
    service_time: float = 1.0
    #: What falls due within so many seconds counts as soon.
    horizon: float = 0.0
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work of a class at one moment, in messages."""

    #: Waits in the broker and is due, as far as is known.
    ready: int
    #: Delivered, due and not started.
    prefetched: Interval | None
    #: Occupying a slot.
    running: Interval | None
    #: Delivered and not yet due.
    eta_held: Interval | None
    #: Busy slots to compute a rate from; None where the interval is too wide to mean anything.
    busy: float | None = None
    #: Not yet due, but due before a pod that is ordered now could start.
    due_soon: int = 0
    #: Slots that hang: occupied, and nothing comes out of them.
    stuck: int = 0
    #: Slots of the pods that what was delivered and isn't held for an ETA fills, packed as densely as can
    #: be: certain also where it is unknown how much of it runs.
    filled: int = 0
    #: All that waits or runs, as live as can be: what arrivals are inferred from.
    unfinished: float = 0.0
    #: Whether `unfinished` is exact, so that it can't fall by more than has run.
    exact: bool = False

    @property
    def waiting(self) -> Interval:
        """Due and not started: ready + prefetched. With prefetched unknown, the least is what is ready."""
        low, high = self.prefetched or (0, 0)
        return self.ready + low, self.ready + high

    @property
    def likely(self) -> tuple[float, float] | None:
        """The best single numbers for (running, waiting); None where running tasks can't be seen."""
        if self.busy is None:
            return None
        running = self.busy + self.stuck
        low, high = self.waiting
        return running, min(max(self.unfinished - running, low), high)

    @property
    def anything(self) -> bool | None:
        """Whether anything is waiting or running for certain; None: it can't be told."""
        if self.waiting[0] or (self.running and self.running[0]):
            return True
        if self.running is None or self.prefetched is None or self.running[1] or self.prefetched[1]:
            return None
        return False


def read_backlog(worker: WorkerPolicy, observation: Observation, fleet: Fleet, sight: Sight) -> Backlog:
    """The decomposition of what an observation shows."""
    return _Scene(worker, observation, fleet, sight).backlog()


def room(worker: WorkerPolicy) -> int:
    """Due messages that can wait in one worker beside those that run; any number without a limit."""
    if not worker.prefetch_multiplier:
        return UNLIMITED
    ahead = worker.prefetch_multiplier - (1 if worker.acks_late else 0)
    return max(0, ahead) * worker.concurrency


@dataclass(frozen=True, slots=True)
class _Scene:
    worker: WorkerPolicy
    seen: Observation
    fleet: Fleet
    sight: Sight

    def backlog(self) -> Backlog:
        ready, unacked, soon = self.seen.ready - self.seen.not_due, self.seen.unacked, self._due_soon()
        if self.seen.consumers == 0 and not unacked:
            # Without a consumer nothing can have been delivered and nothing can run.
            return Backlog(
                ready,
                (0, 0),
                (0, 0),
                (0, 0),
                busy=unacked,
                due_soon=soon,
                unfinished=ready,
                exact=unacked == 0,
            )
        stuck = min(self._stuck(), self._slots)
        late, held = self.worker.acks_late, None
        if unacked is None:
            prefetched, running = self._unseen()
        else:
            held = self._eta_held(unacked)
            due = (unacked - held[1], unacked - held[0])
            running, prefetched = self._late(due) if late else self._early(due)
        busy = None if running is None else self._busy(running)
        unfinished: float = ready + (unacked or 0) - (held[0] if held else 0)
        if not late or unacked is None:
            unfinished += busy or 0.0
        return Backlog(
            ready,
            prefetched,
            running,
            held,
            busy=None if busy is None else max(0.0, busy - stuck),
            due_soon=soon,
            stuck=stuck,
            filled=min(self._packed(unacked - held[1]), self._slots) if late and unacked and held else 0,
            unfinished=unfinished,
            # What is put off for its time leaves `unfinished` without having run.
            exact=late and held == (0, 0) and not self.seen.not_due,
        )

    @property
    def _heard_all(self) -> bool:
        """Whether heartbeats speak for every worker of the class."""
        return bool(self.fleet.alive) and self.seen.consumers in {None, len(self.fleet.alive)}

    @property
    def _slots(self) -> int:
        """Slots that can hold tasks now."""
        if self.seen.consumers is not None:
            return self.seen.consumers * self.worker.concurrency
        # Without a consumer count there may be one pod more than is desired: the one that is to go.
        heard = len(self.fleet.alive) + len(self.fleet.silent)
        return (heard or self.sight.pods[1] or 1) * self.worker.concurrency

    @property
    def _least_slots(self) -> int:
        """Slots that can hold tasks for certain: fewer than `_slots` while workers aren't heard again."""
        if not self._unsure:
            return self._slots
        return max(1, self.sight.pods[0]) * self.worker.concurrency

    @property
    def _unsure(self) -> bool:
        """Whether it isn't known how many workers there are."""
        heard = self.fleet.alive or self.fleet.silent or self.seen.consumers is not None
        return not heard and self.sight.pods[0] < self.sight.pods[1]

    @property
    def _alone(self) -> bool:
        """Whether what isn't held for an ETA runs, and heartbeats have shown what is held."""
        return self.worker.prefetch_multiplier == 1 and self.sight.rest is not None and self._heard_all

    def _unseen(self) -> tuple[Interval | None, Interval | None]:
        """(prefetched, running) where the broker shows ready messages only; heartbeats may still tell."""
        if not self._heard_all or self.fleet.active is None:
            return None, None
        concurrency = self.worker.concurrency
        if not self.worker.prefetch_multiplier:
            return None, (0, len(self.fleet.alive) * concurrency)
        return (0, self.fleet.perhaps_full(concurrency) * room(self.worker)), (
            0,
            len(self.fleet.alive) * concurrency,
        )

    def _late(self, due: Interval) -> tuple[Interval, Interval]:
        """(running, prefetched) where a message stays unacknowledged while its task runs."""
        slots = self._slots
        # What the workers that listen can't hold runs in those that are shutting down, if there are any; else
        # a worker holds too much: after a restart of Redis it keeps what it had and takes as much again.
        surplus = max(0, due[1] - slots - slots // self.worker.concurrency * room(self.worker))
        draining = min(surplus, self.sight.gone * self.worker.concurrency)
        running = (min(self._packed(due[0]), self._least_slots), min(due[1], slots) + draining)
        waits = due[1] - draining - min(self._packed(due[1] - draining), self._least_slots)
        return running, (min(max(0, due[0] - slots - draining), waits), waits)

    def _early(self, due: Interval) -> tuple[Interval, Interval]:
        """(running, prefetched) where a message is acknowledged when its task starts."""
        per_slot = self.worker.prefetch_multiplier or due[0] or 1
        return (min(-(-due[0] // per_slot), self._slots), self._slots), due

    def _packed(self, due: int) -> int:
        """The least tasks that run when `due` messages lie in workers: as few workers as can hold them."""
        per_pod = self.worker.prefetch_multiplier * self.worker.concurrency
        if not per_pod:
            return min(due, self.worker.concurrency)
        pods, rest = divmod(due, per_pod)
        return pods * self.worker.concurrency + min(rest, self.worker.concurrency)

    def _eta_held(self, unacked: int) -> Interval:
        exact = self.seen.eta_held
        if exact is None and self.fleet.task_events and self._heard_all:
            told = sum(count for at, count in self.fleet.due if at > self.sight.now)
            # Tasks that were received before this service listened aren't in it; then there is too much else.
            if unacked - told <= self._slots + len(self.fleet.alive) * room(self.worker):
                exact = told
        if exact is not None:
            return min(exact, unacked), min(exact, unacked)
        rest = self.sight.rest
        if rest is not None and self._heard_all:
            return min(rest[0], unacked), min(rest[1], unacked)
        low = 0
        if self.seen.consumers is not None and self.worker.prefetch_multiplier:
            # A worker takes no more due messages than its prefetch; what it holds beyond has an ETA.
            per_pod = self.worker.prefetch_multiplier * self.worker.concurrency
            low = max(0, unacked - self.seen.consumers * per_pod)
        most = self.sight.held_most
        high = unacked if most is None else min(unacked, most)
        return min(low, high), high

    def _busy(self, running: Interval) -> float | None:
        """The best single number for the busy slots."""
        active = self.fleet.active
        if self._unsure and self.worker.acks_late:
            return float(running[0])  # what nobody is known to run is counted as waiting
        if self.worker.acks_late and (running[0] == running[1] or self._alone):
            return float(running[1])  # live, while heartbeats are up to 2 s old
        if active is not None and self._heard_all:
            return float(min(max(active, running[0]), running[1]))
        if not self.worker.acks_late:
            return float(running[0]) or None
        if self.sight.flow is not None and self.seen.eta_held is None:
            return min(max(self.sight.flow, running[0]), running[1])
        return float(running[1])

    def _due_soon(self) -> int:
        """What falls due before a pod that is ordered now has started."""
        horizon = self.sight.horizon
        told = [pair for queue in self.seen.queues for pair in queue.due]
        dues = told if told or self.seen.eta_held is not None else self.fleet.due
        held = sum(count for at, count in dues if self.sight.now < at <= self.sight.now + horizon)
        # A message in celery_delayed_n is due within 2^(n+1) s.
        return held + sum(count for n, count in self.seen.delayed if math.ldexp(1.0, n + 1) <= horizon)

    def _stuck(self) -> int:
        """Slots whose task has run ten times as long as tasks do, and a minute at least."""
        oldest = self.sight.now - max(STUCK_FACTOR * self.sight.service_time, STUCK_SECONDS)
        since = self.fleet.running_since
        if not since and self.worker.acks_late:
            since = tuple(at for queue in self.seen.queues for at in queue.held_since)
        return sum(at < oldest for at in since)
