"""`celery-scaler serve`: the service that KEDA calls."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer

from scaler.api.address import AddressError
from scaler.api.announcements import Announcements
from scaler.api.bearer import Bearer, TokenError
from scaler.api.grpc_server import GrpcServer
from scaler.api.http_server import HttpServer
from scaler.api.shadow import ShadowView
from scaler.cli.tls_options import (
    ClientNames,
    HttpTls,
    TlsCa,
    TlsCert,
    TlsKey,
    TlsOptionError,
    TlsOptions,
    warn_of_open_doors,
)
from scaler.cli.writing import writing_loops
from scaler.cluster.access import Access, AccessError, Mode, find_access, open_cluster
from scaler.core.policy import ScalingPolicy
from scaler.policyfile import PolicyError, load_directory_or_file
from scaler.runtime import garbage
from scaler.runtime.agreement import Agreement
from scaler.runtime.board import Board
from scaler.runtime.certificates import CertificateError
from scaler.runtime.clock import Clock, steady_clock
from scaler.runtime.engine import Engine
from scaler.runtime.logs import configure_logging
from scaler.runtime.metrics import Metrics
from scaler.runtime.recorder import FlightRecorder, RecorderError
from scaler.runtime.reload import watch_policies
from scaler.runtime.shadow import Shadows
from scaler.runtime.store import StateStore, StoreError, open_store
from scaler.sources.events import open_receiver
from scaler.sources.factory import open_source

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `serve` was asked for."""

    policies: Path
    environment: str | None
    grpc_address: str
    http_address: str
    interval: float
    drain: float
    grace: float
    record: Path | None
    token_file: Path | None
    tls: TlsOptions
    events: bool

    def load(self) -> Mapping[str, ScalingPolicy]:
        """Read the policies anew.

        Raises:
            PolicyError: a file is broken or there is none.
        """
        return load_directory_or_file(self.policies, self.environment, os.environ)


