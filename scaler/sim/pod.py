"""One pod with one Celery worker: slots, prefetch, messages held for their ETA, warm shutdown."""

from collections import deque
from enum import Enum

#: Seconds between two heartbeats of a Celery worker.
HEARTBEAT_SECONDS = 2.0
#: An idle worker needs so long from SIGTERM to its end (measured: 1.8 s with threads, 3.8 s with gevent).
EXIT_SECONDS = 3.0


class Phase(Enum):
    """Where a pod is in its life."""

    STARTING = 1
    READY = 2
    STOPPING = 3
    GONE = 4


class Pod:
    """A pod's tasks; the world moves them."""

    __slots__ = (
        "buffer",
        "cost",
        "created",
        "ended",
        "etas",
        "fleet",
        "heard",
        "listed",
        "number",
        "phase",
        "running",
        "since",
        "started",
    )

    def __init__(self, number: int, fleet: int, created: float) -> None:
        self.number, self.fleet, self.created = number, fleet, created
        self.phase = Phase.STARTING
        #: Its annotation pod-deletion-cost.
        self.cost = 0
        #: When it became ready.
        self.since = 0.0
        #: Task → when it was started.
        self.running: dict[int, float] = {}
        #: Prefetched and due.
        self.buffer: deque[int] = deque()
        #: Held for their ETA.
        self.etas: set[int] = set()
        #: Whether it stands in the broker's round-robin list.
        self.listed = False
        #: Tasks started since it runs, and finished.
        self.started = self.ended = 0
        #: The last heartbeat that arrived: (at, busy slots, tasks started).
        self.heard: tuple[float, int, int] | None = None

    @property
    def name(self) -> str:
        """Celery's node name."""
        return f"celery@worker-{self.fleet}-{self.number}"

    @property
    def held(self) -> int:
        """Messages that lie in it, running ones included."""
        return len(self.running) + len(self.buffer) + len(self.etas)
