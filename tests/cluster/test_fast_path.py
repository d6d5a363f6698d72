"""Replicas that are raised at once, on the stand-in for the API server: when, and above all when not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scaler.cluster.errors import ClusterError
from scaler.cluster.scale import Scales, ScaleSeen
from scaler.core import fast_path
from scaler.core.decision import Decision
from scaler.core.news import News
from scaler.core.policy import ScaleTarget, ScalingPolicy
from scaler.core.workload import Reference
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.engine import Engine
from scaler.runtime.fast_path import FOLLOWING_SECONDS, FastPath
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until

KEY = ("examx", "io")
DEPLOYMENTS = ("apps/v1", "deployments")
IO = ("celery", "io")
PAUSE = "autoscaling.keda.sh/paused"


def decision(desired: int, *, quality: Any = "fresh") -> Decision:
    now = time.time()
    return Decision(
        *(*KEY, now, desired, desired, desired, True, "", quality, (), (), "drain", "none", "", None, now)
    )


class Raising:
    """The loop on a board that the test writes."""

    def __init__(self, cluster: Any, policy: ScalingPolicy, settle: float) -> None:
        self.cluster, self.policy = cluster, policy
        self.board, self.metrics, self.told = Board(), Metrics(), list[tuple[Any, News]]()
        self.scales = Scales(cluster.access.connection)
        self.loop = FastPath(
            self.board,
            self.scales,
            cluster.reader,
            self.metrics,
            time.time,
            settle=settle,
            tell=lambda key, news: self.told.append((key, news)),
        )
        self.desired, self.quality, self.own = 2, "fresh", True

    @property
    def replicas(self) -> int:
        """spec.replicas, as it stands."""
        found: int = self.cluster.api.store.get(DEPLOYMENTS, IO)["spec"]["replicas"]
        return found

    def set_replicas(self, replicas: int) -> None:
        """As `kubectl scale` does it."""
        self.cluster.api.store.patch(DEPLOYMENTS, IO, {"spec": {"replicas": replicas}})

    def publish(self) -> None:
        snapshot = Snapshot(
            taken_at=time.time(),
            policies={"examx": self.policy},
            decisions={KEY: decision(self.desired, quality=self.quality)},
            workloads={KEY: self.cluster.seen()},
            own=self.own,
        )
        self.board.publish(snapshot)

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

    async def for_a_while(self, seconds: float = 0.6) -> None:
        """Several turns of the loop, in which nothing must happen."""
        for _ in range(int(seconds / 0.05)):
            await self.board.next()

    def count(self, result: str) -> float:
        return (
            self.metrics.registry.get_sample_value(
                "celery_scaler_fast_path_writes_total",
                {"policy": "examx", "worker_class": "io", "result": result},
            )
            or 0.0
        )

    def held(self) -> set[str]:
        return {
            sample.labels["reason"]
            for family in self.metrics.fast_path_held.collect()
            for sample in family.samples
        }


@pytest.fixture
async def make_raising(cluster: Any, make_policy: Any) -> Any:
    """The loop on a ScaledObject and an HPA as they are rendered, Deployment io with 2 replicas."""

    async def make(*, settle: float = 0.0, scaled: Any = None, **hpa: Any) -> Raising:
        cluster.put("scaledobjects", "io", **({"maxReplicaCount": 9} | (scaled or {})))
        cluster.put("horizontalpodautoscalers", "io", **({"tolerance": "0"} | hpa))
        widen(cluster)
        cluster.follow("io")
        await cluster.until(
            lambda seen: seen.scaled_object and seen.autoscaler and seen.replicas == 2, "all is read"
        )
        return Raising(cluster, make_policy(fastPath=True), settle)

    return make


def widen(cluster: Any) -> None:
    """The HPA allows 9 replicas."""
    resource, name = ("autoscaling/v2", "horizontalpodautoscalers"), ("celery", "keda-hpa-io-so")
    cluster.api.store.patch(resource, name, {"spec": {"maxReplicas": 9}})


async def test_what_is_decided_is_written_at_once(make_raising: Any) -> None:
    raising = await make_raising()
    async with raising.running():
        await raising.for_a_while(0.2)
        raising.desired, began = 5, time.monotonic()
        await wait_until(lambda: raising.replicas == 5, description="it is raised")
        assert time.monotonic() - began < 2.0
        await raising.for_a_while()
    assert raising.count("raised") == 1, "and written once"
    assert [news.reason for _, news in raising.told] == ["FastPathRaised"]
    assert "from 2 to 5" in raising.told[0][1].text
    seconds = raising.metrics.registry.get_sample_value("celery_scaler_fast_path_seconds_sum")
    assert seconds is not None
    assert seconds < 2.0


async def test_it_never_lowers_and_stays_inside_all_bounds(make_raising: Any) -> None:
    raising = await make_raising(scaled={"maxReplicaCount": 4})
    async with raising.running():
        raising.desired = 1
        await raising.for_a_while()
        assert raising.replicas == 2
        raising.desired = 9
        await wait_until(lambda: raising.replicas == 4, description="the ScaledObject's maximum")
        await raising.for_a_while()
    assert raising.replicas == 4


@pytest.mark.parametrize(
    ("scaled", "hpa", "held"),
    [
        ({"annotations": {PAUSE: "true"}}, {}, "paused"),
        ({"annotations": {f"{PAUSE}-replicas": "2"}}, {}, "paused"),
        ({"annotations": {f"{PAUSE}-scale-out": "true"}}, {}, "paused"),
        ({"triggers": [{"type": "external", "useCachedMetrics": True}]}, {}, "scaled-object"),
        ({"advanced": {"scalingModifiers": {"formula": "a + b"}}}, {}, "scaled-object"),
        ({}, {"tolerance": None}, "hpa"),
        ({}, {"tolerance": "100m"}, "hpa"),
        ({}, {"ScalingActive": ("False", "FailedGetResourceMetric", "no CPU")}, "hpa"),
        ({}, {"AbleToScale": ("False", "FailedGetScale", "no scale")}, "hpa"),
    ],
)
async def test_where_a_person_or_the_hpa_wants_something_else_nothing_is_written(
    make_raising: Any, scaled: Any, hpa: Any, held: str
) -> None:
    raising = await make_raising(scaled=scaled, **hpa)
    raising.desired = 5
    async with raising.running():
        await raising.for_a_while()
        assert raising.held() == {held}
    assert raising.replicas == 2
    assert not raising.cluster.api.requests["update", "deployments"]


async def test_a_pause_that_ends_lets_it_act(make_raising: Any) -> None:
    raising = await make_raising(scaled={"annotations": {f"{PAUSE}-scale-in": "true"}})
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: raising.replicas == 5, description="a pause of scale-in only")


async def test_our_own_absence_is_no_reason_to_wait(make_raising: Any) -> None:
    raising = await make_raising(ScalingActive=("False", "FailedGetExternalMetric", "no answer"))
    name = ("celery", "io-so")
    conditions = [{"type": "Ready", "status": "False", "reason": "TriggerError"}]
    raising.cluster.api.store.patch(
        ("keda.sh/v1alpha1", "scaledobjects"), name, {"status": {"conditions": conditions}}, part="status"
    )
    await raising.cluster.until(lambda seen: len(seen.scaled_object.conditions) == 1, "KEDA got no answer")
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: raising.replicas == 5, description="it is raised although KEDA hasn't asked")


@pytest.mark.parametrize("missing", ["scaledobjects", "horizontalpodautoscalers"])
async def test_without_a_scaled_object_or_hpa_nobody_would_agree(make_raising: Any, missing: str) -> None:
    raising = await make_raising()
    name = {"scaledobjects": "io-so", "horizontalpodautoscalers": "keda-hpa-io-so"}[missing]
    group = {"scaledobjects": "keda.sh/v1alpha1", "horizontalpodautoscalers": "autoscaling/v2"}[missing]
    raising.cluster.api.store.delete((group, missing), ("celery", name))
    await raising.cluster.until(lambda seen: not (seen.scaled_object and seen.autoscaler), "it is gone")
    raising.desired = 5
    async with raising.running():
        await raising.for_a_while()
        assert raising.held() == {"unread"}
    assert raising.replicas == 2


async def test_old_data_and_followers_write_nothing(make_raising: Any) -> None:
    raising = await make_raising()
    raising.desired, raising.quality = 5, "hold"
    async with raising.running():
        await raising.for_a_while()
        assert raising.held() == {"data"}
        raising.quality, raising.own = "fresh", False
        await raising.for_a_while()
        assert raising.replicas == 2
        raising.own = True
        await wait_until(lambda: raising.replicas == 5, description="this one decides now")


async def test_a_number_has_to_stand_before_it_is_written(make_raising: Any) -> None:
    raising = await make_raising(settle=1.0)
    async with raising.running():
        await raising.for_a_while(1.2)
        raising.desired, began = 5, time.monotonic()
        await wait_until(lambda: raising.replicas == 5, description="it has stood")
        seconds = time.monotonic() - began
    assert 1.0 <= seconds < 2.0


async def test_a_pause_that_no_watch_has_shown_yet_is_seen(make_raising: Any) -> None:
    raising = await make_raising()
    raising.cluster.api.faults.mute = True
    notes = {"metadata": {"annotations": {PAUSE: "true"}}}
    raising.cluster.api.store.patch(("keda.sh/v1alpha1", "scaledobjects"), ("celery", "io-so"), notes)
    raising.desired = 5
    async with raising.running():
        await wait_until(
            lambda: raising.cluster.api.requests["get", "scaledobjects"] > 2, description="it was looked at"
        )
    assert raising.replicas == 2
    raising.cluster.api.faults.mute = False


async def test_the_first_pod_is_left_to_keda(make_raising: Any) -> None:
    raising = await make_raising()
    raising.set_replicas(0)
    await raising.cluster.until(lambda seen: seen.replicas == 0, "nothing runs")
    raising.desired = 5
    async with raising.running():
        await raising.for_a_while()
        assert raising.held() == {"zero"}
        raising.set_replicas(1)
        began = time.monotonic()
        await wait_until(lambda: raising.replicas == 5, description="KEDA has started one")
        assert time.monotonic() - began >= fast_path.WAKE_SECONDS * 0.9


async def test_whoever_else_scales_is_left_alone(make_raising: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "EXPLAIN_SECONDS", 0.3)
    monkeypatch.setattr(fast_path, "CALM_SECONDS", 0.3)
    monkeypatch.setattr(fast_path, "AWAY_SECONDS", 2.0)
    raising = await make_raising()
    async with raising.running():
        await raising.for_a_while(0.2)
        raising.set_replicas(3)
        await wait_until(lambda: raising.held() == {"foreign"}, description="somebody else was noticed")
        raising.desired = 5
        await raising.for_a_while()
        assert raising.replicas == 3
        (remark,) = raising.cluster.seen().remarks
        assert "somebody else changed the replicas from 2 to 3" in remark
        assert [news.reason for _, news in raising.told] == ["FastPathWaits"]
        await wait_until(lambda: raising.replicas == 5, description="after a while it acts again")
        assert raising.cluster.seen().remarks == ()


async def test_a_fall_is_followed_by_calm(make_raising: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "CALM_SECONDS", 1.0)
    raising = await make_raising()
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: raising.replicas == 5, description="up")
        raising.desired = 3
        await raising.for_a_while(0.2)
        raising.set_replicas(3)  # the HPA, with the number that it is told
        await wait_until(lambda: raising.cluster.seen().replicas == 3, description="down")
        raising.desired, began = 6, time.monotonic()
        await raising.for_a_while(0.3)
        assert raising.held() == {"calm"}
        await wait_until(lambda: raising.replicas == 6, description="up again, later")
        assert time.monotonic() - began > 0.6


class Overtaken(Scales):
    """Somebody else writes between reading and writing, once."""

    async def read(self, target: Reference) -> ScaleSeen:
        seen = await super().read(target)
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            overtake()
        return seen

    overtake: Any = None


async def test_who_is_slower_looks_again(make_raising: Any) -> None:
    raising = await make_raising()
    scales = Overtaken(raising.cluster.access.connection)
    raising.loop._scales = scales
    scales.overtake = lambda: raising.set_replicas(4)
    raising.desired = 4
    async with raising.running():
        await wait_until(lambda: raising.count("conflict") == 1, description="409")
        await raising.for_a_while()
    assert raising.replicas == 4, "as the other has written it"
    assert raising.count("raised") == 0


async def test_a_missing_right_is_a_gap_that_names_it(make_raising: Any) -> None:
    raising = await make_raising()
    raising.cluster.api.faults.forbidden = {("update", "deployments")}
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: raising.count("refused") == 1, description="403")
        await raising.for_a_while()
        gaps = raising.cluster.seen().gaps
    assert raising.count("refused") == 1, "it isn't tried again and again"
    right = "grant update on deployments/scale in namespace celery"
    assert gaps == (f"fast path: no right to update deployments/scale; {right}",)


async def test_a_server_that_is_overloaded_is_left_alone(
    make_raising: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.runtime.fast_path.RETRY_SECONDS", 0.1)
    raising = await make_raising()
    honest, busy = raising.scales.read, [ClusterError("overloaded (429)", retry_after=1.0)]

    async def read(target: Reference) -> Any:
        if busy:
            raise busy.pop()
        return await honest(target)

    raising.scales.read = read
    raising.desired, began = 5, time.monotonic()
    async with raising.running():
        await wait_until(lambda: raising.replicas == 5, description="raised after a pause")
    assert time.monotonic() - began >= 1.0, "Retry-After"
    assert raising.count("failed") == 1


@pytest.fixture
async def said(make_raising: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loop when it has said of Deployment io that a right is missing, and that somebody else scales."""
    monkeypatch.setattr(fast_path, "EXPLAIN_SECONDS", 0.3)
    raising = await make_raising()
    raising.cluster.api.faults.forbidden = {("update", "deployments")}
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: raising.cluster.seen().gaps, description="403")
        raising.set_replicas(3)
        await wait_until(lambda: raising.cluster.seen().remarks, description="somebody else was noticed")
        yield raising


