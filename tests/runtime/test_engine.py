"""The deciding loop: by the clock, one sampler per broker, and no fault of one stops the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scaler.core.decide import decide
from scaler.core.observation import BrokerSample
from scaler.runtime import deciding
from scaler.sources.base import SourceUnavailableError
from scaler.testing import wait_until


@asynccontextmanager
async def running(bench: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.engine.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_published_backlog_becomes_replicas(bench: Any, make_policy: Any) -> None:
    await bench.engine.apply({"examx": make_policy(io=["email"])})
    async with running(bench):
        await wait_until(lambda: bench.quality() == "fresh", description="a first reading")
        assert bench.desired() == 1
        bench.sources["amqp://one"].publish("email", 500)
        await wait_until(lambda: bench.desired() == 5, description="the default behavior allows 1 + 4")
    assert bench.series("celery_scaler_desired_replicas") == {("examx", "io"): 5}
    assert bench.series("celery_scaler_scaling_events_total") == {
        ("examx", "io", "up", "scale-up-policy"): 1
    } or (bench.series("celery_scaler_scaling_events_total") == {("examx", "io", "up", "max"): 1})


async def test_one_sampler_serves_all_classes_and_policies_of_a_broker(bench: Any, make_policy: Any) -> None:
    asked: list[tuple[str, ...]] = []
    await bench.engine.apply(
        {"a": make_policy("a", io=["email"], cpu=["ai"]), "b": make_policy("b", mixed=["general"])}
    )
    source = bench.sources["amqp://one"]
    honest: Callable[[Sequence[str], float], Awaitable[BrokerSample]] = source.sample

    async def noting(queues: Sequence[str], now: float) -> BrokerSample:
        asked.append(tuple(queues))
        return await honest(queues, now)

    source.sample = noting
    async with running(bench):
        await wait_until(lambda: len(asked) >= 3, description="three sweeps")
    assert bench.opened == ["amqp://one"]
    assert set(asked) == {("ai", "email", "general")}


async def test_a_hung_broker_delays_nobody_else(bench: Any, make_policy: Any) -> None:
    await bench.engine.apply(
        {
            "a": make_policy("a", broker="amqp://hung", io=["email"]),
            "b": make_policy("b", broker="redis://well", io=["x"]),
        }
    )

    async def never(queues: Sequence[str], now: float) -> BrokerSample:
        del queues, now
        await asyncio.Event().wait()
        raise AssertionError

    bench.sources["amqp://hung"].sample = never
    ticks = []
    async with running(bench):
        for _ in range(5):
            snapshot = await asyncio.wait_for(bench.board.next(), 2)
            ticks.append({policy: snapshot.decisions[policy, "io"].quality for policy in ("a", "b")})
    assert ticks[-1] == {"a": "blind", "b": "fresh"}


async def test_an_outage_ages_the_reading_and_the_end_of_it_is_seen_at_once(
    bench: Any, make_policy: Any
) -> None:
    await bench.engine.apply({"examx": make_policy(io=["email"])})
    source = bench.sources["amqp://one"]
    async with running(bench):
        await wait_until(lambda: bench.quality() == "fresh", description="a first reading")
        source.publish("email", 500)
        await wait_until(lambda: bench.desired() == 5, description="up")
        source.fail(SourceUnavailableError("can't reach 127.0.0.1:5672; is it running?"))
        await wait_until(
            lambda: bench.series("celery_scaler_broker_up") == {("examx/main",): 0},
            description="the sampler failed",
        )
        bench.now += 20
        await wait_until(lambda: bench.quality() == "hold", description="hold after 15 s")
        bench.now += 60
        await wait_until(lambda: bench.quality() == "blind", description="blind after 60 s")
        decision = bench.board.snapshot.decisions["examx", "io"]
        assert decision.desired == 5
        assert decision.active
        assert "can't reach 127.0.0.1:5672" in " ".join(decision.quality_reasons)
        source.fail(None)
        await wait_until(lambda: bench.quality() == "fresh", description="readable again")
        assert bench.desired() == 5


async def test_one_class_that_can_not_be_decided_does_not_stop_the_others(
    bench: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = decide

    def faulty(subject: Any, *args: Any) -> Any:
        if subject.name == "cpu":
            raise ZeroDivisionError
        return honest(subject, *args)

    monkeypatch.setattr(deciding, "decide", faulty)
    await bench.engine.apply({"examx": make_policy(io=["email"], cpu=["ai"])})
    async with running(bench):
        await wait_until(lambda: bench.quality("io") == "fresh", description="io is decided")
    assert bench.quality("cpu") is None


async def test_a_reload_keeps_the_state_of_classes_that_stay_and_drops_the_series_of_those_that_go(
    bench: Any, make_policy: Any
) -> None:
    await bench.engine.apply({"examx": make_policy(io=["email", "sms"], cpu=["ai"])})
    async with running(bench):
        bench.sources["amqp://one"].publish("email", 500)
        await wait_until(lambda: bench.desired() == 5, description="up")
        await bench.engine.apply({"examx": make_policy(io=["email"])})
        await wait_until(
            lambda: ("examx", "cpu") not in bench.board.snapshot.decisions, description="cpu is gone"
        )
        assert bench.desired() == 5
    assert set(bench.series("celery_scaler_desired_replicas")) == {("examx", "io")}
    assert {labels[2] for labels in bench.series("celery_scaler_queue_messages")} == {"email"}
    assert bench.opened == ["amqp://one"], "the broker stayed, so its sampler did"


async def test_a_broker_that_is_no_longer_named_is_closed(bench: Any, make_policy: Any) -> None:
    await bench.engine.apply({"examx": make_policy(io=["email"])})
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    bench.sources["amqp://one"].close = close
    async with running(bench):
        await wait_until(lambda: bench.quality() == "fresh", description="a first reading")
        await bench.engine.apply({"examx": make_policy(broker="amqp://two", io=["email"])})
        await asyncio.wait_for(closed.wait(), 2)
        await wait_until(lambda: bench.quality() == "fresh", description="the new broker is read")
    assert set(bench.series("celery_scaler_broker_up")) == {("examx/main",)}


async def test_a_source_that_swallows_a_cancellation_can_not_hang_the_shutdown(
    bench: Any, make_policy: Any
) -> None:
    await bench.engine.apply({"examx": make_policy(io=["email"])})
    sweeping = asyncio.Event()

    async def deaf(queues: Sequence[str], now: float) -> BrokerSample:
        del queues
        sweeping.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        return BrokerSample(now, ())

    bench.sources["amqp://one"].sample = deaf
    async with running(bench):
        await asyncio.wait_for(sweeping.wait(), 2)
        await asyncio.wait_for(bench.engine.close(), 2)
