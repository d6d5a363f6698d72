"""What is known of queues and workers, and how well: exact, an interval, or unknown. Never a guessed zero.

A source returns one `BrokerSample` per sweep for all queues of a broker, the event receiver one
`WorkerReport` per Celery worker; `decide` is given the `Observation` of one worker class, which
is cut out of both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Interval = tuple[int, int]
"""Messages: (least, most), both inclusive."""

Span = tuple[float, float]
"""Seconds: (least, most); most may be infinite."""

Dues = tuple[tuple[float, int], ...]
"""(due at, messages) in the order of time; seconds since the epoch, gathered in steps of 10 s."""


@dataclass(frozen=True, slots=True)
class Holds:
    """How long workers hold messages: two sums that only grow, until the source starts anew.

    Time held per message, which Little's law makes of them, is the ratio of their increments.
    """

    #: Message-seconds during which unacknowledged and due messages were watched.
    watched: float
    #: Messages that were acknowledged while they were watched.
    ended: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Messages that passed through a queue since the broker began to count; None: not told."""

    #: When the counts were true: management statistics are some seconds older than the sample.
    at: float
    #: Published into it, refused ones included (RabbitMQ counts both).
    published: int | None = None
    #: Handed to workers, repetitions included.
    delivered: int | None = None
    acked: int | None = None
    redelivered: int | None = None


@dataclass(frozen=True, slots=True)
class QueueReading:
    """One queue at one moment. Counts are messages; None means that this path can't see it.

    `unacked` are delivered and not acknowledged: prefetched, ETA-held and, with late
    acknowledgement, running. `eta_held` is the part of `unacked` that is not yet due.
    `exists` is False for a queue that the broker doesn't know (counts are then 0).
    """

    name: str
    ready: int
    unacked: int | None = None
    eta_held: int | None = None
    consumers: int | None = None
    exists: bool = True
    #: Ready messages per broker priority (Redis: one list per step), lowest number first.
    by_priority: tuple[tuple[int, int], ...] = ()
    #: Of the ready messages, those that aren't due yet, as far as was looked at: an estimate from samples.
    not_due: int = 0
    #: "classic", "quorum" or "stream" on RabbitMQ; empty where it isn't known or means nothing.
    kind: str = ""
    #: Age of the oldest ready and due message (head-of-line wait); (0, 0) with none ready; None: unknown.
    wait: Span | None = None
    #: Why `wait` is more of an estimate than its width says (requeued messages, priorities).
    wait_note: str = ""
    #: When the messages that aren't due yet fall due, as far as this path tells.
    due: Dues = ()
    #: Since when the longest-held unacknowledged and due messages are held, oldest first, at most 50.
    held_since: tuple[float, ...] = ()
    holds: Holds | None = None
    counters: Counters | None = None


