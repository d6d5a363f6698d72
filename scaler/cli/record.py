"""`celery-scaler record`: writes down what a running service sees, for `simulate --replay`.

For a service that runs without `--record`, from a laptop through `kubectl port-forward`. The
service's own recording knows more: the policy in force and the broker's counters.
"""

import json
import time
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.error import URLError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

import typer

from scaler.api.workers import decision_of
from scaler.cli.asking import CaFile, TrustError, trust
from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy.values import parse_duration
from scaler.runtime.recorder import EVERY_SECONDS, FlightRecorder, RecorderError, entry_of

#: As `celery-scaler explain`.
_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 16 * 1024 * 1024
#: An answer that fails once is a restart; so many in a row are the end.
_MOST_FAILURES = 60


def record(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the recording; it is added to what is there.")],
    address: Annotated[
        str, typer.Option(envvar="SCALER_ADDRESS", help="HTTP address of the service.")
    ] = "http://127.0.0.1:8080",
    ca_file: CaFile = None,
    duration: Annotated[
        str | None, typer.Option(help="How long, such as 2h; left out: until Ctrl-C.")
    ] = None,
) -> None:
    """Record a running service's decisions and what it saw, every 5 s, in at most ten files of 10 MB.

    Better where it can be had: `serve --record FOLDER`.

    Exit status: 0 recorded, 2 the service can't be reached or the folder can't be written.
    """
    end = None if duration is None else time.monotonic() + _seconds(duration)
    url = f"{(address if '://' in address else f'http://{address}').rstrip('/')}/api/v1/workers"
    recorder = FlightRecorder(out, every=EVERY_SECONDS / 2)
    try:
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust(ca_file)))
        first = _ask(url, opener)
        recorder.start()
    except _NoAnswerError as error:
        _fail(f"no usable answer from {address}: {error}; is the service running, and is --address right?")
    except (RecorderError, TrustError) as error:
        _fail(str(error))
    typer.echo(f"recording {_names(first)} into {out}; end with Ctrl-C", err=True)
    try:
        lines = _follow(url, opener, recorder, first, end)
    finally:
        recorder.stop()
    typer.echo(
        f"{lines} readings recorded; next: celery-scaler simulate --replay {out} --policy FILE", err=True
    )


def _follow(
    url: str, opener: OpenerDirector, recorder: FlightRecorder, answer: list[Decision], end: float | None
) -> int:
    """Ask and write until the end, Ctrl-C, or a service that is gone; the number of readings."""
    lines = failures = 0
    try:
        while True:
            for decision in answer:
                recorder.write_entry(entry_of(Observation(decision.sampled_at), decision))
            lines += len(answer)
            left = EVERY_SECONDS if end is None else min(EVERY_SECONDS, end - time.monotonic())
            if left <= 0:
                return lines
            time.sleep(left)
            try:
                answer, failures = _ask(url, opener), 0
            except _NoAnswerError as error:
                answer, failures = [], failures + 1
                if failures == 1:
                    typer.echo(f"no answer ({error}); trying on", err=True)
                if failures >= _MOST_FAILURES:
                    _fail(f"no answer for {_MOST_FAILURES * EVERY_SECONDS / 60:g} min: {error}")
    except KeyboardInterrupt:
        return lines


class _NoAnswerError(Exception):
    """The service didn't say what it decided; the text says why."""


def _ask(url: str, opener: OpenerDirector) -> list[Decision]:
    """The present decisions.

    Raises:
        _NoAnswerError: none came.
    """
    try:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
            answer: Any = json.loads(response.read(_MOST_BYTES))
        found = [decision_of(worker) for worker in answer["workers"]]
    except URLError as error:
        raise _NoAnswerError(str(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _NoAnswerError(str(error) or type(error).__name__) from error
    except (KeyError, TypeError) as error:
        raise _NoAnswerError("this is no celery-scaler") from error
    return [decision for decision in found if decision is not None]


def _names(decisions: list[Decision]) -> str:
    return ", ".join(sorted({decision.worker_class for decision in decisions})) or "what is decided"


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        _fail(f"--duration: {error}")


def _fail(message: str) -> NoReturn:
    typer.echo(f"celery-scaler record: {message}", err=True)
    raise typer.Exit(2)
