"""The gRPC door with TLS: who gets in, and that a rotated certificate is taken up without dropping anyone."""

import asyncio
import shutil
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog.testing
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from scaler.api.http_server import HttpServer
from scaler.cli import app
from scaler.cli.asking import Service
from scaler.demo.keda_client import KedaTrigger, keda_channel
from scaler.runtime.certificates import CertificateError, CertificateFiles, Material, load, server_context
from scaler.testing import wait_until
from scaler.testing.tls import TlsDirectory, expire, make_certificates

UNAVAILABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED

Keda = Callable[..., KedaTrigger]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, certificates: TlsDirectory) -> TlsDirectory:
    """Certificates of another authority; the client's is for keda-operator."""
    assert certificates.path.exists(), "openssl is installed"
    return make_certificates(tmp_path_factory.mktemp("others"), client="keda-operator")


@pytest.fixture
def keda(trigger_at: Any, stack: AsyncExitStack) -> Keda:
    """Opens KEDA's side with a TriggerAuthentication: trusted authority, and whose client certificate."""

    def connect(address: str, trusted: TlsDirectory, shown: TlsDirectory | None) -> KedaTrigger:
        key = cert = None
        if shown is not None:
            key, cert = shown.client_key_file.read_bytes(), shown.client_cert_file.read_bytes()
        credentials = grpc.ssl_channel_credentials(trusted.ca_file.read_bytes(), key, cert)
        channel = keda_channel(address, credentials)
        stack.push_async_callback(channel.close)
        trigger: KedaTrigger = trigger_at(channel)
        return trigger

    return connect


async def refused(trigger: KedaTrigger) -> grpc.aio.AioRpcError:
    """How a poll ends that mustn't succeed."""
    async with asyncio.timeout(20):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trigger.poll()
    return caught.value


def sample(stage: Any, name: str, **labels: str) -> float | None:
    value: float | None = stage.metrics.registry.get_sample_value(f"celery_scaler_tls_{name}", labels)
    return value


