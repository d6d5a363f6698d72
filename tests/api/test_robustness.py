"""Whatever arrives, the server answers with a status, keeps its secrets, and goes on."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from scaler.api.interceptor import CallGuard
from scaler.api.keda import KedaServicer
from scaler.core.observation import BrokerSample
from scaler.pb import externalscaler_pb2 as pb
from scaler.pb.externalscaler_pb2_grpc import add_ExternalScalerServicer_to_server
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.engine import Engine
from scaler.runtime.store import MemoryStore
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until

UNARY = ("GetMetricSpec", "GetMetrics", "IsActive")
STREAMS = ("StreamIsActive", "StreamMetricSpec")
SECRET = "amqp://user:hunter2@broker"


@pytest.fixture
async def raw(grpc_address: str) -> AsyncIterator[Any]:
    """Sends bytes to a method; the answer's code, and its text."""
    async with grpc.aio.insecure_channel(grpc_address) as channel:

        async def send(method: str, data: bytes) -> tuple[grpc.StatusCode, str]:
            path = f"/externalscaler.ExternalScaler/{method}"
            if method in STREAMS:
                stream: Any = channel.unary_stream(path)
                call = stream(data, timeout=10)
                try:
                    await call.read()
                    call.cancel()
                except grpc.aio.AioRpcError as error:
                    return error.code(), error.details() or ""
                return grpc.StatusCode.OK, ""
            unary: Any = channel.unary_unary(path)
            try:
                await unary(data, timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return grpc.StatusCode.OK, ""

        yield send


def garbage(chance: random.Random, number: int) -> bytes:
    """Random bytes, and real requests that are cut, twisted or grown."""
    if number % 2:
        return chance.randbytes(chance.randrange(200))
    metadata = {chance.choice(["workerClass", "policy", "x"]): "".join(chance.choices("io\0é\x16", k=5))}
    reference = pb.ScaledObjectRef(name="n", namespace="s", scalerMetadata=metadata)
    data = bytearray(pb.GetMetricsRequest(scaledObjectRef=reference, metricName="m").SerializeToString())
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data) + 1)])


@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
async def test_random_bytes_get_a_status_and_the_next_call_an_answer(
    stage: Any, raw: Any, trigger: Any, method: str
) -> None:
    stage.publish(stage.decision(desired=4))
    chance = random.Random(method)
    answers = {(await raw(method, garbage(chance, number)))[0] for number in range(200)}
    allowed = {
        "GetMetricSpec": {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT},
        "StreamMetricSpec": {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT},
    }
    assert answers <= allowed.get(method, {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT})
    assert await trigger.poll() == (4.0, True)


async def test_bytes_that_are_no_message_are_refused_as_such(raw: Any) -> None:
    assert await raw("GetMetrics", b"\xff\xff\xff") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the request is no message of KEDA's external scaler",
    )


