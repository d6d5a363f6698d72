"""Which namespaces may ask for which policy, in every method, and from one reload to the next."""

import asyncio
from typing import Any

import grpc
import pytest

from scaler.pb import externalscaler_pb2 as pb

DENIED, INVALID = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT


def allow(stage: Any, policy: str, *namespaces: str) -> None:
    """What a policy file says from now on; no namespaces: the key isn't there."""
    loaded = stage.policies[policy]
    spec = loaded.spec.model_copy(update={"namespaces": namespaces})
    stage.policies = {**stage.policies, policy: loaded.model_copy(update={"spec": spec})}


async def ask(trigger: Any, method: str) -> Any:
    if method == "GetMetrics":
        return await trigger.stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=trigger.reference))
    if method == "StreamIsActive":
        return await anext(trigger.stream())
    return await getattr(trigger.stub, method)(trigger.reference)


async def code_of(trigger: Any, method: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(trigger, method)
    return caught.value.code(), caught.value.details() or ""


METHODS = ("GetMetricSpec", "GetMetrics", "IsActive", "StreamIsActive")


@pytest.mark.parametrize("method", METHODS)
async def test_another_namespace_is_refused_and_isnt_told_who_may_ask(
    stage: Any, trigger: Any, method: str
) -> None:
    allow(stage, "examx", "examx-production", "examx-uat")
    stage.publish(stage.decision())
    code, text = await code_of(trigger, method)
    assert code is DENIED
    assert text == (
        "namespace 'examx' may not ask for policy 'examx';"
        " whoever owns the policy can add it to spec.namespaces"
    )
    assert stage.calls() == {(method, "PERMISSION_DENIED"): 1}


@pytest.mark.parametrize("namespaces", [(), ("other", "examx")], ids=["none listed", "listed"])
async def test_without_a_list_all_may_ask_and_with_one_those_on_it(
    stage: Any, trigger: Any, namespaces: tuple[str, ...]
) -> None:
    allow(stage, "examx", *namespaces)
    stage.publish(stage.decision(desired=4))
    assert await trigger.poll() == (4.0, True)
    assert await anext(trigger.stream()) is True


async def test_a_reload_takes_the_leave_away_and_gives_it_back(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision(desired=4))
    stream = trigger.stream()
    assert await anext(stream) is True

    allow(stage, "examx", "other")
    stage.publish(stage.decision(desired=4))
    async with asyncio.timeout(5):
        assert [message async for message in stream] == [], "the open stream ends with OK"
    assert (await code_of(trigger, "GetMetrics"))[0] is DENIED

    allow(stage, "examx")
    stage.publish(stage.decision(desired=4))
    assert await trigger.poll() == (4.0, True)


async def test_texts_name_no_policy_that_the_namespace_may_not_ask_for(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.load(examx={"io": (1, 5)}, shop={"mail": (1, 2)}, secret={"x": (1, 1)})
    allow(stage, "secret", "elsewhere")
    stage.publish(stage.decision())
    forgotten = trigger_at(grpc_address, workerClass="io")
    assert await code_of(forgotten, "GetMetrics") == (
        INVALID,
        "policy is missing; known policies: examx, shop",
    )
    misspelt = trigger_at(grpc_address, workerClass="io", policy="exam")
    code, text = await code_of(misspelt, "IsActive")
    assert (code, "secret" in text) == (INVALID, False)
    hidden = trigger_at(grpc_address, workerClass="y", policy="secret")
    assert (await code_of(hidden, "GetMetrics"))[0] is DENIED, "before anything is said of its classes"


async def test_a_trigger_without_policy_means_the_only_one_that_its_namespace_may_ask_for(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.load(examx={"io": (1, 5)}, shop={"mail": (1, 2)})
    allow(stage, "shop", "elsewhere")
    stage.publish(stage.decision(desired=4))
    assert await trigger_at(grpc_address, workerClass="io").poll() == (4.0, True)


async def test_bad_metadata_and_unknown_policies_leave_the_spec_constant(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    allow(stage, "examx", "elsewhere")
    stage.publish(stage.decision())
    for metadata in ({"nonsense": "1"}, {"workerClass": "io", "policy": "nobody"}):
        trigger = trigger_at(grpc_address, **metadata)
        assert len((await ask(trigger, "GetMetricSpec")).metricSpecs) == 1
