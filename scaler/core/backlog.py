"""What waits and what runs, from what a broker shows: exact, an interval, or unknown.

Brokers count messages, not tasks in progress (measured on RabbitMQ 4.0 and Redis 7.0 with
Celery 5.7): with late acknowledgement `unacked` is running + prefetched + ETA-held; with early
acknowledgement a task leaves every count when it starts, so `unacked` is prefetched + ETA-held
and the running ones are in no count at all.
"""

from dataclasses import dataclass

from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy

Interval = tuple[int, int]
"""(least, most), both inclusive"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work of a class at one moment, in messages."""

    ready: int
    #: Delivered, due and not started.
    prefetched: Interval | None
    #: Occupying a slot.
    running: Interval | None
    #: Delivered and not yet due.
    eta_held: int | None
    #: Busy slots to compute a rate from; None where the interval is too wide to mean anything.
    busy: int | None = None

    @property
    def waiting(self) -> Interval:
        """Due and not started: ready + prefetched. With prefetched unknown, the least is what is ready."""
        low, high = self.prefetched or (0, 0)
        return self.ready + low, self.ready + high

    @property
    def anything(self) -> bool | None:
        """Whether anything is waiting or running for certain; None: it can't be told."""
        if self.waiting[0] or (self.running and self.running[0]):
            return True
        if self.running is None or self.prefetched is None or self.running[1] or self.prefetched[1]:
            return None
        return False


def read_backlog(worker: WorkerPolicy, observation: Observation, pods: int) -> Backlog:
    """The backlog that an observation shows for `pods` pods (used where no consumer count is known)."""
    eta_held = observation.eta_held
    if observation.consumers == 0 and observation.unacked in (None, 0):
        # Without a consumer nothing can have been delivered and nothing can run.
        return Backlog(observation.ready, (0, 0), (0, 0), 0, busy=observation.unacked)
    unacked = observation.unacked
    if unacked is None:
        return Backlog(observation.ready, None, None, None)
    held_low, held_high = (eta_held, eta_held) if eta_held is not None else (0, unacked)
    slots = (observation.consumers if observation.consumers is not None else pods) * worker.concurrency
    due_low, due_high = unacked - held_high, unacked - held_low
    if not worker.acks_late:
        # A task waits inside a worker only while the worker's slots are busy, and a busy worker holds
        # prefetchMultiplier waiting tasks for each running one. An empty prefetch says nothing.
        # Without a consumer count there may be one pod more than is desired: the one that is to go.
        slots = slots or (worker.concurrency if observation.consumers is None else 0)
        per_slot = worker.prefetch_multiplier or due_low or 1
        running = (min(-(-due_low // per_slot), slots), slots)
        return Backlog(observation.ready, (due_low, due_high), running, eta_held, busy=running[0] or None)
    running = (min(due_low, slots), min(due_high, slots))
    prefetched = (due_low - running[0], due_high - running[1])
    return Backlog(observation.ready, prefetched, running, eta_held, busy=running[1])
