"""KEDA's side of the wire: the same calls in the same order, with the same habits.

Source: pkg/scalers/external_scaler.go and pkg/scaling of KEDA 2.20, and what a real one was seen
to do. The demo's stand-in for KEDA and the tests of the contract both ask through this class.
"""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

import grpc

from scaler.pb import externalscaler_pb2 as pb
from scaler.pb.externalscaler_pb2_grpc import ExternalScalerStub

#: KEDA asks every address behind the name in turn, call by call.
ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'


def keda_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A channel as KEDA opens it; the address may be any gRPC target.

    Credentials are what KEDA makes of a TriggerAuthentication: `grpc.ssl_channel_credentials` of
    caCert, tlsClientKey and tlsClientCert.
    """
    options = [("grpc.service_config", ROUND_ROBIN)]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


class KedaTrigger:
    """One external trigger of a ScaledObject. As with KEDA, no call has a deadline.

    Args:
        target: an address, or a channel that the caller closes.
        name: of the ScaledObject.
        namespace: of the ScaledObject.
        metadata: of the trigger; all of it is sent, `scalerAddress` included.
    """

    def __init__(
        self, target: str | grpc.aio.Channel, name: str, namespace: str, metadata: Mapping[str, str]
    ) -> None:
        self._channel = keda_channel(target) if isinstance(target, str) else target
        self._own = isinstance(target, str)
        self.stub = ExternalScalerStub(self._channel)
        self.reference = pb.ScaledObjectRef(name=name, namespace=namespace, scalerMetadata=metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, if it isn't the caller's."""
        if self._own:
            await self._channel.close()

    async def poll(self) -> tuple[float, bool]:
        """One poll: GetMetricSpec, then GetMetrics and IsActive of each spec; (value, active).

        Raises:
            grpc.aio.AioRpcError: a call failed twice; KEDA then leaves the replicas alone.
            ValueError: the answer is one that KEDA can't use.
        """
        values, active = [], False
        for spec in await self._specs():
            value, is_active = await self._metric(spec.metricName)
            values.append(value)
            active = active or is_active
        return max(values), active

    async def stream(self) -> AsyncIterator[bool]:
        """The activations of one push stream; like KEDA since 2.18 it takes no notice of `false`.

        Ends where the server ends the stream with OK; KEDA then opens the next one after 2 s.

        Raises:
            grpc.aio.AioRpcError: any other end; KEDA's pause then doubles up to a minute.
        """
        async for message in self.stub.StreamIsActive(self.reference):
            if message.result:
                yield True

    async def _specs(self) -> list[pb.MetricSpec]:
        for last in (False, True):
            try:
                answer = await self.stub.GetMetricSpec(self.reference)
            except grpc.aio.AioRpcError:
                if last:
                    raise
                continue
            if answer.metricSpecs:
                return list(answer.metricSpecs)
        raise ValueError("no metric specs returned")

    async def _metric(self, name: str) -> tuple[float, bool]:
        """Value and activity of one metric; a failed pair is asked once more at once."""
        try:
            return await self._pair(name)
        except grpc.aio.AioRpcError:
            return await self._pair(name)

    async def _pair(self, name: str) -> tuple[float, bool]:
        request = pb.GetMetricsRequest(scaledObjectRef=self.reference, metricName=name)
        answer = await self.stub.GetMetrics(request)
        if not answer.metricValues:
            raise ValueError(f"no matching metrics found for {name}")
        active = await self.stub.IsActive(self.reference)
        return sum(_number(value) for value in answer.metricValues), active.result


def _number(value: pb.MetricValue) -> float:
    """The float where it is greater than 0, else the int."""
    return value.metricValueFloat if value.metricValueFloat > 0 else float(value.metricValue)
