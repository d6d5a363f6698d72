"""KEDA before 2.17: messages without float fields, built here as they were then, over the real wire."""

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from scaler.demo.keda_client import keda_channel
from scaler.testing.tls import TlsDirectory

INT64, STRING = (
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
)
MESSAGE, BOOL = (
    descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
)
#: externalscaler.proto of KEDA 2.0 to 2.16: (field, number, type, type name, repeated).
OLD_MESSAGES: dict[str, list[tuple[str, int, Any, str, bool]]] = {
    "ScaledObjectRef": [
        ("name", 1, STRING, "", False),
        ("namespace", 2, STRING, "", False),
        ("scalerMetadata", 3, MESSAGE, "ScaledObjectRef.ScalerMetadataEntry", True),
    ],
    "IsActiveResponse": [("result", 1, BOOL, "", False)],
    "GetMetricSpecResponse": [("metricSpecs", 1, MESSAGE, "MetricSpec", True)],
    "MetricSpec": [("metricName", 1, STRING, "", False), ("targetSize", 2, INT64, "", False)],
    "GetMetricsRequest": [
        ("scaledObjectRef", 1, MESSAGE, "ScaledObjectRef", False),
        ("metricName", 2, STRING, "", False),
    ],
    "GetMetricsResponse": [("metricValues", 1, MESSAGE, "MetricValue", True)],
    "MetricValue": [("metricName", 1, STRING, "", False), ("metricValue", 2, INT64, "", False)],
}


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    """The message classes of an old KEDA, in a pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="old_externalscaler.proto", package="externalscaler", syntax="proto3"
    )
    for message, fields in OLD_MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, type_name, repeated in fields:
            described.field.add(
                name=name,
                number=number,
                type=kind,
                type_name=f".externalscaler.{type_name}" if type_name else None,
                label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
                if repeated
                else descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            )
    entry = file.message_type[0].nested_type.add(name="ScalerMetadataEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=STRING, label=1)
    entry.field.add(name="value", number=2, type=STRING, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"externalscaler.{name}"))
        for name in OLD_MESSAGES
    }


async def test_an_old_keda_reads_name_target_value_and_activity(
    stage: Any, grpc_address: str, old: dict[str, Any]
) -> None:
    stage.publish(stage.decision(desired=4))
    async with keda_channel(grpc_address) as channel:
        await ask_as_then(channel, old)


async def test_the_same_with_tls(
    stage: Any, serve_tls: Any, old: dict[str, Any], certificates: TlsDirectory
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    credentials = grpc.ssl_channel_credentials(
        certificates.ca_file.read_bytes(),
        certificates.client_key_file.read_bytes(),
        certificates.client_cert_file.read_bytes(),
    )
    async with keda_channel(address, credentials) as channel:
        await ask_as_then(channel, old)


async def ask_as_then(channel: grpc.aio.Channel, old: dict[str, Any]) -> None:
    reference = old["ScaledObjectRef"](name="celery-io", namespace="examx")
    reference.scalerMetadata["workerClass"] = "io"

    async def call(method: str, request: Any, answer: str) -> Any:
        return await channel.unary_unary(
            f"/externalscaler.ExternalScaler/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=old[answer].FromString,
        )(request, timeout=5)

    spec = (await call("GetMetricSpec", reference, "GetMetricSpecResponse")).metricSpecs[0]
    assert (spec.metricName, spec.targetSize) == ("desired-replicas", 1)
    assert not hasattr(spec, "targetSizeFloat"), "this is the old message"
    request = old["GetMetricsRequest"](scaledObjectRef=reference, metricName=spec.metricName)
    values = (await call("GetMetrics", request, "GetMetricsResponse")).metricValues
    assert [(value.metricName, value.metricValue) for value in values] == [("desired-replicas", 4)]
    assert (await call("IsActive", reference, "IsActiveResponse")).result is True
