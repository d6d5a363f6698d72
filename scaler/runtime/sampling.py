"""Reading brokers by the clock: one sampler per broker, whatever the number of classes.

A sampler never dies and never waits for anybody: a sweep that fails or hangs leaves the last
reading in place, which then ages, and what the age means is the core's business. Beside the
sweeps it listens to the workers' events; without them everything works, with less sight.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import structlog

from scaler.core.observation import BrokerSample, Observation, QueueReading, WorkerReport
from scaler.core.policy import WorkerPolicy
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.hostnames import Heard, patterns
from scaler.runtime.metrics import Metrics
from scaler.runtime.turns import Turns
from scaler.sources.base import EventReceiver, QueueSource, SourceError

log = structlog.get_logger(__name__)

#: A whole sweep, connecting included, is given up after this. Three such failures still leave
#: a reading inside its 15 s of freshness.
SWEEP_TIMEOUT = 4.0
#: After listening has begun (again), heartbeats of all workers have arrived by then (they come every 2 s).
SETTLING_SECONDS = 8.0


@dataclass(frozen=True)
class Reading:
    """The newest sample of a broker, and why the attempt after it failed (empty: it didn't)."""

    sample: BrokerSample | None = None
    error: str = ""
    #: Workers that were heard; None while their events aren't received.
    workers: tuple[WorkerReport, ...] | None = None
    #: What is missing from the workers' side, with the remedy.
    gaps: tuple[str, ...] = ()
    #: The same workers by name.
    heard: Heard | None = None

    @cached_property
    def queues(self) -> Mapping[str, QueueReading]:
        """The queues of the sample by name: every class looks for its own."""
        return {queue.name: queue for queue in self.sample.queues} if self.sample else {}

    @cached_property
    def unreadable(self) -> Mapping[str, str]:
        """By queue, why it alone can't be read."""
        return dict(self.sample.unreadable) if self.sample else {}


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of one broker, for those who ask how it is read."""

    name: str
    reading: Reading
    #: Duration of the last sweep.
    seconds: float
    #: Workers that are heard and belong to no class of any policy.
    strangers: tuple[str, ...] = ()


class Sampler:
    """Sweeps one broker every `interval` seconds."""

    def __init__(
        self,
        name: str,
        source: QueueSource,
        receiver: EventReceiver | None = None,
        *,
        clock: Clock,
        metrics: Metrics,
        interval: float,
    ) -> None:
        self.name = name
        self.queues: tuple[str, ...] = ()
        self.seconds = 0.0
        self._sample: BrokerSample | None = None
        self._error = ""
        self._source = source
        self._receiver = receiver
        self._deaf_until = clock() + SETTLING_SECONDS
        self._heard: Heard | None = None
        self._clock = clock
        self._metrics = metrics
        self._interval = interval

    async def reading(self, turns: Turns) -> Reading:
        """What was read last, and what the workers said since."""
        if self._receiver is None:
            return Reading(self._sample, self._error)
        now = self._clock()
        if self._receiver.problem:
            self._deaf_until = now + SETTLING_SECONDS
            return Reading(self._sample, self._error, gaps=(self._receiver.problem,))
        if now < self._deaf_until:
            # Before all have sent a heartbeat, those that haven't would look as if they had fallen silent.
            return Reading(self._sample, self._error)
        reports = []
        for report in self._receiver.reports(now):
            reports.append(report)
            await turns.give()
        self._heard = Heard(reports, self._heard)
        return Reading(self._sample, self._error, tuple(reports), heard=self._heard)

    async def run(self, sampled: asyncio.Event) -> None:
        """Sweep until cancelled; `sampled` is set after each attempt."""
        listening = asyncio.create_task(self._listen(), name=f"events {self.name}")
        try:
            while not cancelled():
                began = self._clock()
                await self.sweep()
                sampled.set()
                await asyncio.sleep(max(0.05, self._interval - (self._clock() - began)))
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            with contextlib.suppress(SourceError, OSError):
                await self._source.close()

    async def _listen(self) -> None:
        if self._receiver is not None:
            await self._receiver.run()

    async def sweep(self) -> None:
        """Read the broker once; whatever happens, `reading` says it."""
        began = self._clock()
        try:
            async with asyncio.timeout(SWEEP_TIMEOUT):
                sample = await self._source.sample(self.queues, began)
        except (SourceError, TimeoutError) as error:
            self._failed(str(error) or f"no answer within {SWEEP_TIMEOUT:g} s")
        except Exception as error:  # a fault of ours must not end the loop; its text may hold anything
            log.exception("sweep failed", broker=self.name)
            self._failed(f"internal error ({type(error).__name__})")
        else:
            if self._error:
                log.info("broker is readable again", broker=self.name)
            self._sample, self._error = sample, ""
            self._metrics.broker_up.labels(self.name).set(1)
        self.seconds = self._clock() - began
        result = "error" if self._error else "ok"
        self._metrics.broker_sample_seconds.labels(self.name, result).observe(self.seconds)

    def _failed(self, error: str) -> None:
        if not self._error:
            log.warning("broker can't be read", broker=self.name, error=error)
        self._error = f"broker {self.name}: {error}"
        self._metrics.broker_up.labels(self.name).set(0)

    def status(self, classes: Iterable[tuple[str, WorkerPolicy]], reading: Reading) -> BrokerStatus:
        """How this broker is read, given the classes (name, policy) that it serves, and what was read."""
        wanted = (patterns(name, worker) for name, worker in classes)
        strangers = reading.heard.names.strangers(wanted) if reading.heard else ()
        return BrokerStatus(self.name, reading, self.seconds, strangers)


def observe(worker_class: str, worker: WorkerPolicy, reading: Reading) -> Observation:
    """What one worker class sees of a broker's reading."""
    sample = reading.sample
    if sample is None:
        return Observation(None, error=reading.error)
    workers = None if reading.heard is None else reading.heard.of(patterns(worker_class, worker))
    unreadable = reading.unreadable
    for name in worker.queues:
        if name in unreadable:
            return Observation(None, error=f"queue {name}: {unreadable[name]}", workers=workers)
    by_name = reading.queues
    if any(name not in by_name for name in worker.queues):
        # The policy has just been reloaded; the next sweep knows the new queues.
        return Observation(None, error="a queue of this class has not been read yet", workers=workers)
    return Observation(
        sampled_at=sample.sampled_at,
        queues=tuple(by_name[name] for name in worker.queues),
        error=reading.error,
        suspicions=sample.suspicions,
        gaps=sample.gaps + reading.gaps,
        workers=workers,
        delayed=sample.delayed if worker.native_delayed_delivery else (),
    )


def wanted_queues(workers: Iterable[WorkerPolicy]) -> tuple[str, ...]:
    """The queues of several classes, each once, in a fixed order."""
    return tuple(sorted({queue for worker in workers for queue in worker.queues}))
