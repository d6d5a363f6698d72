"""Queue and pods: what happens to each task, event by event.

A heap of events and a list of publications drawn beforehand; no wall clock and no dice, so that
the course depends on the tasks and on when pods come and go. Every task is at any time in exactly
one place, which is what makes the totals of a report add up.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

from scaler.core.policy import WorkerPolicy
from scaler.core.policy.worker import Limits
from scaler.core.shutdown import grace_seconds
from scaler.sim.broker import BrokerQueue
from scaler.sim.load import REFUSED_SECONDS, Tasks
from scaler.sim.pod import EXIT_SECONDS, Phase, Pod
from scaler.sim.trace import TraceSpec

#: On Redis, what a killed worker held comes back only so long after its delivery (kombu's default).
VISIBILITY_TIMEOUT = 3600.0

Action = Callable[[], None]


class World:
    """The simulated broker and cluster of one run."""

    def __init__(self, spec: TraceSpec, worker: WorkerPolicy, tasks: Tasks) -> None:
        self.spec, self.worker, self.tasks = spec, worker, tasks
        self.redis = spec.readings.broker == "redis"
        # Redis has neither a length limit nor a message TTL.
        limits = Limits() if self.redis else worker.limits
        self.limits = limits
        self.queue = BrokerQueue(limits, set(tasks.priority or ()), lowest_first=self.redis)
        self.now = 0.0
        self.pods: list[Pod] = []
        self.outcomes: Counter[str] = Counter()
        self.killed = 0
        self.pod_seconds = 0.0
        self.max_backlog = 0
        #: Longest wait of each task that started; -1: it never did.
        self.waited = [-1.0] * len(tasks.published)
        self.buffered = self.busy = 0
        countdown = tasks.countdown
        published = tasks.published
        #: When each task is due; a retry's is its own.
        self.due = (
            [at + later for at, later in zip(published, countdown, strict=True)]
            if countdown
            else list(published)
        )
        self._published = list(published)
        self._attempts: dict[int, int] = {}
        self._startup = worker.startup_time if spec.startup_time is None else spec.startup_time
        given = spec.pods.grace_period
        #: Seconds from SIGTERM to SIGKILL.
        self.grace = float(grace_seconds(worker)) if given is None else given
        self._slots = worker.concurrency
        self._ahead = worker.prefetch_multiplier * worker.concurrency or math.inf
        self._late_ack = worker.acks_late
        self._ttl = limits.message_ttl
        self._next = 0
        self._events: list[tuple[float, int, Action]] = []
        self._ends: list[tuple[float, int, Pod, int]] = []
        self._order = count()
        self._numbers = count(1)
        #: Pods with room, in the order in which the broker serves them.
        self._rooms: deque[Pod] = deque()
        #: Redis: lost sight of until the visibility timeout.
        self._invisible = 0
        self._down = [
            (fault.at, fault.at + fault.duration) for fault in spec.faults if fault.kind == "broker-down"
        ]
        self.is_down = False

    # Time

    def at(self, when: float, action: Action) -> None:
        """Do something at a moment; actions of the same moment in the order in which they were planned."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def run(self, until: float) -> None:
        """Let time pass; what happens at `until` itself has happened."""
        published, total = self.tasks.published, len(self.tasks.published)
        events, ends = self._events, self._ends
        while True:
            arrival = published[self._next] if self._next < total else math.inf
            event = events[0][0] if events else math.inf
            end = ends[0][0] if ends else math.inf
            first = min(arrival, event, end)
            if first > until:
                break
            self.now = first
            if end == first:
                _, _, pod, task = heapq.heappop(ends)
                self._finish(pod, task)
            elif arrival == first:
                self._next += 1
                self._publish(self._next - 1)
            else:
                heapq.heappop(events)[2]()
        self.now = until

    # Pods

    def fleet(self, number: int) -> list[Pod]:
        """The pods that Kubernetes counts as replicas: those that aren't stopping."""
        return [pod for pod in self.pods if pod.fleet == number and pod.phase in _COUNTED]

    def scale(self, fleet: int, replicas: int) -> None:
        """Start or stop pods so that there are so many."""
        pods = self.fleet(fleet)
        for _ in range(replicas - len(pods)):
            self.create(fleet, self._startup)
        # A ReplicaSet removes those that aren't ready first, then those of least cost, then the newest.
        victims = sorted(pods, key=lambda pod: (pod.phase is not Phase.STARTING, pod.cost, -pod.number))
        for pod in victims[: max(0, len(pods) - replicas)]:
            self.stop(pod)

    def create(self, fleet: int, startup: float) -> None:
        """A new pod; it works after `startup` seconds."""
        pod = Pod(next(self._numbers), fleet, self.now)
        self.pods.append(pod)
        self.at(self.now + startup, lambda: self._come_up(pod))

    def stop(self, pod: Pod) -> None:
        """SIGTERM: it takes nothing more, runs what it has begun, and is killed after the grace period."""
        if pod.phase is Phase.STARTING:
            self._end(pod)
            return
        pod.phase = Phase.STOPPING
        self._unlist(pod)
        self.at(self.now + self.grace, lambda: self.kill(pod))
        self._perhaps_exit(pod)

    def kill(self, pod: Pod) -> None:
        """SIGKILL: late acknowledgement brings the running tasks back, early acknowledgement loses them."""
        if pod.phase is Phase.GONE:
            return
        self._unlist(pod)
        running = list(pod.running)
        pod.running.clear()
        self.busy -= len(running)
        self.killed += len(running)
        returned = [*pod.buffer, *pod.etas]
        if self._late_ack:
            returned += running
        else:
            self.outcomes["lost"] += len(running)
        self._end(pod)
        if self.redis and returned:
            self._invisible += len(returned)
            self._drop(pod)
            self.at(self.now + VISIBILITY_TIMEOUT, lambda: self._restore(returned))
        else:
            self._drop(pod)
            self._restore(returned, visible=True)

    def _come_up(self, pod: Pod) -> None:
        if pod.phase is not Phase.STARTING:
            return
        pod.phase, pod.since = Phase.READY, self.now
        self._list(pod)
        self._deliver()

    def _perhaps_exit(self, pod: Pod) -> None:
        if pod.phase is Phase.STOPPING and not pod.running:
            self.at(self.now + min(EXIT_SECONDS, self.grace), lambda: self._exit(pod))

    def _exit(self, pod: Pod) -> None:
        if pod.phase is Phase.GONE:
            return
        returned = [*pod.buffer, *pod.etas]
        self._end(pod)
        self._drop(pod)
        self._restore(returned, visible=True)

    def _end(self, pod: Pod) -> None:
        pod.phase = Phase.GONE
        self.pods.remove(pod)
        self.pod_seconds += self.now - pod.created

    def _drop(self, pod: Pod) -> None:
        self.buffered -= len(pod.buffer)
        pod.buffer.clear()
        pod.etas.clear()

    def _restore(self, tasks: list[int], *, visible: bool = False) -> None:
        if not visible:
            self._invisible -= len(tasks)
        if tasks:
            self.queue.give_back(tasks, self.tasks.priority)
            self._deliver()

    # Messages

    def _publish(self, task: int) -> None:
        priority = self.tasks.priority
        victim = self.queue.push(task, priority[task] if priority else 0)
        if victim is not None:
            self.outcomes["rejected"] += 1
        if victim != task and self._rooms:
            self._deliver()

    def _deliver(self) -> None:
        """Hand ready messages to pods with room, in turn."""
        queue, rooms = self.queue, self._rooms
        if self.is_down:
            return
        while queue.ready and rooms:
            if self._ttl is not None:
                self.expire()
                if not queue.ready:
                    return
            pod = rooms[0]
            self._take(pod, queue.pop())
            if self._has_room(pod):
                rooms.rotate(-1)
            else:
                rooms.popleft()
                pod.listed = False

    def expire(self) -> None:
        """Drop what has come to the front and waited too long."""
        if self._ttl is None:
            return
        stale = self.now - self._ttl
        for level, head in self.queue.heads():
            task = head
            while self._published[task] < stale:
                self.queue.drop_head(level)
                self.outcomes["expired"] += 1
                heads = dict(self.queue.heads())
                if level not in heads:
                    break
                task = heads[level]

    def _take(self, pod: Pod, task: int) -> None:
        if self.due[task] > self.now:
            pod.etas.add(task)
            self.at(self.due[task], lambda: self._fall_due(pod, task))
        elif len(pod.running) < self._slots:
            self._start(pod, task)
        else:
            pod.buffer.append(task)
            self.buffered += 1

    def _fall_due(self, pod: Pod, task: int) -> None:
        if task not in pod.etas or pod.phase is not Phase.READY:
            return
        pod.etas.discard(task)
        self._take(pod, task)
        if pod.listed and not self._has_room(pod):
            self._unlist(pod)

    def _start(self, pod: Pod, task: int) -> None:
        now = self.now
        pod.running[task] = now
        pod.started += 1
        self.busy += 1
        wait = now - self.due[task]
        self.waited[task] = max(self.waited[task], wait)
        if not self._late_ack:
            self.queue.ack()
        seconds = self.tasks.service[task]
        if self.tasks.failures is not None and self.tasks.refused(now):
            seconds = min(seconds, REFUSED_SECONDS)
        heapq.heappush(self._ends, (now + seconds, next(self._order), pod, task))

    def _finish(self, pod: Pod, task: int) -> None:
        if pod.phase is Phase.GONE or task not in pod.running:
            return
        del pod.running[task]
        pod.ended += 1
        self.busy -= 1
        if self._late_ack:
            self.queue.ack()
        self._settle(task)
        if pod.phase is Phase.STOPPING:
            self._perhaps_exit(pod)
            return
        if pod.buffer:
            self.buffered -= 1
            self._start(pod, pod.buffer.popleft())
        if not pod.listed and self._has_room(pod):
            self._list(pod)
        if self.queue.ready:
            self._deliver()

    def _settle(self, task: int) -> None:
        """Done for good, or to be tried again."""
        attempt = self._attempts.get(task, 0)
        if self.tasks.failures is None or not self.tasks.fails(task, attempt, self.now):
            self.outcomes["completed"] += 1
            return
        backoff = self.tasks.backoff(attempt)
        if backoff is None:
            self.outcomes["completed"] += 1
            return
        self._attempts[task] = attempt + 1
        self.due[task] = self.now + backoff
        self._republish(task)

    def _republish(self, task: int) -> None:
        """A retry is a new message; while the broker is down it is tried again."""
        for since, until in self._down:
            if since <= self.now < until:
                self.at(until, lambda: self._republish(task))
                return
        self._published[task] = self.now
        self._publish(task)

    def set_down(self, *, down: bool) -> None:
        """The broker delivers nothing, or does again."""
        self.is_down = down
        self._deliver()

    def _has_room(self, pod: Pod) -> bool:
        if pod.phase is not Phase.READY:
            return False
        if self._late_ack:
            return len(pod.running) + len(pod.buffer) < self._ahead
        return len(pod.buffer) < self._ahead

    def _list(self, pod: Pod) -> None:
        pod.listed = True
        self._rooms.append(pod)

    def _unlist(self, pod: Pod) -> None:
        if pod.listed:
            self._rooms.remove(pod)
            pod.listed = False

    # What is to be seen

    @property
    def backlog(self) -> int:
        """Due tasks that wait: ready, or prefetched and not started."""
        ready = self.queue.ready
        if self.tasks.countdown is not None or self._attempts:
            ready = sum(1 for task in self.queue.waiting() if self.due[task] <= self.now)
        return ready + self.buffered

    @property
    def wait(self) -> float:
        """Age in seconds of the oldest due task that waits."""
        return max(
            0.0, self.ready_wait, *(self.now - self.due[pod.buffer[0]] for pod in self.pods if pod.buffer)
        )

    @property
    def ready_wait(self) -> float:
        """Age of the oldest due message in the broker."""
        return max((self.now - self.due[task] for _, task in self.queue.heads()), default=0.0)

    def unstarted(self) -> list[int]:
        """Tasks that wait for a slot: ready or prefetched."""
        return [*self.queue.waiting(), *(task for pod in self.pods for task in pod.buffer)]

    def totals(self) -> dict[str, int]:
        """Where all tasks are at the end, by outcome."""
        known = dict(self.outcomes)
        offered = self._next
        known["offered"] = offered
        known["unfinished"] = offered - sum(self.outcomes.values())
        return known

    def finish(self) -> None:
        """The run is over: pods that still are count until now."""
        self.pod_seconds += sum(self.now - pod.created for pod in self.pods)


_COUNTED = (Phase.STARTING, Phase.READY)
