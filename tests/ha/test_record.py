"""What is written for all replicas comes back byte for byte, whatever else stands there does no harm."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.announcement import Announcement
from scaler.core.arrivals import Arrivals
from scaler.core.behavior import History, scale_limit
from scaler.core.decide import WorkerClass, decide
from scaler.core.handover import taken_over
from scaler.core.observation import Observation, QueueReading
from scaler.core.override import Override
from scaler.core.policy import ScalingPolicy
from scaler.core.state import WorkerState
from scaler.runtime.leadership import Leadership
from scaler.runtime.metrics import Metrics
from scaler.runtime.orders import Orders
from scaler.runtime.record import Record, digest, memory_of
from scaler.runtime.store import Lease, MemoryStore
from scaler.runtime.turns import Turns
from scaler.testing import at_once

KEY = ("examx", "io")
NOW = 1_800_000_000.0


def decided(policy: ScalingPolicy, ready: int, now: float = NOW) -> tuple[WorkerState, Record]:
    subject = WorkerClass(*KEY, policy.spec.workers["io"])
    observation = Observation(now - 0.3, (QueueReading("email", ready, unacked=0, consumers=2),))
    state, decision = decide(subject, WorkerState(), observation, now)
    record = Record(3, 12, "pod-1", now, digest([subject]), {KEY: decision}, at_once(memory_of({KEY: state})))
    return state, record


@given(ready=st.integers(0, 10_000), after=st.floats(0, 1e6))
@settings(max_examples=200, deadline=None)
def test_a_record_survives_its_text(policy: ScalingPolicy, ready: int, after: float) -> None:
    state, record = decided(policy, ready, NOW + after)
    found = at_once(Record.from_text(at_once(record.to_text())))
    assert found == record
    assert found.decisions[KEY].id == record.decisions[KEY].id
    assert found.states() == {KEY: state}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format":99}', '{"format":1}', "\ufffd\n[]", "1e999"])
def test_what_cant_be_read_is_an_empty_record(text: str) -> None:
    assert at_once(Record.from_text(text)) == Record()
    assert Lease.from_text(text) == Lease()


def test_a_decision_that_is_none_is_no_record(policy: ScalingPolicy) -> None:
    _, record = decided(policy, 900)
    for wrong in ('"desired":"3"', '"desired":null', '"desired":3.5'):
        text = at_once(record.to_text()).replace(f'"desired":{record.decisions[KEY].desired}', wrong)
        assert text != at_once(record.to_text())
        assert at_once(Record.from_text(text)) == Record()


def test_a_memory_of_another_version_keeps_the_replicas(policy: ScalingPolicy) -> None:
    _, record = decided(policy, 900)
    older = record.memory.replace('\\"version\\":', '\\"version\\":9')
    for memory in (older, "rubbish", "[[1]]"):
        (state,) = replace(record, memory=memory).states().values()
        assert state == WorkerState(desired=record.decisions[KEY].desired, active=True)


def test_the_digest_differs_where_a_class_does(policy: ScalingPolicy) -> None:
    worker = policy.spec.workers["io"]
    other = worker.model_copy(update={"concurrency": 11})
    assert digest([WorkerClass(*KEY, worker)]) != digest([WorkerClass(*KEY, other)])


stamps = st.lists(
    st.tuples(st.integers(-900_000, 0).map(lambda n: NOW + n / 1024), st.integers(1, 5)), max_size=6
)


@given(added=stamps, removed=stamps, ahead=st.floats(-10, 10), current=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_a_successor_with_another_clock_allows_the_same_steps(
    policy: ScalingPolicy,
    added: list[tuple[float, int]],
    removed: list[tuple[float, int]],
    ahead: float,
    current: int,
) -> None:
    behavior = policy.spec.workers["io"].behavior
    history = History(added=tuple(sorted(added)), removed=tuple(sorted(removed)))
    state = WorkerState(desired=current, decided_at=NOW, history=history)
    moved = taken_over(state, ahead, NOW + ahead)
    by = math.ceil(ahead * 1024) / 1024
    for rules, direction in ((behavior.scale_up, "up"), (behavior.scale_down, "down")):
        for later in (0.0, 5.0, 14.0, 29.0):
            before = scale_limit(history, rules, direction, current, NOW + later)  # type: ignore[arg-type]
            after = scale_limit(moved.history, rules, direction, current, NOW + later + by)  # type: ignore[arg-type]
            assert after == before
    assert moved.no_down_until == NOW + ahead + 30


def test_buckets_of_the_estimators_stay_on_their_grid() -> None:
    arrivals = Arrivals(NOW, 3.0, None, ((NOW - 5, 2.0, 0.0), (NOW, 1.0, 0.0)))
    moved = taken_over(WorkerState(desired=1, decided_at=NOW, arrivals=arrivals), 4.2, NOW)
    assert [at for at, _, _ in moved.arrivals.buckets] == [NOW, NOW + 5]
    assert moved.arrivals.read_at == pytest.approx(NOW + 4.2, abs=0.001)


async def test_orders_of_two_replicas_are_both_kept_and_end_by_themselves() -> None:
    store, now = MemoryStore(shared=True), NOW
    one, two = (Orders(store, lambda: now) for _ in range(2))
    exams = Announcement(NOW, NOW + 60, "mira", "exams", tasks=90)
    order = Override(4, NOW + 600, "ops", "incident")
    await one.change(KEY, lambda state: replace(state, announcements=(*state.announcements, exams)))
    await two.change(KEY, lambda state: replace(state, override=order))
    await one.refresh()
    merged = one.merged(KEY, WorkerState(desired=2, decided_at=NOW))
    assert (merged.desired, merged.announcements, merged.override) == (2, (exams,), order)
    now = NOW + 61
    await one.change(("examx", "cpu"), lambda state: replace(state, override=order))
    rows = json.loads((await store.read("orders")).text)
    assert [(row["worker_class"], len(row["announcements"])) for row in rows] == [("cpu", 0), ("io", 0)]
    await two.refresh()
    assert two.held == one.held


async def test_orders_that_cant_be_read_are_none() -> None:
    store = MemoryStore(shared=True)
    await store.write("orders", '[{"policy": 1}]', None)
    orders = Orders(store, lambda: NOW)
    await orders.refresh()
    assert orders.held == {}
    assert orders.known


async def test_what_was_decided_on_one_record_is_never_written_onto_a_later_one(
    policy: ScalingPolicy,
) -> None:
    """A leader that stood still while it decided wakes up, sees what others wrote, and leads again."""
    now, store = NOW, MemoryStore(shared=True)
    replicas = {}
    for name in ("frozen", "other"):
        orders = Orders(store, lambda: now)
        replicas[name] = Leadership(store, orders, identity=name, clock=lambda: now, metrics=Metrics())
    frozen, other = replicas.values()
    state, record = decided(policy, 500)

    async def take_up_and_write(replica: Leadership, *, taking_up: bool = True) -> bool:
        turns = Turns(lambda: now)
        if taking_up:
            await replica.take_up(turns)
        return await replica.write(now, "", record.decisions, {KEY: state}, turns)

    async def confer(replica: Leadership, until: Callable[[], bool]) -> None:
        nonlocal now
        for _ in range(60):
            if until():
                return
            now += 0.5
            await replica.confer()
        raise AssertionError("it doesn't come about within 30 s")

    await confer(frozen, frozen.election.leads)
    await frozen.take_up(Turns(lambda: now))
    await confer(other, other.election.leads)
    assert await take_up_and_write(other)
    await frozen.confer()
    assert frozen.known.record.writer == "other"
    await confer(frozen, frozen.election.leads)
    assert not await take_up_and_write(frozen, taking_up=False)
    assert await take_up_and_write(frozen), "it begins with what stands there"
