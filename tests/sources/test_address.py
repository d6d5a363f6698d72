"""Broker URLs mean to the scaler what they mean to Celery."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import ssl
from pathlib import Path

import kombu
import pytest

from scaler.sources.address import MANAGEMENT_PORTS, TlsFiles, parse_addresses, tls_context
from scaler.sources.base import SourceDeniedError


@pytest.mark.parametrize(
    "url",
    [
        "amqp://broker",
        "amqp://broker/",
        "amqp://broker//",
        "amqp://broker/%2F",
        "amqp://broker/exams",
        "amqp://broker//exams",
        "amqp://broker/%2Fexams",
        "amqp://broker/team%2Fexams",
        "amqp://broker/100%25",
        "amqp://broker:5673/exams?heartbeat=10",
        "amqp://us%40er:p%2Fw%23@broker/exams",
        "redis://broker",
        "redis://broker:7000/3",
        "redis://:secret@broker/0",
        "redis://user:secret@broker/0",
    ],
)
def test_each_part_of_a_url_is_what_kombu_takes_it_for(url: str) -> None:
    (ours,) = parse_addresses(url)
    theirs = kombu.Connection(url)
    assert (ours.host, ours.username, ours.password) == (theirs.hostname, theirs.userid, theirs.password)
    assert (ours.path or "/") == theirs.virtual_host
    assert ours.port == (theirs.port or theirs.get_transport_cls().default_port)


def test_alternates_are_read_in_the_order_written() -> None:
    addresses = parse_addresses("sentinel://:pw@one:26380/2;sentinel://two;sentinel://three:26382")
    assert [address.place for address in addresses] == ["one:26380", "two:26379", "three:26382"]
    assert (addresses[0].password, addresses[0].path) == ("pw", "2")


@pytest.mark.parametrize("url", ["amqp://", "amqp://localhost", "amqp://LOCALHOST:5672/"])
def test_localhost_is_the_address_where_brokers_listen(url: str) -> None:
    assert parse_addresses(url)[0].place == "127.0.0.1:5672"


def test_an_address_of_version_6_keeps_its_brackets_in_messages() -> None:
    (address,) = parse_addresses("redis://[::1]:7000/0")
    assert (address.host, address.place) == ("::1", "[::1]:7000")


def test_the_management_api_has_the_ports_of_the_web() -> None:
    (address,) = parse_addresses("https://rabbit.example.org/api-root", MANAGEMENT_PORTS, "managementUrl")
    assert (address.place, address.path) == ("rabbit.example.org:443", "api-root")


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "sqs://user:hunter2@broker",
        "amqp://user:hunter2#x@broker/",
        "amqp://user:hunter2/x@broker/",
        "amqp://user:80/hunter2@broker/",
        "amqp://user:hunter2@broker:port/",
        "amqp://user:hunter2@broker:99999/",
        "amqp://user:hunter2@[broker/",
    ],
)
def test_a_url_that_cannot_be_read_is_denied_without_repeating_it(url: str) -> None:
    with pytest.raises(SourceDeniedError) as error:
        parse_addresses(url)
    assert "hunter2" not in str(error.value)
    # The traceback of a log shows causes as well.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_the_repr_of_an_address_has_no_credentials() -> None:
    (address,) = parse_addresses("amqp://operator:hunter2@broker/exams?secret=hunter2")
    assert "operator" not in repr(address)
    assert "hunter2" not in repr(address)


class TestTls:
    def test_the_server_is_verified_unless_the_url_says_otherwise(self) -> None:
        strict = tls_context(TlsFiles(), {})
        assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
        for value in ("none", "CERT_NONE"):
            lax = tls_context(TlsFiles(), {"ssl_cert_reqs": value})
            assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)
        unnamed = tls_context(TlsFiles(), {"ssl_check_hostname": "false"})
        assert (unnamed.verify_mode, unnamed.check_hostname) == (ssl.CERT_REQUIRED, False)

    def test_a_file_that_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        wrong = tmp_path / "ca.pem"
        wrong.write_text("not a certificate")
        with pytest.raises(SourceDeniedError, match="check caFile, certFile, keyFile"):
            tls_context(TlsFiles(ca_file=str(wrong)), {})

    def test_the_policy_wins_over_the_url(self) -> None:
        files = TlsFiles(ca_file="/policy/ca.pem").laid_over(
            {"ssl_ca_certs": "/url/ca.pem", "ssl_certfile": "/url/cert.pem", "ssl_keyfile": "/url/key.pem"}
        )
        assert files == TlsFiles("/policy/ca.pem", "/url/cert.pem", "/url/key.pem")
