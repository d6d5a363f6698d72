"""The TLS options of `serve`: every mistake has a sentence that names the file or option, and status 2."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from typer.testing import Result

from scaler.cli.tls_options import TlsOptions, warn_of_open_doors
from scaler.runtime.certificates import CertificateError, CertificateFiles, load
from scaler.testing.tls import TlsDirectory, expire

Serve = Callable[..., Result]


def test_all_three_files_or_none(serve: Serve) -> None:
    result = serve(tls_cert="tls.crt", tls_ca="ca.crt")
    assert result.exit_code == 2
    assert result.stderr == (
        "celery-scaler serve: --tls-key is missing; give all of --tls-cert, --tls-key and --tls-ca, or none\n"
    )
    assert "--tls-key and --tls-ca are missing" in serve(tls_cert="tls.crt").stderr
    assert "--tls-client-names needs --tls-cert" in serve(tls_client_names="keda-operator").stderr


def test_the_service_doesnt_start_with_files_that_cant_work(serve: Serve, secret: Any) -> None:
    secret.files.key.resolve().unlink()
    files = secret.files
    result = serve(tls_cert=files.cert, tls_key=files.key, tls_ca=files.ca)
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"celery-scaler serve: can't read {files.key} (--tls-key): No such file or directory\n"
    )


@pytest.fixture
def own(certificates: TlsDirectory, tmp_path: Path) -> TlsDirectory:
    """Certificates that the test may break."""
    copied = TlsDirectory(tmp_path / "own")
    shutil.copytree(certificates.path, copied.path)
    return copied


def fault(directory: TlsDirectory, **replaced: Path) -> str:
    files = {
        "cert": directory.server_cert_file,
        "key": directory.server_key_file,
        "ca": directory.ca_file,
        **replaced,
    }
    with pytest.raises(CertificateError) as caught:
        load(CertificateFiles(**files), time.time())
    return str(caught.value).replace(f"{directory.path}/", "")


def openssl(directory: TlsDirectory, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory.path, check=True, capture_output=True, timeout=30)


def test_each_fault_has_its_sentence(own: TlsDirectory) -> None:
    assert fault(own, key=own.client_key_file) == (
        "the key in client.key doesn't belong to the certificate in server.pem"
    )
    assert fault(own, cert=own.server_key_file) == "server.key holds no certificate; it must be a PEM file"
    assert fault(own, key=own.ca_file) == "ca.pem holds no private key; it must be a PEM file"
    assert fault(own, ca=own.server_cert_file) == (
        "server.pem holds no CA certificate; it needs the one that signs KEDA's"
    )
    assert fault(own, ca=own.path).endswith("(--tls-ca): Is a directory")


def test_broken_pem_is_named(own: TlsDirectory) -> None:
    cut = own.server_cert_file.read_text().splitlines()
    own.server_cert_file.write_text("\n".join((*cut[:3], cut[-1])))
    assert fault(own).startswith("OpenSSL can't use server.pem with server.key: ")
    own.ca_file.write_text("\n".join((*cut[:3], cut[-1])))
    assert fault(own).startswith("OpenSSL can't read ca.pem: ")


def test_an_encrypted_key_is_refused_without_asking_for_its_password(own: TlsDirectory) -> None:
    openssl(own, "pkcs8", "-topk8", "-in", "server.key", "-out", "locked.key", "-passout", "pass:x")
    assert fault(own, key=own.path / "locked.key") == (
        "the key in locked.key is encrypted; store it without a password"
    )


def test_expired_and_not_yet_valid(own: TlsDirectory) -> None:
    files = CertificateFiles(own.server_cert_file, own.server_key_file, own.ca_file)
    with pytest.raises(CertificateError, match=r"valid only from 20.. UTC|is valid only from"):
        load(files, time.time() - 7 * 86400)
    with pytest.raises(CertificateError, match=r"the CA in .*ca\.pem expired at 20.* UTC; renew it"):
        load(files, time.time() + 7 * 86400)
    expire(own, "server")
    assert fault(own).startswith("the certificate in server.pem expired at 20")


def test_a_certificate_for_clients_only_is_none_for_a_server(own: TlsDirectory) -> None:
    openssl(own, "req", "-new", "-key", "server.key", "-subj", "/CN=s", "-out", "s.csr")
    (own.path / "usage").write_text("extendedKeyUsage=clientAuth\n")
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "usage")
    openssl(own, "x509", "-req", "-in", "s.csr", *signer, "-days", "1", "-out", "server.pem")
    text = fault(own)
    assert text.startswith("the certificate in server.pem is none for a server: ")
    assert "purpose" in text


def test_names_come_with_commas_or_blanks() -> None:
    options = TlsOptions.of(Path("a"), Path("b"), Path("c"), "keda-operator, keda.svc  x", http=True)
    assert options.client_names == {"keda-operator", "keda.svc", "x"}
    assert options.http


@pytest.mark.parametrize(
    ("grpc", "http", "token", "warnings"),
    [
        ("127.0.0.1:1", "[::1]:1", "t", 0),
        ("localhost:1", "0.0.0.0:1", "", 0),
        ("0.0.0.0:1", "127.0.0.1:1", "", 1),
        ("scaler.example:1", "0.0.0.0:1", "t", 2),
    ],
)
def test_open_doors_are_warned_of(grpc: str, http: str, token: str, warnings: int) -> None:
    with structlog.testing.capture_logs() as logs:
        warn_of_open_doors(TlsOptions(), grpc, http, Path(token) if token else None)
    assert [entry["log_level"] for entry in logs] == ["warning"] * warnings
    with structlog.testing.capture_logs() as logs:
        files = CertificateFiles(Path("a"), Path("b"), Path("c"))
        warn_of_open_doors(TlsOptions(files, http=True), grpc, http, Path("token"))
    assert logs == []
