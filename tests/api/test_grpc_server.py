"""The server around KEDA's service: addresses, health, reflection, connections, and the end in order."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from scaler.api import grpc_server, keda
from scaler.api.address import AddressError
from scaler.testing import wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
READINESS = ("readiness", "externalscaler.ExternalScaler")
LIVENESS = ("", "liveness")


async def health_of(channel: grpc.aio.Channel, names: tuple[str, ...]) -> set[int]:
    stub = health_pb2_grpc.HealthStub(channel)
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in names]
    return {answer.status for answer in answers}


async def is_health(channel: grpc.aio.Channel, names: tuple[str, ...], status: int) -> bool:
    return await health_of(channel, names) == {status}


async def test_a_taken_port_is_a_clear_error(grpc_address: str, serve_grpc: Any) -> None:
    with pytest.raises(AddressError, match=f"can't listen for gRPC on {grpc_address}: the port is taken"):
        await serve_grpc(address=grpc_address)


@pytest.mark.parametrize(
    "address", ["9090", "127.0.0.1", "127.0.0.1:99999", ":9090", "127.0.0.1:http", "a/b:1"]
)
async def test_a_bad_address_is_a_clear_error(serve_grpc: Any, address: str) -> None:
    with pytest.raises(AddressError, match="write host:port"):
        await serve_grpc(address=address)


async def test_ipv6_addresses_are_written_in_brackets(stage: Any, serve_grpc: Any, trigger_at: Any) -> None:
    _, address = await serve_grpc(address="[::1]:0")
    stage.publish(stage.decision())
    port = address.rpartition(":")[2]
    assert await trigger_at(f"ipv6:[::1]:{port}").poll() == (1.0, True)


async def test_it_is_alive_at_once_and_ready_with_the_first_decision(stage: Any, grpc_address: str) -> None:
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        assert await health_of(channel, LIVENESS) == {SERVING}
        assert await health_of(channel, READINESS) == {NOT_SERVING}
        stage.publish(stage.decision())

        await wait_until(lambda: is_health(channel, READINESS, SERVING), description="readiness")


async def test_an_outage_of_the_broker_leaves_it_ready(stage: Any, serve_grpc: Any) -> None:
    """KEDA's fallback works only while GetMetricSpec is answered."""
    stage.tick(ready=None)
    _, address = await serve_grpc()
    async with grpc.aio.insecure_channel(address) as channel:
        assert await health_of(channel, READINESS) == {SERVING}


async def test_unknown_health_names_are_not_found(grpc_address: str) -> None:
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health_of(channel, ("celery",))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_describes_the_service_as_grpcurl_asks(grpc_address: str) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        questions = [ask(list_services=""), ask(file_containing_symbol="externalscaler.ExternalScaler")]
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(questions))
        listed, described = [answer async for answer in call]
    names = {service.name for service in listed.list_services_response.service}
    assert {"externalscaler.ExternalScaler", "grpc.health.v1.Health"} <= names
    files = described.file_descriptor_response.file_descriptor_proto
    assert any(b"StreamMetricSpec" in file for file in files)


async def test_8_the_end_comes_in_order(stage: Any, serve_grpc: Any, trigger_at: Any) -> None:
    """Not ready, then a time of full service, then the streams, then the rest."""
    server, address = await serve_grpc()
    stage.publish(stage.decision(desired=4))
    trigger = trigger_at(address)
    began = time.monotonic()
    line: list[tuple[float, str]] = []

    def note(event: str) -> None:
        line.append((time.monotonic() - began, event))

    async def listen() -> None:
        call = trigger.stub.StreamIsActive(trigger.reference)
        async for _ in call:
            note("stream: true")
        note(f"stream: {(await call.code()).name}")

    async def stop() -> None:
        await server.stop(drain=0.5, grace=5)
        note("stopped")

    stream = asyncio.create_task(listen())
    await wait_until(lambda: line, description="the stream's first message")
    async with grpc.aio.insecure_channel(address) as channel:
        stopping = asyncio.create_task(stop())
        await wait_until(
            lambda: is_health(channel, READINESS, NOT_SERVING),
            timeout=0.4,
            description="readiness is taken back",
        )
        note("not ready")
        answers = 0
        while not stream.done():
            try:
                value, alive = await trigger.poll(), await health_of(channel, LIVENESS)
            except grpc.aio.AioRpcError:
                note("refused")
                break
            assert (value, alive) == ((4.0, True), {SERVING})
            answers += 1
            await asyncio.sleep(0.01)
        await stopping
        await stream
    events = [event for _, event in line]
    assert events.index("not ready") < events.index("stream: OK")
    assert answers >= 10, "served all the time while the endpoints are updated"
    times = {event: at for at, event in line}
    assert times["stream: OK"] >= 0.5
    assert times.get("refused", 9.0) >= 0.5
    assert times["stopped"] < 3, "the streams were ended, so the grace of 5 s isn't needed"


async def test_8_a_rolling_update_costs_keda_no_poll(
    stage: Any, serve_grpc: Any, trigger_at: Any, make_stage: Any
) -> None:
    """Two replicas; KEDA asks them in turn, on and on, while the first one ends."""
    other = make_stage()
    for replica in (stage, other):
        replica.publish(replica.decision(desired=4))
    server, first = await serve_grpc(stage)
    _, second = await serve_grpc(other)
    trigger = trigger_at(f"ipv4:{first},{second}")
    await wait_until(lambda: _polled(trigger, stage, other), description="both replicas are asked")
    stopping = asyncio.create_task(server.stop(drain=0.1, grace=5))
    while not stopping.done():
        assert await trigger.poll() == (4.0, True)
    before = stage.calls()
    for _ in range(20):
        assert await trigger.poll() == (4.0, True)
    assert stage.calls() == before, "the first one is gone"


async def _polled(trigger: Any, *stages: Any) -> bool:
    assert await trigger.poll() == (4.0, True)
    return all(stage.calls() for stage in stages)


async def test_stopping_twice_or_before_the_start_is_harmless(stage: Any, serve_grpc: Any) -> None:
    server, _ = await serve_grpc()
    await server.stop(drain=0, grace=0)
    await server.stop(drain=60, grace=60)
    await grpc_server.GrpcServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0").stop(60, 60)


def test_a_stream_opened_at_the_last_moment_of_a_connection_still_ends_by_itself() -> None:
    assert keda.STREAM_SECONDS < grpc_server.AGE_GRACE_SECONDS


async def test_9_streams_outlive_the_age_of_their_connection_and_end_with_ok(
    stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    """The connection is told to go after 0.2 s (±10 %), the stream ends by itself after 0.8 s."""
    _, address = await serve_grpc(
        max_age_seconds=0.2, age_grace_seconds=5, stream_seconds=0.8, repeat_seconds=60
    )
    stage.publish(stage.decision(active=True))
    trigger = trigger_at(address)
    began = time.monotonic()
    heard = [active async for active in trigger.stream()]
    assert time.monotonic() - began >= 0.79
    assert heard == [True]
    assert await trigger.poll() == (1.0, True)


async def test_9_an_old_connection_is_replaced_without_a_failed_call(
    stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    _, address = await serve_grpc(max_age_seconds=0.1, age_grace_seconds=5)
    stage.publish(stage.decision())
    async with grpc.aio.insecure_channel(address) as channel:
        trigger = trigger_at(channel)
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            assert await trigger.poll() == (1.0, True)
            await asyncio.sleep(0.01)
        # Not READY here for certain: between two connections a channel rests in IDLE too.
        await wait_until(
            lambda: channel.get_state() is grpc.ChannelConnectivity.IDLE,
            description="a connection without calls is ended",
        )
