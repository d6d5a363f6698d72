"""Real workers, a publisher and the service's own engine, in front of one broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Producer, Queue

from loadtest.accuracy.truth import Truth
from scaler.core.decision import Decision
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.clock import steady_clock
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.events import open_receiver
from scaler.sources.factory import open_source


@dataclass(frozen=True)
class Case:
    """One worker class: how its one worker is started. Its queue has the class's name."""

    name: str
    pool: str = "threads"
    concurrency: int = 4
    acks_late: bool = True
    prefetch: int = 1
    task_events: bool = False
    heartbeats: bool = True

    @property
    def policy(self) -> dict[str, Any]:
        """The class in a policy."""
        return {
            "queues": [self.name],
            "pool": self.pool,
            "concurrency": self.concurrency,
            "acksLate": self.acks_late,
            "prefetchMultiplier": self.prefetch,
            "serviceTime": "1s",
            "startupTime": "10s",
            "replicas": {"min": 1, "max": 20},
        }


@dataclass
class Publisher:
    """Sends Celery's messages and notes when each was sent."""

    url: str
    sent: dict[str, dict[int, float]] = field(default_factory=dict)
    _number: int = 0

    def open(self) -> None:
        """Connect; every message is confirmed where the broker can."""
        options = {"confirm_publish": True} if self.url.startswith("amqp") else {}
        self._connection = Connection(self.url, connect_timeout=5, transport_options=options)
        self._producer = Producer(self._connection)
        self._declared: set[str] = set()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def send(self, queue: str, seconds: float, *, eta: str | None = None, priority: int = 0) -> None:
        """Publish one task, as Celery's own producer does."""
        if queue not in self._declared:
            target = Queue(queue, Exchange(queue, type="direct"), routing_key=queue)
            target.bind(self._connection.default_channel).declare()
            self._declared.add(queue)
        self._number += 1
        number = self._number
        self.sent.setdefault(queue, {})[number] = time.time()
        headers = {"lang": "py", "task": "work", "id": f"task-{number}", "eta": eta, "retries": 0}
        body: list[object] = [[number, seconds], {}, {}]
        self._producer.publish(
            body,
            serializer="json",
            exchange="",
            routing_key=queue,
            headers=headers,
            correlation_id=f"task-{number}",
            priority=priority,
        )


class Worker:
    """One `celery worker` process, a group of its own."""

    def __init__(self, case: Case, url: str, folder: Path) -> None:
        self.case = case
        self.log = folder / f"{case.name}.tasks"
        environment = os.environ | {
            "ACCURACY_BROKER": url,
            "ACCURACY_ACKS_LATE": "1" if case.acks_late else "0",
            "ACCURACY_PREFETCH": str(case.prefetch),
            "ACCURACY_LOG": str(self.log),
        }
        command = [sys.executable, "-m", "celery", "-A", "loadtest.accuracy.tasks", "worker"]
        command += ["-Q", case.name, "-n", f"{case.name}@rig", "-P", case.pool, "-c", str(case.concurrency)]
        command += ["--loglevel=INFO", "--without-gossip", "--without-mingle"]
        command += ["-E"] if case.task_events else []
        command += [] if case.heartbeats else ["--without-heartbeat"]
        with (folder / f"{case.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and its children."""
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End it by force."""
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
        self.process.wait(10)


@dataclass
class Rig:
    """The engine with its board; what it decided is kept in `decisions`, by class."""

    board: Board
    engine: Engine
    publisher: Publisher
    workers: dict[str, Worker]
    decisions: dict[str, list[Decision]] = field(default_factory=dict)

    def truth(self, name: str) -> Truth:
        """The notes of one class so far."""
        return Truth.read(dict(self.publisher.sent.get(name, {})), self.workers[name].log)

    def latest(self, name: str) -> Decision:
        """The newest decision of a class."""
        return self.board.snapshot.decisions["accuracy", name]

    async def watch(self) -> None:
        """Keep every decision that was made from a new reading."""
        while True:
            snapshot = await self.board.next()
            for (_, name), decision in snapshot.decisions.items():
                kept = self.decisions.setdefault(name, [])
                if not kept or kept[-1].sampled_at != decision.sampled_at:
                    kept.append(decision)


@asynccontextmanager
async def rig(
    url: str, management_url: str, cases: Iterable[Case], folder: Path, *, interval: float = 1.0
) -> AsyncIterator[Rig]:
    """Workers for all cases and an engine that watches them; everything is ended on leaving."""
    cases = tuple(cases)
    broker = {"url": url} | ({"managementUrl": management_url} if management_url else {})
    spec = {"brokers": {"main": broker}, "workers": {case.name: case.policy for case in cases}}
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "accuracy"},
        "spec": spec,
    }
    policy = ScalingPolicy.model_validate_json(json.dumps(document))
    board = Board()
    engine = Engine(
        board=board,
        clock=steady_clock(),
        metrics=Metrics(),
        store=MemoryStore(),
        open_source=open_source,
        open_receiver=open_receiver,
        interval=interval,
    )
    publisher = Publisher(url)
    await asyncio.to_thread(publisher.open)
    workers: dict[str, Worker] = {}
    made = Rig(board, engine, publisher, workers)
    tasks = []
    try:
        for case in cases:
            workers[case.name] = Worker(case, url, folder)
        await engine.apply({"accuracy": policy})
        tasks = [asyncio.create_task(engine.run()), asyncio.create_task(made.watch())]
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.close()
        for worker in workers.values():
            worker.stop()
        await asyncio.to_thread(publisher.close)
