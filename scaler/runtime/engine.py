"""Sample and decide by the clock: the loop that turns readings into decisions for the board.

KEDA's calls never reach this loop. It wakes when a sampler has finished a sweep, or after
`interval` seconds when none has, so a hung broker delays nothing but its own readings.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
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
from scaler.runtime.board import Board, Key, Sight, Snapshot, UnknownClassError
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.leadership import Known, Leadership
from scaler.runtime.metrics import Metrics
from scaler.runtime.orders import Orders
from scaler.runtime.record import digest
from scaler.runtime.recorder import FlightRecorder
from scaler.runtime.recording import Recorder
from scaler.runtime.sampling import Sampler, observe, wanted_queues
from scaler.runtime.store import StateStore, StoreError
from scaler.sources.base import EventReceiver, QueueSource

log = structlog.get_logger(__name__)

#: Decisions are never closer together than this, however many brokers there are.
LEAST_SPACING = 0.25
#: Deciding gives the event loop its turn after so long.
TURN_SECONDS = 0.01
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
        identity: str = "",
    ) -> None:
        """`identity`: this replica's name, which no other one has, another run of this one neither."""
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
        self._digest = ""
        self._orders = Orders(store, clock)
        self.leadership = Leadership(store, self._orders, identity=identity, clock=clock, metrics=metrics)
        self._followed: Known | None = None
        if not store.shared:
            metrics.leader.set(1)
            metrics.store_up.set(1)
        #: Classes that were never decided, and until when the cluster's first word on them is waited for.
        self._new: dict[Key, float] = {}
        self._sampled = asyncio.Event()
        #: Policies don't change while a decision that was made by them is on its way to the store.
        self._turning = asyncio.Lock()

    async def apply(self, policies: Mapping[str, ScalingPolicy]) -> None:
        """Put policies into force: classes that stay keep their state, brokers that stay their sampler."""
        async with self._turning:
            self._apply(policies)

    def _apply(self, policies: Mapping[str, ScalingPolicy]) -> None:
        subjects = {
            (name, worker_class): WorkerClass(name, worker_class, worker)
            for name, policy in policies.items()
            for worker_class, worker in policy.spec.workers.items()
        }
        gone = self._subjects.keys() - subjects.keys()
        brokers_before = {key: self._broker_of(key) for key in self._subjects}
        self._policies, self._subjects = dict(policies), subjects
        self._digest = digest(subjects.values())
        self._states = {key: state for key, state in self._states.items() if key in subjects}
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
        """Decide until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._decide_forever(), name="decide")
            if self._store.shared:
                loops.create_task(self._confer_forever(), name="confer")

    async def _decide_forever(self) -> None:
        while not cancelled():
            self._sampled.clear()
            await self.turn()
            await asyncio.sleep(LEAST_SPACING)
            try:
                async with asyncio.timeout(max(0.0, self._interval - LEAST_SPACING)):
                    await self._sampled.wait()
            except TimeoutError:
                continue

    async def _confer_forever(self) -> None:
        # A loop of its own: neither a slow decision nor a slow write may cost the lease.
        while not cancelled():
            leading = self.leadership.election.leads()
            await self.confer()
            if self.leadership.election.leads() and not leading:
                self._sampled.set()  # decide at once
            # Not in step with the leader: now and then its record is seen at once, which shows its clock.
            await asyncio.sleep(self._store.poll * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def confer(self) -> None:
        """Ask the store once who leads, and what was decided and ordered."""
        role = self.leadership
        before = role.known
        await role.confer()
        if role.known is not before and not role.election.leads():
            async with self._turning:
                self._follow(await self._look())

    async def turn(self) -> None:
        """Decide once, or take over what another replica has decided, and publish the result."""
        async with self._turning:
            sight = await self._look()
            if not self._store.shared:
                await self._settle(sight, *await self._decide(sight))
            elif not await self._lead(sight):
                self._follow(sight)

    async def _lead(self, sight: Sight) -> bool:
        """Decide, if that is this replica's part; True where it came into force."""
        role = self.leadership
        if not role.election.leads():
            role.lose_base()
            return False
        try:
            states = await role.take_up()
        except StoreError:
            self._metrics.decisions_held_total.inc()
            return False
        if states is not None:
            self._states = {key: state for key, state in states.items() if key in self._subjects}
            decisions = role.known.record.decisions
            self._decisions = {key: one for key, one in decisions.items() if key in self._subjects}
            sight = await self._look()
        if not role.election.leads():
            return False
        states, decisions = await self._decide(sight)
        if not role.is_due(decisions, self._digest):
            self._states, self._decisions = states, decisions
            return False
        if not await role.write(sight.now, self._digest, decisions, states):
            self._metrics.decisions_held_total.inc()
            return False
        await self._settle(sight, states, decisions)
        return True

    async def _look(self) -> Sight:
        """What is known of each class at this moment."""
        now = self._clock()
        readings = {broker: sampler.reading for broker, (sampler, _) in self._samplers.items()}
        workloads: dict[Key, Workload] = {}
        observations: dict[Key, Observation] = {}
        async for key in self._in_turns(tuple(self._subjects)):
            subject = self._subjects[key]
            workloads[key] = self._workload(key, now)
            observation = observe(subject.name, subject.worker, readings[self._broker_of(key)])
            observations[key] = with_workload(observation, subject.worker, workloads[key])
            self._recorder.record_reading(key, subject.worker, observations[key])
        brokers = tuple(
            sampler.status(self._classes_on(broker), readings[broker])
            for broker, (sampler, _) in self._samplers.items()
        )
        return Sight(now, observations, workloads, brokers)

    async def _in_turns(self, keys: Iterable[Key]) -> AsyncIterator[Key]:
        """The keys, with a turn for the event loop now and then: KEDA's calls don't wait for 500 classes."""
        began = self._clock()
        for key in keys:
            yield key
            if self._clock() - began > TURN_SECONDS:
                await asyncio.sleep(0)
                began = self._clock()

    async def _decide(self, sight: Sight) -> tuple[dict[Key, WorkerState], dict[Key, Decision]]:
        """The next memory and decision of each class; nothing is in force yet."""
        states, decisions, now = dict(self._states), dict(self._decisions), sight.now
        async for key in self._in_turns(sight.observations):
            if sight.workloads[key].expected and now < self._new.get(key, now):
                continue  # its replicas are about to be known, and are what it starts from
            before, observation = (
                self._orders.merged(key, states.get(key, WorkerState())),
                sight.observations[key],
            )
            try:
                states[key], decisions[key] = decide(self._subjects[key], before, observation, now)
            except (
                Exception
            ):  # one class's fault must not stop the others; its decision ages and KEDA is told
                log.exception("deciding failed", policy=key[0], worker_class=key[1])
                # A state that can't be decided from must not come back. The replicas and what people ordered
                # stay; without a time of decision nothing steps down for a window.
                states[key] = replace(before.orders, desired=before.desired, active=before.active)
        return states, decisions

    async def _settle(
        self, sight: Sight, states: dict[Key, WorkerState], decisions: dict[Key, Decision]
    ) -> None:
        """Bring decisions into force here."""
        before, self._states, self._decisions = self._decisions, states, decisions
        self._publish(sight, decisions, own=True, taken_at=sight.now)
        async for key in self._in_turns(decisions):
            decision = decisions[key]
            if decision is before.get(key):
                continue  # it couldn't be decided this time
            self._recorder.record(decision, own=True)
            if self._flight is not None:
                self._flight.write(self._subjects[key].worker, sight.observations[key], decision)

    def _follow(self, sight: Sight) -> None:
        """Answer what stands in the store; what was read here is shown beside it."""
        known = self.leadership.known
        decisions = {key: one for key, one in known.record.decisions.items() if key in self._subjects}
        if known is not self._followed:
            self._followed = known
            for decision in decisions.values():
                self._recorder.record(decision, own=False)
        # A leader that has nothing new to write yet still is the one to carry out what stands there.
        election = self.leadership.election
        own = election.leads() and known.record.writer == election.identity
        if known.record.sequence:
            self._publish(sight, decisions, own=own, taken_at=known.record.taken_at, seen_at=known.seen_at)
        elif self.leadership.error:
            # Ready all the same: KEDA's fallback needs somebody who answers that nothing is known.
            self._publish(sight, {}, own=False, taken_at=sight.now)

    def _publish(
        self,
        sight: Sight,
        decisions: Mapping[Key, Decision],
        *,
        own: bool,
        taken_at: float,
        seen_at: float | None = None,
    ) -> None:
        role = self.leadership
        snapshot = Snapshot(
            taken_at,
            self._policies,
            decisions,
            sight.observations,
            sight.brokers,
            sight.workloads,
            own=own,
            seen_at=seen_at,
            decider=role.known.record.writer,
            term=role.known.record.term,
            held_because=role.error,
        )
        self._metrics.answer_age_seconds.set(max(0.0, snapshot.moment(sight.now) - taken_at))
        self._board.publish(snapshot)

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
        """The memory of every class that has one, or orders; a follower's is what the leader wrote."""
        states: Mapping[Key, WorkerState] = self._states
        if self._store.shared and not self.leadership.election.leads():
            states = self.leadership.remembered()
        keys = sorted(states.keys() | self._orders.held.keys())
        return {key: self._orders.merged(key, states.get(key, WorkerState())) for key in keys}

    def standing(self) -> dict[str, object]:
        """Who leads, as JSON."""
        return self.leadership.standing(self._digest)

    async def refresh_orders(self) -> None:
        """Read what people have told other replicas a moment ago; what is known stays if that fails."""
        with contextlib.suppress(StoreError):
            await self._orders.refresh()

    async def change(self, key: Key, how: Callable[[WorkerState], WorkerState]) -> None:
        """Change what people ordered for a class, in the store; whoever leads acts on it within 2 s.

        Args:
            key: of the class.
            how: is given a memory with nothing but orders, perhaps more than once.

        Raises:
            StoreError: it wasn't stored, or that can't be told; it may be tried again.
            UnknownClassError: the class was taken out of the policies.
        """
        if key not in self._subjects:
            raise UnknownClassError(f"class {key[1]!r} isn't in policy {key[0]!r} any more")
        await self._orders.change(key, how)

    def sampler_of(self, key: Key) -> Sampler:
        """The sampler of the broker that holds a class's queues."""
        return self._samplers[self._broker_of(key)][0]

    async def close(self) -> None:
        """Stop the samplers, give back the lease and close the store."""
        tasks = [task for _, task in self._samplers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._samplers.clear()
        if self._store.shared:
            await self.leadership.resign()
        await self._store.close()
        await self._cluster.close()
