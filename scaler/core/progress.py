"""Whether tasks move, from one reading to the next: stalls, blocked slots, messages that vanish.

An idle-looking queue may be a stalled one, so movement is evidence that has to be seen: fewer
ready messages, other unacknowledged ones, deliveries counted by the broker, tasks started as
heartbeats tell.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from scaler.core.backlog import room
from scaler.core.fleet import Fleet
from scaler.core.observation import Interval, Observation
from scaler.core.policy import WorkerPolicy

#: Nothing delivered for this long, or for so many service times if that is longer: a stall.
STALL_SECONDS = 30.0
STALL_FACTOR = 3.0
#: Idle slots in front of ready messages for this long: five heartbeats.
BLOCKED_SECONDS = 10.0
#: A worker has taken and started what it can this long after it came, and a heartbeat has told of it.
TAKING_SECONDS = 0.5
PROOF_SECONDS = 3.0
#: What was unacknowledged all through this time may be held for an ETA.
HELD_SECONDS = 60.0
HELD_STEP_SECONDS = 10.0
#: Heartbeats are compared with the broker's counts over three of them.
REST_SECONDS = 6.0
#: How long a loss of messages keeps the data suspect: some sweeps, so that no odd reading is acted on.
LOST_SECONDS = 5.0
#: A worker in a warm shutdown may take this long over its tasks.
CREW_SECONDS = 900.0
#: Readings further apart aren't compared.
GAP_SECONDS = 15.0
#: Tasks may be this much faster than measured before a fall of ready messages counts as a loss.
FASTER = 5.0
LEAST_LOSS = 20
#: At these shares of its limit a queue counts as full: it refuses, and what it refuses nobody counts. One
#: that holds more than that is held to its limit by nobody. Some messages less are full as well, because
#: workers take that many at once: of a limit of 100, 1 % is one message.
REFUSING_SHARES = (0.99, 1.1)
TAKEN_AT_ONCE = 10
LEAST_FULL_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Progress:
    """What the last reading was, and since when nothing has moved. Times are seconds since the epoch."""

    read_at: float | None = None
    ready: int = 0
    unacked: int | None = None
    delivered: int | None = None
    #: Messages whose end was watched; full slots in front of a queue that grows show nothing else on Redis.
    ended: int = 0
    processed: int = 0
    #: When a delivery was last seen, or nothing was ready.
    moved_at: float = 0.0
    #: When a task was last started, or nothing was ready, or no slot was idle.
    started_at: float = 0.0
    #: Since when something is ready at each reading, and the tasks started until then.
    ready_since: float = 0.0
    processed_then: int = 0
    #: The least unacknowledged per 10 s: (start, messages).
    least: tuple[tuple[float, int], ...] = ()
    #: What may be held for an ETA at each reading: (at, least, most).
    rests: tuple[tuple[float, int, int], ...] = ()
    #: Workers that listened, as far as fewer have listened since: (at, workers), falling.
    crew: tuple[tuple[float, int], ...] = ()
    #: Messages that vanished without having been delivered, and when.
    lost: int = 0
    lost_at: float = 0.0
    #: Since when a queue is full at each reading, without a gap between them and without falling; None: none
    #: is. Its name, and what it held then.
    full_since: float | None = None
    full_queue: str = ""
    full_ready: int = 0


def observe(
    memory: Progress,
    *,
    worker: WorkerPolicy,
    observation: Observation,
    fleet: Fleet,
    service_time: float,
    slots: int,
) -> Progress:
    """The memory after a reading; one no newer than the last changes nothing."""
    at = observation.sampled_at
    if at is None or (memory.read_at is not None and at <= memory.read_at):
        return memory
    ready, unacked, processed = observation.ready, observation.unacked, fleet.processed
    delivered = _delivered(observation)
    ended = sum(queue.holds.ended for queue in observation.queues if queue.holds is not None)
    first = memory.read_at is None
    moved = (
        first
        or ready == 0
        or ready < memory.ready
        or unacked != memory.unacked
        or delivered != memory.delivered
        or ended != memory.ended
        or processed > memory.processed
    )
    idle = fleet.active is not None and fleet.active < len(fleet.alive) * worker.concurrency
    started = first or ready == 0 or not idle or processed > memory.processed
    lost = 0
    if not first and at - (memory.read_at or at) <= GAP_SECONDS:
        speed = FASTER * slots / service_time
        taken = max(0, (unacked or 0) - (memory.unacked or 0)) + max(
            0, (delivered or 0) - (memory.delivered or 0)
        )
        fall = memory.ready - ready - taken
        lost = _lost(fall, speed * (at - (memory.read_at or at)), worker, slots)
    return replace(
        _full(memory, worker, observation, at),
        read_at=at,
        ready=ready,
        unacked=unacked,
        delivered=delivered,
        ended=ended,
        processed=processed,
        moved_at=at if moved else memory.moved_at,
        started_at=at if started else memory.started_at,
        ready_since=at if first or not memory.ready else memory.ready_since,
        processed_then=processed if first or not memory.ready else memory.processed_then,
        least=_least(memory.least, at, unacked),
        rests=_rests(memory.rests, worker, fleet, at, unacked),
        crew=_crew(memory.crew, at, observation, fleet),
        lost=lost or memory.lost,
        lost_at=at if lost else memory.lost_at,
    )


def _full(memory: Progress, worker: WorkerPolicy, observation: Observation, at: float) -> Progress:
    """Begun anew after a gap, with another queue, and where it has fallen: then there was room."""
    limit = worker.limits.max_length or math.inf
    low, high = (share * limit for share in REFUSING_SHARES)
    low = max(LEAST_FULL_SHARE * limit, min(low, limit - TAKEN_AT_ONCE))
    full = {
        queue.name: queue.ready for queue in observation.queues if low <= queue.ready - queue.not_due <= high
    }
    if not full:
        return replace(memory, full_since=None, full_queue="", full_ready=0)
    ready = full.get(memory.full_queue)
    seen = memory.read_at is not None and at - memory.read_at <= GAP_SECONDS
    if seen and ready is not None and memory.full_ready - ready <= TAKEN_AT_ONCE:
        return memory
    name = memory.full_queue if ready is not None else next(iter(full))
    return replace(memory, full_since=at, full_queue=name, full_ready=full[name])


def held_most(memory: Progress) -> int | None:
    """The most messages that can have been held through the last minute; None before one has passed."""
    if memory.read_at is None or not memory.least or memory.least[0][0] > memory.read_at - HELD_SECONDS:
        return None
    return min(count for _, count in memory.least)


def rest(memory: Progress) -> Interval | None:
    """What may be held for an ETA, over the last heartbeats: (least, most)."""
    if not memory.rests:
        return None
    return min(least for _, least, _ in memory.rests), max(most for _, _, most in memory.rests)


def gone(memory: Progress) -> int:
    """Workers that listened within the last 15 min and no longer do: they may be at their last tasks."""
    return memory.crew[0][1] - memory.crew[-1][1] if memory.crew else 0


def last_heard(memory: Progress) -> tuple[float, int] | None:
    """When workers were last heard of within the last 15 min, and how many."""
    if not memory.crew or memory.crew[-1][0] <= (memory.read_at or 0.0) - CREW_SECONDS:
        return None
    return memory.crew[-1]


def faults(
    memory: Progress, *, worker: WorkerPolicy, observation: Observation, fleet: Fleet, service_time: float
) -> Iterable[str]:
    """What doesn't move and should, and what moved in a way that no worker explains."""
    at = memory.read_at
    if at is None:
        return
    if at - memory.lost_at < LOST_SECONDS:
        yield f"{memory.lost} ready messages vanished undelivered: purged, expired, or taken by others"
    listening = fleet.alive or (observation.consumers or 0) > 0
    if not memory.ready or not listening:
        return
    if blocked(memory):
        yield _blocked(memory, worker, fleet)
    elif fleet.active is not None and fleet.active >= len(fleet.alive) * worker.concurrency:
        return  # every slot is busy: slow, not stalled
    elif at - memory.moved_at >= max(STALL_SECONDS, STALL_FACTOR * service_time):
        yield (
            f"stalled: {memory.ready} ready and workers listen, but nothing was delivered for"
            f" {at - memory.moved_at:.0f} s; look at the workers' logs"
        )


