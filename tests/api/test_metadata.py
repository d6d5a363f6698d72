"""The trigger's metadata: KEDA checks none of it, so we do."""

from typing import Any

import grpc
import pytest

from scaler.api.metadata import MetadataError, Target, parse_metadata
from scaler.pb import externalscaler_pb2 as pb


def test_class_and_policy_are_read() -> None:
    assert parse_metadata({"workerClass": "io", "policy": "examx"}) == Target("io", "examx")


def test_the_policy_may_be_left_out() -> None:
    assert parse_metadata({"workerClass": "io"}) == Target("io", None)


def test_values_from_the_environment_arrive_under_the_key_with_its_suffix() -> None:
    assert parse_metadata({"workerClassFromEnv": "io", "policyFromEnv": "examx"}) == Target("io", "examx")


def test_other_keys_from_the_environment_are_ignored() -> None:
    assert parse_metadata({"workerClass": "io", "anythingFromEnv": "secret"}) == Target("io", None)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({}, "workerClass is missing"),
        ({"workerClass": ""}, "workerClass is missing"),
        ({"workerClass": "io", "workerClassFromEnv": "io"}, "workerClass and workerClassFromEnv are both"),
        ({"workerClas": "io"}, "unknown metadata key 'workerClas', did you mean workerClass?"),
        ({"WORKERCLASS": "io"}, "unknown metadata key 'WORKERCLASS', did you mean workerClass?"),
        ({"enableTls": "true", "workerClass": "io"}, "'enableTls', did you mean enableTLS?"),
        ({"workerClassfromenv": "io"}, "'workerClassfromenv', did you mean workerClass?"),
        (
            {"queue": "email", "workerClass": "io"},
            "'queue'; known keys: enableTLS, policy, scalerAddress, unsafeSsl, workerClass, and any …FromEnv",
        ),
    ],
)
def test_what_is_wrong_is_named(metadata: dict[str, str], text: str) -> None:
    with pytest.raises(MetadataError) as wrong:
        parse_metadata(metadata)
    assert text in str(wrong.value)


def test_the_value_of_an_unknown_key_is_never_repeated() -> None:
    with pytest.raises(MetadataError) as wrong:
        parse_metadata({"brokerUrl": "amqp://user:hunter2@broker"})
    assert "brokerUrl" in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"workerClass": "oi"}, "unknown workerClass 'oi'; policy 'examx' has: cpu, io"),
        ({"workerClass": "io", "policy": "exam"}, "unknown policy 'exam'; known policies: examx"),
        ({"workerClass": "x" * 100_000}, "policy 'examx' has: cpu, io"),
        ({"k" * 100_000: "io"}, "known keys: enableTLS"),
        ({"workerClass": "io\u0000\n\u202e🙂" * 5000}, "policy 'examx' has: cpu, io"),
    ],
)
async def test_keda_is_told_what_is_known_however_long_the_wrong_value(
    stage: Any, grpc_address: str, trigger_at: Any, metadata: dict[str, str], text: str
) -> None:
    stage.load(examx={"io": (1, 5), "cpu": (1, 3)})
    stage.publish(stage.decision())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger_at(grpc_address, **metadata).poll()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in (refused.value.details() or "")


async def test_the_answer_fits_into_headers_however_many_classes_are_known(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.load(examx={f"class-{number}-{'x' * 40}": (1, 5) for number in range(400)})
    stage.publish()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger_at(grpc_address, workerClass="io").poll()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "unknown workerClass 'io'; policy 'examx' has: class-0-" in (refused.value.details() or "")


async def test_a_policy_is_needed_where_several_are_loaded(
    stage: Any, grpc_address: str, trigger_at: Any
) -> None:
    stage.load(a={"io": (1, 5)}, b={"io": (1, 5)})
    stage.publish(
        stage.decision(policy="a", desired=2),
        stage.decision(policy="b", desired=3),
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger_at(grpc_address, workerClass="io").poll()
    assert "policy is missing; known policies: a, b" in (refused.value.details() or "")
    values = [
        (await trigger_at(grpc_address, workerClass="io", policy=name).poll())[0] for name in ("a", "b")
    ]
    assert values == [2.0, 3.0]


async def test_a_request_without_a_scaled_object_is_refused(stage: Any, trigger: Any) -> None:
    stage.publish(stage.decision())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await trigger.stub.GetMetrics(pb.GetMetricsRequest(metricName="desired-replicas"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
