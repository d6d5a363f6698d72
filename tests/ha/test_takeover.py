"""Who leads, who takes over and when, story by story, on simulated time."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

KEY = ("examx", "io")


@pytest.fixture
async def world(make_world: Any) -> AsyncIterator[Any]:
    made = make_world(1)
    yield made
    await made.close()


async def test_one_decides_and_all_answer_from_the_same_decision(world: Any) -> None:
    await world.add(3)
    await world.run(5)
    world.waiting = 2000
    await world.run(3)
    assert {record.writer for record in world.records} == {world.leader.identity}
    newest = {record.decisions[KEY].id for record in world.records[-2:]}
    assert {replica.answer() for replica in world.replicas} <= newest, "half a second behind at the most"
    assert {replica.board.snapshot.decisions[KEY].desired for replica in world.replicas} == {5}
    assert world.desired == 5, "2 pods per 15 s on top of the 3 that were seen"
    owners = [replica for replica in world.replicas if replica.engine.leadership.election.leads()]
    assert owners == [world.leader]


async def test_a_replica_that_is_alone_leads_within_a_second(world: Any) -> None:
    await world.add(1)
    await world.run(1)
    assert world.replicas[0].answer() is not None


async def test_a_killed_leader_is_replaced_without_a_gap_a_step_down_or_a_double_step(world: Any) -> None:
    await world.add(2)
    await world.run(5)
    world.waiting = 2000
    await world.run(2)
    dead, first = world.leader, world.desired
    other = next(replica for replica in world.replicas if replica is not dead)
    world.waiting = 0
    await dead.stop(orderly=False)
    killed, gaps = world.now, []

    def look() -> None:
        if other.answer() is None:
            gaps.append(world.now)

    await world.run(15, look)
    took = next(one.at for one in world.store.history if one.record.term == 2)
    assert 6 < took - killed < 11
    assert gaps == []
    assert world.desired == first


async def test_a_leader_that_ends_in_order_is_replaced_within_two_seconds(world: Any) -> None:
    await world.add(2)
    await world.run(5)
    left = world.now
    await world.leader.stop(orderly=True)
    await world.run(3)
    took = next(one.at for one in world.store.history if one.record.term == 2)
    assert took - left < 2


async def test_a_frozen_leader_that_wakes_writes_nothing_and_follows(world: Any) -> None:
    await world.add(2)
    await world.run(5)
    frozen = world.leader
    frozen.frozen_until = world.now + 30
    await world.run(32)
    assert world.leader is not frozen
    terms = [(record.term, record.writer) for record in world.records]
    assert terms == sorted(terms, key=lambda pair: pair[0])
    assert len(set(terms)) == 2, "one writer per term"
    assert frozen.answer() in {record.decisions[KEY].id for record in world.records[-2:]}


async def test_a_write_of_a_frozen_leader_that_comes_late_changes_nothing(world: Any) -> None:
    await world.add(2)
    await world.run(5)
    leader = world.leader
    late = await world.store.read("decisions")
    leader.frozen_until = world.now + 20
    await world.run(15)
    before = world.records[-1]
    from scaler.runtime.store import ChangedError

    with pytest.raises(ChangedError):
        await world.store.write("decisions", late.text, late.version)
    assert world.records[-1] is before


async def test_a_store_that_fails_leaves_the_last_decision_and_then_none(world: Any) -> None:
    await world.add(2)
    await world.run(5)
    leader, decided = world.leader, world.desired
    world.outage, world.waiting = True, 2000
    await world.run(14)
    assert all(replica.answer() is not None for replica in world.replicas)
    assert {replica.board.snapshot.decisions[KEY].desired for replica in world.replicas} == {decided}
    await world.run(5)
    assert all(replica.answer() is None for replica in world.replicas), "UNAVAILABLE freezes the HPA"
    assert all("cut off" in replica.board.snapshot.held_because for replica in world.replicas)
    world.outage = False
    await world.run(4)
    assert all(replica.answer() is not None for replica in world.replicas)
    assert world.leader is leader, "nobody takes it for dead because the store was away"


async def test_a_store_that_comes_back_empty_gets_the_decisions_again(world: Any) -> None:
    await world.add(2)
    world.waiting = 2000
    await world.run(20)
    desired, before = world.desired, world.records[-1]
    world.store._documents.clear()
    world.waiting = 0
    await world.run(4)
    assert world.records[-1].sequence > before.sequence
    assert world.desired == desired
    assert {replica.answer() for replica in world.replicas} <= {
        record.decisions[KEY].id for record in world.records[-2:]
    }


async def test_a_store_that_comes_back_with_older_data_moves_nobody_back(world: Any) -> None:
    await world.add(2)
    await world.run(3)
    old = dict(world.store._documents)
    world.waiting = 2000
    await world.run(20)
    desired, before = world.desired, world.records[-1]
    world.store._documents.update(old)
    await world.run(6)
    assert world.records[-1].order > before.order
    assert world.desired >= desired


@pytest.mark.parametrize("offsets", [(0.0, 5.0), (5.0, 0.0)])
async def test_periods_end_no_sooner_by_a_clock_that_is_ahead(world: Any, offsets: Any) -> None:
    """2 pods per 15 s: the successor's clock differs by 5 s, the steps stay 15 s apart."""
    await world.add(2, offsets=offsets)
    await world.run(5)
    world.waiting = 5000
    await world.run(2)
    assert world.desired == 5
    stepped = next(one.at for one in world.store.history if one.record.decisions[KEY].desired == 5)
    await world.leader.stop(orderly=False)
    await world.run(25)
    again = next(one.at for one in world.store.history if one.record.decisions[KEY].desired > 5)
    assert 15 <= again - stepped < 18


async def test_orders_given_to_a_follower_reach_the_leader_and_survive_it(world: Any) -> None:
    from dataclasses import replace

    from scaler.core.announcement import Announcement

    await world.add(2)
    await world.run(5)
    leader = world.leader
    follower = next(replica for replica in world.replicas if replica is not leader)
    told = Announcement(world.now - 1, world.now + 600, "mira", "exams", min_replicas=3)
    await follower.engine.change(KEY, lambda state: replace(state, announcements=(told,)))
    await world.run(4)
    assert world.desired == 3
    await leader.stop(orderly=False)
    await world.run(14)
    assert world.leader is follower
    assert world.records[-1].decisions[KEY].terms[-1].name
    assert follower.engine.states[KEY].announcements == (told,)


async def test_orders_are_not_confirmed_while_the_store_is_away(world: Any) -> None:
    from scaler.runtime.store import StoreError

    await world.add(1)
    await world.run(3)
    world.outage = True
    change = world.replicas[0].engine.change(KEY, lambda state: state)
    import asyncio

    task = asyncio.create_task(change)
    await world.run(5)
    with pytest.raises(StoreError):
        await task
