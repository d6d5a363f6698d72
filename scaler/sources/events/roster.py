"""Who the workers are and what they do, from events alone: no I/O, the time is given with each event."""

import math
from collections import OrderedDict
from collections.abc import Iterator

from scaler.core.observation import WorkerReport
from scaler.sources.events.messages import Event, moment, name, number
from scaler.sources.events.skew import Skew
from scaler.sources.events.worker import Worker

#: Workers and publishers that are remembered; of more, those are forgotten that were silent longest.
MAX_WORKERS = 10_000
MAX_PUBLISHERS = 10_000

#: Running and held tasks that are remembered: some 50 MB. Of more, the worker with the most loses its own.
MAX_TASKS = 200_000

#: Task events between two looks at `MAX_TASKS`, which costs a turn over all workers.
_LOOK_EVERY = 1_000

#: Publish times that are kept until their tasks are done, and for how many seconds.
MAX_SENT = 100_000
SENT_SECONDS = 86_400.0

#: Seconds of silence after which a worker is forgotten. Until then its silence is news.
FORGET_SECONDS = 300.0

#: The most that a field may say and still be believed.
_LATEST = 1e11
_LONGEST = 1e9
_MOST_ACTIVE = 1_000_000
_MOST_PROCESSED = 1e15
_SLOWEST_HEARTBEAT = 3600.0
_LARGEST_PID = 1e12

#: Events that end an attempt and say what came of it. The others cut it short, so that its seconds
#: tell nothing of how long the task takes: rejected, revoked, cancelled.
_OUTCOMES = frozenset({"task-succeeded", "task-failed", "task-retried"})
_ENDS = _OUTCOMES | {"task-rejected", "task-revoked", "task-cancelled"}
_TASK_TYPES = _ENDS | {"task-received", "task-started"}
_WORKER_TYPES = frozenset({"worker-online", "worker-heartbeat"})


