"""The HTTP server: metrics, probes and JSON for people and programs, from the same snapshot as for KEDA.

Neither probe looks at a broker: an outage of one must neither restart this service nor take it out
of its endpoints, because KEDA's own fallback needs it to answer.
"""

import ssl
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web

from scaler.api.address import AddressError, parse_address
from scaler.api.announcements import Announcements
from scaler.api.exposition import metrics_handler, workers_response
from scaler.api.metadata import shortened
from scaler.api.readings import broker_documents
from scaler.api.shadow import ShadowView
from scaler.api.workers import worker_document
from scaler.runtime.agreement import Agreement
from scaler.runtime.board import Board, UnknownClassError
from scaler.runtime.clock import Clock
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

#: Bytes of a request's body.
MOST_BODY_BYTES = 16 * 1024
#: Seconds that a connection may idle or take over its first request. Prometheus comes every 15 to 60 s.
IDLE_SECONDS = 75.0
#: Seconds for running requests to end at `stop`; answers come from memory.
STOP_SECONDS = 2.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Everyone else's door. Create, start and stop it in the event loop."""

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        clock: Clock,
        address: str,
        announcements: Announcements | None = None,
        *,
        standing: Callable[[], dict[str, object]] | None = None,
        agreement: Agreement | None = None,
        tls: ssl.SSLContext | None = None,
        shadow: ShadowView | None = None,
    ) -> None:
        """`address` is host:port; port 0 takes a free one. With `tls` it speaks HTTPS alone.

        `standing` tells which replica leads, `agreement` whether by the same policies.
        """
        self._tls = tls
        self._agreement = agreement
        self._board = board
        self._clock = clock
        self._address = address
        self._draining = False
        self._routes: dict[str, Handler] = {
            "/metrics": metrics_handler(metrics.registry),
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/api/v1/workers": self._workers,
            "/api/v1/workers/{workerClass}": self._worker,
            "/api/v1/brokers": self._brokers,
        }
        if standing is not None:
            self._standing = standing
            self._routes["/api/v1/replica"] = self._replica
        self._changes: list[web.RouteDef] = []
        if announcements is not None:
            path = "/api/v1/announcements"
            self._routes[path] = announcements.show
            self._changes = [
                web.post(path, announcements.declare),
                web.delete(f"{path}/{{id}}", announcements.withdraw),
            ]
        if shadow is not None:
            self._routes["/api/v1/shadow"] = shadow.show
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen and serve; returns the port.

        Raises:
            AddressError: the address is no address, its port is taken, or its host isn't ours.
        """
        host, port = parse_address(self._address)
        app = web.Application(middlewares=[self._json_errors], client_max_size=MOST_BODY_BYTES)
        for path, handler in self._routes.items():
            app.router.add_get(path, handler)
        app.router.add_routes(self._changes)
        app.on_response_prepare.append(_set_headers)
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=IDLE_SECONDS, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=self._tls).start()
        except OSError as error:
            await runner.cleanup()
            raise AddressError(f"can't listen for HTTP on {self._address}: {error.strerror}") from error
        self._runner = runner
        bound: int = runner.addresses[0][1]
        return bound

    def begin_draining(self) -> None:
        """Report not ready from now on; everything is answered as before."""
        self._draining = True

    async def stop(self) -> None:
        """Stop listening and end running requests."""
        self.begin_draining()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"status": "alive"})

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        if self._draining:
            why = "shutting down"
        elif not self._board.ready:
            why = "nothing has been decided yet"
        else:
            return web.json_response({"ready": True, "why": "decisions are made"})
        return web.json_response({"ready": False, "why": why}, status=503)

    async def _workers(self, request: web.Request) -> web.Response:
        del request
        return await workers_response(self._board.snapshot, self._clock(), foreign=self._foreign)

    async def _brokers(self, request: web.Request) -> web.Response:
        del request
        snapshot, now = self._board.snapshot, self._clock()
        document = {"now": now, "takenAt": snapshot.taken_at, "brokers": broker_documents(snapshot)}
        return web.json_response(document)

    async def _replica(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._standing())

    async def _worker(self, request: web.Request) -> web.Response:
        snapshot = self._board.snapshot
        policy = request.query.get("policy")
        try:
            key = snapshot.find(shortened(request.match_info["workerClass"]), policy and shortened(policy))
        except UnknownClassError as error:
            return web.json_response({"error": str(error)}, status=404)
        return web.json_response(worker_document(snapshot, key, self._clock(), foreign=self._foreign))

    @property
    def _foreign(self) -> bool:
        return self._agreement is not None and self._agreement.differs

    @web.middleware
    async def _json_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors as JSON: what was asked, and for an unknown path what there is to ask."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            body = {"error": f"unknown path {shortened(request.path)}", "paths": list(self._routes)}
            return web.json_response(body, status=404)
        except web.HTTPException as error:
            headers = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
            return web.json_response({"error": error.reason}, status=error.status, headers=headers)
        except Exception:
            log.exception("request failed", path=shortened(request.path))
            return web.json_response({"error": "internal error; the log has the details"}, status=500)


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """No version for strangers, and no stored copy: every answer is about now."""
    del request
    response.headers.popall(hdrs.SERVER, None)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers[hdrs.X_CONTENT_TYPE_OPTIONS] = "nosniff"
