"""Real RabbitMQ and Redis processes on loopback, each in its own folder and process group.

Nothing outside the given folder is touched: RabbitMQ gets its own node name, cookie, data,
log and port mapper (epmd) instead of those of the machine's service. The classes are plain
subprocess handling, because tests also kill, freeze and restart the servers, which process
fixtures made for "start once, stop at the end" don't offer.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

#: Debian keeps the server's own script here; the one on PATH insists on `su rabbitmq`.
RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

#: Seconds until a server must answer. Measured: Redis 0.1 s, RabbitMQ 5 s; slow CI machines take three times that.
START_TIMEOUT = 45.0

#: Seconds a server may take for an orderly stop before it is killed.
STOP_TIMEOUT = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def missing_services() -> list[str]:
    """Debian packages that are needed for the servers here and aren't installed."""
    missing = []
    if not RABBITMQ_SCRIPT.exists() or shutil.which("epmd") is None:
        missing.append("rabbitmq-server")
    if shutil.which("redis-server") is None:
        missing.append("redis-server")
    return missing


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
        if not _becomes_true(lambda: ended() is not None or self.answers(), START_TIMEOUT) or ended() is not None:
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


class RedisServer(Server):
    """redis-server without authentication, 512 databases, every write kept across a kill."""

    def __init__(self, directory: Path, *options: str, port: int | None = None, sentinel: bool = False) -> None:
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
        return _accepts(self.port)

    def url(self, database: int = 0) -> str:
        """The address as Celery writes it."""
        return f"redis://127.0.0.1:{self.port}/{database}"


class Epmd(Server):
    """Erlang's port mapper, in the foreground: left to itself, Erlang starts one that outlives all."""

    def command(self) -> Sequence[str | Path]:
        """epmd on loopback only."""
        return [shutil.which("epmd") or "epmd", "-port", str(self.port), "-address", "127.0.0.1"]

    def answers(self) -> bool:
        """It took a connection."""
        return _accepts(self.port)


class RabbitMQServer(Server):
    """rabbitmq-server with the management plugin; user and password are guest."""

    def __init__(self, directory: Path, epmd: Epmd, config: str = "") -> None:
        super().__init__(directory)
        self.management_port = free_port()
        self._distribution_port = free_port()
        self._epmd = epmd
        (directory / "rabbitmq.conf").write_text(
            "listeners.tcp.1 = 127.0.0.1:%d\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n%s"
            % (self.port, self.management_port, config)
        )
        (directory / "enabled_plugins").write_text("[rabbitmq_management].\n")

    def command(self) -> Sequence[str | Path]:
        """The server's script without Debian's wrapper."""
        return [RABBITMQ_SCRIPT]

    def environment(self) -> Mapping[str, str]:
        """Everything that would otherwise point to the machine's own RabbitMQ."""
        here = self.directory
        return {
            **super().environment(),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(here / "absent-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "absent-advanced.config"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_NODENAME": f"celery-scaler-{self.port}@localhost",
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            # No dialogue on the terminal, no crash dump beside the data.
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    def start(self) -> None:
        """As every server; the port mapper first."""
        self._epmd.start()
        super().start()

    def answers(self) -> bool:
        """AMQP takes connections and the management API lists virtual hosts."""
        if not _accepts(self.port):
            return False
        try:
            self.management("GET", "/api/vhosts")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def url(self, vhost: str = "/", user: str = "guest", password: str = "guest") -> str:  # noqa: S107 - RabbitMQ's own
        """The address as Celery writes it."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """Root of the HTTP API, with credentials."""
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    def add_vhost(self, name: str) -> None:
        """Create a virtual host that guest may use."""
        self.management("PUT", f"/api/vhosts/{quote(name, safe='')}")
        self.add_permission(name, "guest")

    def add_permission(self, vhost: str, user: str, pattern: str = ".*") -> None:
        """Let a user configure, write and read what matches `pattern` in a virtual host."""
        rights = f'{{"configure": "{pattern}", "write": "{pattern}", "read": "{pattern}"}}'
        self.management("PUT", f"/api/permissions/{quote(vhost, safe='')}/{user}", rights)

    def add_user(self, name: str, password: str, tags: str = "") -> None:
        """Create a user without permissions; `tags` as in RabbitMQ ("management,monitoring")."""
        self.management("PUT", f"/api/users/{name}", f'{{"password": "{password}", "tags": "{tags}"}}')

    def management(self, method: str, path: str, body: str = "{}") -> bytes:
        """One call of the HTTP API as guest.

        Raises:
            urllib.error.URLError: refused, or an answer that isn't 2xx (HTTPError).
        """
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}{path}",
            data=None if method == "GET" else body.encode(),
            method=method,
            headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - a fixed http URL
            content: bytes = answer.read()
            return content


def _accepts(port: int) -> bool:
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