def untouched(memory: Progress, worker: WorkerPolicy, fleet: Fleet) -> bool:
    """Whether idle workers hold messages and start none of them, so that what is ready has an ETA too.

    While workers take in a flood of ETA tasks (RabbitMQ: some per second), most of it is still
    ready. The first heartbeat after the messages came tells it from work; until then, 3 s at the
    most, idle workers that hold something are given the chance to start it.
    """
    if not memory.ready or not memory.unacked or fleet.active is None:
        return False
    slots = len(fleet.alive) * worker.concurrency
    if 2 * fleet.active >= slots or fleet.processed != memory.processed_then:
        return False
    told = min((report.counted_at or 0.0) for report in fleet.alive) > memory.ready_since + TAKING_SECONDS
    if told:
        return memory.unacked > fleet.active
    return (memory.read_at or 0.0) - memory.ready_since < PROOF_SECONDS


def blocked(memory: Progress) -> bool:
    """Whether slots have been idle in front of ready messages for so long that more slots won't help."""
    return memory.read_at is not None and memory.read_at - memory.started_at >= BLOCKED_SECONDS


def _blocked(memory: Progress, worker: WorkerPolicy, fleet: Fleet) -> str:
    slots = len(fleet.alive) * worker.concurrency
    room = slots * worker.prefetch_multiplier
    text = (
        f"{slots - (fleet.active or 0)} of {slots} slots are idle although {memory.ready} are ready:"
        " more pods hardly help"
    )
    if memory.unacked and room and memory.unacked >= room:
        return (
            f"{text}. ETA tasks fill the prefetch ({memory.unacked} unacked); put tasks with eta or countdown"
            " into a queue of their own, or use native delayed delivery with a topic exchange"
        )
    if memory.unacked:
        return f"{text}. The workers hold {memory.unacked} tasks that wait for their ETA"
    return f"{text}. Look at the workers' logs: they take nothing"


