"""`celery-scaler demo`: a spike played on this machine against the real service."""

import asyncio
import sys
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.console import Console

from scaler.demo.names import DEFAULT_TASKS, BrokerKind

MISSING_EXTRA = 'the demo needs Celery; run: pip install "celery-scaler[demo]"'


def demo(
    broker: Annotated[
        BrokerKind, typer.Option(help="auto takes a redis-server from PATH, else the embedded broker")
    ] = "auto",
    broker_url: Annotated[
        str | None, typer.Option(help="play on this Redis instead; its database must be empty")
    ] = None,
    tasks: Annotated[int, typer.Option(min=500, max=3000, help="e-mails in the burst")] = DEFAULT_TASKS,
) -> None:
    """Play an e-mail spike with real Celery workers: a minute, no cluster, no broker to install.

    Exit status: 0 all tasks done and the workers followed the load, 1 not so,
    2 something is missing.
    """
    # A log's encoding may know no arrows and bars; a question mark is better than a crash.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    console = Console()
    if find_spec("celery") is None:
        console.print(MISSING_EXTRA, markup=False, highlight=False, style="bold red")
        raise typer.Exit(2)

    from scaler.demo.run import run_demo  # noqa: PLC0415 - needs the extra, and half a second

    try:
        with asyncio.Runner() as runner:
            status = runner.run(run_demo(console, kind=broker, broker_url=broker_url, tasks=tasks))
    except KeyboardInterrupt:
        console.print("\nCtrl-C: ended, nothing is left behind")
        status = 130
    except asyncio.CancelledError:
        console.print("\nended by a signal, nothing is left behind")
        status = 143
    raise typer.Exit(status)