@dataclass(frozen=True, slots=True)
class BrokerSample:
    """One sweep over a broker: every queue that was asked for, read at the same moment.

    Each asked queue is either in `queues` or, where it alone can't be read, in `unreadable`.
    """

    #: Seconds since the epoch at the end of the sweep.
    sampled_at: float
    queues: tuple[QueueReading, ...]
    #: (queue, why it can't be read) for queues that exist and don't tell.
    unreadable: tuple[tuple[str, str], ...] = ()
    #: Reasons to distrust the numbers although they arrived (an alarm, a contradiction).
    suspicions: tuple[str, ...] = ()
    #: What this sweep could not see and how to mend it ("unacked: set managementUrl").
    gaps: tuple[str, ...] = ()
    #: Native delayed delivery: (n, messages) of queue celery_delayed_n, whose messages are due in less
    #: than 2^(n+1) s; only those with messages.
    delayed: tuple[tuple[int, int], ...] = ()
    #: The product and its version, as the broker tells it ("RabbitMQ 3.10.8").
    product: str = ""
    #: (what, by which path) as chosen at connect: ("depth", "AMQP passive declare, live").
    paths: tuple[tuple[str, str], ...] = ()
    #: Requests that this sweep sent to the broker.
    calls: int = 0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One Celery worker as its own events tell it. Sums count since the receiver first heard of it."""

    #: Celery's node name, "celery@pod-name".
    hostname: str
    #: When anything was last heard of it, on this service's clock.
    heard_at: float
    #: Seconds between its heartbeats, as it says itself.
    frequency: float
    #: When it was first heard, on this service's clock.
    since: float
    #: Tasks in its slots at `counted_at`, and tasks started since it runs; None: no heartbeat yet.
    active: int | None = None
    processed: int | None = None
    counted_at: float | None = None
    #: Its clock minus this service's, the travel of the message included: seconds.
    skew: float = 0.0
    #: With task events (worker -E): finished tasks, the seconds that they ran, and those that failed.
    task_events: bool = False
    finished: int = 0
    runtime: float = 0.0
    failed: int = 0
    #: With task-sent events too: finished tasks of known publish time, and their seconds until done.
    latencies: int = 0
    latency: float = 0.0
    #: With task events: tasks that run now (started, not finished), and since when, oldest first, at most 50.
    running: int | None = None
    running_since: tuple[float, ...] = ()
    #: With task events: seconds that the tasks which run now have run so far, all together.
    running_age: float = 0.0
    #: With task events: tasks received and not yet due, by the time when they are.
    due: Dues = ()


@dataclass(frozen=True, slots=True)
class Utilization:
    """What the cluster measures of a class's pods, as ratios of their requests (1.0: all of them)."""

    #: When it was measured, seconds since the epoch.
    at: float
    #: Ready pods that were measured.
    pods: int
    cpu: float | None = None
    memory: float | None = None


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One pod of a class as the cluster states it; those that were told to end aren't among them."""

    name: str
    #: Whether it is or was ready; False: it still starts.
    works: bool = True
    #: Seconds between SIGTERM and SIGKILL.
    grace: float | None = None
    #: Annotation controller.kubernetes.io/pod-deletion-cost; None: it has none.
    cost: int | None = None
    created: float | None = None
    #: Whether it is ready now: of two pods Kubernetes takes the one away that isn't, whatever they cost.
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker class looks like. `sampled_at` None: nothing has been read yet."""

    sampled_at: float | None
    queues: tuple[QueueReading, ...] = ()
    #: Why the last attempt to read failed; the reading before it may still be fresh.
    error: str = ""
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    #: Replicas as the cluster states them; None without a cluster.
    replicas_current: int | None = None
    #: CPU and memory of the pods; None: nothing reads them.
    utilization: Utilization | None = None
    #: Pods (that are or were ready, that start) as the cluster states them; None without a cluster.
    pods: tuple[int, int] | None = None
    #: The same pods one by one; None without a cluster.
    named: tuple[PodSeen, ...] | None = None
    #: Why the cluster won't carry out what is decided (a pause, a broken HPA), each with its remedy.
    hindrances: tuple[str, ...] = ()
    #: Workers of this class that sent events; None: no event is received (heartbeats off, or no receiver).
    workers: tuple[WorkerReport, ...] | None = None
    #: As in `BrokerSample`, where this class uses native delayed delivery.
    delayed: tuple[tuple[int, int], ...] = ()

    @property
    def ready(self) -> int:
        """Messages that wait in the broker, all queues."""
        return sum(queue.ready for queue in self.queues)

    @property
    def not_due(self) -> int:
        """Of the ready messages, those that aren't due yet, as far as is known."""
        return sum(queue.not_due for queue in self.queues)

    @property
    def unacked(self) -> int | None:
        """Delivered and not acknowledged, or None where one queue doesn't tell."""
        return _total(queue.unacked for queue in self.queues)

    @property
    def eta_held(self) -> int | None:
        """Unacked and not yet due, or None where one queue doesn't tell."""
        return _total(queue.eta_held for queue in self.queues)

    @property
    def consumers(self) -> int | None:
        """Worker processes on the class's busiest queue, or None where no queue tells.

        A Celery worker opens one consumer on each of its queues, so the maximum over the
        queues counts workers, while the sum would count each worker once per queue.
        """
        known = [queue.consumers for queue in self.queues if queue.consumers is not None]
        return max(known) if known else None


def _total(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
