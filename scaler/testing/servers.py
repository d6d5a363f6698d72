"""Real servers on loopback, each in its own folder and process group; Redis among them.

The classes are plain subprocess handling, because tests also kill, freeze and restart the
servers, which process fixtures made for "start once, stop at the end" don't offer.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path

#: Seconds until a server must answer. Measured: Redis 0.1, RabbitMQ 5; slow CI takes three times that.
START_TIMEOUT = 45.0

#: Seconds a server may take for an orderly stop before it is killed.
STOP_TIMEOUT = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment.

    From below the ports that connections get (32768 and up): a RabbitMQ opens its own only after 5 s. Each
    process of a parallel test run has a range of its own.
    """
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")


def _ports() -> Iterator[int]:
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    first = 12_000 + int(name.removeprefix("gw")) % 8 * 2_500
    # Not from the first: what an earlier run has left behind may still hold it.
    return chain(range(first + os.getpid() % 2_500, first + 2_500), cycle(range(first, first + 2_500)))


_PORTS = _ports()


class Server:
    """One server process and all its children; output goes to `output.log` in its folder."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        """What to run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """The process's whole environment."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LANG": "C.UTF-8"}

    def answers(self) -> bool:
        """True once the server does its work; a refused connection is False."""
        raise NotImplementedError

    def start(self) -> None:
        """Start on the same port and data as before and wait until the server answers.

        Raises:
            RuntimeError: it ended or didn't answer in time; the text has the end of its output.
        """
        if self._process is not None and self._process.poll() is None:
            return
        log = self.directory / "output.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own fixed commands
                self.command(),
                env=self.environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ended = self._process.poll
        if (
            not _becomes_true(lambda: ended() is not None or self.answers(), START_TIMEOUT)
            or ended() is not None
        ):
            self.kill()
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.command()[0]} didn't come up on port {self.port}: {tail}")

    def stop(self) -> None:
        """End it in order, or by force after `STOP_TIMEOUT`; the data stay."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to the whole process group: what a lost node looks like."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT)
        self._process = None

    def pause(self) -> None:
        """Freeze it: its port still takes connections, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One test's own part of a server, with the server's controls at hand for outages."""

    server: Server

    def kill(self) -> None:
        """As `Server.kill`."""
        self.server.kill()

    def start(self) -> None:
        """As `Server.start`; blocks for seconds."""
        self.server.start()

    def pause(self) -> None:
        """As `Server.pause`."""
        self.server.pause()

    def resume(self) -> None:
        """As `Server.resume`."""
        self.server.resume()


class RedisServer(Server):
    """redis-server without authentication, 512 databases, every write kept across a kill."""

    def __init__(
        self, directory: Path, *options: str, port: int | None = None, sentinel: bool = False
    ) -> None:
        super().__init__(directory, port)
        self._options = options
        self._sentinel = sentinel

    def command(self) -> Sequence[str | Path]:
        """redis-server or a sentinel, which must own a configuration file that it rewrites."""
        binary = shutil.which("redis-server") or "redis-server"
        if self._sentinel:
            return [binary, self.directory / "sentinel.conf", "--sentinel"]
        base = f"--port {self.port} --bind 127.0.0.1 --databases 512 --appendonly yes --save".split()
        return [binary, *base, "", "--dir", self.directory, *self._options]

    def answers(self) -> bool:
        """It took a connection; a Redis that loads its data says so to each command."""
        return accepts(self.port)

    def url(self, database: int = 0) -> str:
        """The address as Celery writes it."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def database(self, number: int) -> "RedisDatabase":
        """A database as one test's own."""
        return RedisDatabase(self, self.url(number))


@dataclass(frozen=True, slots=True)
class RedisDatabase(Tenant):
    """An empty database of a real Redis."""

    url: str


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _becomes_true(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
