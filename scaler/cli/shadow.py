"""`celery-scaler shadow`: asks a running service how its classes in shadow mode compare."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from scaler.cli.asking import CaFile, Service
from scaler.core.policy.values import format_duration


def shadow(
    *,
    address: Annotated[
        str, typer.Option(envvar="SCALER_ADDRESS", help="HTTP address of the service.")
    ] = "http://127.0.0.1:8080",
    ca_file: CaFile = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="A table for people, or JSON for programs.")
    ] = "text",
) -> None:
    """Compare what classes with `mode: shadow` would have had with what they have.

    Exit status: 0, or 2 when the service can't be reached.
    """
    service = Service("shadow", address, ca_file)
    answer = service.ask("/api/v1/shadow")
    if output == "json":
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    try:
        classes = answer["classes"]
        if not classes:
            typer.echo("no worker class is in shadow mode; write mode: shadow in its policy")
            return
        _print(classes)
    except (KeyError, TypeError, AttributeError):
        service.stranger()


def _print(classes: list[dict[str, Any]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("class", "for", "now", "pod-minutes", "more", "fewer", "equal", "at max", "late"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for one in classes:
        table.add_row(*_row(one))
    console.print(table)
    console.print("\nnow, pod-minutes: ours/actual; more, fewer: how long ours was;")
    console.print("at max, late (a task waited longer than the objective): of the actual pods")
    for one in classes:
        console.print(f"\n{one['workerClass']}: scaled by {one['scaledBy']} (from {one['actualFrom']})")
        for difference in one.get("largestDifferences", ()):
            console.print(f"  {_words(difference)}")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    if one["since"] is None:
        return one["workerClass"], "no decision yet"
    pods, minutes = one["podMinutes"], one["minutes"]
    actual = "?" if one["actual"] is None else one["actual"]
    times = [minutes[name] for name in ("oursAbove", "oursBelow", "equal", "actualAtMax", "waitedTooLong")]
    return (
        one["workerClass"],
        _span(one["sinceSecondsAgo"] / 60),
        f"{one['ours']}/{actual}",
        f"{pods['ours']:.0f}/{pods['actual']:.0f}",
        *(_span(time) for time in times),
    )


def _words(difference: dict[str, Any]) -> str:
    began = datetime.fromtimestamp(difference["began"], UTC)
    limit = "" if difference["limit"] == "none" else f"; limit {difference['limit']}"
    return (
        f"{began:%Y-%m-%d %H:%M:%S} UTC, {_span(difference['minutes'])}: ours {difference['ours']},"
        f" actual {difference['actual']}: {difference['term']}: {difference['why']}{limit}"
    )


def _span(minutes: float) -> str:
    """Whole seconds below an hour, whole minutes above."""
    seconds = round(minutes * 60)
    return format_duration(float(seconds if seconds < 3600 else seconds // 60 * 60))  # noqa: PLR2004 - an hour
