"""`celery-scaler simulate`: what a policy would do with a declared or a recorded load."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from scaler.policyfile import PolicyError
from scaler.simreport import document, page, table
from scaler.simreport.asserts import AssertionTextError, Verdict, check, parse_assertions
from scaler.simreport.plan import Plan, PlanError, Request, make_plan
from scaler.simreport.runs import Run

#: An assertion failed.
FAILED = 1
#: There is nothing to simulate, or not what was asked for.
UNUSABLE = 2


class Output(StrEnum):
    """For whom the result is written."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


def simulate(
    *,
    policy: Annotated[
        Path | None, typer.Option(help="A policy file. With --replay it may be left out: the recorded one.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(envvar="SCALER_ENVIRONMENT", help="Overlay of the policies to apply.")
    ] = None,
    trace: Annotated[
        list[Path] | None, typer.Option(help="A trace file or a folder of them; may be repeated.")
    ] = None,
    replay: Annotated[
        list[Path] | None,
        typer.Option(help="A recording (file, or folder of `serve --record`); may be repeated."),
    ] = None,
    controller: Annotated[
        list[str] | None, typer.Option(help="Who decides; may be repeated. Without it: scaler.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Controllers or further policy files, set side by side: scaler,cpu-hpa or b.yaml."),
    ] = None,
    output: Annotated[
        Output, typer.Option(help="table for people, json for programs, html for both: one page with charts.")
    ] = Output.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="Write the output there, and the table to the terminal.")
    ] = None,
    assertions: Annotated[
        list[str] | None,
        typer.Option("--assert", help="'late<1%', 'p95<=45s', 'cpu-hpa: podMinutes<200'; may be repeated."),
    ] = None,
) -> None:
    """Simulate policies and controllers on traces or recordings, and compare them.

    Assertions compare late, rejected, expired, killed, lost, unfinished, completed (tasks, or % of the
    offered), p50, p95, p99, maxWait (with ms, s, m, h), podMinutes, scaleUps, scaleDowns, maxBacklog,
    offered with < <= = >= > !=. Without a controller in front they are about the runs of `scaler`.

    Exit status: 0 fine, 1 an assertion failed, 2 bad usage or input, 130 interrupted.
    """
    request = Request(policy, environment or None, trace or [], replay or [], controller or [], compare or [])
    try:
        plan = make_plan(request, os.environ)
        claims = parse_assertions(assertions or [], plan.controllers)
        if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
            _fail(f"--out {out} can't be written: it must be a file in a folder that exists")
        runs = _simulated(plan)
    except PolicyError as error:
        for diagnostic in error.diagnostics:
            typer.echo(str(diagnostic), err=True)
        raise typer.Exit(UNUSABLE) from None
    except (PlanError, AssertionTextError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        typer.echo("celery-scaler simulate: interrupted, nothing was written", err=True)
        raise typer.Exit(130) from None
    verdicts = check(claims, runs)
    text = _rendered(runs, verdicts, plan, output)
    if out is None:
        typer.echo(text, nl=False)
        if output is not Output.TABLE:
            _say_failures(verdicts)
    else:
        _write(out, text)
        typer.echo(_rendered(runs, verdicts, plan, Output.TABLE), nl=False)
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else FAILED)


def _simulated(plan: Plan) -> list[Run]:
    """All runs, with progress on stderr: a long comparison takes minutes."""
    console = Console(stderr=True)
    runs: list[Run] = []
    with console.status("simulating") as status:
        for number, step in enumerate(plan.steps, 1):
            status.update(f"simulating {number} of {len(plan.steps)}: {step.title}")
            runs.append(step.run())
    return runs


def _rendered(runs: Sequence[Run], verdicts: Sequence[Verdict], plan: Plan, output: Output) -> str:
    if output is Output.JSON:
        return document.render(runs, verdicts, plan.certificates)
    if output is Output.HTML:
        return page.render(runs, verdicts, plan.notes, plan.certificates)
    # Never narrower than the table: a terminal wraps lines, rich would cut figures off.
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, table.WIDTH)
    with console.capture() as capture:
        console.print(table.render(runs, verdicts))
        for note in plan.notes:
            console.print(note)
        for certificate in plan.certificates:
            console.print(*certificate.brief(), sep="\n")
    return capture.get()


def _say_failures(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if not verdict.holds:
            typer.echo(verdict.sentence(), err=True)


def _write(out: Path, text: str) -> None:
    """All or nothing: whoever looks meanwhile sees the former file."""
    draft = out.with_name(f".{out.name}.part")
    try:
        draft.write_text(text, "utf-8")
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        _fail(f"--out {out} can't be written: {(error.strerror or type(error).__name__).lower()}")


def _fail(message: str) -> NoReturn:
    typer.echo(f"celery-scaler simulate: {message}", err=True)
    raise typer.Exit(UNUSABLE)
