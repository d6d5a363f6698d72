"""Pods are marked before a step down, on the stand-in for the API server: the idle ones go."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from scaler.cli.writing import writing_loops
from scaler.cluster.deletion_costs import MOST_AT_ONCE, DeletionCosts
from scaler.cluster.errors import ThrottledError
from scaler.cluster.objects import DELETION_COST
from scaler.core.decision import Decision
from scaler.core.news import News
from scaler.core.policy import ScalingPolicy
from scaler.runtime import draining
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.draining import Draining
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.testing import wait_until
from scaler.testing.kubernetes_objects import HASH

if TYPE_CHECKING:
    from scaler.runtime.engine import Engine

KEY = ("examx", "io")
PODS = ("v1", "pods")
BUSY = {number: 100 + number for number in range(12) if number not in {4, 9}}
IDLE = {f"io-{HASH}-{number:05}" for number in (4, 9)}


def name(number: int) -> str:
    return f"io-{HASH}-{number:05}"


def costs(**changed: int) -> tuple[tuple[str, int], ...]:
    """Of 12 pods, 10 of them busy; keywords such as p4=7 change one."""
    wanted = {number: BUSY.get(number, 0) for number in range(12)}
    wanted |= {int(key[1:]): cost for key, cost in changed.items()}
    return tuple((name(number), cost) for number, cost in wanted.items())


class Marking:
    """The loop on a board that the test writes, and the cluster's ReplicaSet controller."""

    def __init__(self, cluster: Any, policy: ScalingPolicy) -> None:
        self.cluster, self.policy = cluster, policy
        self.board, self.metrics, self.told = Board(), Metrics(), list[tuple[Any, News]]()
        self.costs = DeletionCosts(cluster.access.connection)
        self.loop = Draining(
            self.board,
            self.costs,
            cluster.reader,
            self.metrics,
            time.time,
            tell=lambda key, news: self.told.append((key, news)),
        )
        self.step: tuple[int | None, tuple[tuple[str, int], ...]] = (None, ())
        self.own = True
        self.desired = 12
        self.published = 0

    def publish(self) -> None:
        now, (to, wanted) = time.time(), self.step
        rest: dict[str, Any] = {"stepping_down_to": to, "costs": wanted}
        decision = Decision(
            *(
                *KEY,
                now,
                self.desired,
                self.desired,
                10,
                True,
                "",
                "fresh",
                (),
                (),
                "steady",
                "none",
                "",
                None,
                now,
            ),
            **rest,
        )
        self.published += 1
        self.board.publish(
            Snapshot(
                taken_at=now,
                policies={"examx": self.policy},
                decisions={KEY: decision},
                workloads={KEY: self.cluster.seen()},
                own=self.own,
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def ticks() -> None:
            while True:
                self.publish()
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(self.loop.run()), asyncio.create_task(ticks())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def for_a_while(self, seconds: float = 0.5) -> None:
        """Several turns of the loop."""
        for _ in range(int(seconds / 0.05)):
            await self.board.next()

    def announce(self, to: int = 10, **changed: int) -> None:
        self.step = (to, costs(**changed))

    def count(self, result: str) -> float:
        labels = {"policy": "examx", "worker_class": "io", "result": result}
        found = self.metrics.registry.get_sample_value("celery_scaler_deletion_cost_writes_total", labels)
        return found or 0.0

    def foreign(self) -> float | None:
        labels = {"policy": "examx", "worker_class": "io"}
        return self.metrics.registry.get_sample_value("celery_scaler_deletion_costs_foreign", labels)

    @property
    def patches(self) -> int:
        requests: int = self.cluster.api.requests["patch", "pods"]
        return requests

    def pods(self) -> list[dict[str, Any]]:
        return list(self.cluster.api.store.objects[PODS].values())

    def marks(self) -> dict[str, str]:
        notes = {pod["metadata"]["name"]: pod["metadata"].get("annotations", {}) for pod in self.pods()}
        return {pod: note[DELETION_COST] for pod, note in notes.items() if DELETION_COST in note}

    def scale_in(self, to: int) -> set[str]:
        """As the ReplicaSet controller does it: pods that aren't ready, are cheap, are young go first."""

        def order(pod: dict[str, Any]) -> tuple[bool, int, float]:
            metadata, conditions = pod["metadata"], pod["status"]["conditions"]
            is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            cost = int(metadata.get("annotations", {}).get(DELETION_COST, "0"))
            return is_ready, cost, -datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()

        pods = sorted(self.pods(), key=order)
        gone = {pod["metadata"]["name"] for pod in pods[: len(pods) - to]}
        for pod in gone:
            self.cluster.api.store.delete(PODS, ("celery", pod))
        return gone

    def annotate(self, number: int, cost: int, manager: str = "") -> None:
        """Somebody else does; without a manager the server doesn't say who."""
        change = {"metadata": {"annotations": {DELETION_COST: str(cost)}}}
        self.cluster.api.store.patch(PODS, ("celery", name(number)), change, manager=manager)


@pytest.fixture
async def make_marking(cluster: Any, make_policy: Any) -> Any:
    """The loop on 12 pods of Deployment io; the idle ones, 4 and 9, are neither young nor old."""

    async def make(**changes: Any) -> Marking:
        for number in range(12):
            at = cluster.ago(3600 - 60 * number)
            cluster.put("pods", "io", number, created=at, ready_at=at)
        cluster.put("scaledobjects", "io")
        cluster.put("horizontalpodautoscalers", "io")
        cluster.follow("io")
        await cluster.until(
            lambda seen: (
                len(seen.named or ()) == 12 and seen.reference and seen.scaled_object and seen.autoscaler
            ),
            "all is read",
        )
        return Marking(cluster, make_policy(**changes))

    return make


async def test_of_12_pods_the_2_idle_ones_go(make_marking: Any) -> None:
    marking = await make_marking()
    async with marking.running():
        await marking.for_a_while(0.2)
        assert marking.patches == 0, "nothing is announced"
        marking.announce()
        await wait_until(lambda: marking.count("written") == 10, description="the busy ones are marked")
        await marking.for_a_while()
    assert marking.patches == 10, "once each, and the idle ones need no mark"
    assert marking.marks() == {name(number): str(cost) for number, cost in BUSY.items()}
    owners = {pod["metadata"].get("managedFields", [{}])[0].get("manager") for pod in marking.pods()}
    assert owners == {"celery-scaler", None}
    assert marking.scale_in(10) == IDLE


async def test_without_marks_the_youngest_go_whatever_they_do(make_marking: Any) -> None:
    marking = await make_marking(drain={"enabled": False})
    async with marking.running():
        marking.announce()
        await marking.for_a_while()
    assert marking.patches == 0
    assert marking.scale_in(10) == {name(10), name(11)}, "both busy"


async def test_the_next_step_down_marks_what_has_changed(make_marking: Any) -> None:
    marking = await make_marking()
    async with marking.running():
        marking.announce()
        await wait_until(lambda: marking.count("written") == 10, description="marked")
        marking.step = (None, ())
        await marking.cluster.until(lambda seen: seen.named[0].cost == 100, "the reader has seen it")
        await marking.for_a_while(0.2)
        marking.announce(p0=0, p4=50)
        await wait_until(lambda: marking.count("written") == 12, description="the two that changed")
        await marking.for_a_while()
    assert marking.patches == 12
    assert marking.scale_in(10) == {name(0), name(9)}


async def test_steps_that_follow_each_other_are_told_apart(make_marking: Any) -> None:
    marking = await make_marking()
    async with marking.running():
        marking.announce(to=11)
        await wait_until(lambda: marking.count("written") == 10, description="marked")
        await marking.cluster.until(lambda seen: seen.named[0].cost == 100, "the reader has seen it")
        marking.announce(to=10, p0=0)
        await marking.for_a_while(0.3)
        assert marking.patches == 10, "where it leads has changed, it is the same step"
        marking.desired = 11
        await wait_until(lambda: marking.count("written") == 11, description="the first one was made")
    assert marking.marks()[name(0)] == "0"


async def test_costs_that_fall_meanwhile_are_left_and_idle_pods_that_work_are_marked(
    make_marking: Any,
) -> None:
    marking = await make_marking()
    async with marking.running():
        marking.announce()
        await wait_until(lambda: marking.count("written") == 10, description="marked")
        for second in range(5):
            # A busy pod has less to do each second, another has come to its end, and an idle one has begun.
            marking.announce(p0=100 - second, p1=0, p4=300 - second)
            await marking.for_a_while(0.2)
    assert marking.patches == 11
    assert marking.marks()[name(4)] == "300"
    assert marking.marks()[name(0)] == "100"


async def test_followers_and_shadows_write_nothing(make_marking: Any) -> None:
    marking = await make_marking()
    marking.own = False
    marking.announce()
    async with marking.running():
        await marking.for_a_while()
        assert marking.patches == 0
        marking.own = True
        await wait_until(lambda: marking.count("written") == 10, description="this one decides now")


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "shadow"},
        {"scaleTarget": {"kind": "StatefulSet", "name": "io"}},
        {"drain": {"enabled": False}},
    ],
)
async def test_where_nobody_would_look_at_marks_none_are_written(make_marking: Any, changes: Any) -> None:
    marking = await make_marking(**changes)
    marking.announce()
    async with marking.running():
        await marking.for_a_while()
    assert marking.patches == 0
    assert marking.foreign() is None


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        (
            "karpenter",
            "karpenter sets the annotation on pods of Deployment celery/io; let only one of the two",
        ),
        (
            "kube-controller-manager",
            "the template of Deployment celery/io sets the annotation; remove it there",
        ),
        ("", "somebody else sets the annotation on pods of Deployment celery/io, the API server doesn't say"),
    ],
)
async def test_another_writer_is_named_and_left_alone(make_marking: Any, manager: str, words: str) -> None:
    marking = await make_marking()
    marking.annotate(3, 42, manager)
    marking.announce()
    await marking.cluster.until(lambda seen: seen.foreign_costs, "it was seen")
    async with marking.running():
        await wait_until(lambda: marking.foreign() == 1, description="it is shown")
        await marking.for_a_while()
        assert marking.patches == 0
        (remark,) = marking.cluster.seen().remarks
        assert remark.startswith(f"deletion costs: {words}")
        assert [news.reason for _, news in marking.told] == ["DeletionCostsForeign"]
        assert marking.marks() == {name(3): "42"}

        note = {"metadata": {"annotations": {DELETION_COST: None}}}
        marking.cluster.api.store.patch(PODS, ("celery", name(3)), note, manager=manager)
        await wait_until(lambda: marking.count("written") == 10, description="it has gone away")
        assert marking.cluster.seen().remarks == ()
        assert marking.foreign() == 0


