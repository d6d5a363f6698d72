"""Certificates that are good for a test: one authority, a server on loopback, a client."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class TlsDirectory:
    """A folder of PEM files; `make_certificates` fills it."""

    path: Path

    @property
    def ca_file(self) -> Path:
        """Who signed the others."""
        return self.path / "ca.pem"

    @property
    def server_cert_file(self) -> Path:
        """For 127.0.0.1 and localhost."""
        return self.path / "server.pem"

    @property
    def server_key_file(self) -> Path:
        """The server's private key."""
        return self.path / "server.key"

    @property
    def client_cert_file(self) -> Path:
        """For a client that proves who it is."""
        return self.path / "client.pem"

    @property
    def client_key_file(self) -> Path:
        """The client's private key."""
        return self.path / "client.key"


def make_certificates(directory: Path, *, client: str = "client") -> TlsDirectory:
    """Create authority, server and client with openssl (0.1 s), valid for two days.

    Args:
        directory: an empty folder.
        client: a name of the client, besides those of this machine.

    Raises:
        FileNotFoundError: openssl isn't installed.
        subprocess.CalledProcessError: it is older than 3.0.
    """
    _openssl(directory, "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    for role, name in (("server", "server"), ("client", client)):
        files = ("-keyout", f"{role}.key", "-out", f"{role}.pem")
        given = f"{names},DNS:{name}"
        _openssl(directory, *signed, "-addext", given, "-subj", f"/CN={name}", *files)
    return TlsDirectory(directory)


def expire(certificates: TlsDirectory, role: str) -> None:
    """Sign the certificate of `server` or `client` anew, with an end that was yesterday."""
    cert, key = f"{role}.pem", f"{role}.key"
    request = ("-new", "-key", key, "-subj", f"/CN={role}", "-out", f"{role}.csr")
    _run(certificates.path, "openssl", "req", *request)
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "-1")
    _run(certificates.path, "openssl", "x509", "-req", "-in", f"{role}.csr", *signer, "-out", cert)


def _openssl(directory: Path, *arguments: str) -> None:
    _run(directory, "openssl", "req", "-x509", *_KEY, *arguments)


def _run(directory: Path, *command: str) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=30)  # noqa: S603 - fixed
