"""A real RabbitMQ with its management plugin, without a trace of it outside its folder.

It gets its own node name, cookie, data, log and port mapper (epmd) instead of those of the
machine's service.
"""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from scaler.testing.servers import Server, Tenant, accepts, free_port
from scaler.testing.tls import TlsDirectory

#: Debian keeps the server's own script here; the one on PATH insists on `su rabbitmq`.
RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


_TLS = """listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {tls.ca_file}
ssl_options.certfile = {tls.server_cert_file}
ssl_options.keyfile = {tls.server_key_file}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


class Epmd(Server):
    """Erlang's port mapper, in the foreground: left to itself, Erlang starts one that outlives all."""

    def command(self) -> Sequence[str | Path]:
        """The mapper on loopback only."""
        return [shutil.which("epmd") or "epmd", "-port", str(self.port), "-address", "127.0.0.1"]

    def answers(self) -> bool:
        """It took a connection."""
        return accepts(self.port)


class RabbitMQServer(Server):
    """rabbitmq-server with the management plugin; user and password are guest."""

    def __init__(self, directory: Path, epmd: Epmd, *, tls: TlsDirectory | None = None) -> None:
        """Nothing runs yet; with `tls` it listens on `tls_port` as well."""
        super().__init__(directory)
        self.management_port = free_port()
        self.tls_port = free_port()
        self._distribution_port = free_port()
        self._epmd = epmd
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
            + (_TLS.format(port=self.tls_port, tls=tls) if tls else "")
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
        if not accepts(self.port):
            return False
        try:
            self.management("GET", "/api/vhosts")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def url(self, vhost: str = "/", user: str = "guest", password: str = "guest") -> str:  # noqa: S107 - its defaults
        """The address as Celery writes it."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """Root of the HTTP API, with credentials."""
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    def add_vhost(self, name: str) -> "Vhost":
        """Create a virtual host that guest may use."""
        self.management("PUT", f"/api/vhosts/{quote(name, safe='')}")
        self.add_permission(name, "guest")
        return Vhost(self, name, self.url(name), self.management_url)

    def add_permission(self, vhost: str, user: str, pattern: str = ".*") -> None:
        """Let a user configure, write and read what matches `pattern` in a virtual host."""
        rights = dict.fromkeys(("configure", "write", "read"), pattern)
        self.management("PUT", f"/api/permissions/{quote(vhost, safe='')}/{user}", rights)

    def add_user(self, name: str, password: str, tags: str = "") -> None:
        """Create a user without permissions; `tags` as in RabbitMQ ("management,monitoring")."""
        self.management("PUT", f"/api/users/{name}", {"password": password, "tags": tags})

    def control(self, *command: str) -> None:
        """Run rabbitmqctl against this node, which takes about 2 s.

        Raises:
            subprocess.CalledProcessError: the command failed.
        """
        subprocess.run(  # noqa: S603 - our own fixed commands
            [RABBITMQ_SCRIPT.with_name("rabbitmqctl"), *command],
            env=self.environment(),
            check=True,
            capture_output=True,
            timeout=30,
        )

    def management(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        """One call of the HTTP API as guest.

        Raises:
            urllib.error.URLError: refused, or an answer that isn't 2xx (HTTPError).
        """
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}{path}",
            data=None if method == "GET" else json.dumps(body or {}).encode(),
            method=method,
            headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - a fixed http URL
            content: bytes = answer.read()
            return content


@dataclass(frozen=True, slots=True)
class Vhost(Tenant):
    """An empty virtual host of a real RabbitMQ."""

    server: RabbitMQServer
    name: str
    url: str
    management_url: str
