"""Brokers with real workers and the service's engine, for tests that break something on purpose."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from kombu import Connection

from loadtest.accuracy.rig import Case, Publisher, Rig, Worker, rig
from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board
from scaler.runtime.clock import steady_clock
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.events import open_receiver
from scaler.sources.factory import open_source
from scaler.testing import wait_until
from scaler.testing.rabbitmq import RabbitMQServer
from scaler.testing.servers import RedisServer, Server

#: Tasks outlast every test, so that what changes is the fault's doing.
TASK_SECONDS = 600.0
#: Slots of each worker.
SLOTS = 4
#: Tasks that wait before a fault; at 30 s each they ask for 4 pods.
WAITING = 15

#: The workers' application, with a quorum queue declared as such.
QUORUM_TASKS = """
from kombu import Exchange, Queue
from loadtest.accuracy.tasks import app

queue = Queue("eta", Exchange("eta", type="direct"), "eta", queue_arguments={"x-queue-type": "quorum"})
app.conf.task_queues = [queue]
"""


class Nervous(Case):
    """A class that steps down at once, by any number: only distrust in the data keeps its replicas."""

    @property
    def policy(self) -> dict[str, Any]:
        """`WAITING` ready tasks ask for 4 pods; without a window one wrong reading lowers that."""
        pace = {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": 10, "periodSeconds": 1}],
        }
        return super().policy | {"serviceTime": "30s", "behavior": {"scaleUp": pace, "scaleDown": pace}}


@dataclass
class Site:
    """One broker with workers, and every decision that was made about them."""

    server: Server
    url: str
    folder: Path
    made: Rig
    decisions: dict[str, list[Decision]] = field(default_factory=dict)

    async def watch(self) -> None:
        """Keep each decision, also those that were made without a new reading."""
        while True:
            for (_, name), decision in (await self.made.board.next()).decisions.items():
                self.decisions.setdefault(name, []).append(decision)

    def seen(self, name: str) -> Observation:
        """What the newest decision on a class was made from."""
        return self.made.board.snapshot.observations["accuracy", name]

    def since(self, name: str, moment: Decision) -> list[Decision]:
        """The decisions on a class from one of them on."""
        return [made for made in self.decisions[name] if made.decided_at >= moment.decided_at]

    async def until(
        self, name: str, holds: Callable[[Decision], object], what: str, *, seconds: float = 15
    ) -> Decision:
        """The first decision from now on for which something holds."""
        began = len(self.decisions.get(name, ()))
        found: list[Decision] = []

        def look() -> bool:
            found.extend(made for made in self.decisions.get(name, ())[began:] if holds(made))
            return bool(found)

        try:
            await wait_until(look, timeout=seconds, description=f"{name}: {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the last decision: {self.decisions.get(name, [])[-1:]}") from None
        return found[0]

    async def fresh(self, name: str, *, seconds: float = 15) -> Decision:
        """The class is read well."""
        return await self.until(name, lambda made: made.quality == "fresh", "fresh", seconds=seconds)

    async def held(self, name: str, words: str, *, seconds: float = 15) -> Decision:
        """The data is suspect, and a reason says why."""
        return await self.until(
            name,
            lambda made: made.quality == "hold" and words in " ".join(made.quality_reasons),
            f"hold, {words}",
            seconds=seconds,
        )

    async def heard(self, name: str) -> None:
        """The class's worker listens; where it sends heartbeats, they are received."""

        def there() -> bool:
            if name not in self.decisions:
                return False
            worker = self.made.workers.get(name)
            silent = worker is not None and not worker.case.heartbeats
            return bool(self.seen(name).consumers if silent else self.seen(name).workers)

        await wait_until(there, timeout=40, description=f"{name}: its worker is seen")
        await self.fresh(name)

    async def busy(self, name: str, waiting: int = WAITING) -> Decision:
        """Load the class until so many tasks wait, no slot takes one, and more than one pod is asked for.

        Some more may wait: after a first run of the same test slots are busy with tasks that no broker
        knows any more.
        """
        worker = self.made.workers.get(name)
        if worker is not None:
            await self.heard(name)
        else:
            await self.fresh(name)
        # What a first run of the same test left; its tasks still fill the slots.
        if self.seen(name).ready:
            await self.purge(name)
        slots = 0 if worker is None else max(0, SLOTS - (self.seen(name).unacked or 0))
        await self.publish(name, waiting + slots)
        before = None

        def settled(made: Decision) -> bool:
            nonlocal before
            seen, before = before, made.ready
            return made.quality == "fresh" and made.desired > 1 and waiting <= (made.ready or 0) == seen

        return await self.until(name, settled, "more pods for what waits", seconds=20)

    async def publish(
        self,
        queue: str,
        tasks: int,
        *,
        seconds: float = TASK_SECONDS,
        eta: str | None = None,
        declare: bool = True,
    ) -> None:
        """Send so many tasks over a connection of their own."""

        def send() -> None:
            publisher = Publisher(self.url)
            publisher.open()
            if not declare:
                publisher._declared.add(queue)
            for _ in range(tasks):
                publisher.send(queue, seconds, eta=eta)
            publisher.close()

        await asyncio.to_thread(send)

    async def purge(self, queue: str) -> None:
        """Throw away what is ready, as `celery purge` does."""
        await self.with_channel(lambda channel: channel.queue_purge(queue))

    async def delete(self, queue: str) -> None:
        """Delete a queue with all that is in it."""
        await self.with_channel(lambda channel: channel.queue_delete(queue))

    async def with_channel(self, act: Callable[[Any], object]) -> None:
        """Do something on a channel of kombu's."""

        def run() -> None:
            with Connection(self.url, connect_timeout=5) as connection:
                act(connection.default_channel)

        await asyncio.to_thread(run)

    async def stop_worker(self, name: str) -> None:
        """End it by force."""
        await asyncio.to_thread(self.made.workers[name].stop)

    def start_worker(self, name: str) -> None:
        """Start it anew, as a kubelet does."""
        self.made.workers[name] = Worker(self.made.workers[name].case, self.url, self.folder)


