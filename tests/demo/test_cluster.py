"""The stand-in for KEDA and the HPA answers as the real ones would."""

import asyncio
from typing import Any

import grpc
import pytest

from scaler.demo.cluster import Autoscaler, Sync, replicas_for
from scaler.demo.keda_client import KedaTrigger
from scaler.pb import externalscaler_pb2 as pb


class Answers:
    """A trigger that plays a list of answers."""

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)

    async def poll(self) -> tuple[float, bool]:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, answer > 0


def unavailable(text: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text
    )


@pytest.mark.parametrize(
    ("value", "replicas"),
    [(1.0, 1), (3.0, 3), (2.0006, 3), (2.0004, 2), (4.2, 5)],
    ids=["one", "three", "rounded up from a thousandth", "less than KEDA's thousandth", "rounded up"],
)
def test_a_value_becomes_as_many_replicas_rounded_up(value: float, replicas: int) -> None:
    assert replicas_for(value, 1, 5) == replicas


def test_replicas_stay_between_min_and_max() -> None:
    assert replicas_for(0.0, 1, 5) == 1
    assert replicas_for(-3.0, 1, 5) == 1
    assert replicas_for(77.0, 1, 5) == 5


async def test_the_hpa_follows_up_and_down_without_a_deadband() -> None:
    autoscaler = Autoscaler(Answers(10, 11, 10, 1), 1, 20)
    seen = [10]
    for _ in range(4):
        seen.append((await autoscaler.sync(seen[-1])).replicas)
    assert seen == [10, 10, 11, 10, 1]


async def test_an_error_freezes_the_replicas_and_says_why() -> None:
    autoscaler = Autoscaler(Answers(unavailable("no reading for 61 s"), 2), 1, 5)
    assert await autoscaler.sync(4) == Sync(4, None, "UNAVAILABLE: no reading for 61 s")
    assert await autoscaler.sync(4) == Sync(2, 2), "the next answer counts again"


async def test_an_answer_that_keda_cant_use_freezes_the_replicas() -> None:
    autoscaler = Autoscaler(Answers(ValueError("no metric specs returned")), 1, 5)
    assert await autoscaler.sync(3) == Sync(3, None, "no metric specs returned")


async def test_a_service_that_never_answers_freezes_the_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        async def poll(self) -> tuple[float, bool]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    monkeypatch.setattr("scaler.demo.cluster.ANSWER_TIMEOUT", 0.05)
    assert (await Autoscaler(Hanging(), 1, 5).sync(3)) == Sync(3, None, "no answer within 0.05 s")


def recording(calls: list[str]) -> grpc.GenericRpcHandler:
    """A service that wants three replicas and notes what it is asked."""
    answers = {
        "GetMetricSpec": pb.GetMetricSpecResponse(metricSpecs=[pb.MetricSpec(metricName="io", targetSize=1)]),
        "GetMetrics": pb.GetMetricsResponse(metricValues=[pb.MetricValue(metricName="io", metricValue=3)]),
        "IsActive": pb.IsActiveResponse(result=True),
    }

    def method(name: str) -> Any:
        async def answer(_request: bytes, _context: Any) -> bytes:
            calls.append(name)
            return answers[name].SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    methods = {name: method(name) for name in answers}
    return grpc.method_handlers_generic_handler("externalscaler.ExternalScaler", methods)


async def test_every_sync_asks_as_keda_does_once_each_in_order() -> None:
    calls: list[str] = []
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((recording(calls),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with KedaTrigger(f"127.0.0.1:{port}", "demo-io", "default", {"workerClass": "io"}) as trigger:
            autoscaler = Autoscaler(trigger, 1, 5)
            assert [(await autoscaler.sync(1)).replicas for _ in range(2)] == [3, 3]
    finally:
        await server.stop(None)
    assert calls == ["GetMetricSpec", "GetMetrics", "IsActive"] * 2