async def test_who_writes_over_our_marks_is_noticed(make_marking: Any) -> None:
    marking = await make_marking()
    async with marking.running():
        marking.announce()
        await wait_until(lambda: marking.count("written") == 10, description="marked")
        marking.step = (None, ())
        await marking.for_a_while()
        assert marking.foreign() == 0, "our own marks are no other's"
        marking.annotate(0, -5, "karpenter")
        await wait_until(lambda: marking.foreign() == 1, description="noticed")


async def test_without_managed_fields_our_own_values_are_known(
    make_marking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.cluster.deletion_costs.FIELD_MANAGER", "")
    marking = await make_marking()
    async with marking.running():
        marking.announce()
        await wait_until(lambda: marking.count("written") == 10, description="marked")
        await marking.cluster.until(lambda seen: len(seen.foreign_costs) == 10, "nobody is named as writer")
        await marking.for_a_while()
        assert marking.foreign() == 0
        marking.annotate(0, 999)
        await wait_until(lambda: marking.foreign() == 1, description="a value that we never wrote")


async def test_a_missing_right_is_a_gap_and_rarely_tried(
    make_marking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "REFUSED_SECONDS", 1.0)
    marking = await make_marking()
    marking.cluster.api.faults.forbidden = {("patch", "pods")}
    marking.announce()
    async with marking.running():
        await wait_until(lambda: marking.count("refused") > 0, description="403")
        await marking.for_a_while()
        assert marking.patches <= MOST_AT_ONCE, "those that were under way"
        (gap,) = marking.cluster.seen().gaps
        assert gap == "deletion costs: no right to patch pods; grant patch on pods in namespace celery"
        marking.cluster.api.faults.forbidden = set()
        await wait_until(lambda: marking.count("written") == 10, description="tried again")
        assert marking.cluster.seen().gaps == ()


@pytest.mark.parametrize("change", ["another workload", "a follower"])
async def test_a_missing_right_is_no_gap_where_nothing_is_marked_any_more(
    make_marking: Any, make_policy: Any, change: str
) -> None:
    marking = await make_marking()
    marking.cluster.api.faults.forbidden = {("patch", "pods")}
    marking.announce()
    async with marking.running():
        await wait_until(lambda: marking.cluster.seen().gaps, description="403")
        if change == "a follower":
            marking.own = False
        else:
            marking.policy, marking.step = make_policy(scaleTarget={"name": "other"}), (None, ())
        await wait_until(lambda: marking.cluster.seen().gaps == (), description="nothing is said any more")


async def test_a_server_that_is_overloaded_gets_its_pause(make_marking: Any) -> None:
    marking = await make_marking()
    send, sent = marking.cluster.access.connection.send, 0

    async def throttled_once(*arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise ThrottledError("the API server is overloaded (429)", retry_after=1)
        return await send(*arguments, **options)

    marking.cluster.access.connection.send = throttled_once
    marking.announce()
    began = time.monotonic()
    async with marking.running():
        await wait_until(lambda: marking.count("written") == 10, description="all are marked in the end")
        assert time.monotonic() - began >= 1.0, "Retry-After"
        await marking.for_a_while()
    assert marking.count("throttled") == 1
    assert sent == 11, "only the one that was turned away was sent again"


async def test_pods_that_have_gone_are_nothing_to_talk_of(make_marking: Any) -> None:
    marking = await make_marking()
    marking.cluster.api.faults.mute = True
    marking.scale_in(11)
    marking.announce()
    async with marking.running():
        await wait_until(lambda: marking.count("written") == 9, description="those that are there")
        await marking.for_a_while(0.2)
    assert marking.count("gone") == 1
    assert marking.patches == 10
    assert marking.cluster.seen().gaps == ()
    marking.cluster.api.faults.mute = False


async def test_a_slow_server_delays_nobody_and_is_given_up(
    make_marking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "WRITE_SECONDS", 0.6)
    marking = await make_marking()
    marking.cluster.api.faults.delay = 30.0
    marking.announce()
    async with marking.running():
        await wait_until(lambda: marking.patches == 10, description="all are under way")
        before, began = marking.published, time.monotonic()
        await wait_until(lambda: marking.count("late") == 10, description="given up")
        assert time.monotonic() - began < 2.0
        assert marking.published - before > 5, "the ticks went on"
        await marking.for_a_while()
    assert marking.patches == 10, "what was given up may have been done: it isn't sent again"


async def test_few_requests_at_a_time_and_the_dearest_pods_first(make_marking: Any) -> None:
    marking = await make_marking()
    under_way = most = 0
    order: list[str] = []
    send = marking.cluster.access.connection.send

    async def watched(verb: Any, path: str, *arguments: Any, **options: Any) -> Any:
        nonlocal under_way, most
        under_way, most = under_way + 1, max(most, under_way + 1)
        order.append(path.rsplit("/", 1)[1])
        try:
            return await send(verb, path, *arguments, **options)
        finally:
            under_way -= 1

    marking.cluster.access.connection.send = watched
    wanted = {name(number): 1000 + number for number in range(12)} | {f"gone-{n}": n for n in range(30)}
    outcome = await marking.costs.write("celery", wanted, 5.0)
    assert most == MOST_AT_ONCE
    assert order == sorted(wanted, key=lambda pod: -wanted[pod])
    assert sorted(outcome.results.values()) == ["gone"] * 30 + ["written"] * 12
    assert outcome.error is None


async def test_a_fault_of_ours_stops_nothing(make_marking: Any) -> None:
    marking = await make_marking()

    async def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError(arguments)

    honest, marking.costs.write = marking.costs.write, broken
    marking.announce()
    async with marking.running():
        await wait_until(
            lambda: marking.metrics.registry.get_sample_value(
                "celery_scaler_loop_failures_total", {"loop": "draining"}
            ),
            description="it is counted",
        )
        marking.costs.write = honest
        await wait_until(lambda: marking.count("written") == 10, description="the loop went on")


async def test_switched_off_it_leaves_no_trace(make_marking: Any, make_policy: Any) -> None:
    marking = await make_marking()
    marking.annotate(3, 42, "karpenter")
    await marking.cluster.until(lambda seen: seen.foreign_costs, "it was seen")
    async with marking.running():
        await wait_until(lambda: marking.foreign() == 1, description="it is shown")
        marking.policy = make_policy(drain={"enabled": False})
        await wait_until(lambda: marking.foreign() is None, description="nobody cares any more")
        assert marking.cluster.seen().remarks == ()


async def test_serve_runs_it_beside_events_and_the_fast_path(make_marking: Any) -> None:
    marking = await make_marking()
    marking.annotate(3, 42, "karpenter")
    await marking.cluster.until(lambda seen: seen.foreign_costs, "it was seen")
    loops = writing_loops(
        cast("Engine", SimpleNamespace(announced=lambda _: ())),
        marking.board,
        marking.metrics,
        time.time,
        access=marking.cluster.access,
        cluster=marking.cluster.reader,
        store=MemoryStore(),
        events=True,
    )
    events = marking.cluster.api.store.objects.setdefault(("v1", "events"), {})
    try:
        assert {task.get_name() for task in loops} == {"events", "fast path", "draining"}
        async with marking.running():
            await wait_until(lambda: events, description="an event tells of the other writer")
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    (event,) = [one for one in events.values() if one["reason"] == "DeletionCostsForeign"]
    assert event["involvedObject"]["name"] == "io-so"
    assert "karpenter sets the annotation on pods of Deployment celery/io" in event["message"]
