"""Two hundred random schedules of faults on two or three replicas with clocks up to 5 s apart.

Crashes, orderly ends, frozen processes, partitions, outages of the store, slow and lost answers; each
schedule by a seed, the same every time. What must hold is looked at after each event and over the history.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from scaler.core.behavior import History, scale_limit
from scaler.core.policy.behavior import Behavior

KEY = ("examx", "io")
SECONDS = 90.0
#: Seconds by which a successor may take earlier steps for later than they were: it reads twice a second. So
#: its own steps in the same direction never come too soon, but what was taken away counts longer as something
#: that may be added again.
OFF = 1.5
#: The same where it never saw its predecessor alive: it adds 5 s for clocks that may be 5 s apart.
OFF_COLD = 10.0
#: Longer than any period.
PERIOD = 60.0
#: Decisions bear moments that were rounded down to 1/1024 s.
ROUNDING = 0.01
#: Seconds that a replica and the store must have been well for an answer to be owed.
SETTLED = 16.0


class Schedule:
    """One run: the faults, and what is watched meanwhile."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.random = world.random
        self.accepted: set[str] = set()
        self._records = self._term = 0
        self._cold: list[float] = []
        self._orders: dict[str, tuple[int, int]] = {}
        self.takeovers: list[float] = []
        self._lost: tuple[float, int] | None = None
        #: Moments at which a leader was lost; an answer is owed through one such loss.
        self.losses: list[float] = []
        self.owed = self.missing = 0
        self.store_well_since = world.now

    async def run(self) -> None:
        world, random = self.world, self.random
        offsets = [random.uniform(0.0, 5.0) for _ in range(3)]
        await world.add(random.choice([2, 3]), offsets=offsets, routine=random.choice([0.8, 3.0]))
        self._load_changes()
        end = world.now + SECONDS
        await world.run(random.uniform(2.0, 10.0), self.look)
        while world.now < end:
            await self._fault()
            await world.run(random.uniform(2.0, 25.0), self.look)
        self._check_history({replica.name: replica.offset for replica in world.replicas})

    def _load_changes(self) -> None:
        async def change() -> None:
            self.world.waiting = self.random.choice([0, 0, 0, 60, 150, 400, 1000])
            self.world.at(self.world.now + self.random.uniform(3.0, 25.0), change)

        self.world.at(self.world.now + 3.0, change)

    async def _fault(self) -> None:
        world, random = self.world, self.random
        kind = random.choice(["crash", "crash", "end", "freeze", "freeze", "cut", "cut", "outage", "slow"])
        living = [replica for replica in world.replicas if replica.alive and not replica.frozen]
        if kind in {"outage", "slow"} or not living:
            self._store_fault(kind, random.uniform(1.0, 25.0))
            return
        leader = world.leader
        replica = leader if leader in living and random.random() < 0.7 else random.choice(living)
        seconds = random.uniform(1.0, 30.0)
        self._lost = None
        if replica is leader:
            self.losses.append(world.now)
            others = [one for one in living if one is not replica and self._is_well(one, 3.0)]
            if others and kind != "end" and (kind == "crash" or seconds > 9) and self._store_is_well(3.0):
                self._lost = world.now, world.records[-1].term if world.records else 0
        await self._strike(kind, replica, seconds)

    async def _strike(self, kind: str, replica: Any, seconds: float) -> None:
        world = self.world
        replica.well_since = max(replica.well_since, world.now + seconds)

        async def back() -> None:
            if replica.alive:
                replica.cut = False
            else:
                await replica.boot()

        if kind == "freeze":
            replica.frozen_until = world.now + seconds
            return
        if kind == "cut":
            replica.cut = True
        else:
            await replica.stop(orderly=kind == "end" and not world.outage and not world.slow)
        world.at(world.now + seconds, back)

    def _store_fault(self, kind: str, seconds: float) -> None:
        world = self.world
        self._lost = None

        async def mend() -> None:
            world.outage, world.slow = False, 0.0
            self.store_well_since = world.now

        world.outage, world.slow = kind == "outage", 0.0 if kind == "outage" else 0.4
        self.store_well_since = max(self.store_well_since, world.now + seconds)
        world.at(world.now + seconds, mend)

    def _is_well(self, replica: Any, seconds: float) -> bool:
        well = replica.alive and not replica.frozen and not replica.cut
        return bool(well and self.world.now - replica.well_since > seconds)

    def _store_is_well(self, seconds: float) -> bool:
        world = self.world
        return not world.outage and not world.slow and world.now - self.store_well_since > seconds

    def look(self) -> None:
        """After each event."""
        world = self.world
        for written in world.store.history[self._records :]:
            if written.record.term != self._term:
                self._term = written.record.term
                (winner,) = [one for one in world.replicas if one.identity == written.record.writer] or [None]
                if winner is None or not winner.engine.leadership._ahead:
                    self._cold.append(written.at)
            self.accepted |= {one.id for one in written.record.decisions.values()}
            if self._lost is not None and written.record.term > self._lost[1]:
                self.takeovers.append(written.at - self._lost[0])
                self._lost = None
        self._records = len(world.store.history)
        for replica in world.replicas:
            if not replica.alive or replica.frozen:
                continue
            answer = replica.answer()
            assert answer is None or answer in self.accepted, "what isn't in the store is never answered"
            order = replica.engine.leadership.known.record.order
            assert order >= self._orders.get(replica.identity, (0, 0)), "no replica goes back"
            self._orders[replica.identity] = order
            recent = [at for at in self.losses if at > world.now - 2 * SETTLED]
            if self._is_well(replica, SETTLED) and self._store_is_well(SETTLED) and len(recent) <= 1:
                self.owed += 1
                self.missing += answer is None

    def _check_history(self, offsets: dict[str, float]) -> None:
        records = self.world.records
        writers: dict[int, set[str]] = {}
        for before, after in pairwise(records):
            assert after.sequence == before.sequence + 1, "each is written onto the one before it"
            assert after.term >= before.term
            was, now = before.decisions[KEY], after.decisions[KEY]
            assert now.previous == was.desired, "and decided from it"
            if after.writer != before.writer:
                assert now.desired >= was.desired, "no takeover steps down"
            assert 1 <= now.desired <= 40
        for record in records:
            writers.setdefault(record.term, set()).add(record.writer)
        assert all(len(names) == 1 for names in writers.values()), "one writer per term"
        behavior = self.world.policy.spec.workers["io"].behavior
        check_steps(behavior, self._steps(records, offsets), self._cold)

    def _steps(self, records: Any, offsets: dict[str, float]) -> Iterable[tuple[float, int, int]]:
        """(true time, from, to)."""
        for record in records:
            decision = record.decisions[KEY]
            if decision.desired != decision.previous:
                name = record.writer.partition("-")[0]
                yield record.taken_at - offsets[name], decision.previous, decision.desired


