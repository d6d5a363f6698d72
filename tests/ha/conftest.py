"""Replicas of the service in one process, on a store whose faults and clocks a schedule turns.

Time is simulated: events stand in a heap, and after each one the loop runs until nothing moves. The
engines, their election, the record and the orders are the ones that serve; only the broker is a number.
"""

import asyncio
import contextlib
import heapq
import itertools
import json
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from scaler.core.decision import Decision
from scaler.core.observation import BrokerSample, QueueReading
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.record import Record
from scaler.runtime.store import Document, MemoryStore, Name, StoreError
from scaler.testing import at_once

START = 1_800_000_000.0
#: Of the client of a store.
TIMEOUT = 2.0
KEY = ("examx", "io")

#: Short periods, so that a schedule of two minutes has many steps in both directions.
BEHAVIOR = {
    "scaleUp": {
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 2, "periodSeconds": 15},
            {"type": "Percent", "value": 50, "periodSeconds": 30},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 10,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}],
    },
}


@pytest.fixture(scope="session")
def policy() -> ScalingPolicy:
    worker = {
        "queues": ["email"],
        "concurrency": 10,
        "acksLate": True,
        "serviceTime": "10s",
        "replicas": {"min": 1, "max": 40},
        "behavior": BEHAVIOR,
    }
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "examx"},
        "spec": {"brokers": {"main": {"url": "redis://one"}}, "workers": {"io": worker}},
    }
    return ScalingPolicy.model_validate_json(json.dumps(document))


@dataclass
class Written:
    """A record that came into force, and when."""

    at: float
    record: Record


class Store(MemoryStore):
    """The store itself; remembers each record."""

    def __init__(self, world: "World") -> None:
        super().__init__(shared=True)
        self._world = world
        self.history: list[Written] = []

    async def write(self, name: Name, text: str, version: str | None) -> str:
        written = await super().write(name, text, version)
        if name == "decisions":
            self.history.append(Written(self._world.now, at_once(Record.from_text(text))))
        return written


