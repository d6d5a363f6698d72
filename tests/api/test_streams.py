"""StreamIsActive, requirement 7 of KEDA's contract: at once, on edges, slowly again, and a good end."""

import asyncio
from typing import Any

import grpc
import pytest

from scaler.pb import externalscaler_pb2 as pb
from scaler.runtime.board import Board
from scaler.testing import wait_until


async def waits_of_the_server_are_noted(stage: Any, waits: list[None]) -> None:
    """Everyone has seen the last snapshot and waits for the next; from here on the count is of streams."""
    seen = stage.board.snapshot
    assert seen.taken_at
    for _ in range(10):
        await asyncio.sleep(0)
    waits.clear()


class Listener:
    """Every message of one raw stream, `false` included, and how it ended."""

    def __init__(self, trigger: Any) -> None:
        self.heard: list[bool] = []
        self.call = trigger.stub.StreamIsActive(trigger.reference)
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> grpc.StatusCode:
        async for message in self.call:
            self.heard.append(message.result)
        code: grpc.StatusCode = await self.call.code()
        return code

    async def heard_exactly(self, *expected: bool) -> None:
        await wait_until(lambda: len(self.heard) >= len(expected), description=f"{expected} on the stream")
        assert self.heard == list(expected)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One item for each time that a stream waited for the next snapshot."""
    noted: list[None] = []
    honest = Board.next

    async def noting(board: Board) -> Any:
        noted.append(None)
        return await honest(board)

    monkeypatch.setattr(Board, "next", noting)
    return noted


@pytest.mark.parametrize("active", [True, False])
async def test_7_the_state_comes_at_once_and_a_change_at_the_next_tick(
    stage: Any, trigger: Any, active: bool
) -> None:
    stage.publish(stage.decision(active=active))
    stream = Listener(trigger)
    await stream.heard_exactly(active)
    stage.publish(stage.decision(active=not active))
    await stream.heard_exactly(active, not active)
    stage.publish(stage.decision(active=active))
    await stream.heard_exactly(active, not active, active)
    stream.task.cancel()


async def test_7_ticks_without_a_change_are_silent(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision(active=False))
    stream = Listener(trigger)
    await stream.heard_exactly(False)
    for desired in range(20):
        stage.publish(stage.decision(active=False, desired=desired))
        await asyncio.sleep(0)
    stage.publish(stage.decision(active=True))
    await stream.heard_exactly(False, True)
    stream.task.cancel()


async def test_7_true_is_repeated_slowly_and_false_never(
    stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    _, address = await serve_grpc(repeat_seconds=0.1, stream_seconds=0.75)
    stage.publish(stage.decision(active=True))
    active = Listener(trigger_at(address))
    assert await active.task is grpc.StatusCode.OK
    assert active.heard == [True] * len(active.heard)
    assert 4 <= len(active.heard) <= 8, "one at once, then one every 0.1 s for 0.75 s"
    stage.publish(stage.decision(active=False))
    idle = Listener(trigger_at(address))
    assert await idle.task is grpc.StatusCode.OK
    assert idle.heard == [False]


@pytest.mark.parametrize("active", [True, False])
async def test_7_it_never_spins(
    stage: Any, serve_grpc: Any, trigger_at: Any, waits: list[None], active: bool
) -> None:
    _, address = await serve_grpc(repeat_seconds=0.1, stream_seconds=0.5)
    stage.publish(stage.decision(active=active))
    await waits_of_the_server_are_noted(stage, waits)
    stream = Listener(trigger_at(address))
    assert await stream.task is grpc.StatusCode.OK
    # A timer may fire a hair early, and then once more.
    assert len(waits) <= 2 * len(stream.heard) + 2


async def test_7_a_decision_that_is_missing_again_is_silence_and_no_spinning(
    stage: Any, serve_grpc: Any, trigger_at: Any, waits: list[None]
) -> None:
    """Deciding fails for a class that a reload took away and brought back."""
    _, address = await serve_grpc(repeat_seconds=0.1, stream_seconds=0.5)
    stage.publish(stage.decision(active=True))
    stream = Listener(trigger_at(address))
    await stream.heard_exactly(True)
    stage.publish()
    await waits_of_the_server_are_noted(stage, waits)
    heard = len(stream.heard)
    assert await stream.task is grpc.StatusCode.OK
    assert len(stream.heard) == heard
    assert len(waits) <= 4


async def test_7_before_the_first_decision_it_is_silent_so_that_ignorance_starts_no_pod(
    stage: Any, trigger: Any
) -> None:
    stage.publish()
    stream = Listener(trigger)
    for _ in range(3):  # answers on the same connection: by then the stream is open, too
        assert (await trigger.stub.IsActive(trigger.reference)).result
        stage.publish()
    stage.publish(stage.decision(active=False))
    await stream.heard_exactly(False)
    stream.task.cancel()


async def test_7_a_blind_decision_says_what_the_core_kept(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision(active=True, quality="blind"))
    stream = Listener(trigger)
    await stream.heard_exactly(True)
    stream.task.cancel()


async def test_7_it_ends_with_ok_at_shutdown_and_so_do_later_ones(
    stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    server, address = await serve_grpc()
    stage.publish(stage.decision(active=False))
    trigger = trigger_at(address)
    streams = [Listener(trigger) for _ in range(5)]
    for stream in streams:
        await stream.heard_exactly(False)
    stage.publish(stage.decision(active=True))
    await server.stop(drain=0, grace=5)
    assert {await stream.task for stream in streams} == {grpc.StatusCode.OK}


async def test_7_it_ends_with_ok_when_a_reload_takes_the_class_away(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    stream = Listener(trigger)
    await stream.heard_exactly(True)
    stage.load(examx={"cpu": (1, 3)})
    stage.publish()
    assert await stream.task is grpc.StatusCode.OK


async def test_7_a_client_that_goes_leaves_nothing_behind(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    stream = Listener(trigger)
    await stream.heard_exactly(True)
    stream.call.cancel()
    await wait_until(
        lambda: stage.calls().get(("StreamIsActive", "CANCELLED")) == 1, description="the stream's end"
    )
    assert await trigger.poll() == (1.0, True)


async def test_7_bad_metadata_is_refused(stage: Any, grpc_address: str, trigger_at: Any) -> None:
    stage.publish(stage.decision())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(trigger_at(grpc_address, workerClass="nobody").stream())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_7_keda_acts_on_true_alone(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision(active=False))
    activations = trigger.stream()
    first = asyncio.ensure_future(anext(activations))
    for _ in range(3):  # answers on the same connection: by then the stream has said false
        assert not (await trigger.stub.IsActive(trigger.reference)).result
    assert not first.done()
    stage.publish(stage.decision(active=True))
    assert await asyncio.wait_for(first, 5) is True
    await activations.aclose()


async def test_7_a_connection_may_carry_many_streams_and_calls_at_once(stage: Any, trigger: Any) -> None:
    """All ScaledObjects of a cluster share one connection."""
    stage.publish(stage.decision())
    streams = [Listener(trigger) for _ in range(300)]
    await wait_until(
        lambda: all(stream.heard == [True] for stream in streams), description="a message on each of 300"
    )
    assert await trigger.poll() == (1.0, True)
    assert isinstance(await trigger.stub.IsActive(trigger.reference), pb.IsActiveResponse)
    for stream in streams:
        stream.task.cancel()
