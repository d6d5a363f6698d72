"""Broker addresses, read exactly as kombu reads them, so that the scaler looks where Celery writes.

That means: `;` separates alternates, user and path are percent-decoded, no path and `/` are the
default virtual host (or database 0), and `//` or `/%2F` name the virtual host `/`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scaler.sources.failures import denied

#: Schemes of brokers, with the ports that kombu's transports use.
BROKER_PORTS: Mapping[str, int] = {
    "amqp": 5672,
    "amqps": 5671,
    "redis": 6379,
    "rediss": 6379,
    "sentinel": 26379,
}

#: Schemes of RabbitMQ's HTTP API.
MANAGEMENT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """One server of a broker URL. Its `repr` has no credentials."""

    scheme: str
    host: str
    port: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    #: Virtual host or database, decoded; empty where the URL names none.
    path: str
    query: Mapping[str, str] = field(repr=False)

    @property
    def place(self) -> str:
        """host:port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(
    url: str, ports: Mapping[str, int] = BROKER_PORTS, name: str = "the broker url"
) -> tuple[Address, ...]:
    """All servers of a URL, in the order written.

    Args:
        url: One address, or several with `;` between them.
        ports: The schemes that may stand here, with their default ports.
        name: What the user calls this URL, for messages.

    Raises:
        SourceDeniedError: a part can't be understood; the text doesn't repeat the URL.
    """
    return tuple(_parse(part.strip(), ports, name) for part in url.split(";"))


def _parse(url: str, ports: Mapping[str, int], name: str) -> Address:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ports:
        raise denied(f"{name} has no known scheme; write one of {', '.join(ports)}://…")
    try:
        # The rest is read with the rules of http, as kombu does; other schemes have odd ones.
        parts = urlsplit(f"http://{rest}")
        port = parts.port
    except ValueError:
        # Without `from`: the parser's text repeats what it took for the port, and with an
        # unescaped character in the password that is a piece of it.
        raise denied(
            f"host or port of {name} can't be read; percent-encode special characters of the password"
            " (/ as %2F, # as %23)"
        ) from None
    if "@" in parts.path:
        raise denied(f"the password in {name} has an unescaped / ; write it as %2F")
    host = unquote(parts.hostname or "")
    return Address(
        scheme=scheme,
        # localhost may mean ::1, where most brokers don't listen; kombu goes to 127.0.0.1 as well.
        host="127.0.0.1" if host in {"", "localhost"} else host,
        port=port or ports[scheme],
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        path=unquote(parts.path.removeprefix("/")),
        query=dict(parse_qsl(parts.query)),
    )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a broker: whom to trust, and who we are. None: the system's trust, no certificate."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __bool__(self) -> bool:
        return any((self.ca_file, self.cert_file, self.key_file))

    def laid_over(self, query: Mapping[str, str]) -> "TlsFiles":
        """These files, or where they are None, those that kombu's URL parameters name."""
        return TlsFiles(
            self.ca_file or query.get("ssl_ca_certs"),
            self.cert_file or query.get("ssl_certfile"),
            self.key_file or query.get("ssl_keyfile"),
        )


NO_FILES = TlsFiles()


def tls_context(files: TlsFiles, query: Mapping[str, str]) -> ssl.SSLContext:
    """A context that verifies the server unless the URL says `?ssl_cert_reqs=none`.

    Celery skips verification by default; here it has to be asked for, because the scaler's
    connection carries the same password. Reads files: not for the event loop.

    Raises:
        SourceDeniedError: a file is missing or isn't what it should be.
    """
    named = files.laid_over(query)
    try:
        context = ssl.create_default_context(cafile=named.ca_file)
        if named.cert_file:
            context.load_cert_chain(named.cert_file, named.key_file)
    except OSError as error:
        wanted = ", ".join(filter(None, (named.ca_file, named.cert_file, named.key_file)))
        reason = error.strerror or type(error).__name__
        raise denied(
            f"TLS files can't be used ({reason}); check caFile, certFile, keyFile: {wanted}"
        ) from error
    if verifies(query):
        context.check_hostname = query.get("ssl_check_hostname", "true").lower() != "false"
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def verifies(query: Mapping[str, str]) -> bool:
    """Whether the server's certificate is checked."""
    return query.get("ssl_cert_reqs", "required").removeprefix("CERT_").lower() != "none"
