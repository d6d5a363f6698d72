"""A sweep at moments that a single healthy RabbitMQ can't be brought to."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aio_pika.abc import UnderlayConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ConnectionClosed

from scaler.sources.amqp_sweep import LANES, Sweep
from scaler.sources.base import SourceUnavailableError


class Channels:
    """Channels of a broker that answers each queue as a test says: a number, an error, or not at all."""

    def __init__(self, **answers: int | BaseException | None) -> None:
        self.answers = answers
        self.channels: dict[int, Channels] = {}

    async def channel(self, number: int, *, publisher_confirms: bool) -> "Channels":
        assert not publisher_confirms
        return self.channels.setdefault(number, self)

    async def queue_declare(self, name: str, *, passive: bool) -> Any:
        assert passive
        answer = self.answers[name]
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        return SimpleNamespace(message_count=answer, consumer_count=0)

    def sweep(self, monkeypatch: pytest.MonkeyPatch) -> Sweep:
        monkeypatch.setattr("scaler.sources.amqp_sweep.CALL_TIMEOUT", 0.05)
        transport = cast("UnderlayConnection", SimpleNamespace(connection=self))
        return Sweep(transport, list(self.answers), "broker:5672")


async def test_a_queue_whose_node_is_down_is_no_empty_queue_and_costs_no_other_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "NOT_FOUND - home node 'rabbit@two' of durable queue 'cpu' in vhost '/' is down or inaccessible"
    swept = await Channels(io=3, cpu=ChannelNotFoundEntity(text), mixed=4).sweep(monkeypatch).run()
    assert swept.counts == {"io": (3, 0), "mixed": (4, 0)}
    assert swept.unreadable == {"cpu": "the node that holds it is down"}


async def test_each_queue_costs_one_call_beside_the_opening_of_the_channels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {f"queue-{number}": 1 for number in range(100)}
    swept = await Channels(**names).sweep(monkeypatch).run()
    assert swept.calls == 100 + LANES


@pytest.mark.parametrize("end", [ConnectionClosed(320, "CONNECTION_FORCED"), asyncio.CancelledError()])
async def test_a_connection_that_ends_under_a_sweep_is_an_error_and_never_a_cancellation(
    monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    # The library hands CancelledError to whoever waits on a connection that ends.
    with pytest.raises(SourceUnavailableError, match="broker:5672 closed the connection during a sweep"):
        await Channels(io=3, cpu=end, mixed=None).sweep(monkeypatch).run()


async def test_silence_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnavailableError, match="broker:5672 is connected but silent"):
        await Channels(io=3, cpu=None).sweep(monkeypatch).run()


async def test_many_queues_may_take_longer_than_the_bound_for_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Channels):
        async def queue_declare(self, name: str, *, passive: bool) -> Any:
            await asyncio.sleep(0.02)
            return await super().queue_declare(name, passive=passive)

    names = [f"queue-{number}" for number in range(LANES * 5)]
    swept = await Slow(**dict.fromkeys(names, 1)).sweep(monkeypatch).run()
    assert swept.counts == dict.fromkeys(names, (1, 0))


async def test_our_own_cancellation_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = asyncio.create_task(Channels(io=None).sweep(monkeypatch).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
