"""`celery-scaler explain`: asks a running service why a class has its number."""

import json
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import typer

from scaler.cli.asking import CaFile, Service


def explain(
    worker_class: Annotated[str | None, typer.Argument(help="Worker class; all of them without it.")] = None,
    *,
    policy: Annotated[
        str | None, typer.Option(help="Policy of the class; needed where several are loaded.")
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="SCALER_ADDRESS", help="HTTP address of the service.")
    ] = "http://127.0.0.1:8080",
    ca_file: CaFile = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="Lines for people, or JSON for programs.")
    ] = "text",
) -> None:
    """Say why a worker class has its number of replicas.

    Exit status: 0, or 2 when the service can't be reached or doesn't know the class.
    """
    service = Service("explain", address, ca_file)
    answer = service.ask(_path(worker_class, policy))
    try:
        if worker_class is None and policy is not None:
            answer["workers"] = _of_policy(service, answer["workers"], policy)
        workers = [answer] if worker_class is not None else answer["workers"]
        text = "\n\n".join("\n".join(worker["why"]) for worker in workers)
    except (KeyError, TypeError):
        service.stranger()
    if output == "json":
        text = json.dumps(answer, indent=2, ensure_ascii=False)
    typer.echo(text or "no worker classes are loaded")


def _path(worker_class: str | None, policy: str | None) -> str:
    if worker_class is None:
        return "/api/v1/workers"
    query = f"?{urlencode({'policy': policy})}" if policy else ""
    return f"/api/v1/workers/{quote(worker_class, safe='')}{query}"


def _of_policy(service: Service, workers: list[dict[str, Any]], policy: str) -> list[dict[str, Any]]:
    found = [worker for worker in workers if worker["policy"] == policy]
    if not found:
        known = ", ".join(sorted({worker["policy"] for worker in workers})) or "none"
        service.fail(f"unknown policy {policy!r}; known policies: {known} (asked {service.address})")
    return found
