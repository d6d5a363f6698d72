"""`celery-scaler check`: is this policy right, what does it come to, and does it survive a spike?"""

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scaler.policyfile import PolicyPathError
from scaler.policyfile.certificates import Certified, certify_all, read_spikes
from scaler.policyfile.review import ClassView, Review, review
from scaler.policyfile.schema import schema_text
from scaler.policyfile.summary import describe, summarize

#: The answer is no: a policy is broken, or doesn't survive a spike.
BROKEN = 1
#: There is nothing to answer about.
UNUSABLE = 2


class Output(StrEnum):
    """For whom the result is written."""

    TEXT = "text"
    JSON = "json"


def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Policy files, or folders of them.")] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            envvar="SCALER_ENVIRONMENT",
            help="Check as this environment sees it. Left out: the spec as it stands, and every environment.",
        ),
    ] = None,
    spike: Annotated[
        list[str] | None,
        typer.Option(
            help="Can the policy survive this? A trace file, or a line such as"
            " worker=io,base=5,burst=10000,over=20s or worker=io,rate=67,for=5m,serviceTime=12s."
        ),
    ] = None,
    output: Annotated[Output, typer.Option(help="text for people, json for programs.")] = Output.TEXT,
    print_schema: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--print-schema", help="Print the JSON Schema for editors and do nothing else.")
    ] = False,
) -> None:
    """Validate policies and say what they come to.

    Exit status: 0 fine (perhaps with warnings; with --spike: SAFE), 1 a policy is broken or a spike
    UNSAFE, 2 nothing to check, or no usable spike.
    """
    if print_schema:
        typer.echo(schema_text(), nl=False)
        return
    if not paths:
        raise typer.BadParameter("name a policy file or a folder, such as policies/", param_hint="PATHS")
    found, status = Review(), 0
    for path in paths:
        try:
            one = review(path, environment or None, os.environ)
        except PolicyPathError as error:
            found.errors += error.diagnostics
            status = UNUSABLE
            continue
        found.errors += one.errors
        found.warnings += one.warnings
        found.classes += one.classes
    if found.errors:
        status = status or BROKEN
    if spike and not found.errors:
        raise typer.Exit(_certify(found, spike, output))
    (_print_json if output is Output.JSON else _print_text)(found)
    raise typer.Exit(status)


def _certify(found: Review, spikes: list[str], output: Output) -> int:
    """Prints the certificates instead of the summary; the exit status."""
    declared, faults = read_spikes(spikes)
    certified: list[Certified] = []
    if not faults:
        certified, faults = certify_all(found.classes, declared)
    if faults:
        for fault in faults:
            typer.echo(fault, err=True)
        return UNUSABLE
    if output is Output.JSON:
        documents = [each.record() for each in certified]
        typer.echo(json.dumps({"certificates": documents}, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n\n".join("\n".join(each.text()) for each in certified))
    return 0 if all(each.certificate.safe for each in certified) else BROKEN


def _print_text(found: Review) -> None:
    for line in found.classes:
        place = f" ({line.environment})" if line.environment else ""
        typer.echo(f"{line.policy}/{line.name}{place}: {describe(line.worker)}")
    for diagnostic in (*found.warnings, *found.errors):
        typer.echo(str(diagnostic), err=True)
    counts = [_count(len(found.errors), "error"), _count(len(found.warnings), "warning")]
    if any(counts):
        typer.echo(", ".join(filter(None, counts)), err=True)


def _print_json(found: Review) -> None:
    document = {
        "errors": [asdict(diagnostic) for diagnostic in found.errors],
        "warnings": [asdict(diagnostic) for diagnostic in found.warnings],
        "workerClasses": [_class(line) for line in found.classes],
    }
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _class(line: ClassView) -> dict[str, object]:
    names = {"policy": line.policy, "environment": line.environment, "workerClass": line.name}
    return {**names, **summarize(line.worker)}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}" if number else ""
