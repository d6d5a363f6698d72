"""`celery-scaler demo` as a person runs it: the whole of it, and what is left when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import scaler
from scaler.testing import wait_until

ROOT = Path(scaler.__file__).parents[1]
#: A shell that was set up for other things: none of it may reach the demo.
ELSEWHERE = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "SCALER_POLICIES": "/nonexistent",
    "SCALER_ENVIRONMENT": "nonexistent",
    "http_proxy": "http://127.0.0.1:1",
}
START_SECONDS = 30.0


@contextmanager
def running_demo(
    folder: Path, environment: dict[str, str], *options: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """The command on a pipe, its temporary files in `folder`; killed with the block."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "scaler", "demo", *options],
        cwd=ROOT,
        env={**os.environ, **ELSEWHERE, **environment, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("broker", ["embedded", pytest.param("redis-server", marks=pytest.mark.services)])
def test_the_spike_is_played_to_its_end_and_nothing_is_lost(
    broker: str,
    tmp_path: Path,
    mark: dict[str, str],
    alive: Callable[[], list[int]],
    request: pytest.FixtureRequest,
) -> None:
    if broker == "redis-server":
        request.getfixturevalue("redis_binary")
    began = time.monotonic()
    with running_demo(tmp_path, mark, "--broker", broker) as (process, output):
        text = output.read()
    assert process.returncode == 0, text
    assert time.monotonic() - began < 120

    counted = re.search(r"sent (\d+), done (\d+)", text)
    assert counted, text
    assert counted[1] == counted[2]
    assert int(counted[1]) > 1000, "the burst and the trickle"
    assert "lost 0, done twice 0" in text
    assert re.search(r"HPA: 1 -> \d pods", text), "it scaled up"
    assert "HPA: 2 -> 1 pods" in text, "and came back step by step"
    assert "Why at the peak" in text
    assert "→ drain" in text, "the backlog is why"
    assert "Where to go next" in text
    assert not alive()
    assert not any(tmp_path.iterdir())


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("number", "moment", "children", "status"),
    [
        (signal.SIGINT, "the cluster starts", 4, 130),
        (signal.SIGTERM, "the first pod is ready", 3, 143),
        (signal.SIGKILL, "the first pod is ready", 3, -signal.SIGKILL),
    ],
    ids=["SIGINT at the peak", "SIGTERM", "SIGKILL"],
)
async def test_an_interrupted_demo_leaves_no_process_behind(
    number: signal.Signals,
    moment: str,
    children: int,
    status: int,
    tmp_path: Path,
    mark: dict[str, str],
    alive: Callable[[], list[int]],
) -> None:
    with running_demo(tmp_path, mark, "--broker", "embedded") as (process, output):
        for line in output:
            if moment in line:
                break
        assert len(alive()) > children, "the demo itself, broker, service and workers"
        process.send_signal(number)
        rest = output.read()
        assert process.wait(START_SECONDS) == status
    await wait_until(lambda: not alive(), description="every process has gone")
    if number is not signal.SIGKILL:
        assert "nothing is left behind" in rest
        assert "Traceback" not in rest
        assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - it takes no time


def test_a_broker_that_cant_be_had_is_bad_usage(tmp_path: Path) -> None:
    with running_demo(tmp_path, {}, "--broker-url", "redis://:secret@127.0.0.1:1/3") as (process, output):
        text = output.read()
    assert process.returncode == 2
    assert "Redis at 127.0.0.1:1, database 3 doesn't answer" in text
    assert "secret" not in text
    assert not any(tmp_path.iterdir())


def test_without_celery_the_demo_says_what_to_install(tmp_path: Path) -> None:
    # An import hook stands for an environment without the extra.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "def without_celery(name, package=None):\n"
        "    return None if name == 'celery' else find(name, package)\n"
        "importlib.util.find_spec = without_celery\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with running_demo(tmp_path, {"PYTHONPATH": path}) as (process, output):
        text = output.read()
    assert process.returncode == 2
    assert 'pip install "celery-scaler[demo]"' in text
