"""The `celery-scaler` command: one thin module per subcommand.

Exit status everywhere: 0 fine, 1 the answer is no (a check failed), 2 bad usage or bad input.
"""

import sys
from typing import Annotated

import typer

from scaler import __version__
from scaler.cli.announce import announce
from scaler.cli.check import check
from scaler.cli.demo import demo
from scaler.cli.explain import explain
from scaler.cli.many import spread
from scaler.cli.record import record
from scaler.cli.render import render
from scaler.cli.serve import serve
from scaler.cli.shadow import shadow
from scaler.cli.simulate import simulate

app = typer.Typer(
    name="celery-scaler",
    help="KEDA external scaler for Celery: true readings, exact burst policies, a reason for every decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback signature
    if value:
        typer.echo(f"celery-scaler {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself."""
    del version  # handled by its callback


for command in (serve, check, explain, announce, shadow, simulate, record, render, demo):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    app(args=spread(arguments) if arguments[:1] == ["simulate"] else arguments)
