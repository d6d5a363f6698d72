"""The stand-in for KEDA itself: it must have KEDA's habits, or the tests of the contract prove nothing."""

from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from scaler.pb import externalscaler_pb2 as pb
from scaler.pb.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Scripted(ExternalScalerServicer):
    """Answers from lists, in order; a status is an error, the last answer stays."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[str] = []

    async def _next(self, method: str, context: Any) -> Any:
        self.calls.append(method)
        given = self.answers[method]
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "scripted")
        return answer

    async def GetMetricSpec(self, request: Any, context: Any) -> Any:  # noqa: N802 - KEDA's name
        del request
        return await self._next("GetMetricSpec", context)

    async def GetMetrics(self, request: Any, context: Any) -> Any:  # noqa: N802 - KEDA's name
        del request
        return await self._next("GetMetrics", context)

    async def IsActive(self, request: Any, context: Any) -> Any:  # noqa: N802 - KEDA's name
        del request
        return await self._next("IsActive", context)

    def StreamIsActive(self, request: Any, context: Any) -> Any:  # noqa: N802 - KEDA's name
        raise NotImplementedError

    def StreamMetricSpec(self, request: Any, context: Any) -> Any:  # noqa: N802 - KEDA's name
        raise NotImplementedError


def specs(*names: str) -> pb.GetMetricSpecResponse:
    return pb.GetMetricSpecResponse(metricSpecs=[pb.MetricSpec(metricName=name) for name in names])


def values(*pairs: tuple[float, int]) -> pb.GetMetricsResponse:
    return pb.GetMetricsResponse(
        metricValues=[pb.MetricValue(metricValueFloat=number, metricValue=whole) for number, whole in pairs]
    )


ACTIVE, IDLE = pb.IsActiveResponse(result=True), pb.IsActiveResponse(result=False)


@pytest.fixture
def script(trigger_at: Any, stack: AsyncExitStack) -> Any:
    """Starts a scripted scaler; it, and a trigger that asks it."""

    async def start(**answers: list[Any]) -> tuple[Scripted, Any]:
        defaults: dict[str, list[Any]] = {"GetMetricSpec": [specs("a")], "IsActive": [ACTIVE]}
        scripted = Scripted(**(defaults | answers))
        # Without this another test run on this machine may be given the same port.
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ExternalScalerServicer_to_server(scripted, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        return scripted, trigger_at(f"127.0.0.1:{port}")

    return start


async def test_it_asks_in_kedas_order(script: Any) -> None:
    scripted, trigger = await script(GetMetrics=[values((4.0, 4))])
    assert await trigger.poll() == (4.0, True)
    assert scripted.calls == ["GetMetricSpec", "GetMetrics", "IsActive"]


@pytest.mark.parametrize(
    ("pair", "read"),
    [((2.5, 9), 2.5), ((0.0, 9), 9.0), ((-1.0, 3), 3.0), ((float("nan"), 3), 3.0), ((0.0, 0), 0.0)],
)
async def test_the_float_counts_only_above_0(script: Any, pair: tuple[float, int], read: float) -> None:
    _, trigger = await script(GetMetrics=[values(pair)])
    assert (await trigger.poll())[0] == read


async def test_several_values_are_summed_as_the_hpa_does(script: Any) -> None:
    _, trigger = await script(GetMetrics=[values((4.0, 4), (3.0, 3))])
    assert await trigger.poll() == (7.0, True)


async def test_of_several_specs_the_largest_counts_and_one_active_is_enough(script: Any) -> None:
    scripted, trigger = await script(
        GetMetricSpec=[specs("a", "b")],
        GetMetrics=[values((2.0, 2)), values((5.0, 5))],
        IsActive=[ACTIVE, IDLE],
    )
    assert await trigger.poll() == (5.0, True)
    assert scripted.calls == ["GetMetricSpec", *["GetMetrics", "IsActive"] * 2]


async def test_a_failed_pair_is_asked_once_more_at_once(script: Any) -> None:
    scripted, trigger = await script(GetMetrics=[values((4.0, 4))], IsActive=[UNAVAILABLE, ACTIVE])
    assert await trigger.poll() == (4.0, True)
    assert scripted.calls == ["GetMetricSpec", *["GetMetrics", "IsActive"] * 2]


async def test_a_second_failure_is_the_callers(script: Any) -> None:
    scripted, trigger = await script(GetMetrics=[UNAVAILABLE])
    with pytest.raises(grpc.aio.AioRpcError):
        await trigger.poll()
    assert scripted.calls == ["GetMetricSpec", "GetMetrics", "GetMetrics"]


async def test_no_specs_are_asked_for_once_more_and_then_an_error(script: Any) -> None:
    scripted, trigger = await script(GetMetricSpec=[specs()])
    with pytest.raises(ValueError, match="no metric specs"):
        await trigger.poll()
    assert scripted.calls == ["GetMetricSpec"] * 2
    scripted.answers["GetMetricSpec"] = [UNAVAILABLE, specs("a")]
    scripted.answers["GetMetrics"] = [values((1.0, 1))]
    assert await trigger.poll() == (1.0, True)


async def test_an_empty_answer_is_an_error(script: Any) -> None:
    _, trigger = await script(GetMetrics=[values()])
    with pytest.raises(ValueError, match="no matching metrics"):
        await trigger.poll()
