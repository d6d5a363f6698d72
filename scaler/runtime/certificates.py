"""A server's certificate, its key and the CA of its clients, from files that may be replaced at any time.

Whatever is wrong is said with the file's name and the remedy, and never with anything out of the
key. What a certificate is good for, a handshake in memory tells: it takes what KEDA's side will
take, and the date comes out of it without a parser of our own.
"""

import contextlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module doesn't name: the date is judged here, by the
#: service's own clock and in words that name the file.
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
#: Turns of the handshake in memory; TLS 1.3 needs two.
_TURNS = 5
#: Readings before files that change all the while are given up.
_TRIES = 3


class CertificateError(ValueError):
    """The files can't be used; the text names the file and the remedy, and holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the PEM files are; in a mounted Secret tls.crt, tls.key and ca.crt."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held when they fitted together."""

    cert: bytes = field(repr=False)
    key: bytes = field(repr=False)
    ca: bytes = field(repr=False)
    #: Seconds since the epoch at which the certificate expires.
    expires_at: float
    #: The same of the CA certificate that is valid longest: during a rotation a bundle holds an old one too.
    ca_expires_at: float


def load(files: CertificateFiles, now: float) -> Material:
    """Read the files and see whether a server can work with them at `now` (seconds since the epoch).

    Raises:
        CertificateError: a file can't be read or is of another kind, the key belongs to another
            certificate, or a certificate isn't valid at `now`.
    """
    for _ in range(_TRIES):
        found = _read(files)
        try:
            material = _judged(files, found, now)
        except CertificateError:
            if _read(files) == found:
                raise
            continue
        # OpenSSL reads the files itself: only if nothing was replaced meanwhile it saw what we did.
        if _read(files) == found:
            return material
    raise CertificateError(f"{files.cert}, {files.key} and {files.ca} change while they are read; try again")


def _read(files: CertificateFiles) -> tuple[bytes, bytes, bytes]:
    found = []
    for option, path in (("--tls-cert", files.cert), ("--tls-key", files.key), ("--tls-ca", files.ca)):
        try:
            found.append(path.read_bytes())
        except OSError as error:
            raise CertificateError(f"can't read {path} ({option}): {error.strerror}") from None
    return found[0], found[1], found[2]


def _judged(files: CertificateFiles, found: tuple[bytes, bytes, bytes], now: float) -> Material:
    cert, key, ca = found
    _require_kind(files, cert, key, ca)
    ca_expires_at = max(_seconds(each["notAfter"]) for each in _authorities(files.ca, ca))
    if ca_expires_at <= now:
        raise CertificateError(f"the CA in {files.ca} expired at {_said(ca_expires_at)}; renew it")
    leaf = _tried(files, server_context(files), cert)
    begins, ends = _seconds(leaf["notBefore"]), _seconds(leaf["notAfter"])
    if ends <= now:
        raise CertificateError(f"the certificate in {files.cert} expired at {_said(ends)}; renew it")
    if begins > now:
        raise CertificateError(
            f"the certificate in {files.cert} is valid only from {_said(begins)}; renew it, or set the clock"
        )
    return Material(cert=cert, key=key, ca=ca, expires_at=ends, ca_expires_at=ca_expires_at)


def _require_kind(files: CertificateFiles, cert: bytes, key: bytes, ca: bytes) -> None:
    for path, text in ((files.cert, cert), (files.ca, ca)):
        if b"-----BEGIN CERTIFICATE-----" not in text:
            raise CertificateError(f"{path} holds no certificate; it must be a PEM file")
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError(f"{files.key} holds no private key; it must be a PEM file")
    if (
        b"BEGIN ENCRYPTED PRIVATE KEY" in key or b"Proc-Type: 4,ENCRYPTED" in key
    ):  # OpenSSL would ask for the password on the terminal
        raise CertificateError(f"the key in {files.key} is encrypted; store it without a password")


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """A context of a server with the certificate and its key; it asks for no client certificate.

    Raises:
        CertificateError: OpenSSL can't take them, or the key belongs to another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    take_chain(context, files)
    return context


def take_chain(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Let a context use what the files hold, for the handshakes to come.

    Raises:
        CertificateError: OpenSSL can't take them, or the key belongs to another certificate.
    """
    try:
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(
                f"the key in {files.key} doesn't belong to the certificate in {files.cert}"
            ) from None
        raise CertificateError(
            f"OpenSSL can't use {files.cert} with {files.key}: {error.reason or 'broken PEM'}"
        ) from None
    except OSError as error:
        raise CertificateError(f"can't read {files.cert} or {files.key}: {error.strerror}") from None


def _authorities(path: Path, ca: bytes) -> list[dict[str, Any]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=_text(ca))
        found = context.get_ca_certs()
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "broken PEM"
        raise CertificateError(f"OpenSSL can't read {path}: {reason}") from None
    if not found:
        raise CertificateError(f"{path} holds no CA certificate; it needs the one that signs KEDA's")
    return found


def _tried(files: CertificateFiles, server: ssl.SSLContext, cert: bytes) -> dict[str, Any]:
    """The certificate as a client that trusts it sees it, after a handshake in memory (2 ms)."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # which names KEDA uses isn't known here
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=_text(cert))
        asking = client.wrap_bio(to_client, to_server)
        answering = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(_TURNS):
            for side in (asking, answering):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        seen = asking.getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"the certificate in {files.cert} is none for a server: {error.verify_message}"
        ) from None
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "the handshake doesn't end"
        raise CertificateError(f"TLS can't work with the certificate in {files.cert}: {reason}") from None
    return dict(seen or {})


def _text(pem: bytes) -> str:
    return pem.decode("ascii", "ignore")  # comments in PEM files may be anything


def _seconds(date: object) -> float:
    return float(ssl.cert_time_to_seconds(str(date)))


def _said(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