def of_io(raising: Any) -> tuple[Any, ...]:
    """What explain, the API and the live page show of it."""
    seen = raising.cluster.seen()
    return *seen.gaps, *seen.remarks


@pytest.mark.parametrize(
    "changes",
    [
        {"fastPath": False},
        {"mode": "shadow", "fastPath": False},
        # Its pods are another class's from now on, or nobody's.
        {"scaleTarget": {"name": "other"}},
    ],
)
async def test_what_was_said_goes_with_the_switch(
    said: Any, make_policy: Any, changes: dict[str, Any]
) -> None:
    said.policy = make_policy(**{"fastPath": True} | changes)

    await wait_until(lambda: of_io(said) == (), description="nothing is said any more")
    await said.for_a_while(0.3)

    assert of_io(said) == ()


async def test_what_was_said_goes_with_the_class(said: Any, make_policy: Any) -> None:
    without = make_policy(fastPath=True)
    workers = {"cpu": without.spec.workers["io"].model_copy(update={"scale_target": ScaleTarget(name="cpu")})}
    spec = without.spec.model_copy(update={"workers": workers})
    said.policy = without.model_copy(update={"spec": spec})

    await wait_until(lambda: of_io(said) == (), description="nothing is said any more")
    assert said.held() == set()


async def test_a_follower_says_nothing_of_writes_that_are_not_its_own(said: Any) -> None:
    said.own = False

    await wait_until(lambda: of_io(said) == (), description="nothing is said any more")