def policy_of(url: str, management_url: str, cases: Iterable[Case]) -> ScalingPolicy:
    """The policy of one broker with these classes."""
    document = {
        "apiVersion": "scaler/v1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "accuracy"},
        "spec": {
            "brokers": {"main": {"url": url} | ({"managementUrl": management_url} if management_url else {})},
            "workers": {case.name: case.policy for case in cases},
        },
    }
    return ScalingPolicy.model_validate_json(json.dumps(document))


@asynccontextmanager
async def site(
    server: Server, url: str, management_url: str, folder: Path, cases: Sequence[Case], *unmanned: Case
) -> AsyncIterator[Site]:
    """A rig in front of a broker; classes that are `unmanned` have no worker."""
    async with rig(url, management_url, cases, folder) as made:
        # The same broker as before, so the rig's sampler goes on.
        await made.engine.apply({"accuracy": policy_of(url, management_url, (*cases, *unmanned))})
        found = Site(server, url, folder, made)
        async with background(found.watch()):
            yield found


@asynccontextmanager
async def spectator(
    server: Server, url: str, management_url: str, folder: Path, case: Case
) -> AsyncIterator[Site]:
    """The service's engine alone, without a worker and without a publisher that is connected."""
    board = Board()
    engine = Engine(
        board=board,
        clock=steady_clock(),
        metrics=Metrics(),
        store=MemoryStore(),
        open_source=open_source,
        open_receiver=open_receiver,
        interval=1.0,
    )
    found = Site(server, url, folder, Rig(board, engine, Publisher(url), {}))
    try:
        await engine.apply({"accuracy": policy_of(url, management_url, [case])})
        async with background(found.watch(), engine.run()):
            yield found
    finally:
        await engine.close()


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs beside the body, and ends with it."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def quorum_worker(url: str, folder: Path) -> Iterator[None]:
    """A worker on the quorum queue "eta"."""
    (folder / "quorum_tasks.py").write_text(QUORUM_TASKS)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        "ACCURACY_BROKER": url,
        "ACCURACY_ACKS_LATE": "1",
        "ACCURACY_LOG": str(folder / "eta.tasks"),
    }
    command = [sys.executable, "-m", "celery", "-A", "quorum_tasks", "worker", "-Q", "eta", "-n", "eta@rig"]
    command += ["-P", "threads", "-c", str(SLOTS), "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    with (folder / "eta.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@dataclass(frozen=True)
class Pair:
    """Both brokers."""

    rabbitmq: Site
    redis: Site


@dataclass(frozen=True)
class Sites:
    """Brokers that stay as they are, others that a test may hurt, and a look with rights of its own."""

    steady: Pair
    fragile: Pair
    #: RabbitMQ as the user `READER` sees it; the tests' own messages go through `steady`.
    reader: Site


#: A user of RabbitMQ that only reads; a test takes its rights away.
READER = "reader"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(
    shared_rabbitmq: RabbitMQServer,
    spare_rabbitmq: RabbitMQServer,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Sites]:
    """All brokers with their workers, started at one time: heartbeats count only after 8 s."""
    folder = tmp_path_factory.mktemp("faults")
    weak_redis = RedisServer(folder / "redis")
    vhost = shared_rabbitmq.add_vhost("faults")
    shared_rabbitmq.add_user(READER, READER, tags="monitoring")
    shared_rabbitmq.add_permission("faults", READER)
    both = [Nervous("stopped"), Nervous("purged")]
    rabbitmq = [*both, Nervous("remade"), Nervous("deleted", heartbeats=False)]
    alone = (Nervous("later"), Nervous("eta"), Nervous("hidden"), Nervous("beside"))
    weak = [Nervous("alarmed"), Nervous("restarted")]
    async with AsyncExitStack() as stack:
        # Workers and engines end before their broker does.
        stack.callback(weak_redis.kill)
        await asyncio.gather(asyncio.to_thread(weak_redis.start), asyncio.to_thread(spare_rabbitmq.start))
        weak_vhost = spare_rabbitmq.add_vhost("faults")
        stack.enter_context(quorum_worker(vhost.url, folder))

        async def at(
            server: Server, url: str, management: str, cases: Sequence[Case], *unmanned: Case, name: str
        ) -> Site:
            place = folder / name
            place.mkdir()
            return await stack.enter_async_context(site(server, url, management, place, cases, *unmanned))

        management = vhost.management_url
        yield Sites(
            Pair(
                await at(shared_rabbitmq, vhost.url, management, rabbitmq, *alone, name="rabbitmq"),
                await at(
                    shared_redis,
                    shared_redis.url(511),
                    "",
                    both,
                    Nervous("hidden"),
                    Nervous("beside"),
                    name="redis-1",
                ),
            ),
            Pair(
                await at(
                    spare_rabbitmq, weak_vhost.url, weak_vhost.management_url, weak, name="rabbitmq-weak"
                ),
                await at(weak_redis, weak_redis.url(), "", weak, name="redis-weak"),
            ),
            await stack.enter_async_context(
                spectator(
                    shared_rabbitmq,
                    shared_rabbitmq.url("faults", READER, READER),
                    management.replace("guest:guest", f"{READER}:{READER}"),
                    folder,
                    Nervous("beside"),
                )
            ),
        )


@pytest.fixture
def steady(sites: Sites) -> Pair:
    """Brokers that stay as they are; each test has classes of its own on them."""
    return sites.steady


@pytest.fixture
def fragile(sites: Sites) -> Pair:
    """Brokers that a test may hurt as a whole, if it heals them."""
    return sites.fragile


@pytest.fixture
def reader(sites: Sites) -> Site:
    """A RabbitMQ as a user sees it whose rights a test may take away, if it gives them back."""
    return sites.reader
