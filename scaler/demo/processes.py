"""The demo's child processes: each in its own process group, with a log file, none outlives the demo."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import scaler

_LEASH = Path(__file__).with_name("leash.py")
#: Seconds that a killed process may take to vanish; the kernel needs milliseconds.
KILL_TIMEOUT = 5.0
#: What is shown of a log when something went wrong.
TAIL_LINES = 15


class DemoError(Exception):
    """The demo can't go on; the text says why, and where to look."""


class Child:
    """A running child. Signals go to it alone, as Kubernetes signals a container's first process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Process id, also of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative signal number if a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """SIGTERM: end in order (Celery's warm shutdown)."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to it and its own children; returns when it is gone."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(KILL_TIMEOUT)

    def end(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL after `timeout` seconds. Blocks meanwhile."""
        self.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def require_running(self) -> None:
        """Raise a `DemoError` with the end of its log if it has ended."""
        code = self.exit_code
        if code is not None:
            raise DemoError(
                f"{self.name} ended by itself with {code}; the end of {self.log}:\n{tail(self.log)}"
            )


class Children:
    """Starts children and, at the latest when the block ends, kills those that still run.

    Children must be started from the main thread: on Linux they die with the thread that
    started them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a command; its output goes to `<name>.log` in the directory."""
        log = self._directory / f"{name}.log"
        # Isolated and without site-packages: the leash needs nothing but the standard library.
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid())]
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - the demo's own commands
                [*leash, *command],
                env={**clean_environment(), **(environment or {})},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Kill what still runs."""
        while self._children:
            self._children.pop().kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tail(log: Path) -> str:
    """The last lines of a log file; empty if there is none."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:]) if log.exists() else ""


def python(module: str, *arguments: str) -> list[str]:
    """A command that runs a module with this Python; a `celery.py` in the current folder isn't in its way."""
    return [sys.executable, "-P", "-m", module, *arguments]


def clean_environment() -> dict[str, str]:
    """The environment without what would lead Celery or the service elsewhere.

    With CELERY_BROKER_URL set, Celery would send the demo's tasks to the user's own broker.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "SCALER_"))}
    root = Path(scaler.__file__).parents[1]
    if "site-packages" not in root.parts:
        # A checkout that isn't installed is found through the current folder, which -P leaves out.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), kept.get("PYTHONPATH"))))
    return kept