class Line:
    """A replica's way to the store: cut, slow, or losing answers."""

    shared = True

    def __init__(self, world: "World", replica: "Replica", *, routine: float, poll: float) -> None:
        self._world, self._replica = world, replica
        self.routine, self.poll = routine, poll

    async def read(self, name: Name) -> Document:
        document: Document = await self._ask(lambda: self._world.store.read(name))
        return document

    async def write(self, name: Name, text: str, version: str | None) -> str:
        written: str = await self._ask(lambda: self._world.store.write(name, text, version))
        return written

    async def close(self) -> None:
        """Nothing is open."""

    async def _ask(self, what: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        world, replica = self._world, self._replica
        if replica.cut or world.outage:
            await world.sleep(replica, TIMEOUT if world.random.random() < 0.5 else 0.01)
            raise StoreError("cut off")
        slow = world.slow and world.random.random() < world.slow
        if not slow:
            return await what()
        # On the way for a while; it arrives whatever becomes of who sent it.
        travel, back = world.random.choice([0.1, 0.5, 1.5, 3.0, 6.0]), world.random.choice([0.05, 0.5, 3.0])
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def arrive() -> None:
            try:
                result = await what()
            except StoreError as error:
                if not outcome.done():
                    outcome.set_exception(error)
                    outcome.exception()
                return
            if not outcome.done():
                outcome.set_result(result)

        world.at(world.now + travel, arrive)
        if travel + back >= TIMEOUT:
            await world.sleep(replica, TIMEOUT)
            raise StoreError("no answer in time")
        await world.sleep(replica, travel + back)
        return await outcome


class Level:
    """A broker that shows a number of waiting messages."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        (queue,) = queues
        reading = QueueReading(queue, self._world.waiting, unacked=0, eta_held=0, consumers=3)
        return BrokerSample(now, (reading,))

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Replica:
    """One process, and what has happened to it."""

    world: "World"
    name: str
    offset: float
    routine: float
    poll: float
    alive: bool = True
    cut: bool = False
    frozen_until: float = 0.0
    #: Since when nothing has been wrong with it.
    well_since: float = 0.0
    boots: int = 0
    engine: Engine = field(init=False)
    board: Board = field(init=False)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    told: tuple[Decision | None, str] = (None, "")

    async def boot(self) -> None:
        self.boots += 1
        self.alive, self.cut, self.well_since, self.board = True, False, self.world.now, Board()
        boots = self.boots
        self.engine = Engine(
            board=self.board,
            clock=lambda: self.world.now + self.offset,
            metrics=Metrics(),
            store=Line(self.world, self, routine=self.routine, poll=self.poll),
            open_source=lambda _: Level(self.world),
            interval=3600.0,
            identity=self.identity,
        )
        await self.engine.apply({"examx": self.world.policy})
        for name, every in (("confer", self.poll), ("turn", 1.0)):
            self.world.at(self.world.now + self.world.random.random() * 0.2, self.every(name, every, boots))

    @property
    def identity(self) -> str:
        return f"{self.name}-{self.boots}"

    def every(self, name: str, seconds: float, boots: int) -> Callable[[], Coroutine[Any, Any, None]]:
        """Runs a part of the engine again and again, the next time when the last one has ended."""

        async def run() -> None:
            if name == "turn":
                await self.engine.sampler_of(KEY).sweep()
                await self.engine.turn()
            else:
                await self.engine.confer()

        async def event() -> None:
            if not self.alive or boots != self.boots:
                return
            if self.frozen:
                self.world.at(self.frozen_until, event)
                return
            task = self.tasks.get(name)
            if task is None or task.done():
                if task is not None:
                    task.result()
                self.tasks[name] = asyncio.create_task(run())
            pause = seconds * (self.world.random.uniform(0.8, 1.2) if name == "confer" else 1.0)
            self.world.at(self.world.now + pause, event)

        return event

    @property
    def frozen(self) -> bool:
        return self.world.now < self.frozen_until

    def answer(self) -> str | None:
        """The id of the decision that KEDA would be told now; None: UNAVAILABLE."""
        snapshot = self.board.snapshot
        decision = snapshot.decisions.get(KEY)
        if decision is None or snapshot.age(decision, self.world.now + self.offset) > 15.0:
            return None
        if self.told[0] is not decision:
            self.told = decision, decision.id
        return self.told[1]

    async def stop(self, *, orderly: bool) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        if orderly and not self.cut:
            await self.engine.leadership.resign()
        self.alive = False
        await self.engine._brokers.close()


class World:
    """Replicas, their store, a load, and the time."""

    def __init__(self, policy: ScalingPolicy, seed: int = 0) -> None:
        self.policy = policy
        self.random = random.Random(seed)
        self.now = START
        self.waiting = 0
        self.outage = False
        self.outage_over_at = START
        self.slow = 0.0
        self.store = Store(self)
        self.replicas: list[Replica] = []
        self._events: list[tuple[float, int, Callable[[], Coroutine[Any, Any, None]]]] = []
        self._numbers = itertools.count()

    async def add(self, count: int, *, offsets: Sequence[float] = (), routine: float = 0.8) -> None:
        """Start replicas whose clocks are wrong by `offsets`."""
        poll = 0.5 if routine < 1 else 1.0
        for number in range(count):
            offset = offsets[number] if offsets else 0.0
            self.replicas.append(Replica(self, "abc"[number], offset, routine, poll))
            await self.replicas[-1].boot()

    def at(self, moment: float, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), what))

    async def sleep(self, replica: Replica, seconds: float) -> None:
        """Wait as that process would: longer, if it is frozen."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wake() -> None:
            if replica.frozen:
                self.at(replica.frozen_until, wake)
            elif not waiting.done():
                waiting.set_result(None)

        self.at(self.now + seconds, wake)
        await waiting

    async def run(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """Let time pass; `look` is called after each event."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            moment, _, what = heapq.heappop(self._events)
            self.now = max(self.now, moment)
            await what()
            for _ in range(6):
                await asyncio.sleep(0)
            look()
        self.now = end

    @property
    def leader(self) -> Replica | None:
        """Who would decide at this moment."""
        leading = [one for one in self.replicas if one.alive and one.engine.leadership.election.leads()]
        return leading[0] if leading else None

    @property
    def records(self) -> list[Record]:
        return [written.record for written in self.store.history]

    @property
    def desired(self) -> int:
        """What stands in the store."""
        return self.records[-1].decisions[KEY].desired

    async def close(self) -> None:
        self.outage, self.slow = False, 0.0
        for replica in self.replicas:
            replica.cut = False
            if replica.alive:
                await replica.stop(orderly=False)
            with contextlib.suppress(asyncio.CancelledError):
                await replica.engine.close()
        self._events.clear()


@pytest.fixture
def make_world(policy: ScalingPolicy) -> Iterator[Callable[[int], World]]:
    """Makes worlds by their seed; what their replicas log is dropped."""
    with capture_logs():
        yield lambda seed: World(policy, seed)