async def test_what_isnt_http_2_at_all_is_dropped(stage: Any, grpc_address: str, trigger: Any) -> None:
    stage.publish(stage.decision())
    host, _, port = grpc_address.partition(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(5000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert await trigger.poll() == (1.0, True)


async def test_an_unknown_method_is_unimplemented(raw: Any) -> None:
    code, _ = await raw("ScaleToTheMoon", b"")
    assert code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("size", "passes"), [(250_000, True), (300_000, False), (20_000_000, False)])
async def test_more_than_256_kib_is_refused(stage: Any, trigger: Any, size: int, passes: bool) -> None:
    stage.publish(stage.decision())
    request = pb.GetMetricsRequest(scaledObjectRef=trigger.reference)
    request.scaledObjectRef.name = "x" * size
    if passes:
        assert (await trigger.stub.GetMetrics(request)).metricValues[0].metricValue == 1
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger.stub.GetMetrics(request)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await trigger.poll() == (1.0, True)


class Broken(Board):
    """A board whose reading fails with a secret in the text."""

    @property
    def snapshot(self) -> Snapshot:
        raise RuntimeError(f"can't connect to {SECRET}")


@pytest.mark.parametrize("method", ["GetMetrics", "IsActive", "StreamIsActive"])
async def test_the_text_of_a_fault_stays_in_our_log(
    stage: Any, serve_grpc: Any, trigger_at: Any, method: str
) -> None:
    stage.board = Broken()
    stage.board._snapshot = Snapshot(taken_at=stage.now)
    _, address = await serve_grpc()
    trigger = trigger_at(address)
    request = pb.GetMetricsRequest() if method == "GetMetrics" else trigger.reference
    call = getattr(trigger.stub, method)(request)
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as fault:
        await (call.read() if method in STREAMS else call)
    assert fault.value.code() is grpc.StatusCode.INTERNAL
    assert fault.value.details() == "internal error; the service's log has the details"
    assert SECRET not in repr(fault.value)
    assert [(entry["event"], entry["method"], entry["log_level"]) for entry in logs] == [
        ("call failed", method, "error")
    ]
    assert stage.calls() == {(method, "INTERNAL"): 1}


class Hanging(KedaServicer):
    async def GetMetrics(  # noqa: N802 - KEDA's name
        self, request: pb.GetMetricsRequest, context: Any
    ) -> pb.GetMetricsResponse:
        del request, context
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_handler_that_hangs_is_cut_off(stage: Any, trigger_at: Any, stack: AsyncExitStack) -> None:
    """KEDA sets no deadline of its own: a hung answer would stop that ScaledObject for good."""
    server = grpc.aio.server(interceptors=[CallGuard(stage.metrics.rpc_seconds, unary_seconds=0.1)])
    add_ExternalScalerServicer_to_server(Hanging(stage.board, stage.clock), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, 0)
    trigger = trigger_at(f"127.0.0.1:{port}")
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await trigger.stub.GetMetrics(pb.GetMetricsRequest(), timeout=10)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert late.value.details() == "not answered within 0.1 s"
    assert stage.calls() == {("GetMetrics", "DEADLINE_EXCEEDED"): 1}


async def test_every_call_is_counted_under_its_method_and_code(stage: Any, raw: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    await trigger.poll()
    await raw("GetMetrics", b"\xff")
    await raw("IsActive", b"")
    await raw("ScaleToTheMoon", b"")
    assert stage.calls() == {
        ("GetMetricSpec", "OK"): 1,
        ("GetMetrics", "OK"): 1,
        ("IsActive", "OK"): 1,
        ("GetMetrics", "INVALID_ARGUMENT"): 1,
        ("IsActive", "INVALID_ARGUMENT"): 1,
    }


async def test_a_hung_broker_delays_no_answer(stage: Any, serve_grpc: Any, trigger_at: Any) -> None:
    """The real engine beside the server, its broker frozen in the middle of a sweep."""
    source, frozen = MemorySource(), asyncio.Event()
    honest = source.sample

    async def freezing(queues: Any, now: float) -> BrokerSample:
        if frozen.is_set():
            await asyncio.Event().wait()
        return await honest(queues, now)

    source.sample = freezing  # type: ignore[method-assign]  # a broker that stops answering
    engine = Engine(
        board=stage.board,
        clock=stage.clock,
        metrics=stage.metrics,
        store=MemoryStore(),
        open_source=lambda _: source,
        interval=0.1,
    )
    await engine.apply(stage.policies)
    running = asyncio.create_task(engine.run())
    try:
        _, address = await serve_grpc()
        trigger = trigger_at(address)
        source.publish("examx-io", 500)
        await wait_until(
            lambda: (
                stage.board.snapshot.decisions["examx", "io"].desired == 5
                if stage.board.snapshot.decisions
                else False
            ),
            description="a decision",
        )
        frozen.set()
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(100):
            began = loop.time()
            assert await trigger.poll() == (5.0, True)
            times.append(loop.time() - began)
            await asyncio.sleep(0)
        assert sorted(times)[50] < 0.05, "three calls each"
        stage.now += 61
        await wait_until(
            lambda: stage.board.snapshot.decisions["examx", "io"].quality == "blind", description="blindness"
        )
        began = loop.time()
        with pytest.raises(grpc.aio.AioRpcError) as unavailable:
            await trigger.poll()
        assert loop.time() - began < 1
        assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.close()