def serve(
    *,
    policies: Annotated[
        Path, typer.Option(envvar="SCALER_POLICIES", help="A policy file, or a folder of them.")
    ],
    environment: Annotated[
        str | None, typer.Option(envvar="SCALER_ENVIRONMENT", help="Overlay of the policies to apply.")
    ] = None,
    grpc_address: Annotated[
        str, typer.Option(envvar="SCALER_GRPC_ADDRESS", help="Where KEDA calls; port 0 takes a free one.")
    ] = "127.0.0.1:9090",
    http_address: Annotated[
        str, typer.Option(envvar="SCALER_HTTP_ADDRESS", help="Metrics, probes and JSON.")
    ] = "127.0.0.1:8080",
    state: Annotated[
        str,
        typer.Option(
            envvar="SCALER_STATE",
            help="Where decisions survive and replicas share them: memory, redis://… or kubernetes.",
        ),
    ] = "memory",
    interval: Annotated[
        float, typer.Option(envvar="SCALER_INTERVAL", min=0.2, max=5.0, help="Seconds between readings.")
    ] = 1.0,
    drain: Annotated[
        float,
        typer.Option(
            envvar="SCALER_DRAIN",
            min=0.0,
            max=60.0,
            help="Seconds of service after SIGTERM while endpoints update.",
        ),
    ] = 5.0,
    grace: Annotated[
        float,
        typer.Option(envvar="SCALER_GRACE", min=0.0, max=60.0, help="Seconds for running calls to end."),
    ] = 5.0,
    record: Annotated[
        Path | None,
        typer.Option(
            envvar="SCALER_RECORD",
            help="Folder for what was observed and decided, 100 MB at most; for `simulate --replay`.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="SCALER_TOKEN_FILE",
            help="File with the token for changes over HTTP (`announce`); without one they are refused.",
        ),
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    tls_client_names: ClientNames = "",
    http_tls: HttpTls = False,
    kubernetes: Annotated[
        Mode,
        typer.Option(
            envvar="SCALER_KUBERNETES",
            help="Where the scale targets of the policies are read; auto: in the pod's own cluster.",
        ),
    ] = Mode.AUTO,
    events: Annotated[
        bool,
        typer.Option(envvar="SCALER_EVENTS", help="Write Kubernetes events where scale targets are read."),
    ] = True,
    log_level: Annotated[
        str, typer.Option(envvar="SCALER_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Serve KEDA: read the brokers, decide by the clock, answer from memory."""
    if log_level.lower() not in {"debug", "info", "warning", "error"}:
        _fail(f"unknown log level {log_level!r}; write debug, info, warning or error")
    configure_logging(level=log_level)
    flight = None
    clock = steady_clock()
    try:
        settings = Settings(
            policies,
            environment or None,
            grpc_address,
            http_address,
            interval,
            drain,
            grace,
            record,
            token_file,
            TlsOptions.of(tls_cert, tls_key, tls_ca, tls_client_names, http=http_tls),
            events,
        )
        loaded, bearer = settings.load(), Bearer(token_file)
        access = find_access(kubernetes)
        store = open_store(state, access, environment=environment or "")
        if record is not None:
            flight = FlightRecorder(record)
            flight.start()
    except PolicyError as error:
        for diagnostic in error.diagnostics:
            typer.echo(str(diagnostic), err=True)
        raise typer.Exit(2) from None
    except (StoreError, RecorderError, TlsOptionError, AccessError, TokenError) as error:
        _fail(str(error))
    try:
        garbage.begin()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, loaded, store, flight, bearer, access=access, clock=clock))
    except (AddressError, CertificateError) as error:
        _fail(str(error))
    finally:
        if flight is not None:
            flight.stop()


def _fail(message: str) -> NoReturn:
    typer.echo(f"celery-scaler serve: {message}", err=True)
    raise typer.Exit(2)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where it is installed (an extra), else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - optional extra
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    policies: Mapping[str, ScalingPolicy],
    store: StateStore,
    flight: FlightRecorder | None,
    bearer: Bearer,
    *,
    access: Access,
    clock: Clock,
) -> None:
    metrics, board, cluster = Metrics(), Board(), open_cluster(access, clock=clock)
    tls = settings.tls.open(metrics, clock)
    warn_of_open_doors(settings.tls, settings.grpc_address, settings.http_address, settings.token_file)
    engine = Engine(
        board=board,
        clock=clock,
        metrics=metrics,
        store=store,
        open_source=open_source,
        open_receiver=open_receiver,
        flight=flight,
        cluster=cluster,
        interval=settings.interval,
        identity=f"{socket.gethostname()}-{secrets.token_hex(3)}",
    )
    await engine.apply(policies)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    grpc_server = GrpcServer(board, metrics, clock, settings.grpc_address, tls=tls)
    announcements = Announcements(engine, board, clock, bearer)
    https = tls.http_context if tls is not None and settings.tls.http else None
    shadows = Shadows(board, metrics)
    view = ShadowView(shadows, board, clock)
    agreement = Agreement(board, engine.leadership, metrics)
    http_server = HttpServer(
        board,
        metrics,
        clock,
        settings.http_address,
        announcements,
        standing=engine.standing,
        agreement=agreement,
        tls=https,
        shadow=view,
    )
    loops = [
        asyncio.create_task(engine.run(), name="engine"),
        asyncio.create_task(
            watch_policies(settings.policies, settings.load, engine.apply, metrics), name="reload"
        ),
        asyncio.create_task(stop.wait(), name="signal"),
        asyncio.create_task(shadows.run(), name="shadow"),
        asyncio.create_task(agreement.run(), name="agreement"),
        asyncio.create_task(garbage.Caretaker(board, clock).run(), name="garbage"),
    ]
    loops += writing_loops(
        engine, board, metrics, clock, access=access, cluster=cluster, store=store, events=settings.events
    )
    if tls is not None:
        loops.append(asyncio.create_task(tls.follow(), name="certificates"))
    try:
        grpc_port = await grpc_server.start()
        http_port = await http_server.start()
        log.info(
            "serving",
            grpc_port=grpc_port,
            http_port=http_port,
            tls=tls is not None,
            policies=sorted(policies),
        )
        finished, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.critical(
                "a loop ended by itself; shutting down", loops=[task.get_name() for task in finished]
            )
            for task in finished:
                task.result()
        log.info("shutting down", drain_seconds=settings.drain)
    finally:
        http_server.begin_draining()
        # KEDA's answers go on until the endpoints are gone: the engine stops last.
        await grpc_server.stop(settings.drain if stop.is_set() else 0.0, settings.grace)
        await http_server.stop()
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await engine.close()
        await access.close()
        log.info("stopped")
