"""Requests of the commands to a running service."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import typer

from scaler.api.bearer import TokenError, read_token

#: Seconds for the service to answer; it answers from memory.
TIMEOUT_SECONDS = 5.0
#: Bytes that are read of an answer: a thousand classes are about 2 MB.
MOST_BYTES = 16 * 1024 * 1024

CaFile = Annotated[
    Path | None,
    typer.Option(envvar="SCALER_CA_FILE", help="CA of the service's certificate, for https://… addresses."),
]


class TrustError(ValueError):
    """The CA file can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service as a command asks it; whatever goes wrong ends the command with status 2."""

    command: str
    address: str
    #: Who signed the certificate of a service with --http-tls; without it the system's authorities count.
    ca_file: Path | None = None

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
        token_file: Path | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """The answer to a request; `path` begins with a slash."""
        base = self.address if "://" in self.address else f"http://{self.address}"
        if not base.startswith(("http://", "https://")):
            self.fail(f"bad address {self.address!r}; write http://host:port")
        request = Request(f"{base.rstrip('/')}{path}", method=method)  # noqa: S310 - checked above
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token_file is not None:
            request.add_header("Authorization", f"Bearer {self._token(token_file)}")
        # No proxy: the service is on this machine (kubectl port-forward) or in this cluster.
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=self._trust()))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read(MOST_BYTES))
        except HTTPError as error:
            with error:
                self.fail(f"{_reason(error)} (asked {self.address})")
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                self.fail(
                    f"the certificate of {self.address} isn't trusted: {error.reason.verify_message};"
                    " name its CA with --ca-file, and ask under a name that it has"
                )
            self.fail(
                f"can't reach {self.address}: {error.reason}; is the service running, and is --address right?"
            )
        except RemoteDisconnected:
            self.fail(
                f"no usable answer from {self.address}: it closed the connection;"
                " a service with --http-tls needs https://"
            )
        except (OSError, HTTPException, ValueError) as error:
            self.fail(f"no usable answer from {self.address}: {str(error) or type(error).__name__}")

    def fail(self, message: str) -> NoReturn:
        """Say what is wrong and end."""
        typer.echo(f"celery-scaler {self.command}: {message}", err=True)
        raise typer.Exit(2)

    def stranger(self) -> NoReturn:
        """Something else listens there."""
        self.fail(f"{self.address} answers, but not as a celery-scaler does")

    def _trust(self) -> ssl.SSLContext:
        try:
            return trust(self.ca_file)
        except TrustError as error:
            self.fail(str(error))

    def _token(self, path: Path) -> str:
        try:
            return read_token(path, remedy="it has to hold the service's token")
        except TokenError as error:
            self.fail(str(error))


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whose certificates are believed: those of this CA alone, without one the system's.

    Raises:
        TrustError: the file can't be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise TrustError(f"{ca_file} holds no CA certificate; it must be a PEM file") from None
    except OSError as error:
        raise TrustError(f"can't read the CA file {ca_file}: {error.strerror}") from None


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the service answered {error.code} {error.reason}"