class Roster:
    """The workers that were heard of, each with its sums.

    A retried attempt counts as finished, because it used a slot and its message; the retry is a
    new message. Latency is that of the last message of a task: from its publishing, or from its
    ETA where that is later, until the task succeeded or failed. The clocks of both hosts are
    corrected by their skew.
    """

    def __init__(self) -> None:
        self._workers: OrderedDict[str, Worker] = OrderedDict()
        #: Who keeps a task that isn't due yet. A task that is delivered again has left its former worker.
        self._holders: dict[str, Worker] = {}
        #: Workers that said goodbye, with their process: what they tell later is no sign of life.
        self._departed: OrderedDict[str, float | None] = OrderedDict()
        self._publishers: OrderedDict[str, Skew] = OrderedDict()
        #: By task: when this was noted, and the publishing on this service's clock.
        self._sent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._listening_since = -math.inf
        self._until_look = _LOOK_EVERY

    def interrupted(self) -> None:
        """Events are no longer received: what runs is in doubt, and silence means nothing."""
        self._listening_since = math.inf
        for worker in self._workers.values():
            worker.doubt()

    def resumed(self, now: float) -> None:
        """Events are received from now on."""
        self._listening_since = now

    def apply(self, event: Event, now: float) -> bool:
        """Take in one event, received at `now` (seconds since the epoch).

        Returns:
            False for one that isn't as Celery sends it; it has changed nothing. Types that
            don't matter here are left out without that.
        """
        kind = name(event, "type")
        if kind == "task-sent":
            return self._publish(event, now)
        if kind == "worker-offline":
            return self._offline(event)
        if kind in _TASK_TYPES:
            return self._task(kind, event, now)
        if kind in _WORKER_TYPES:
            return self._alive(event, now, online=kind == "worker-online")
        return kind is not None

    def reports(self, now: float) -> Iterator[WorkerReport]:
        """All workers by host name, once per tick. Each takes some 10 µs, when it is asked for."""
        silent = [
            hostname
            for hostname, worker in self._workers.items()
            if now - max(worker.heard_at, self._listening_since) > FORGET_SECONDS
        ]
        for hostname in silent:
            self._remove(hostname)
        return (worker.report(now) for _, worker in sorted(self._workers.items()))

    def _alive(self, event: Event, now: float, *, online: bool) -> bool:
        active = number(event, "active", _MOST_ACTIVE)
        processed = number(event, "processed", _MOST_PROCESSED)
        hostname, stamp = name(event, "hostname"), number(event, "timestamp", _LATEST)
        if hostname is None or stamp is None or active is None or processed is None:
            return False
        self._departed.pop(hostname, None)
        pid = number(event, "pid", _LARGEST_PID)
        worker = self._worker(hostname, pid, stamp, now)
        if online:
            # At its start, and when it has lost its broker: either way its messages were given back.
            self._release(worker)
            if processed:
                worker.doubt()
            else:
                worker.replaced(pid)
        frequency = number(event, "freq", _SLOWEST_HEARTBEAT)
        worker.heartbeat(int(active), int(processed), frequency or math.inf, stamp)
        return True

    def _offline(self, event: Event) -> bool:
        hostname = name(event, "hostname")
        if hostname is None:
            return False
        worker = self._workers.get(hostname)
        # A successor of the same name may be online already.
        if worker is not None and worker.pid == number(event, "pid", _LARGEST_PID):
            self._remove(hostname)
            self._departed[hostname] = worker.pid
            if len(self._departed) > MAX_WORKERS:
                self._departed.popitem(last=False)
        return True

    def _task(self, kind: str, event: Event, now: float) -> bool:
        hostname, uuid = name(event, "hostname"), name(event, "uuid")
        stamp = number(event, "timestamp", _LATEST)
        if hostname is None or uuid is None or stamp is None:
            return False
        pid = number(event, "pid", _LARGEST_PID)
        if hostname in self._departed and self._departed[hostname] == pid:
            return True
        worker = self._worker(hostname, pid, stamp, now)
        # A retry may be received before it is told that the attempt before it ended.
        if kind != "task-retried":
            holder = self._holders.pop(uuid, None)
            if holder is not None:
                holder.drop(uuid)
        if kind == "task-received":
            eta = moment(event, "eta")
            worker.received(uuid, eta)
            if eta is not None:
                self._holders[uuid] = worker
        elif kind == "task-started":
            worker.started(uuid, stamp)
        else:
            self._ended(kind, event, worker, uuid, stamp)
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = _LOOK_EVERY
            self._bound_tasks()
        return True

    def _ended(self, kind: str, event: Event, worker: Worker, uuid: str, stamp: float) -> None:
        began = worker.ended(uuid, stamp)
        if kind not in _OUTCOMES:
            return
        runtime = number(event, "runtime", _LONGEST) if kind == "task-succeeded" else None
        counted = worker.finished(runtime, began, stamp, failed=kind == "task-failed")
        if kind != "task-retried":
            _, sent = self._sent.pop(uuid, (0.0, None))
            if sent is not None and counted:
                worker.took(worker.ours(stamp) - sent)

    def _publish(self, event: Event, now: float) -> bool:
        hostname, uuid = name(event, "hostname"), name(event, "uuid")
        stamp = number(event, "timestamp", _LATEST)
        if hostname is None or uuid is None or stamp is None:
            return False
        skew = self._publishers.get(hostname)
        if skew is None:
            skew = self._publishers[hostname] = Skew(stamp - now, now)
            if len(self._publishers) > MAX_PUBLISHERS:
                self._publishers.popitem(last=False)
        else:
            self._publishers.move_to_end(hostname)
            skew.add(stamp - now, now)
        self._sent.pop(uuid, None)
        self._sent[uuid] = (now, max(stamp - skew.seconds, moment(event, "eta") or 0.0))
        while len(self._sent) > MAX_SENT or now - next(iter(self._sent.values()))[0] > SENT_SECONDS:
            self._sent.popitem(last=False)
        return True

    def _worker(self, hostname: str, pid: float | None, stamp: float, now: float) -> Worker:
        worker = self._workers.get(hostname)
        if worker is None:
            worker = self._workers[hostname] = Worker(hostname, pid, stamp, now)
            if len(self._workers) > MAX_WORKERS:
                self._remove(next(iter(self._workers)))
            return worker
        self._workers.move_to_end(hostname)
        worker.heard(stamp, now)
        if worker.pid != pid:
            self._release(worker)
            worker.replaced(pid)
        return worker

    def _remove(self, hostname: str) -> None:
        self._release(self._workers.pop(hostname))

    def _release(self, worker: Worker) -> None:
        for uuid in worker.held:
            del self._holders[uuid]
        worker.release()

    def _bound_tasks(self) -> None:
        total = sum(worker.size for worker in self._workers.values())
        while total > MAX_TASKS:
            largest = max(self._workers.values(), key=lambda worker: worker.size)
            total -= largest.size
            self._release(largest)
            largest.forget_running()
