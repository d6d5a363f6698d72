"""What KEDA requires of an external scaler, point by point, asked as KEDA asks.

The number in a test's name counts the requirements; 7 has a file of its own (test_streams.py), and
8 and 9 are about connections (test_grpc_server.py).
"""

import asyncio
import time
from typing import Any

import grpc
import pytest

from scaler.pb import externalscaler_pb2 as pb


def request_for(trigger: Any, name: str = "desired-replicas") -> pb.GetMetricsRequest:
    return pb.GetMetricsRequest(scaledObjectRef=trigger.reference, metricName=name)


async def test_1_the_spec_is_constant_whatever_is_asked_and_known(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    triggers = [
        trigger_at(grpc_address, **metadata)
        for metadata in ({"workerClass": "io"}, {"workerClass": "nobody"}, {"typo": "x"})
    ]
    answers = [await trigger.stub.GetMetricSpec(trigger.reference) for trigger in triggers]
    stage.publish(stage.decision(quality="blind", desired=4))
    answers.append(await triggers[0].stub.GetMetricSpec(pb.ScaledObjectRef()))
    expected = pb.GetMetricSpecResponse(
        metricSpecs=[pb.MetricSpec(metricName="desired-replicas", targetSize=1, targetSizeFloat=1.0)]
    )
    assert answers == [expected] * 4


async def test_2_answers_come_from_memory_within_50_ms(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    await trigger.poll()  # connects
    times = []
    for _ in range(100):
        began = time.perf_counter()
        await trigger.stub.GetMetrics(request_for(trigger))
        times.append(time.perf_counter() - began)
    assert sorted(times)[50] < 0.05


@pytest.mark.parametrize("desired", [0, 1, 4, 10_000])
async def test_3_one_value_in_both_fields_under_the_name_that_was_asked(
    stage: Any, trigger: Any, desired: int
) -> None:
    stage.publish(stage.decision(desired=desired))
    answer = await trigger.stub.GetMetrics(request_for(trigger, "as-asked"))
    value = pb.MetricValue(metricName="as-asked", metricValue=desired, metricValueFloat=float(desired))
    assert answer == pb.GetMetricsResponse(metricValues=[value])


async def test_3_without_a_name_the_value_has_ours(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    answer = await trigger.stub.GetMetrics(request_for(trigger, ""))
    assert [value.metricName for value in answer.metricValues] == ["desired-replicas"]


async def test_3_a_negative_never_leaves_the_house(stage: Any, trigger: Any) -> None:
    """KEDA before 2.20.2 passes it on, and the HPA takes it for an overflow: max replicas."""
    stage.publish(stage.decision(desired=-1))
    assert await trigger.poll() == (0.0, True)


async def test_4_value_and_activity_are_of_one_decision(stage: Any, trigger: Any) -> None:
    pairs = set()
    for number in range(30):
        idle = number % 2 == 0
        stage.publish(stage.decision(desired=0 if idle else 3, active=not idle))
        pairs.add(await trigger.poll())
    assert pairs == {(0.0, False), (3.0, True)}


async def test_4_all_replicas_of_the_service_answer_alike(
    make_stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    replicas = [make_stage(), make_stage()]
    for replica in replicas:
        replica.publish(replica.decision(desired=4))
    ports = [(await serve_grpc(replica))[1] for replica in replicas]
    trigger = trigger_at(f"ipv4:{','.join(ports)}")
    assert {await trigger.poll() for _ in range(20)} == {(4.0, True)}
    assert replicas[0].board.snapshot.decisions == replicas[1].board.snapshot.decisions
    for replica in replicas:
        assert replica.calls()["GetMetrics", "OK"] >= 5, "KEDA asks every replica in turn"


async def test_5_keys_of_keda_itself_and_of_the_environment_pass(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.publish(stage.decision(desired=3))
    trigger = trigger_at(
        grpc_address, workerClass="io", enableTLS="true", unsafeSsl="false", brokerUrlFromEnv="amqp://x"
    )
    assert await trigger.poll() == (3.0, True)


async def test_5_an_unknown_key_is_named_in_both_answers_and_costs_one_retry(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.publish(stage.decision())
    trigger = trigger_at(grpc_address, workerclass="io")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger.poll()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'workerclass', did you mean workerClass?" in (refused.value.details() or "")
    assert stage.calls()["GetMetrics", "INVALID_ARGUMENT"] == 2
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger.stub.IsActive(trigger.reference)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_6_an_outage_holds_then_says_unavailable_and_never_zero_or_inactive(
    stage: Any, trigger: Any
) -> None:
    """Time line: a backlog, a dark broker for two minutes, light again."""
    stage.tick(ready=500)
    stage.now += 1
    up = stage.tick(ready=500).desired
    assert up > 1
    read_at = stage.now
    for seconds in range(1, 120):
        stage.now = read_at + seconds
        stage.tick(ready=None)
        if seconds <= 60:
            assert await trigger.poll() == (float(up), True)
            continue
        with pytest.raises(grpc.aio.AioRpcError) as unavailable:
            await trigger.poll()
        assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
        assert f"the last reading is {seconds} s old" in (unavailable.value.details() or "")
        assert (await trigger.stub.IsActive(trigger.reference)).result
    stage.tick(ready=0)
    assert await trigger.poll() == (float(up), True)


async def test_6_before_the_first_decision_nothing_is_known_and_nothing_goes_to_zero(
    stage: Any, trigger: Any
) -> None:
    stage.publish()
    with pytest.raises(grpc.aio.AioRpcError) as unavailable:
        await trigger.poll()
    assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
    assert unavailable.value.details() == "no decision yet"
    assert (await trigger.stub.IsActive(trigger.reference)).result


@pytest.mark.parametrize("stuck", ["the decider", "this class alone"])
async def test_6_a_stuck_decider_is_told_after_15_s(stage: Any, trigger: Any, stuck: str) -> None:
    last = stage.decision(desired=4, active=False)
    stage.publish(last)
    for age in (15, 16):
        stage.now = last.decided_at + age
        if stuck == "this class alone":
            stage.publish(last)
        if age == 15:
            assert await trigger.poll() == (4.0, False)
            continue
        with pytest.raises(grpc.aio.AioRpcError) as unavailable:
            await trigger.poll()
        assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "16 s old" in (unavailable.value.details() or "")
        assert (await trigger.stub.IsActive(trigger.reference)).result, "too old to say no"
        await trigger.stub.GetMetricSpec(trigger.reference)


async def test_10_a_burst_of_10000_calls_changes_no_decision(
    make_stage: Any, serve_grpc: Any, trigger_at: Any
) -> None:
    """Two equal time lines, one of them asked 10,000 times between two ticks."""
    asked, silent = make_stage(), make_stage()
    _, address = await serve_grpc(asked)
    trigger = trigger_at(address)
    ids: dict[str, list[str]] = {"asked": [], "silent": []}
    for second, ready in enumerate((0, 40, 400, 400, 0)):
        for name, stage in (("asked", asked), ("silent", silent)):
            stage.now += 1
            ids[name].append(stage.tick(ready=ready).id)
        if second == 2:
            expected = float(asked.board.snapshot.decisions["examx", "io"].desired)
            before = asked.board.snapshot
            request = request_for(trigger)
            for _ in range(100):
                answers = await asyncio.gather(*(trigger.stub.GetMetrics(request) for _ in range(100)))
                assert {answer.metricValues[0].metricValueFloat for answer in answers} == {expected}
            assert asked.board.snapshot is before
    assert ids["asked"] == ids["silent"]
    assert asked.calls()["GetMetrics", "OK"] == 10_000


async def test_11_after_hours_without_a_call_the_answer_is_of_now(stage: Any, trigger: Any) -> None:
    """KEDA paused or restarted: the policy's clock went on, nobody's questions were needed."""
    stage.tick(ready=400)
    stage.now += 1
    stage.tick(ready=400)
    busy, _ = await trigger.poll()
    assert busy == 5.0
    for _ in range(4 * 3600 // 5):
        stage.now += 5
        stage.tick(ready=0)
    assert await trigger.poll() == (1.0, False)


async def test_12_stream_metric_spec_is_unimplemented(trigger: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await trigger.stub.StreamMetricSpec(trigger.reference).read()
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
