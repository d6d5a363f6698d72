"""The measured situations, each on one broker with all its classes side by side."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

from loadtest.accuracy.measures import Errors, Shares, compare, wait_errors
from loadtest.accuracy.rig import Case, Publisher, Rig, rig
from scaler.core.decision import Decision
from scaler.testing import wait_until

POOLS = ("prefork", "threads", "gevent")
#: A dozen workers start side by side on a small machine.
START_SECONDS = 100.0
#: Heartbeats come every 2 s; where they are the only sight of running tasks, that is the tick.
HEARTBEAT_SECONDS = 2.0


@dataclass(frozen=True)
class Place:
    """A broker to measure on."""

    url: str
    management_url: str
    folder: Path
    #: Seconds between two readings of the service.
    interval: float = 1.0

    def rig(self, *cases: Case) -> AbstractAsyncContextManager[Rig]:
        """Workers and engine in front of this broker."""
        return rig(self.url, self.management_url, cases, self.folder, interval=self.interval)


async def ready(made: Rig) -> None:
    """Wait until every class's worker listens, and is heard where it sends heartbeats."""

    def all_there() -> bool:
        observations = made.board.snapshot.observations
        for name, worker in made.workers.items():
            seen = observations.get(("accuracy", name))
            if seen is None or (worker.case.heartbeats and not seen.workers):
                return False
            if seen.consumers == 0:
                return False
        return True

    await wait_until(all_there, timeout=START_SECONDS, description="all workers are seen")


def since(made: Rig, name: str, begin: float) -> list[Decision]:
    """The decisions of a class from readings after a moment."""
    return [d for d in made.decisions.get(name, ()) if d.sampled_at is not None and d.sampled_at >= begin]


async def decomposition(place: Place, seconds: float) -> dict[str, tuple[Shares, Shares]]:
    """(running, waiting) of three pools × late and early acknowledgement × prefetch 1 and 4."""
    cases = [
        Case(f"{pool}-{'late' if late else 'early'}-{prefetch}", pool, 4, late, prefetch)
        for pool, late, prefetch in product(POOLS, (True, False), (1, 4))
    ]
    async with place.rig(*cases) as made:
        await ready(made)
        begin = time.time()
        await _random_load(made.publisher, [case.name for case in cases], seconds)
        # The notes of a moment are complete once it has passed.
        end = time.time() - 1
        result = {}
        for case in cases:
            decisions = [d for d in since(made, case.name, begin) if (d.sampled_at or 0) < end]
            truth = made.truth(case.name)
            tick = place.interval if case.acks_late and case.prefetch == 1 else HEARTBEAT_SECONDS
            kinds = ("running", "waiting")
            running, waiting = (compare(decisions, truth, kind, tick) for kind in kinds)
            result[case.name] = (running, waiting)
        return result


async def _random_load(publisher: Publisher, names: list[str], seconds: float) -> None:
    """Tasks of 0.2 to 1.5 s for each queue: about 4 a second on 4 slots, and now and then 12 at once."""
    dice = random.Random(1)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for name in names:
            count = 12 if dice.random() < 0.01 else int(dice.random() < 0.8)  # noqa: PLR2004 - as described
            for _ in range(count):
                await asyncio.to_thread(publisher.send, name, round(dice.uniform(0.2, 1.5), 3))
        await asyncio.sleep(0.2)


#: Tasks per second after so many seconds, onto slots that do 8 a second.
PATTERNS: dict[str, Callable[[float], float]] = {
    "steady": lambda _: 9.0,
    "burst": lambda at: 120.0 if at % 15 < 1 else 2.0,
    "ramp": lambda at: min(16.0, at * 0.8),
}


async def waits(place: Place, seconds: float) -> dict[str, Errors]:
    """Head-of-line wait for three arrival patterns, with no instrumentation at all."""
    cases = [Case(pattern, "threads", 4, task_events=False) for pattern in PATTERNS]
    async with place.rig(*cases) as made:
        await ready(made)
        began = time.time()
        owed = dict.fromkeys(PATTERNS, 0.0)
        last = began
        while (now := time.time()) < began + seconds:
            for pattern, rate in PATTERNS.items():
                owed[pattern] += rate(now - began) * (now - last)
                while owed[pattern] >= 1:
                    owed[pattern] -= 1
                    await asyncio.to_thread(made.publisher.send, pattern, 0.5)
            last = now
            await asyncio.sleep(0.05)
        end = time.time() - 1
        return {
            pattern: wait_errors(
                [d for d in since(made, pattern, began) if (d.sampled_at or 0) < end], made.truth(pattern)
            )
            for pattern in PATTERNS
        }


@dataclass(frozen=True)
class ServiceTime:
    """What was measured of the time that a task takes, beside the mean of the workers' notes."""

    measured: float
    true: float
    source: str

    @property
    def error(self) -> float:
        """Relative error."""
        return abs(self.measured / self.true - 1)


async def service_times(place: Place, seconds: float) -> dict[str, ServiceTime]:
    """The service time with task events, with heartbeats only, with neither, and that with idle slots."""
    cases = [
        Case("events", task_events=True),
        Case("heartbeats"),
        Case("neither", heartbeats=False),
        Case("sparse", heartbeats=False),
    ]
    # Tasks of 0.5 s a second: 4 slots do 8 of them.
    rates = {"events": 7.0, "heartbeats": 7.0, "neither": 7.0, "sparse": 3.5}
    async with place.rig(*cases) as made:
        await ready(made)
        dice = random.Random(2)
        upcoming = dict.fromkeys(rates, 0.0)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for name, rate in rates.items():
                while upcoming[name] <= passed:
                    await asyncio.to_thread(made.publisher.send, name, round(dice.uniform(0.4, 0.6), 3))
                    upcoming[name] += dice.expovariate(rate)
            await asyncio.sleep(0.05)
        measured = {}
        for case in cases:
            decision = made.latest(case.name)
            truth = made.truth(case.name)
            measured[case.name] = ServiceTime(
                decision.service_time, truth.mean_runtime, decision.service_source
            )
        return measured


@dataclass(frozen=True)
class Countdown:
    """Desired replicas before, while many tasks wait for a far time, and before a near time."""

    before: int
    far: int
    #: (seconds until due, desired) when it first rose; None: it didn't.
    near: tuple[float, int] | None


async def countdown(place: Place, *, tasks: int, watch: float) -> Countdown:
    """`tasks` with countdown 600 s, and 300 with one of 40 s, each on a worker of its own."""
    # Task events are what shows ETAs on RabbitMQ, whose broker doesn't tell them.
    cases = [Case("far", task_events=True), Case("near", task_events=True)]
    async with place.rig(*cases) as made:
        await ready(made)
        before = made.latest("far").desired
        late = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
        soon_at = time.time() + 40
        soon = datetime.fromtimestamp(soon_at, UTC).isoformat()
        for number in range(tasks):
            await asyncio.to_thread(made.publisher.send, "far", 1.0, eta=late)
            if number < 300:  # noqa: PLR2004 - as described
                await asyncio.to_thread(made.publisher.send, "near", 1.0, eta=soon)
        far, near = before, None
        began = time.time()
        while time.time() < max(began + watch, soon_at):
            far = max(far, made.latest("far").desired)
            desired = made.latest("near").desired
            if near is None and desired > 1:
                near = (soon_at - time.time(), desired)
            await asyncio.sleep(0.2)
        return Countdown(before, far, near)