def check_steps(behavior: Behavior, steps: Iterable[tuple[float, int, int]], cold: Sequence[float]) -> None:
    """Every step is one that the HPA's algorithm allows, over the whole history and in true time."""
    history = History()
    for at, before, after in steps:
        up = after > before
        off = OFF_COLD if any(at - PERIOD < moment <= at + 1 for moment in cold) else OFF
        against = tuple((moment + off, count) for moment, count in (history.removed if up else history.added))
        seen = replace(history, removed=against) if up else replace(history, added=against)
        rules, direction = (behavior.scale_up, "up") if up else (behavior.scale_down, "down")
        allowed = scale_limit(seen, rules, direction, before, at + ROUNDING)  # type: ignore[arg-type]
        assert after <= allowed if up else after >= allowed, (at, before, after, allowed, history)
        stamp = (at, abs(after - before))
        history = History(
            added=(*history.added, stamp) if up else history.added,
            removed=history.removed if up else (*history.removed, stamp),
        )


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 50, 100, 150])
async def test_fifty_schedules_of_faults(make_world: Any, first: int) -> None:
    takeovers: list[float] = []
    owed = missing = steps = terms = 0
    for seed in range(first, first + 50):
        world = make_world(seed)
        schedule = Schedule(world)
        try:
            await schedule.run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        finally:
            await world.close()
        takeovers += schedule.takeovers
        owed, missing = owed + schedule.owed, missing + schedule.missing
        steps += len(list(schedule._steps(world.records, dict.fromkeys("abc", 0.0))))
        terms += world.records[-1].term
    print(  # noqa: T201 - the figures of docs/operations.md, by `pytest -s`
        f"{len(takeovers)} takeovers p50 {percentile(takeovers, 0.5):.1f} s,"
        f" p99 {percentile(takeovers, 0.99):.1f} s, max {max(takeovers):.1f} s;"
        f" {steps} steps, {terms} terms, {missing} of {owed} owed answers missing"
    )
    assert percentile(takeovers, 0.99) <= 15
    assert missing == 0
    assert steps > 100, "the schedules have something to break"
    assert len(takeovers) > 10
