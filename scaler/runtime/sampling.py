"""Reading brokers by the clock: one sampler per broker, whatever the number of classes.

A sampler never dies and never waits for anybody: a sweep that fails or hangs leaves the last
reading in place, which then ages, and what the age means is the core's business.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from scaler.core.observation import BrokerSample, Observation
from scaler.core.policy import WorkerPolicy
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.metrics import Metrics
from scaler.sources.base import QueueSource, SourceError

log = structlog.get_logger(__name__)

#: A whole sweep, connecting included, is given up after this. Three such failures still leave
#: a reading inside its 15 s of freshness.
SWEEP_TIMEOUT = 4.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest sample of a broker, and why the attempt after it failed (empty: it didn't)."""

    sample: BrokerSample | None = None
    error: str = ""


class Sampler:
    """Sweeps one broker every `interval` seconds."""

    def __init__(
        self, name: str, source: QueueSource, clock: Clock, metrics: Metrics, interval: float
    ) -> None:
        self.name = name
        self.queues: tuple[str, ...] = ()
        self.reading = Reading()
        self._source = source
        self._clock = clock
        self._metrics = metrics
        self._interval = interval

    async def run(self, sampled: asyncio.Event) -> None:
        """Sweep until cancelled; `sampled` is set after each attempt."""
        try:
            while not cancelled():
                began = self._clock()
                await self.sweep()
                sampled.set()
                await asyncio.sleep(max(0.05, self._interval - (self._clock() - began)))
        finally:
            with contextlib.suppress(SourceError, OSError):
                await self._source.close()

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
            if self.reading.error:
                log.info("broker is readable again", broker=self.name)
            self.reading = Reading(sample)
            self._metrics.broker_up.labels(self.name).set(1)
        result = "error" if self.reading.error else "ok"
        self._metrics.broker_sample_seconds.labels(self.name, result).observe(self._clock() - began)

    def _failed(self, error: str) -> None:
        text = f"broker {self.name}: {error}"
        if not self.reading.error:
            log.warning("broker can't be read", broker=self.name, error=error)
        self.reading = Reading(self.reading.sample, text)
        self._metrics.broker_up.labels(self.name).set(0)


def observe(worker: WorkerPolicy, reading: Reading) -> Observation:
    """What one worker class sees of a broker's reading."""
    sample = reading.sample
    if sample is None:
        return Observation(None, error=reading.error)
    by_name = {queue.name: queue for queue in sample.queues}
    if any(name not in by_name for name in worker.queues):
        # The policy has just been reloaded; the next sweep knows the new queues.
        return Observation(None, error="a queue of this class has not been read yet")
    return Observation(
        sampled_at=sample.sampled_at,
        queues=tuple(by_name[name] for name in worker.queues),
        error=reading.error,
        suspicions=sample.suspicions,
        gaps=sample.gaps,
    )


def wanted_queues(workers: Iterable[WorkerPolicy]) -> tuple[str, ...]:
    """The queues of several classes, each once, in a fixed order."""
    return tuple(sorted({queue for worker in workers for queue in worker.queues}))
