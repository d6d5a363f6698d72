"""`celery-scaler announce`: declares a coming spike to a running service."""

import getpass
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from pydantic_core import PydanticCustomError

from scaler.cli.asking import CaFile, Service
from scaler.core.policy.values import parse_duration

PATH = "/api/v1/announcements"


def announce(
    worker_class: Annotated[
        str | None, typer.Argument(help="Worker class; none: list what is known.")
    ] = None,
    *,
    begins: Annotated[
        str, typer.Option(help="When: 2026-12-01T09:00+01:00 (with the zone), or so much from now: 30m.")
    ] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long the pods are needed: 30m.")] = "",
    tasks: Annotated[int | None, typer.Option(help="So many tasks at once.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="So many tasks per second besides the usual ones.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="So many pods at least.")] = None,
    why: Annotated[str, typer.Option(help="What it is; stands in every explanation.")] = "",
    who: Annotated[str, typer.Option(help="Who says so; left out: the name of this user.")] = "",
    policy: Annotated[
        str | None, typer.Option(help="Policy of the class; needed where several are loaded.")
    ] = None,
    withdraw: Annotated[str | None, typer.Option(metavar="ID", help="Forget one instead.")] = None,
    address: Annotated[
        str, typer.Option(envvar="SCALER_ADDRESS", help="HTTP address of the service.")
    ] = "http://127.0.0.1:8080",
    ca_file: CaFile = None,
    token_file: Annotated[
        Path | None, typer.Option(envvar="SCALER_TOKEN_FILE", help="The service's token for changes.")
    ] = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="Lines for people, or JSON for programs.")
    ] = "text",
) -> None:
    """Declare a coming spike, so that its pods work when it begins; list or withdraw declarations.

    Exit status: 0; 1 where it was taken and can't come true as declared; 2 where it wasn't taken.
    """
    service = Service("announce", address, ca_file)
    warned = False
    if withdraw is not None:
        if worker_class is not None:
            service.fail("--withdraw takes the ID alone; leave the worker class out")
        answer = service.ask(f"{PATH}/{quote(withdraw, safe='')}", method="DELETE", token_file=token_file)
        text = f"withdrawn: {withdraw}"
    elif worker_class is None:
        if begins or lasts or why or tasks or rate or replicas:
            service.fail("a worker class is missing: celery-scaler announce io --begins …")
        answer = service.ask(PATH)
        text = (
            "\n\n".join(_lines(service, told) for told in _listed(service, answer)) or "nothing is announced"
        )
    else:
        try:
            start, end = _span(service, begins, lasts)
        except OverflowError:
            service.fail("--begins and --for are beyond the calendar; write a moment before 2100")
        declared = {
            "workerClass": worker_class,
            "policy": policy,
            "begins": start.isoformat(),
            "until": end.isoformat(),
            "who": who or _user(service),
            "why": why,
            "tasks": tasks,
            "rate": rate,
            "replicas": replicas,
        }
        if not why.strip():
            service.fail('--why is missing: --why "mails of the spring exams"')
        if tasks is None and rate is None and replicas is None:
            service.fail("its size is missing: --tasks 15000, --rate 40 (per second) or --replicas 3")
        answer = service.ask(PATH, method="POST", body=declared, token_file=token_file)
        text = _lines(service, answer)
        warned = bool(answer["warnings"])
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False) if output == "json" else text)
    if warned:
        raise typer.Exit(1)


def _user(service: Service) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has a number alone
        service.fail("--who is missing, and the user who runs this has no name: --who mira")


def _span(service: Service, begins: str, lasts: str) -> tuple[datetime, datetime]:
    if not begins or not lasts:
        service.fail("when is missing: --begins 2026-12-01T09:00+01:00 --for 30m")
    try:
        length = timedelta(seconds=parse_duration(lasts))
    except PydanticCustomError as error:
        service.fail(f"--for: {error}")
    try:
        start = datetime.now(UTC) + timedelta(seconds=parse_duration(begins))
    except PydanticCustomError:
        try:
            start = datetime.fromisoformat(begins)
        except ValueError:
            service.fail(f"--begins: {begins!r} is no moment; write 2026-12-01T09:00+01:00 or 30m")
        if start.tzinfo is None:
            service.fail(f"--begins: {begins!r} names no time zone; write {begins}+01:00 or {begins}Z")
    return start, start + length


def _listed(service: Service, answer: Any) -> list[Any]:  # noqa: ANN401 - JSON
    try:
        return list(answer["announcements"])
    except (KeyError, TypeError):
        service.stranger()


def _lines(service: Service, told: Any) -> str:  # noqa: ANN401 - JSON
    try:
        lines = [
            f"{told['workerClass']}: {told['why']} ({told['who']}), {told['begins']} to {told['until']}",
            f"  {told['sum']}, ordered from {told['orderedFrom']}",
            *(f"  warning: {warning}" for warning in told["warnings"]),
            f"  withdraw it with: celery-scaler announce --withdraw {told['id']}",
        ]
    except (KeyError, TypeError):
        service.stranger()
    return "\n".join(lines)
