"""Sample and decide by the clock: the loop that turns readings into decisions for the board.

KEDA's calls never reach this loop. It wakes when a sampler has finished a sweep, or after
`interval` seconds when none has, so a hung broker delays nothing but its own readings.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import structlog

from scaler.cluster.base import ClusterReader, NoCluster
from scaler.core.arrivals import Arrivals
from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import Broker, ScalingPolicy, WorkerPolicy
from scaler.core.state import WorkerState
from scaler.core.workload import Workload, with_workload
from scaler.runtime.board import Board, Key, Snapshot, UnknownClassError
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.metrics import Metrics
from scaler.runtime.recorder import FlightRecorder
from scaler.runtime.recording import Recorder
from scaler.runtime.sampling import Sampler, observe, wanted_queues
from scaler.runtime.store import StateStore, StoreError
from scaler.sources.base import EventReceiver, QueueSource

log = structlog.get_logger(__name__)

#: Decisions are never closer together than this, however many brokers there are.
LEAST_SPACING = 0.25
#: How often changed states are written to the store.
SAVE_SECONDS = 1.0
#: How long a store that doesn't answer is waited for before deciding without history.
LOAD_SECONDS = 60.0
#: How long a class without history waits for the cluster to state its replicas before it does without.
FIRST_SIGHT_SECONDS = 5.0

SourceFactory = Callable[[Broker], QueueSource]
ReceiverFactory = Callable[[Broker, Clock], EventReceiver]


class Engine:
    """Owns samplers, states and the deciding loop for a set of policies."""

    def __init__(
        self,
        *,
        board: Board,
        clock: Clock,
        metrics: Metrics,
        store: StateStore,
        open_source: SourceFactory,
        open_receiver: ReceiverFactory | None = None,
        flight: FlightRecorder | None = None,
        cluster: ClusterReader | None = None,
        interval: float = 1.0,
    ) -> None:
        self._board = board
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._open_source = open_source
        self._open_receiver = open_receiver
        self._flight = flight
        self._cluster: ClusterReader = cluster or NoCluster("no cluster is read")
        self._interval = interval
        self._recorder = Recorder(metrics)
        self._policies: Mapping[str, ScalingPolicy] = {}
        self._subjects: dict[Key, WorkerClass] = {}
        self._samplers: dict[Broker, tuple[Sampler, asyncio.Task[None]]] = {}
        self._states: dict[Key, WorkerState] = {}
        self._decisions: dict[Key, Decision] = {}
        #: Classes whose saved state is still unknown, and until when it is waited for.
        self._unloaded: dict[Key, float] = {}
        #: Classes that were never decided, and until when the cluster's first word on them is waited for.
        self._new: dict[Key, float] = {}
        self._sampled = asyncio.Event()

    async def apply(self, policies: Mapping[str, ScalingPolicy]) -> None:
        """Put policies into force: classes that stay keep their state, brokers that stay their sampler."""
        subjects = {
            (name, worker_class): WorkerClass(name, worker_class, worker)
            for name, policy in policies.items()
            for worker_class, worker in policy.spec.workers.items()
        }
        known = self._states.keys() & subjects.keys()
        loaded, unloaded = await self._load(subjects.keys() - known)
        # From here on nothing waits: the new policies are in force as a whole or not at all.
        gone = self._subjects.keys() - subjects.keys()
        brokers_before = {key: self._broker_of(key) for key in self._subjects}
        self._policies, self._subjects = dict(policies), subjects
        self._unloaded = dict.fromkeys(unloaded, self._clock() + LOAD_SECONDS)
        self._states = {key: state for key, state in (self._states | loaded).items() if key in subjects}
        self._decisions = {key: decision for key, decision in self._decisions.items() if key in subjects}
        self._recorder.forget(gone, [(key, subject.worker) for key, subject in subjects.items()])
        self._forget_other_brokers(brokers_before)
        self._reconcile_samplers()
        self._follow_targets()

    def _follow_targets(self) -> None:
        workers = {key: subject.worker for key, subject in self._subjects.items()}
        targets = [worker for worker in workers.values() if worker.scale_target]
        self._cluster.follow(
            [worker.scale_target for worker in targets if worker.scale_target],
            [
                worker.scale_target
                for worker in targets
                if worker.scale_target and (worker.resources.cpu or worker.resources.memory)
            ],
        )
        until = self._clock() + FIRST_SIGHT_SECONDS
        self._new = {key: self._new.get(key, until) for key in workers if key not in self._states}

    async def _load(self, keys: Iterable[Key]) -> tuple[dict[Key, WorkerState], list[Key]]:
        """Saved states, all asked for at once, and the keys for which the store gave no answer."""
        asked = sorted(keys)
        found = await asyncio.gather(*(self._store.load(key) for key in asked), return_exceptions=True)
        answers = dict(zip(asked, found, strict=True))
        states = {key: state for key, state in answers.items() if isinstance(state, WorkerState)}
        return states, [key for key, state in answers.items() if isinstance(state, BaseException)]

    async def _load_again(self) -> None:
        """Ask once more for what the store didn't answer; after a while the restart rule has to do."""
        if not self._unloaded:
            return
        loaded, unloaded = await self._load(self._unloaded)
        self._states = loaded | self._states
        now = self._clock()
        self._unloaded = {key: self._unloaded[key] for key in unloaded if now < self._unloaded.get(key, now)}

    def _forget_other_brokers(self, before: dict[Key, Broker]) -> None:
        """A rate that another broker showed, or the same by another path, isn't compared with this one's."""
        for key in before.keys() & self._states.keys():
            if before[key] != self._broker_of(key):
                self._states[key] = replace(self._states[key], arrivals=Arrivals())

    def _broker_of(self, key: Key) -> Broker:
        spec = self._policies[key[0]].spec
        return spec.brokers[spec.broker_of(key[1])]

    def _reconcile_samplers(self) -> None:
        brokers: dict[Broker, list[Key]] = {}
        names: dict[Broker, str] = {}
        for key in self._subjects:
            spec = self._policies[key[0]].spec
            name = spec.broker_of(key[1])
            brokers.setdefault(spec.brokers[name], []).append(key)
            names.setdefault(spec.brokers[name], f"{key[0]}/{name}")
        for broker in self._samplers.keys() - brokers.keys():
            sampler, task = self._samplers.pop(broker)
            task.cancel()
            self._metrics.broker_up.remove(sampler.name)
        for broker, keys in brokers.items():
            if broker not in self._samplers:
                source = self._open_source(broker)
                receiver = None
                if self._open_receiver is not None and broker.events:
                    receiver = self._open_receiver(broker, self._clock)
                sampler = Sampler(
                    names[broker],
                    source,
                    receiver,
                    clock=self._clock,
                    metrics=self._metrics,
                    interval=self._interval,
                )
                task = asyncio.create_task(sampler.run(self._sampled), name=f"sampler {sampler.name}")
                self._samplers[broker] = (sampler, task)
            self._samplers[broker][0].queues = wanted_queues(self._subjects[key].worker for key in keys)

    async def run(self) -> None:
        """Decide and save until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._save_forever(), name="save states")
            loops.create_task(self._decide_forever(), name="decide")

    async def _decide_forever(self) -> None:
        while not cancelled():
            self._sampled.clear()
            self.tick()
            await asyncio.sleep(LEAST_SPACING)
            try:
                async with asyncio.timeout(max(0.0, self._interval - LEAST_SPACING)):
                    await self._sampled.wait()
            except TimeoutError:
                continue

    def tick(self) -> None:
        """Decide every class once and publish the result."""
        now = self._clock()
        readings = {broker: sampler.reading for broker, (sampler, _) in self._samplers.items()}
        observations: dict[Key, Observation] = {}
        workloads = {key: self._workload(key, now) for key in self._subjects}
        for key, subject in self._subjects.items():
            if key in self._unloaded:
                continue  # no decision: KEDA is told UNAVAILABLE, and a saved state isn't overwritten
            if workloads[key].expected and now < self._new.get(key, now):
                continue  # its replicas are about to be known, and are what it starts from
            observation = observe(subject.name, subject.worker, readings[self._broker_of(key)])
            observation = with_workload(observation, subject.worker, workloads[key])
            observations[key] = observation
            try:
                state, decision = decide(subject, self._states.get(key, WorkerState()), observation, now)
            except (
                Exception
            ):  # one class's fault must not stop the others; its decision ages and KEDA is told
                log.exception("deciding failed", policy=key[0], worker_class=key[1])
                # A state that can't be decided from must not come back. The replicas and what people ordered
                # stay; without a time of decision nothing steps down for a window.
                broken = self._states.get(key, WorkerState())
                self._states[key] = replace(broken.orders, desired=broken.desired, active=broken.active)
                continue
            self._states[key], self._decisions[key] = state, decision
            self._recorder.record(subject.worker, observation, decision)
            if self._flight is not None:
                self._flight.write(subject.worker, observation, decision)
        brokers = tuple(
            sampler.status(self._classes_on(broker)) for broker, (sampler, _) in self._samplers.items()
        )
        self._board.publish(
            Snapshot(now, self._policies, dict(self._decisions), observations, brokers, workloads)
        )

    def _workload(self, key: Key, now: float) -> Workload:
        target = self._subjects[key].worker.scale_target
        try:
            return self._cluster.workload(target, now)
        except Exception:  # what one odd object breaks must not stop the decisions of all classes
            log.exception("reading the cluster failed", policy=key[0], worker_class=key[1])
            return Workload(
                gaps=("the cluster's objects can't be read: an error of this service, see its log",)
            )

    def _classes_on(self, broker: Broker) -> list[tuple[str, WorkerPolicy]]:
        return [
            (subject.name, subject.worker)
            for key, subject in self._subjects.items()
            if self._broker_of(key) == broker
        ]

    @property
    def states(self) -> Mapping[Key, WorkerState]:
        """The memory of every class that has one."""
        return self._states

    async def change(self, key: Key, how: Callable[[WorkerState], WorkerState]) -> None:
        """Change the memory of a class between two decisions, and save it.

        Raises:
            StoreError: its saved state isn't known yet, and must not be overwritten.
            UnknownClassError: it was taken out of the policies.
        """
        if key not in self._subjects:
            raise UnknownClassError(f"class {key[1]!r} isn't in policy {key[0]!r} any more")
        if key in self._unloaded:
            raise StoreError(f"the saved state of {key[1]} can't be read yet; try again in a minute")
        self._states[key] = how(self._states.get(key, WorkerState()))
        await self._store.save({key: self._states[key]})

    def sampler_of(self, key: Key) -> Sampler:
        """The sampler of the broker that holds a class's queues."""
        return self._samplers[self._broker_of(key)][0]

    async def _save_forever(self) -> None:
        # A loop of its own: a store that hangs must not delay a decision.
        while not cancelled():
            await asyncio.sleep(SAVE_SECONDS)
            await self._load_again()
            await self._store.save(dict(self._states))

    async def close(self) -> None:
        """Stop the samplers, save the states and close the store."""
        tasks = [task for _, task in self._samplers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._samplers.clear()
        await self._store.save(dict(self._states))
        await self._store.close()
        await self._cluster.close()