def _delivered(observation: Observation) -> int | None:
    counts = [queue.counters.delivered for queue in observation.queues if queue.counters is not None]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _lost(fall: int, done: float, worker: WorkerPolicy, slots: int) -> int:
    """Messages that are gone though no worker can have taken so many."""
    room = 2 * slots * (worker.prefetch_multiplier + 1) if worker.prefetch_multiplier else math.inf
    return fall if fall >= LEAST_LOSS and fall > room + done else 0


def _crew(
    crew: tuple[tuple[float, int], ...], at: float, observation: Observation, fleet: Fleet
) -> tuple[tuple[float, int], ...]:
    listen = observation.consumers
    if listen is None:
        listen = len(fleet.alive) + len(fleet.silent)
        if not listen:
            return crew  # not heard, as after a reconnect, isn't gone
    kept = [entry for entry in crew if entry[0] > at - CREW_SECONDS and entry[1] > listen]
    return (*kept, (at, listen))


def _least(
    steps: tuple[tuple[float, int], ...], at: float, unacked: int | None
) -> tuple[tuple[float, int], ...]:
    if unacked is None:
        return ()
    start = math.floor(at / HELD_STEP_SECONDS) * HELD_STEP_SECONDS
    if steps and steps[-1][0] == start:
        steps = (*steps[:-1], (start, min(steps[-1][1], unacked)))
    else:
        steps = (*steps, (start, unacked))
    return tuple(step for step in steps if step[0] > at - HELD_SECONDS - HELD_STEP_SECONDS)


def _rests(
    rests: tuple[tuple[float, int, int], ...],
    worker: WorkerPolicy,
    fleet: Fleet,
    at: float,
    unacked: int | None,
) -> tuple[tuple[float, int, int], ...]:
    if unacked is None or fleet.active is None:
        return ()
    most = max(0, unacked - (fleet.active if worker.acks_late else 0))
    least = max(0, most - fleet.perhaps_full(worker.concurrency) * room(worker))
    return tuple(entry for entry in (*rests, (at, least, most)) if entry[0] > at - REST_SECONDS)
