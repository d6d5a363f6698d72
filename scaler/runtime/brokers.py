"""The brokers of the policies in force: one sampler for each, whatever the number of classes on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from scaler.core.policy import Broker, ScalingPolicy
from scaler.runtime.board import Key
from scaler.runtime.clock import Clock
from scaler.runtime.metrics import Metrics
from scaler.runtime.sampling import Sampler, wanted_queues
from scaler.sources.base import EventReceiver, QueueSource

SourceFactory = Callable[[Broker], QueueSource]
ReceiverFactory = Callable[[Broker, Clock], EventReceiver]


class Brokers:
    """Owns the samplers and the tasks in which they run."""

    def __init__(
        self,
        open_source: SourceFactory,
        open_receiver: ReceiverFactory | None,
        *,
        clock: Clock,
        metrics: Metrics,
        interval: float,
    ) -> None:
        """Nothing is read before `follow`."""
        self._open_source = open_source
        self._open_receiver = open_receiver
        self._clock = clock
        self._metrics = metrics
        self._interval = interval
        self._samplers: dict[Broker, tuple[Sampler, asyncio.Task[None]]] = {}
        self._of: dict[Key, Broker] = {}
        self._classes: dict[Broker, list[Key]] = {}
        self._sampler_of: dict[Key, Sampler] = {}
        #: Set after each sweep over any broker.
        self.sampled = asyncio.Event()

    def follow(self, policies: Mapping[str, ScalingPolicy]) -> set[Key]:
        """Read the brokers of these policies from now on; returns the classes whose broker is another now."""
        before, names = self._of, dict[Broker, str]()
        self._of, self._classes = {}, {}
        for policy, loaded in policies.items():
            spec = loaded.spec
            for worker_class in spec.workers:
                name = spec.broker_of(worker_class)
                broker, key = spec.brokers[name], (policy, worker_class)
                self._of[key] = broker
                self._classes.setdefault(broker, []).append(key)
                names.setdefault(broker, f"{policy}/{name}")
        for broker in self._samplers.keys() - self._classes.keys():
            self._leave(broker)
        for broker, keys in self._classes.items():
            if broker not in self._samplers:
                self._samplers[broker] = self._begin(broker, names[broker])
            workers = (policies[policy].spec.workers[worker_class] for policy, worker_class in keys)
            self._samplers[broker][0].queues = wanted_queues(workers)
        self._sampler_of = {key: self._samplers[broker][0] for key, broker in self._of.items()}
        return {key for key in before.keys() & self._of.keys() if before[key] != self._of[key]}

    def _begin(self, broker: Broker, name: str) -> tuple[Sampler, asyncio.Task[None]]:
        receiver = None
        if self._open_receiver is not None and broker.events:
            receiver = self._open_receiver(broker, self._clock)
        sampler = Sampler(
            name,
            self._open_source(broker),
            receiver,
            clock=self._clock,
            metrics=self._metrics,
            interval=self._interval,
        )
        return sampler, asyncio.create_task(sampler.run(self.sampled), name=f"sampler {name}")

    def _leave(self, broker: Broker) -> None:
        sampler, task = self._samplers.pop(broker)
        task.cancel()
        self._metrics.broker_up.remove(sampler.name)

    def sampler_of(self, key: Key) -> Sampler:
        """The sampler of the broker that holds a class's queues."""
        return self._sampler_of[key]

    def samplers(self) -> Mapping[Sampler, Sequence[Key]]:
        """Each with the classes on its broker."""
        return {self._samplers[broker][0]: keys for broker, keys in self._classes.items()}

    async def close(self) -> None:
        """Stop reading."""
        tasks = [task for _, task in self._samplers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._samplers.clear()
