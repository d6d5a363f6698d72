"""What controllers get to see of the world: readings with the ages and blind spots of real brokers.

- RabbitMQ: ready, unacknowledged and consumers live (AMQP passive declare and the lean list of the
  management API); statistics (deliveries, acknowledgements, what KEDA's HTTP mode reads) as of the
  broker's last collection, every 5 s. Measured on 3.10 and 4.0.
- Redis: list lengths, `unacked` and what of it is held for an ETA, live; no consumers.
- Workers: heartbeats every 2 s, with busy slots and tasks started; none while nothing is received.
- The wait of the queue's head is estimated on RabbitMQ by the same curve that serves; on Redis the
  arrival is known to within one sweep.
"""

from collections import Counter
from random import Random

from scaler.core.curves import ArrivalCurve
from scaler.core.observation import (
    Counters,
    Dues,
    Holds,
    Observation,
    PodSeen,
    QueueReading,
    Span,
    WorkerReport,
)
from scaler.sim.pod import HEARTBEAT_SECONDS, Phase, Pod
from scaler.sim.world import World

#: Simulated time 0 in seconds since the epoch: Friday, 15 January 2027, 08:00 UTC.
EPOCH = 1_800_000_000.0
#: RabbitMQ collects its statistics so often, at this moment of each period.
COLLECT_SECONDS = 5.0
COLLECT_PHASE = 0.4
#: How long a silent worker is remembered.
REMEMBERED_SECONDS = 300.0
#: As the sources show them.
HELD_SHOWN = 50
DUE_STEP = 10.0


