"""Sample and decide by the clock: the loop that turns readings into decisions for the board.

KEDA's calls never reach this loop. It wakes when a sampler has finished a sweep, or after
`interval` seconds when none has, so a hung broker delays nothing but its own readings.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from scaler.cluster.base import ClusterReader, NoCluster
from scaler.core.announcement import Announcement
from scaler.core.arrivals import Arrivals
from scaler.core.decide import WorkerClass
from scaler.core.policy import ScalingPolicy
from scaler.core.state import WorkerState
from scaler.runtime.board import Board, Key, Sight, UnknownClassError
from scaler.runtime.brokers import Brokers, ReceiverFactory, SourceFactory
from scaler.runtime.clock import Clock, cancelled
from scaler.runtime.deciding import Outcome, decide_each, subjects_of
from scaler.runtime.leadership import Leadership
from scaler.runtime.lookout import Lookout
from scaler.runtime.metrics import Metrics
from scaler.runtime.orders import Orders
from scaler.runtime.publishing import Publisher
from scaler.runtime.record import digest
from scaler.runtime.recorder import FlightRecorder
from scaler.runtime.recording import Recorder
from scaler.runtime.sampling import Sampler
from scaler.runtime.store import StateStore, StoreError
from scaler.runtime.turns import Turns

#: Decisions are never closer together than this, however many brokers there are.
LEAST_SPACING = 0.25


class Engine:
    """Owns states, decisions and the deciding loop for a set of policies."""

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
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._flight = flight
        self._cluster: ClusterReader = cluster or NoCluster("no cluster is read")
        self._interval = interval
        self._recorder = Recorder(metrics)
        self._brokers = Brokers(open_source, open_receiver, clock=clock, metrics=metrics, interval=interval)
        self._lookout = Lookout(self._brokers, self._cluster, self._recorder, clock)
        self._policies: Mapping[str, ScalingPolicy] = {}
        self._subjects: dict[Key, WorkerClass] = {}
        self._outcome = Outcome()
        self._digest = ""
        self._orders = Orders(store, clock)
        self.leadership = Leadership(store, self._orders, identity=identity, clock=clock, metrics=metrics)
        self._publisher = Publisher(board, self.leadership, self._recorder, metrics)
        if not store.shared:
            metrics.leader.set(1)
            metrics.store_up.set(1)
        #: Policies don't change while a decision that was made by them is on its way to the store.
        self._turning = asyncio.Lock()

    async def apply(self, policies: Mapping[str, ScalingPolicy]) -> None:
        """Put policies into force: classes that stay keep their state, brokers that stay their sampler."""
        async with self._turning:
            self._apply(policies)

    def _apply(self, policies: Mapping[str, ScalingPolicy]) -> None:
        subjects = subjects_of(policies)
        gone = self._subjects.keys() - subjects.keys()
        self._policies, self._subjects = dict(policies), subjects
        self._digest = digest(subjects.values())
        self._recorder.forget(gone, [(key, subject.worker) for key, subject in subjects.items()])
        moved = self._brokers.follow(policies)
        kept = self._outcome.of(subjects)
        # A rate that another broker showed, or the same by another path, isn't compared with this one's.
        anew = {key: replace(kept.states[key], arrivals=Arrivals()) for key in moved & kept.states.keys()}
        self._outcome = replace(kept, states={**kept.states, **anew})
        self._lookout.follow(subjects, decided=self._outcome.states)

    async def run(self) -> None:
        """Decide until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._decide_forever(), name="decide")
            if self._store.shared:
                loops.create_task(self._confer_forever(), name="confer")

    async def _decide_forever(self) -> None:
        sampled = self._brokers.sampled
        while not cancelled():
            sampled.clear()
            await self.turn()
            await asyncio.sleep(LEAST_SPACING)
            try:
                async with asyncio.timeout(max(0.0, self._interval - LEAST_SPACING)):
                    await sampled.wait()
            except TimeoutError:
                continue

    async def _confer_forever(self) -> None:
        # A loop of its own: neither a slow decision nor a slow write may cost the lease.
        while not cancelled():
            leading = self.leadership.election.leads()
            await self.confer()
            if self.leadership.election.leads() and not leading:
                self._brokers.sampled.set()  # decide at once
            # Not in step with the leader: now and then its record is seen at once, which shows its clock.
            await asyncio.sleep(self._store.poll * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def confer(self) -> None:
        """Ask the store once who leads, and what was decided and ordered."""
        role = self.leadership
        before = role.known
        await role.confer()
        if role.known is not before and not role.election.leads():
            async with self._turning:
                turns = Turns(self._clock)
                await self._follow(await self._lookout.look(turns), turns)

    async def turn(self) -> None:
        """Decide once, or take over what another replica has decided, and publish the result."""
        async with self._turning:
            turns = Turns(self._clock)
            sight = await self._lookout.look(turns)
            if not self._store.shared:
                await self._settle(sight, await self._decide(sight, turns), turns)
            elif not await self._lead(sight, turns):
                await self._follow(sight, turns)

    async def _lead(self, sight: Sight, turns: Turns) -> bool:
        """Decide, if that is this replica's part; True where it came into force."""
        role = self.leadership
        if not role.election.leads():
            role.lose_base()
            return False
        try:
            states = await role.take_up(turns)
        except StoreError:
            self._metrics.decisions_held_total.inc()
            return False
        if states is not None:
            self._outcome = Outcome(states, role.known.record.decisions).of(self._subjects)
            sight = await self._lookout.look(turns)
        if not role.election.leads():
            return False
        outcome = await self._decide(sight, turns)
        if not role.is_due(outcome.decisions, self._digest):
            self._outcome = outcome
            return False
        if not await role.write(sight.now, self._digest, outcome.decisions, outcome.states, turns):
            self._metrics.decisions_held_total.inc()
            return False
        await self._settle(sight, outcome, turns)
        return True

    async def _follow(self, sight: Sight, turns: Turns) -> None:
        await self._publisher.follow(sight, self._policies, self._subjects, turns)

    async def _decide(self, sight: Sight, turns: Turns) -> Outcome:
        return await decide_each(
            self._subjects,
            self._outcome,
            sight,
            orders=self._orders,
            leave_out=self._lookout.awaits_first_sight,
            turns=turns,
        )

    async def _settle(self, sight: Sight, outcome: Outcome, turns: Turns) -> None:
        """Bring decisions into force here."""
        before, self._outcome = self._outcome.decisions, outcome
        self._publisher.own(sight, self._policies, outcome.decisions)
        for key, decision in outcome.decisions.items():
            if decision is before.get(key):
                continue  # it couldn't be decided this time
            await turns.give()
            self._recorder.record(decision, own=True)
            if self._flight is not None:
                self._flight.write(self._subjects[key].worker, sight.observations[key], decision)

    @property
    def states(self) -> Mapping[Key, WorkerState]:
        """The memory of every class that has one, or orders; a follower's is what the leader wrote."""
        states = self._outcome.states
        if self._store.shared and not self.leadership.election.leads():
            states = self.leadership.remembered()
        return self._orders.over(states)

    def announced(self, key: Key) -> tuple[Announcement, ...]:
        """What was announced for a class."""
        return self._orders.of(key).announcements

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
        return self._brokers.sampler_of(key)

    async def close(self) -> None:
        """Stop the samplers, give back the lease and close the store."""
        await self._brokers.close()
        if self._store.shared:
            await self.leadership.resign()
        await self._store.close()
        await self._cluster.close()
