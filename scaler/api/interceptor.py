"""What holds for every call of KEDA: it is allowed, timed and bounded, and no exception's text gets out.

grpc.aio sends the text of an unhandled exception to the client, and KEDA writes it into an event
of the ScaledObject; such a text may hold a broker URL with its password.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Never, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Histogram

from scaler.pb import externalscaler_pb2 as pb

log = structlog.get_logger(__name__)

#: Seconds for a unary call. KEDA sets no deadline on polls, and a hung answer stops the loop of that
#: ScaledObject; answers come from memory in well under a millisecond, so a second means a fault.
UNARY_SECONDS = 1.0
#: The longest status text in characters; percent-encoded as UTF-8 it still fits into 8 KiB of headers.
MOST_DETAILS = 800
INTERNAL_TEXT = "internal error; the service's log has the details"

_SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"]
#: Paths of KEDA's methods with the metric label of each; nothing else is measured, so labels stay bounded.
METHODS = {f"/{_SERVICE.full_name}/{method.name}": method.name for method in _SERVICE.methods}

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in its stub only
Context = grpc.aio.ServicerContext[Any, Any]


class Refused(Exception):  # noqa: N818 - no error of ours: an answer that is a status
    """An answer that is a gRPC status on purpose; the text is for the person at the other end."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text if len(text) <= MOST_DETAILS else text[:MOST_DETAILS] + "…"


class _Malformed:
    """Stands for a request whose bytes are no message, until a handler's context can say so."""


class CallGuard(grpc.aio.ServerInterceptor):
    """Wraps the methods of KEDA's service; health and reflection pass as they are."""

    def __init__(
        self,
        seconds: Histogram,
        *,
        admit: Callable[[Context], None] | None = None,
        unary_seconds: float = UNARY_SECONDS,
    ) -> None:
        """`seconds` has the labels method and code; `admit` raises `Refused` at callers who may not call."""
        self._seconds = seconds
        self._admit = admit or (lambda _: None)
        self._unary_seconds = unary_seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of one call, guarded."""
        handler = await continuation(handler_call_details)
        method = METHODS.get(handler_call_details.method)
        if handler is None or method is None:
            return handler
        wrap = self._streaming if handler.response_streaming else self._unary
        return wrap(method, handler)

    def _unary(self, method: str, handler: Handler) -> Handler:
        call = cast("Callable[[Any, Context], Awaitable[Any]]", handler.unary_unary)

        async def guarded(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
            try:
                with self._timed(method):
                    self._admit(context)
                    _require_message(request)
                    async with asyncio.timeout(self._unary_seconds):
                        return await call(request, context)
            except Refused as refused:
                await _abort(context, refused)

        return grpc.unary_unary_rpc_method_handler(
            guarded, _lenient(handler.request_deserializer), handler.response_serializer
        )

    def _streaming(self, method: str, handler: Handler) -> Handler:
        call = cast("Callable[[Any, Context], AsyncGenerator[Any]]", handler.unary_stream)

        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401 - any message
            try:
                with self._timed(method):
                    self._admit(context)
                    _require_message(request)
                    async with aclosing(call(request, context)) as messages:
                        async for message in messages:
                            yield message
            except Refused as refused:
                await _abort(context, refused)

        return grpc.unary_stream_rpc_method_handler(
            guarded, _lenient(handler.request_deserializer), handler.response_serializer
        )

    @contextmanager
    def _timed(self, method: str) -> Iterator[None]:
        """Measure a call under the code that it ends with; every fault becomes a `Refused`."""
        began = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except Refused as refused:
            code = refused.code
            raise
        except (asyncio.CancelledError, GeneratorExit):  # the client has gone, or the server stops
            code = grpc.StatusCode.CANCELLED
            raise
        except TimeoutError as error:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise Refused(code, f"not answered within {self._unary_seconds:g} s") from error
        except Exception as error:
            code = grpc.StatusCode.INTERNAL
            log.exception("call failed", method=method)
            raise Refused(code, INTERNAL_TEXT) from error
        finally:
            self._seconds.labels(method, code.name).observe(time.perf_counter() - began)


async def _abort(context: Context, refused: Refused) -> Never:
    await context.abort(refused.code, refused.text)


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Broken bytes become a value: grpc itself would answer UNKNOWN and log a traceback for each."""

    def parse(data: bytes) -> Any:  # noqa: ANN401 - any message
        try:
            return deserialize(data) if deserialize else data
        except DecodeError:
            return _Malformed()

    return parse


def _require_message(request: object) -> None:
    if isinstance(request, _Malformed):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the request is no message of KEDA's external scaler")