async def test_keda_with_a_certificate_of_the_ca_is_answered(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    assert await keda(address, certificates, certificates).poll() == (4.0, True)


async def test_without_a_certificate_or_with_one_of_another_ca_no_call_gets_through(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, others: TlsDirectory
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    assert (await refused(keda(address, certificates, None))).code() is UNAVAILABLE
    assert (await refused(keda(address, certificates, others))).code() is UNAVAILABLE
    assert stage.calls() == {}


async def test_an_expired_client_certificate_is_refused(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, tmp_path: Path
) -> None:
    stage.publish(stage.decision(desired=4))
    old = TlsDirectory(tmp_path / "old")
    shutil.copytree(certificates.path, old.path)
    expire(old, "client")
    _, address = await serve_tls()
    assert (await refused(keda(address, certificates, old))).code() is UNAVAILABLE
    assert stage.calls() == {}


async def test_keda_itself_refuses_a_server_that_its_ca_did_not_sign(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, others: TlsDirectory
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    error = await refused(keda(address, others, certificates))
    assert "CERTIFICATE_VERIFY_FAILED" in (error.details() or "")


async def test_plain_against_tls_and_tls_against_plain_fail_and_say_unavailable(
    stage: Any,
    serve_tls: Any,
    grpc_address: str,
    keda: Keda,
    trigger_at: Any,
    certificates: TlsDirectory,
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    assert (await refused(trigger_at(address))).code() is UNAVAILABLE
    assert (await refused(keda(grpc_address, certificates, certificates))).code() is UNAVAILABLE


async def test_only_listed_names_may_call_and_the_refusal_names_the_callers_own(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, others: TlsDirectory, secret: Any
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls("keda-operator", "keda-operator.keda.svc")
    stranger = keda(address, certificates, certificates)
    error = await refused(stranger)
    assert error.code() is DENIED
    assert error.details() == (
        "the client certificate is for 127.0.0.1, client, localhost; add one of its names to"
        " --tls-client-names, or give KEDA another certificate"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(stranger.stream())
    assert caught.value.code() is DENIED
    assert stage.calls() == {
        ("GetMetricSpec", "PERMISSION_DENIED"): 2,  # KEDA asks twice
        ("StreamIsActive", "PERMISSION_DENIED"): 1,
    }
    secret.swap(others)
    operator = keda(address, others, others)
    assert await wait_until(lambda: gets_through(operator), description="the other CA is in force")


async def gets_through(trigger: KedaTrigger) -> bool:
    try:
        await trigger.poll()
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_health_and_reflection_need_the_ca_but_no_name(
    serve_tls: Any, stack: AsyncExitStack, certificates: TlsDirectory
) -> None:
    _, address = await serve_tls("keda-operator")
    credentials = grpc.ssl_channel_credentials(
        certificates.ca_file.read_bytes(),
        certificates.client_key_file.read_bytes(),
        certificates.client_cert_file.read_bytes(),
    )
    channel = keda_channel(address, credentials)
    stack.push_async_callback(channel.close)
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_rotation_leaves_an_open_stream_alone_and_holds_for_new_connections(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, others: TlsDirectory, secret: Any
) -> None:
    _, address = await serve_tls()
    before = keda(address, certificates, certificates)
    stage.publish(stage.decision(active=True))
    stream: Any = before.stub.StreamIsActive(before.reference)
    assert (await stream.read()).result is True
    expires = sample(stage, "certificate_expiry_timestamp_seconds", certificate="server")
    assert expires == pytest.approx(time.time() + 2 * 86400, abs=3600)

    secret.swap(others)
    await wait_until(lambda: sample(stage, "reload_total", result="applied"), description="rotated")
    stage.publish(stage.decision(active=False))
    assert (await stream.read()).result is False, "the stream that was open before"
    assert await before.poll() == (1.0, False), "its connection takes new calls too"
    assert await keda(address, others, others).poll() == (1.0, False)
    assert (await refused(keda(address, certificates, certificates))).code() is UNAVAILABLE
    stream.cancel()


async def test_a_broken_rotation_keeps_the_old_pair_says_so_once_and_heals(
    stage: Any,
    serve_tls: Any,
    keda: Keda,
    certificates: TlsDirectory,
    others: TlsDirectory,
    secret: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []

    def counted(files: CertificateFiles, now: float) -> Material:
        looks.append(now)
        return load(files, now)

    monkeypatch.setattr("scaler.api.tls.load", counted)
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    assert sample(stage, "broken") == 0
    with structlog.testing.capture_logs() as logs:
        secret.swap(others, key=certificates.server_key_file)
        await wait_until(lambda: sample(stage, "broken") == 1, description="the fault is seen")
        seen = len(looks)
        await wait_until(lambda: len(looks) > seen + 2, description="it is seen again and again")
        assert await keda(address, certificates, certificates).poll() == (4.0, True)
        secret.swap(others)
        await wait_until(lambda: sample(stage, "broken") == 0, description="mended")
    assert await keda(address, others, others).poll() == (4.0, True)
    assert sample(stage, "reload_total", result="broken") == 1
    assert sample(stage, "reload_total", result="applied") == 1
    (said,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert said["why"] == (
        f"the key in {secret.files.key} doesn't belong to the certificate in {secret.files.cert}"
    )
    assert "PRIVATE" not in str(logs)


async def test_a_rotation_to_an_expired_certificate_is_not_taken(
    stage: Any, serve_tls: Any, keda: Keda, certificates: TlsDirectory, tmp_path: Path, secret: Any
) -> None:
    stage.publish(stage.decision(desired=4))
    _, address = await serve_tls()
    old = TlsDirectory(tmp_path / "old")
    shutil.copytree(certificates.path, old.path)
    expire(old, "server")
    secret.swap(old)
    await wait_until(lambda: sample(stage, "broken") == 1, description="the fault is seen")
    assert await keda(address, certificates, certificates).poll() == (4.0, True)


async def test_https_has_the_same_certificate_follows_rotations_and_the_commands_ask_there(
    stage: Any,
    serve_tls: Any,
    stack: AsyncExitStack,
    certificates: TlsDirectory,
    others: TlsDirectory,
    secret: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tls, _ = await serve_tls()
    server = HttpServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0", tls=tls.http_context)
    port = await server.start()
    stack.push_async_callback(server.stop)

    async def ask(ca: TlsDirectory) -> Any:
        service = Service("explain", f"https://127.0.0.1:{port}", ca.ca_file)
        return await asyncio.to_thread(service.ask, "/api/v1/workers")

    assert (await ask(certificates))["workers"] == []
    with pytest.raises(typer.Exit):
        await ask(others)
    assert "name its CA with --ca-file" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        await asyncio.to_thread(Service("explain", f"http://127.0.0.1:{port}").ask, "/api/v1/workers")
    assert "needs https://" in capsys.readouterr().err
    secret.swap(others)
    await wait_until(lambda: sample(stage, "reload_total", result="applied"), description="rotated")
    assert (await ask(others))["workers"] == []


async def test_a_recording_from_outside_takes_the_ca_too(
    stage: Any,
    serve_tls: Any,
    stack: AsyncExitStack,
    certificates: TlsDirectory,
    others: TlsDirectory,
    tmp_path: Path,
) -> None:
    stage.publish(stage.decision(desired=4))
    tls, _ = await serve_tls()
    server = HttpServer(stage.board, stage.metrics, stage.clock, "127.0.0.1:0", tls=tls.http_context)
    address = f"https://127.0.0.1:{await server.start()}"
    stack.push_async_callback(server.stop)

    async def record(ca: Path) -> Any:
        words = ["record", "--address", address, "--duration", "1ms", "--out", str(tmp_path / "recording")]
        return await asyncio.to_thread(CliRunner().invoke, app, [*words, "--ca-file", str(ca)])

    recorded, stranger, missing = [
        await record(ca) for ca in (certificates.ca_file, others.ca_file, tmp_path / "no.pem")
    ]

    assert (recorded.exit_code, stranger.exit_code, missing.exit_code) == (0, 2, 2)
    assert "1 readings recorded" in recorded.stderr
    assert "certificate verify failed" in stranger.stderr
    assert f"can't read the CA file {tmp_path / 'no.pem'}" in missing.stderr


def test_files_that_are_replaced_while_they_are_read_are_read_again(
    secret: Any, others: TlsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap_before(files: CertificateFiles) -> ssl.SSLContext:
        if secret.swaps == 1:
            secret.swap(others)
        return server_context(files)

    monkeypatch.setattr("scaler.runtime.certificates.server_context", swap_before)
    material = load(secret.files, time.time())
    assert material.cert == others.server_cert_file.read_bytes()
    assert material.key == others.server_key_file.read_bytes()
    assert material.ca == others.ca_file.read_bytes()


def test_nothing_of_the_key_is_in_what_is_printed(secret: Any) -> None:
    material = load(secret.files, time.time())
    assert "PRIVATE" not in repr(material)
    assert "BEGIN" not in repr(material)
    secret.files.key.resolve().write_text(
        "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
    )
    with pytest.raises(CertificateError) as caught:
        load(secret.files, time.time())
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, ssl.SSLError)
    assert "c2VjcmV0" not in str(caught.value.__context__)
