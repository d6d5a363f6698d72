"""`celery-scaler explain`: asks a running service why a class has its number."""

import json
from http.client import HTTPException
from typing import Annotated, Any, Literal, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

import typer

#: Seconds for the service to answer; it answers from memory.
TIMEOUT_SECONDS = 5.0
#: Bytes that are read of an answer: a thousand classes are about 2 MB.
MOST_BYTES = 16 * 1024 * 1024


def explain(
    worker_class: Annotated[str | None, typer.Argument(help="Worker class; all of them without it.")] = None,
    *,
    policy: Annotated[
        str | None, typer.Option(help="Policy of the class; needed where several are loaded.")
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="SCALER_ADDRESS", help="HTTP address of the service.")
    ] = "http://127.0.0.1:8080",
    output: Annotated[
        Literal["text", "json"], typer.Option(help="Lines for people, or JSON for programs.")
    ] = "text",
) -> None:
    """Say why a worker class has its number of replicas.

    Exit status: 0, or 2 when the service can't be reached or doesn't know the class.
    """
    answer = _ask(_url(address, worker_class, policy), address)
    try:
        if worker_class is None and policy is not None:
            answer["workers"] = _of_policy(answer["workers"], policy, address)
        workers = [answer] if worker_class is not None else answer["workers"]
        text = "\n\n".join("\n".join(worker["why"]) for worker in workers)
    except (KeyError, TypeError):
        _fail(f"{address} answers, but not as a celery-scaler does")
    if output == "json":
        text = json.dumps(answer, indent=2, ensure_ascii=False)
    typer.echo(text or "no worker classes are loaded")


def _url(address: str, worker_class: str | None, policy: str | None) -> str:
    base = address if "://" in address else f"http://{address}"
    if not base.startswith(("http://", "https://")):
        _fail(f"bad address {address!r}; write http://host:port")
    url = f"{base.rstrip('/')}/api/v1/workers"
    if worker_class is None:
        return url
    query = f"?{urlencode({'policy': policy})}" if policy else ""
    return f"{url}/{quote(worker_class, safe='')}{query}"


def _of_policy(workers: list[dict[str, Any]], policy: str, address: str) -> list[dict[str, Any]]:
    found = [worker for worker in workers if worker["policy"] == policy]
    if not found:
        known = ", ".join(sorted({worker["policy"] for worker in workers})) or "none"
        _fail(f"unknown policy {policy!r}; known policies: {known} (asked {address})")
    return found


def _ask(url: str, address: str) -> Any:  # noqa: ANN401 - JSON
    # No proxy: the service is on this machine (kubectl port-forward) or in this cluster.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            return json.loads(response.read(MOST_BYTES))
    except HTTPError as error:
        with error:
            _fail(f"{_reason(error)} (asked {address})")
    except URLError as error:
        _fail(f"can't reach {address}: {error.reason}; is the service running, and is --address right?")
    except (OSError, HTTPException, ValueError) as error:
        _fail(f"no usable answer from {address}: {str(error) or type(error).__name__}")


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the service answered {error.code} {error.reason}"


def _fail(message: str) -> NoReturn:
    typer.echo(f"celery-scaler explain: {message}", err=True)
    raise typer.Exit(2)