class Meter:
    """Sweeps the world once a second, collects statistics and heartbeats, and answers controllers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._settings = world.spec.readings
        self._curve = ArrivalCurve()
        self._dice = Random(f"{world.spec.seed}:heartbeats")  # noqa: S311 - repeatable on purpose
        #: When the last sweep succeeded, and what it saw.
        self.swept_at: float | None = None
        self._reading: QueueReading | None = None
        self.error = ""
        #: The newest statistics: ready and unacknowledged at the last collection.
        self.collected_ready = self.collected_unacked = 0
        self._collected: tuple[float, int, int, int, int] | None = None
        self._counted_at: float | None = None
        self._base = (0, 0, 0, 0)
        self._reset_at: float | None = None
        self._watched: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
        self._unacked_before = 0
        self._begin: tuple[float, int] | None = None
        self._holds = Holds(0.0, 0)
        #: Live numbers of the last sweep, for controllers that read them.
        self.ready = self.unacked = 0
        self.ready_wait = 0.0
        self._ghosts: list[tuple[Pod, float]] = []

    # What happens by the clock

    def collect(self) -> None:
        """The broker collects its statistics."""
        queue = self.world.queue
        counts = (queue.published, queue.delivered, queue.acked, queue.redelivered)
        if self._lasting("counters-reset") and self._reset_at is None:
            self._base, self._reset_at = counts, self.world.now
            self._begin = None
        if self.world.is_down:
            return
        published, delivered, acked, redelivered = (
            now - before for now, before in zip(counts, self._base, strict=True)
        )
        self._collected = (self.world.now, published, delivered, acked, redelivered)
        self.collected_ready, self.collected_unacked = queue.ready, queue.unacked

    def beat(self, pod: Pod) -> None:
        """A worker's heartbeat, if it arrives."""
        if pod.phase is not Phase.READY:
            return
        lost = self._settings.heartbeats_lost
        if not lost or self._dice.random() >= lost:
            pod.heard = (self.world.now, len(pod.running), pod.started)
        self.world.at(self.world.now + HEARTBEAT_SECONDS, lambda: self.beat(pod))

    def remember(self, pod: Pod) -> None:
        """A worker was killed: it said no goodbye, so it is a silent one for a while."""
        self._ghosts.append((pod, self.world.now))

    def sweep(self) -> None:
        """Read the broker, once a second; what can't be read keeps its last value."""
        world = self.world
        if self._lasting("broker-dark") or world.is_down:
            self.error = "broker main: no answer within 4 s"
            return
        if self._lasting("metrics-stale"):
            return
        self.error = ""
        at, queue = EPOCH + world.now, world.queue
        self.swept_at = world.now
        self.ready, self.unacked, self.ready_wait = queue.ready, queue.unacked, world.ready_wait
        self._reading = self._redis(at) if world.redis else self._rabbitmq(at)

    def _lasting(self, kind: str) -> bool:
        return any(
            fault.kind == kind
            and fault.at <= self.world.now
            and (kind == "counters-reset" or self.world.now < fault.at + fault.duration)
            for fault in self.world.spec.faults
        )

    # What controllers ask

    @property
    def readable(self) -> bool:
        """Whether a peer that asks the broker now gets an answer."""
        return not self.error and self.swept_at is not None

    def observe(self, fleet: int) -> Observation:
        """As the service's sampling makes it for one worker class."""
        workers = self._workers(fleet) if self._settings.heartbeats else None
        if self._reading is None or self.swept_at is None:
            return Observation(None, error=self.error, workers=workers)
        names = self.world.worker.queues[1:]
        others = tuple(self._empty(name) for name in names)
        suspicions: tuple[str, ...] = ()
        if self._reset_at is not None and self.world.now - self._reset_at <= 15.0:  # noqa: PLR2004 - as the source
            suspicions = (f"counters of queue {self._reading.name!r} went back",)
        return Observation(
            EPOCH + self.swept_at,
            (self._reading, *others),
            error=self.error,
            suspicions=suspicions,
            workers=workers,
        )

    def pods(self, fleet: int) -> tuple[PodSeen, ...]:
        """As the cluster states them, where it is read."""
        grace = self.world.grace
        return tuple(
            PodSeen(
                pod.name.partition("@")[2],
                works=pod.phase is Phase.READY,
                grace=grace,
                cost=pod.cost,
                created=EPOCH + pod.created,
                ready=pod.phase is Phase.READY,
            )
            for pod in self.world.fleet(fleet)
        )

    def mark(self, fleet: int, costs: tuple[tuple[str, int], ...]) -> None:
        """Write the deletion costs of pods, by name."""
        by_name = dict(costs)
        for pod in self.world.fleet(fleet):
            pod.cost = by_name.get(pod.name.partition("@")[2], pod.cost)

    def _empty(self, name: str) -> QueueReading:
        if self.world.redis:
            return QueueReading(name, 0, 0, 0, wait=(0.0, 0.0), holds=Holds(0.0, 0))
        consumers = self._reading.consumers if self._reading else None
        return QueueReading(name, 0, 0, None, consumers, kind="classic", wait=(0.0, 0.0), holds=Holds(0.0, 0))

    def _workers(self, fleet: int) -> tuple[WorkerReport, ...]:
        self._ghosts = [(pod, at) for pod, at in self._ghosts if self.world.now - at < REMEMBERED_SECONDS]
        alive = [pod for pod in self.world.pods if pod.phase is Phase.READY]
        reports = []
        for pod in (*alive, *(pod for pod, _ in self._ghosts)):
            if pod.fleet != fleet or pod.heard is None:
                continue
            at, active, started = pod.heard
            reports.append(
                WorkerReport(
                    hostname=pod.name,
                    heard_at=EPOCH + at,
                    frequency=HEARTBEAT_SECONDS,
                    since=EPOCH + pod.since,
                    active=active,
                    processed=started,
                    counted_at=EPOCH + at,
                )
            )
        return tuple(reports)

    # The two brokers

    def _rabbitmq(self, at: float) -> QueueReading:
        queue = self.world.queue
        consumers = sum(pod.phase is Phase.READY for pod in self.world.pods)
        self._curve.see(at, queue.ready, unacked=queue.unacked, consumers=consumers)
        self._watch(at, queue.unacked)
        counters = None
        if self._collected is not None:
            when, published, delivered, acked, redelivered = self._collected
            if when != self._counted_at:
                # The collection was between the last sweep and this one.
                self._counted_at = when
                since, until = at - 1.0, at
                self._curve.count(delivered, since=since, until=until, redelivered=redelivered)
                self._cut(at - 0.5, acked)
            counters = Counters(EPOCH + when, published, delivered, acked, redelivered)
        note = "estimate: the queue has priorities" if self.world.tasks.priority else self._curve.note
        return QueueReading(
            self.world.worker.queues[0],
            queue.ready,
            queue.unacked,
            None,
            consumers,
            by_priority=queue.by_priority() if self.world.tasks.priority else (),
            kind="classic",
            wait=self._curve.wait(),
            wait_note=note,
            holds=self._holds,
            counters=counters,
        )

    def _watch(self, at: float, unacked: int) -> None:
        """Message-seconds of unacknowledged messages up to the last two sweeps."""
        before, total = self._watched[1]
        if before and at - before <= COLLECT_SECONDS:
            total += (self._unacked_before + unacked) / 2 * (at - before)
        self._watched = (self._watched[1], (at, total))
        self._unacked_before = unacked

    def _cut(self, at: float, acked: int) -> None:
        (early, low), (late, high) = self._watched
        share = (at - early) / (late - early) if early and late > early else 1.0
        watched = low + (high - low) * min(max(share, 0.0), 1.0)
        if self._begin is not None and acked >= self._begin[1] and watched >= self._begin[0]:
            self._holds = Holds(
                self._holds.watched + watched - self._begin[0], self._holds.ended + acked - self._begin[1]
            )
        self._begin = (watched, acked)

    def _redis(self, at: float) -> QueueReading:
        world, queue = self.world, self.world.queue
        held = [task for pod in world.pods for task in pod.etas]
        since = sorted(EPOCH + start for pod in world.pods for start in pod.running.values())
        self._watch(at, queue.unacked - len(held))
        self._holds = Holds(self._watched[1][1], queue.acked)
        wait: Span = (max(0.0, self.ready_wait - 1.0), self.ready_wait)
        return QueueReading(
            world.worker.queues[0],
            queue.ready,
            queue.unacked,
            len(held),
            by_priority=queue.by_priority() if world.tasks.priority else (),
            wait=wait if queue.ready else (0.0, 0.0),
            due=self._dues(held),
            held_since=tuple(since[:HELD_SHOWN]) if world.worker.acks_late else (),
            holds=self._holds,
        )

    def _dues(self, held: list[int]) -> Dues:
        """Steps of 10 s, each named by its end."""
        steps = Counter((int((EPOCH + self.world.due[task]) // DUE_STEP) + 1) * DUE_STEP for task in held)
        return tuple(sorted(steps.items()))
