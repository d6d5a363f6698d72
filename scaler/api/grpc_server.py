"""The gRPC server: KEDA's service, health and reflection, and an end in the right order."""

import asyncio
from functools import partial

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from scaler.api.address import AddressError, parse_address
from scaler.api.authorization import require_client_name
from scaler.api.interceptor import CallGuard
from scaler.api.keda import REPEAT_SECONDS, STREAM_SECONDS, KedaServicer
from scaler.api.tls import Tls
from scaler.pb import externalscaler_pb2 as pb
from scaler.pb.externalscaler_pb2_grpc import add_ExternalScalerServicer_to_server
from scaler.runtime.board import Board
from scaler.runtime.clock import Clock
from scaler.runtime.metrics import Metrics

_SERVICE: ServiceDescriptor = pb.DESCRIPTOR.services_by_name["ExternalScaler"]
SERVICE_NAME: str = _SERVICE.full_name

#: Bytes of one request. KEDA sends a name, a namespace and a few keys: under 1 KiB.
MOST_REQUEST_BYTES = 256 * 1024
#: Seconds after which a connection is told to go away, so that KEDA resolves the name again and sees pods
#: that were added since; with a ClusterIP it is the only time at which load can move.
MAX_AGE_SECONDS = 30 * 60.0
#: Seconds that the calls of such a connection have left. A stream may be opened just before the connection
#: is told to go, so this must exceed the stream's own limit: then every stream ends with OK, by itself.
AGE_GRACE_SECONDS = STREAM_SECONDS + 5 * 60.0
#: Seconds between pings on an idle connection, and for their answer: KEDA sends none, and without them
#: the streams of a node that vanished would stay for hours.
KEEPALIVE_SECONDS = 30.0
KEEPALIVE_TIMEOUT_SECONDS = 10.0
#: Seconds between pings that a client may send without being cut off as abusive (proxies send some).
LEAST_PING_SECONDS = 10.0

#: Health names that say whether to send calls here; "" and "liveness" say only that the process lives.
_READINESS_NAMES = ("readiness", SERVICE_NAME)
_LIVENESS_NAMES = ("", "liveness")


class GrpcServer:
    """KEDA's door. Create it anywhere, start and stop it in the event loop."""

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        clock: Clock,
        address: str,
        *,
        tls: Tls | None = None,
        repeat_seconds: float = REPEAT_SECONDS,
        stream_seconds: float = STREAM_SECONDS,
        max_age_seconds: float = MAX_AGE_SECONDS,
        age_grace_seconds: float = AGE_GRACE_SECONDS,
    ) -> None:
        """`address` is host:port, port 0 takes a free one; the times are parameters for tests.

        With `tls` every client, those of health and reflection included, must show a certificate.
        """
        self._tls = tls
        self._board = board
        self._metrics = metrics
        self._address = address
        self._servicer = KedaServicer(
            board, clock, repeat_seconds=repeat_seconds, stream_seconds=stream_seconds
        )
        self._options: list[tuple[str, int]] = [
            # Otherwise a second server takes the same port without a word, and each gets half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MOST_REQUEST_BYTES),
            ("grpc.max_connection_age_ms", round(max_age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", round(age_grace_seconds * 1000)),
            ("grpc.keepalive_time_ms", round(KEEPALIVE_SECONDS * 1000)),
            ("grpc.keepalive_timeout_ms", round(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", round(LEAST_PING_SECONDS * 1000)),
        ]
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen and serve; returns the port.

        Raises:
            AddressError: the address is no address, its port is taken, or its host isn't ours.
        """
        host, port = parse_address(self._address)
        names = self._tls.client_names if self._tls is not None else frozenset()
        guard = CallGuard(self._metrics.rpc_seconds, admit=partial(require_client_name, allowed=names))
        server = grpc.aio.server(interceptors=[guard], options=self._options)
        add_ExternalScalerServicer_to_server(self._servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        try:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if self._tls is None:
                bound = server.add_insecure_port(where)
            else:
                bound = server.add_secure_port(where, self._tls.grpc_credentials())
        except RuntimeError as error:
            raise AddressError(
                f"can't listen for gRPC on {self._address}: the port is taken or the address not local"
            ) from error
        await self._set_health(_LIVENESS_NAMES, serving=True)
        await self._set_health(_READINESS_NAMES, serving=self._board.ready)
        await server.start()
        self._server = server
        self._follower = asyncio.create_task(self._follow_readiness(), name="grpc readiness")
        return bound

    async def stop(self, drain: float, grace: float) -> None:
        """End in the order that KEDA bears best: not ready, `drain` s of service, streams, then the rest.

        KEDA's connection outlives the endpoint, so calls come until the last step, and gRPC cancels one
        that arrives in that very moment. KEDA repeats a failed call at once, then at another replica.

        Args:
            drain: seconds until the endpoint is gone everywhere; calls are answered as before.
            grace: seconds that running calls may then take.
        """
        server, self._server = self._server, None
        if server is None:
            return
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
        await self._set_health(_READINESS_NAMES, serving=False)
        await asyncio.sleep(drain)
        self._servicer.end_streams()
        await server.stop(grace)

    async def _follow_readiness(self) -> None:
        while True:
            await self._set_health(_READINESS_NAMES, serving=self._board.ready)
            await self._board.next()

    async def _set_health(self, names: tuple[str, ...], *, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in names:
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)