async def test_a_failure_is_forgotten_where_nothing_has_to_be_raised_any_more(
    make_raising: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike a missing right, which is still missing when the next spike comes."""
    monkeypatch.setattr("scaler.runtime.fast_path.RETRY_SECONDS", 0.3)
    raising = await make_raising()

    async def overloaded(_: Reference) -> Any:
        raise ClusterError("overloaded (429)")

    raising.scales.read = overloaded
    raising.desired = 5
    async with raising.running():
        await wait_until(lambda: of_io(raising), description="it is said")
        raising.desired = 2
        await wait_until(lambda: of_io(raising) == (), description="and over")


async def test_a_fault_of_ours_stops_nothing(make_raising: Any) -> None:
    raising = await make_raising()

    async def broken(target: Reference) -> ScaleSeen:
        raise ZeroDivisionError(target)

    honest, raising.scales.read = raising.scales.read, broken
    raising.desired = 5
    async with raising.running():
        await raising.for_a_while()
        failures = raising.metrics.registry.get_sample_value(
            "celery_scaler_loop_failures_total", {"loop": "fast-path"}
        )
        assert failures
        raising.scales.read = honest
        await wait_until(lambda: raising.replicas == 5, description="the loop went on")


async def test_beside_an_hpa_nothing_falls(make_raising: Any) -> None:
    raising = await make_raising()
    api, seen = raising.cluster.api, [2]

    async def hpa() -> None:
        """A controller in a hurry: reads the scale, asks, writes with the version that it read."""
        path = "/apis/apps/v1/namespaces/celery/deployments/io/scale"
        connection, place = raising.cluster.access.connection, ("deployments", "namespace celery")
        while True:
            await asyncio.sleep(0.4)
            scale = await connection.send("get", path, place=place)
            wanted = raising.board.snapshot.decisions[KEY].desired
            if scale["spec"]["replicas"] != wanted:
                scale["spec"]["replicas"] = wanted
                with contextlib.suppress(Exception):
                    await connection.send("update", path, scale, place=place)

    async with raising.running():
        beside = asyncio.create_task(hpa())
        for desired in (3, 5, 6, 9):
            raising.desired = desired
            await wait_until(lambda: raising.replicas == raising.desired, description="it is raised")
        await raising.for_a_while()
        beside.cancel()
    changes = [change.object for change in api.store.history if change.resource == DEPLOYMENTS]
    seen += [deployment["spec"]["replicas"] for deployment in changes]
    assert seen == sorted(seen)
    assert raising.count("raised") >= 2, "most of it came from here"


@pytest.mark.parametrize("settle", [0.0, FOLLOWING_SECONDS])
async def test_a_spike_is_answered_within_two_seconds(make_raising: Any, settle: float) -> None:
    """The whole way: broker in memory, the real deciding loop, a number that has to stand for a second."""
    raising = await make_raising(settle=settle)
    source, metrics = MemorySource(), raising.metrics
    engine = Engine(
        board=raising.board,
        clock=time.time,
        metrics=metrics,
        store=MemoryStore(),
        open_source=lambda _: source,
        cluster=raising.cluster.reader,
        interval=1.0,
    )
    await engine.apply({"examx": raising.policy})
    tasks = [asyncio.create_task(engine.run()), asyncio.create_task(raising.loop.run())]
    try:
        await wait_until(
            lambda: (found := raising.board.snapshot.decisions.get(KEY)) and found.quality == "fresh",
            description="a first reading",
        )
        source.publish("email", 500)
        await wait_until(lambda: raising.replicas > 2, description="pods are ordered")
        seconds = metrics.registry.get_sample_value("celery_scaler_fast_path_seconds_sum")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.close()
    assert seconds is not None
    assert seconds < 2.0
