"""No child outlives the demo, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scaler.demo.processes import Child, Children, DemoError, clean_environment, python, tail
from scaler.testing import wait_until

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
#: Deaf to SIGTERM, and with a child of its own.
STUBBORN_CODE = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("here", flush=True)
time.sleep(600)
"""
STUBBORN = [sys.executable, "-c", STUBBORN_CODE]
PARENT = """
import sys, time
from pathlib import Path
from scaler.demo.processes import Children
with Children(Path(sys.argv[1])) as children:
    for number in range(3):
        children.start(f"child-{number}", [sys.executable, "-c", "import time; time.sleep(600)"])
    print("started", flush=True)
    time.sleep(600)
"""


async def test_leaving_the_block_kills_even_the_stubborn_and_their_children(
    tmp_path: Path, mark: dict[str, str], alive: Callable[[], list[int]]
) -> None:
    with Children(tmp_path) as children:
        child = children.start("stubborn", STUBBORN, mark)
        await wait_until(lambda: "here" in tail(child.log), description="the child runs")
        await wait_until(lambda: len(alive()) == 2, description="its own child runs")
        child.terminate()
    assert child.exit_code == -signal.SIGKILL
    await wait_until(lambda: not alive(), description="all are gone")


def test_an_error_in_the_block_kills_them_as_well(tmp_path: Path) -> None:
    def fail(child: Child) -> None:
        child.require_running()
        raise ZeroDivisionError

    children = Children(tmp_path)
    with pytest.raises(ZeroDivisionError), children:
        fail(child := children.start("sleeper", SLEEPER))
    assert child.exit_code == -signal.SIGKILL


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name
)
async def test_no_child_outlives_a_parent_that_was_ended_by_a_signal(
    tmp_path: Path, mark: dict[str, str], alive: Callable[[], list[int]], number: signal.Signals
) -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, **mark, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        await wait_until(lambda: len(alive()) == 4, description="the parent and three children run")
        parent.send_signal(number)
        parent.wait(10)
    await wait_until(lambda: not alive(), description="parent and children are gone")


async def test_a_child_that_ends_by_itself_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("worker", [sys.executable, "-c", "print('no broker'); raise SystemExit(3)"])
        await wait_until(lambda: child.exit_code is not None, description="it ends")
        with pytest.raises(
            DemoError, match=r"worker ended by itself with 3; the end of .*worker\.log:\nno broker"
        ):
            child.require_running()


async def test_an_orderly_end_is_waited_for_and_forced_when_it_takes_too_long(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        obedient = children.start("sleeper", SLEEPER)
        stubborn = children.start("stubborn", STUBBORN)
        await wait_until(
            lambda: all("here" in tail(child.log) for child in (obedient, stubborn)), description="both run"
        )
        obedient.end(10)
        stubborn.end(0.1)
    assert (obedient.exit_code, stubborn.exit_code) == (-signal.SIGTERM, -signal.SIGKILL)


def test_the_users_own_celery_and_scaler_settings_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://production/0")
    monkeypatch.setenv("SCALER_POLICIES", "/etc/policies")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    environment = clean_environment()
    assert not [name for name in environment if name.startswith(("CELERY_", "SCALER_"))]
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"


async def test_a_file_in_the_current_folder_cant_stand_in_for_a_module(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("raise SystemExit('the wrong celery')")
    with Children(tmp_path) as children:
        child = children.start("celery", python("celery", "--version"))
        await wait_until(lambda: child.exit_code is not None, description="it ends")
    assert child.exit_code == 0
    assert "wrong" not in tail(child.log)
