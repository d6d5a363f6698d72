"""What the source in memory offers beyond the contract: priorities, ETA, workers, outages."""

import math

import pytest

from scaler.core.observation import Holds, QueueReading
from scaler.sources.base import SourceUnavailableError
from scaler.sources.memory import MemorySource


async def read(source: MemorySource, now: float = 0.0) -> QueueReading:
    (reading,) = (await source.sample(["email"], now)).queues
    return reading


async def test_messages_come_by_priority_and_then_by_age_and_are_counted_by_priority() -> None:
    source = MemorySource()
    source.publish("email", 2, priority=6)
    source.publish("email", 1, priority=0)
    assert (await read(source)).by_priority == ((0, 1), (6, 2))
    source.deliver("email", 2)
    assert (await read(source)).by_priority == ((6, 1),)


async def test_a_task_with_an_eta_is_held_from_its_delivery_until_its_time() -> None:
    source = MemorySource()
    source.publish("email", 3, eta=100.0)
    assert (await read(source, 0.0)).eta_held == 0
    source.deliver("email", 3)
    assert ((await read(source, 99.0)).eta_held, (await read(source, 100.0)).eta_held) == (3, 0)


async def test_the_messages_of_a_lost_worker_come_back_to_their_place() -> None:
    source = MemorySource()
    source.publish("email", 1, priority=0)
    source.publish("email", 1, priority=9)
    source.deliver("email", 1)
    source.requeue("email", 1)
    reading = await read(source)
    assert (reading.ready, reading.unacked, reading.by_priority) == (2, 0, ((0, 1), (9, 1)))


async def test_an_outage_loses_nothing() -> None:
    source = MemorySource()
    source.publish("email", 2)
    source.fail(SourceUnavailableError("the broker is dark"))
    with pytest.raises(SourceUnavailableError, match="dark"):
        await source.sample(["email"], 0.0)
    source.publish("email", 1)
    source.fail(None)
    assert (await read(source)).ready == 3


async def test_what_a_broker_would_not_allow_is_refused() -> None:
    source = MemorySource()
    source.publish("email", 1)
    with pytest.raises(ValueError, match="2 messages wanted, 1 there"):
        source.deliver("email", 2)
    with pytest.raises(ValueError, match="1 messages wanted, 0 there"):
        source.acknowledge("email")
    with pytest.raises(ValueError, match="1 messages wanted, 0 there"):
        source.requeue("email")


async def test_consumers_suspicions_and_gaps_are_reported_as_set() -> None:
    source = MemorySource()
    source.set_consumers("email", 3)
    source.suspicions, source.gaps = ("alarm",), ("unacked",)
    sample = await source.sample(["email"], 0.0)
    assert (sample.queues[0].consumers, sample.suspicions, sample.gaps) == (3, ("alarm",), ("unacked",))
    source.delete("email")
    assert not (await read(source)).exists


async def test_the_wait_lies_between_the_samples_around_the_publishing() -> None:
    source = MemorySource()
    source.publish("email", 1)
    assert (await read(source, 100.0)).wait == (0.0, math.inf)
    source.publish("later", 1)
    (later,) = (await source.sample(["later"], 110.0)).queues
    assert later.wait == (0.0, 10.0)
    assert (await read(source, 130.0)).wait == (30.0, math.inf)
    source.deliver("email", 1)
    assert (await read(source, 140.0)).wait == (0.0, 0.0)


async def test_with_moments_that_are_told_waits_and_holds_are_exact() -> None:
    source = MemorySource()
    source.publish("email", 2, at=5.0)
    source.publish("email", 1, at=6.0, eta=90.0)
    assert (await read(source, 10.0)).wait == (5.0, 5.0)
    source.deliver("email", 3, at=12.0)
    reading = await read(source, 20.0)
    assert reading.held_since == (12.0, 12.0)
    assert reading.due == ((90.0, 1),)
    assert reading.holds == Holds(16.0, 0)
    source.acknowledge("email", 1, at=25.0)
    assert (await read(source, 30.0)).holds == Holds(16.0 + 5.0 + 10.0, 1)
    overdue = await read(source, 100.0)
    assert overdue.held_since == (12.0, 90.0)
    assert overdue.holds == Holds(31.0 + 70.0 + 10.0, 1)


async def test_a_message_that_came_back_is_marked() -> None:
    source = MemorySource()
    source.publish("email", 1, at=5.0)
    source.deliver("email", 1, at=6.0)
    source.requeue("email", 1)
    reading = await read(source, 10.0)
    assert reading.wait == (5.0, 5.0)
    assert "given back" in reading.wait_note
