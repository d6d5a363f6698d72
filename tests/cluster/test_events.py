"""Events on the stand-in for the API server: what they look like, how few they are, and what stops them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from scaler.cluster import events
from scaler.cluster.events import EventWriter, Notice
from scaler.core.decision import Decision
from scaler.core.workload import Reference
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.events import Events
from scaler.runtime.metrics import Metrics
from scaler.testing import wait_until

KEY = ("examx", "io")
ABOUT = Reference("keda.sh/v1alpha1", "ScaledObject", "celery", "io-so", "uid-7")
EVENTS = ("v1", "events")


class Writing:
    """A writer whose clock the test turns."""

    def __init__(self, cluster: Any) -> None:
        self.api = cluster.api
        self.now = time.time()
        self.counted: Counter[str] = Counter()
        self.writer = EventWriter(
            cluster.access.connection, lambda: self.now, instance="pod-1", counted=self.count
        )

    def count(self, result: str, number: int) -> None:
        self.counted[result] += number

    async def tell(self, reason: str, text: str = "text", about: Reference = ABOUT) -> None:
        self.writer.tell(Notice(about, reason, text))
        await self.writer.flush()

    @property
    def found(self) -> list[dict[str, Any]]:
        return list(self.api.store.objects.get(EVENTS, {}).values())


@pytest.fixture
def writing(cluster: Any) -> Writing:
    return Writing(cluster)


async def test_an_event_is_one_that_describe_finds(writing: Writing) -> None:
    await writing.tell("DesiredReplicasRaised", "io: 2 → 5 replicas")
    (event,) = writing.found
    assert event["metadata"]["namespace"] == "celery"
    assert event["metadata"]["name"].startswith("io-so.")
    assert event["involvedObject"] == {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "namespace": "celery",
        "name": "io-so",
        "uid": "uid-7",
    }
    assert (event["type"], event["reason"], event["count"]) == ("Normal", "DesiredReplicasRaised", 1)
    assert event["message"] == "io: 2 → 5 replicas"
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert event["source"] == {"component": "celery-scaler"}
    assert event["reportingComponent"] == "celery-scaler"
    assert event["reportingInstance"] == "pod-1"


async def test_a_repeat_lets_the_count_grow(writing: Writing) -> None:
    await writing.tell("DataOnHold", "broker main: no answer")
    first = writing.found[0]
    for _ in range(3):
        writing.now += 20
        await writing.tell("DataOnHold", "broker main: no answer")
    (event,) = writing.found
    assert event["count"] == 4
    assert event["firstTimestamp"] == first["firstTimestamp"]
    assert event["lastTimestamp"] > event["firstTimestamp"]
    assert writing.counted == {"written": 1, "repeated": 3}


async def test_one_that_the_server_has_forgotten_is_written_anew(writing: Writing) -> None:
    await writing.tell("DataOnHold")
    writing.api.store.delete(EVENTS, ("celery", writing.found[0]["metadata"]["name"]))
    await writing.tell("DataOnHold")
    assert [event["count"] for event in writing.found] == [1]


async def test_a_flood_is_bounded_counted_and_told(writing: Writing) -> None:
    for number in range(50):
        await writing.tell("DesiredReplicasRaised", f"step {number}")
    assert len(writing.found) == events.OBJECT_BURST
    assert writing.counted["dropped"] == 40
    writing.now += events.OBJECT_SECONDS
    await writing.tell("DesiredReplicasLowered", "at last")
    assert writing.found[-1]["message"] == "at last (and 40 that are not shown)"
    writing.now += events.OBJECT_SECONDS
    await writing.tell("DesiredReplicasLowered", "and then")
    assert writing.found[-1]["message"] == "and then"


async def test_many_objects_share_a_budget(writing: Writing) -> None:
    for number in range(300):
        await writing.tell("DataBlind", about=replace(ABOUT, name=f"class-{number}", uid=str(number)))
    assert len(writing.found) == events.SERVICE_BURST


async def test_a_message_has_at_most_1024_characters(writing: Writing) -> None:
    await writing.tell("NotCarriedOut", "x" * 5000)
    message = writing.found[0]["message"]
    assert len(message) == 1024
    assert message.endswith("…")


async def test_a_missing_right_is_named_and_rarely_tried(writing: Writing) -> None:
    writing.api.faults.forbidden = {("create", "events")}
    for _ in range(5):
        writing.now += 1
        await writing.tell("DataBlind")
    assert writing.api.requests["create", "events"] == 1
    assert writing.writer.refusal("celery") == (
        "events: no right to create events; grant create on events in namespace celery"
    )
    writing.api.faults.forbidden = set()
    writing.now += events.REFUSED_SECONDS
    await writing.tell("DataFresh")
    assert writing.writer.refusal("celery") == ""
    assert [event["reason"] for event in writing.found] == ["DataFresh"]
    assert writing.counted == {"failed": 5, "written": 1}


async def test_a_server_that_is_overloaded_is_asked_when_it_says_so(writing: Writing) -> None:
    writing.api.faults.throttled, writing.api.faults.retry_after = 1, 20
    await writing.tell("DataBlind")
    writing.now += 19
    await writing.writer.flush()
    assert writing.api.requests["create", "events"] == 1
    writing.now += 1
    await writing.writer.flush()
    assert [event["reason"] for event in writing.found] == ["DataBlind"]


async def test_while_the_server_is_away_little_waits_and_nothing_for_long(writing: Writing) -> None:
    writing.api.faults.unavailable = 10_000
    for number in range(1000):
        await writing.tell("DataBlind", about=replace(ABOUT, name=f"class-{number}", uid=str(number)))
        writing.now += 0.01
    assert len(writing.writer._waiting) <= events.MOST_WAITING
    writing.api.faults.unavailable = 0
    writing.now += events.WAITING_SECONDS + 1
    await writing.tell("DataFresh")
    assert [event["reason"] for event in writing.found] == ["DataFresh"], "old news is no news"
    assert writing.counted["dropped"] == 1000


def decision(**changed: Any) -> Decision:
    now = time.time()
    made = Decision(*KEY, now, 2, 2, 2, True, "", "fresh", (), (), "drain", "none", "", None, now)
    return replace(made, **changed)


class Telling:
    """The loop on a board that the test writes."""

    def __init__(self, cluster: Any, policy: Any) -> None:
        self.cluster, self.policy = cluster, policy
        self.board, self.metrics = Board(), Metrics()
        writer = EventWriter(
            cluster.access.connection,
            time.time,
            instance="pod-1",
            counted=lambda result, count: self.metrics.events_total.labels(result).inc(count),
        )
        self.loop = Events(self.board, writer, cluster.reader, self.metrics, lambda _: ())

    async def publish(self, *, own: bool = True, **changed: Any) -> None:
        snapshot = Snapshot(
            taken_at=time.time(),
            policies={"examx": self.policy},
            decisions={KEY: decision(**changed)},
            workloads={KEY: self.cluster.seen()},
            own=own,
        )
        self.board.publish(snapshot)
        await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.cluster.api.store.objects.get(EVENTS, {}).values()]


@pytest.fixture
def make_telling(cluster: Any, make_policy: Any) -> Any:
    async def make(*, scaled: bool = True, **changes: Any) -> Telling:
        if scaled:
            cluster.put("scaledobjects", "io", maxReplicaCount=9)
        cluster.follow("io")
        await cluster.until(
            lambda seen: seen.replicas == 2 and bool(seen.scaled_object) == scaled, "all is read"
        )
        return Telling(cluster, make_policy(**changes))

    return make


async def test_a_decision_is_told_on_the_scaled_object(make_telling: Any) -> None:
    telling = await make_telling()
    async with telling.running():
        await telling.publish()
        await telling.publish(desired=5)
        await wait_until(lambda: telling.reasons, description="it is told")
    (event,) = telling.cluster.api.store.objects[EVENTS].values()
    (scaled,) = telling.cluster.api.store.objects["keda.sh/v1alpha1", "scaledobjects"].values()
    assert event["involvedObject"]["uid"] == scaled["metadata"]["uid"]
    assert event["message"].startswith("io: 2 → 5 replicas")


async def test_without_a_scaled_object_it_is_told_on_the_target(make_telling: Any) -> None:
    telling = await make_telling(scaled=False)
    async with telling.running():
        await telling.publish()
        await telling.publish(desired=5)
        await wait_until(lambda: telling.reasons, description="it is told")
    (event,) = telling.cluster.api.store.objects[EVENTS].values()
    assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("Deployment", "io")
    assert event["involvedObject"]["apiVersion"] == "apps/v1"


async def test_a_start_repeats_nothing_and_a_takeover_tells_what_is_new(make_telling: Any) -> None:
    telling = await make_telling()
    async with telling.running():
        await telling.publish(desired=5, quality="hold", limit="max", limit_detail="9 wanted")
        await telling.publish(desired=5, quality="hold", limit="max", limit_detail="9 wanted")
        await telling.publish(own=False, desired=6, limit="max", limit_detail="9 wanted")
        await telling.publish(own=True, desired=7, limit="max", limit_detail="9 wanted")
        await wait_until(lambda: telling.reasons, description="it is told")
        assert telling.reasons == ["DesiredReplicasRaised"]
    (event,) = telling.cluster.api.store.objects[EVENTS].values()
    assert event["message"].startswith("io: 6 → 7 replicas")


async def test_a_missing_right_is_a_gap_of_the_class(make_telling: Any) -> None:
    telling = await make_telling()
    telling.cluster.api.faults.forbidden = {("create", "events")}
    async with telling.running():
        await telling.publish()
        await telling.publish(desired=5)
        await wait_until(lambda: telling.cluster.seen().gaps, description="the gap is shown")
    assert telling.cluster.seen().gaps == (
        "events: no right to create events; grant create on events in namespace celery",
    )


async def test_a_class_in_shadow_mode_tells_nothing(make_telling: Any) -> None:
    telling = await make_telling(mode="shadow")
    async with telling.running():
        await telling.publish()
        await telling.publish(desired=5)
        await asyncio.sleep(0.7)
    assert telling.reasons == []
