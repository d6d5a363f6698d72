"""The options of `serve` about TLS: what they need of each other, and a warning where a door stands open."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

import structlog
import typer

from scaler.api.address import AddressError, parse_address
from scaler.api.tls import Tls
from scaler.runtime.certificates import CertificateFiles
from scaler.runtime.clock import Clock
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

TlsCert = Annotated[
    Path | None,
    typer.Option(
        envvar="SCALER_TLS_CERT", help="The service's certificate and its chain (PEM), with key and CA."
    ),
]
TlsKey = Annotated[
    Path | None, typer.Option(envvar="SCALER_TLS_KEY", help="The key of the certificate (PEM).")
]
TlsCa = Annotated[
    Path | None,
    typer.Option(envvar="SCALER_TLS_CA", help="CA of the certificate that KEDA must show over gRPC (PEM)."),
]
ClientNames = Annotated[
    str,
    typer.Option(
        envvar="SCALER_TLS_CLIENT_NAMES",
        help="Names (SAN or CN) of which KEDA's certificate must have one, with commas; none: any.",
    ),
]
HttpTls = Annotated[
    bool,
    typer.Option("--http-tls", envvar="SCALER_HTTP_TLS", help="HTTPS too, with the same certificate."),
]


class TlsOptionError(ValueError):
    """The options don't go together; the text names the one that is missing."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What was asked for; without files there is no TLS."""

    files: CertificateFiles | None = None
    client_names: frozenset[str] = frozenset()
    http: bool = False

    @classmethod
    def of(
        cls, cert: Path | None, key: Path | None, ca: Path | None, client_names: str, *, http: bool
    ) -> Self:
        """The options as they were given.

        Raises:
            TlsOptionError: one of the three files is missing, or another option needs them.
        """
        names = frozenset(re.split(r"[,\s]+", client_names)) - {""}
        if cert is None or key is None or ca is None:
            options = {"--tls-cert": cert, "--tls-key": key, "--tls-ca": ca}
            missing = [option for option, given in options.items() if given is None]
            if len(missing) < len(options):
                raise TlsOptionError(
                    f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing;"
                    " give all of --tls-cert, --tls-key and --tls-ca, or none"
                )
            for option, given in (("--tls-client-names", names), ("--http-tls", http)):
                if given:
                    raise TlsOptionError(f"{option} needs --tls-cert, --tls-key and --tls-ca")
            return cls()
        return cls(CertificateFiles(cert, key, ca), names, http)

    def open(self, metrics: Metrics, clock: Clock) -> Tls | None:
        """Read the files; None without TLS.

        Raises:
            CertificateError: they can't be used.
        """
        if self.files is None:
            return None
        return Tls(self.files, metrics, clock, client_names=self.client_names)


def warn_of_open_doors(
    options: TlsOptions, grpc_address: str, http_address: str, token_file: Path | None
) -> None:
    """Say in the log what strangers on the network could do, and what to do about it."""
    if options.files is None and not _is_loopback(grpc_address):
        log.warning(
            "gRPC without TLS: whoever reaches the port can ask in the name of any namespace; give"
            " --tls-cert, --tls-key and --tls-ca, or let a NetworkPolicy admit the KEDA operator alone",
            address=grpc_address,
        )
    if token_file is not None and not options.http and not _is_loopback(http_address):
        log.warning(
            "the token for changes crosses the network in clear text; give --http-tls, or use it through"
            " kubectl port-forward alone",
            address=http_address,
        )


def _is_loopback(address: str) -> bool:
    try:
        host, _ = parse_address(address)
        return host == "localhost" or ip_address(host).is_loopback
    except AddressError:
        return True  # listening there fails in a moment, with a better text
    except ValueError:
        return False  # a name: nobody knows where it leads
