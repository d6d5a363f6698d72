"""The stand-in for KEDA and the HPA answers as the real ones would."""

import asyncio

import grpc
import pytest

from scaler.demo.cluster import Autoscaler, Sync, replicas_for


class Answers:
    """A trigger that plays a list of answers, and counts how often it was asked."""

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def poll(self) -> tuple[float, bool]:
        self.asked += 1
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


async def test_each_sync_asks_once() -> None:
    trigger = Answers(1, 1, 1)
    autoscaler = Autoscaler(trigger, 1, 5)
    for asked in (1, 2, 3):
        await autoscaler.sync(1)
        assert trigger.asked == asked
