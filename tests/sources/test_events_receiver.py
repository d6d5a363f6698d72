"""The receiver on real brokers: what Celery's own dispatcher sends, refusals, outages, floods."""

# kombu and celery have no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from scaler.core.policy import Broker
from scaler.sources.address import NO_FILES, parse_addresses
from scaler.sources.base import SourceError
from scaler.sources.events import EventReceiver, amqp, open_receiver, pubsub, receiver
from scaler.sources.events.amqp import AmqpEvents
from scaler.testing import wait_until
from scaler.testing.rabbitmq import Vhost
from scaler.testing.servers import RedisDatabase, RedisServer, free_port
from scaler.testing.tls import TlsDirectory

pytestmark = pytest.mark.services

Listen = Callable[..., EventReceiver]


@pytest.fixture
async def listen(leaves_nothing_behind: None) -> AsyncIterator[Listen]:
    """Starts a receiver for a broker as the policy writes it; ended after the test."""
    running: list[asyncio.Task[None]] = []

    def start(**broker: Any) -> EventReceiver:
        subject = open_receiver(Broker.model_validate(broker), time.time)
        running.append(asyncio.create_task(subject.run()))
        return subject

    yield start
    for task in running:
        task.cancel()
    # A cancellation that the Redis client has swallowed ends the loop as well, in an orderly way.
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended)


@pytest.fixture(params=["rabbitmq", "redis_server"])
def url(request: pytest.FixtureRequest) -> str:
    """Both brokers, one after the other."""
    broker: Vhost | RedisDatabase = request.getfixturevalue(request.param)
    return broker.url


def send(
    url: str, kind: str = "worker-heartbeat", options: dict[str, Any] | None = None, **fields: Any
) -> None:
    """Send one event as Celery does."""
    with (
        Celery("sender", broker=url, set_as_current=False) as app,
        app.connection_for_write(transport_options=options or {}) as connection,
        app.events.Dispatcher(connection, hostname="celery@here", buffer_while_offline=False) as dispatcher,
    ):
        app.conf.broker_transport_options = options or {}
        dispatcher.send(kind, **{"active": 0, "processed": 0, "freq": 2.0, **fields})


async def sent(url: str, kind: str = "worker-heartbeat", **fields: Any) -> None:
    await asyncio.to_thread(send, url, kind, **fields)


async def receives(subject: EventReceiver, url: str, within: float = 15, **fields: Any) -> None:
    """It hears of an event that is sent now."""

    async def heard() -> bool:
        began = time.time()
        with contextlib.suppress(OSError, ConnectionError):
            await sent(url, **fields)
        await asyncio.sleep(0.1)
        return any(report.heard_at >= began for report in subject.reports(time.time()))

    await wait_until(heard, timeout=within, description=f"an event is received; problem: {subject.problem!r}")
    assert subject.problem == ""


async def problem(subject: EventReceiver, words: str) -> str:
    await wait_until(lambda: words in subject.problem, description=f"the problem says {words!r}")
    assert len(subject.problem) <= 200
    return subject.problem


class TestReceiving:
    async def test_events_arrive_and_a_broker_keeps_nothing_of_us(
        self, rabbitmq: Vhost, listen: Listen
    ) -> None:
        await sent(rabbitmq.url)
        subject = listen(url=rabbitmq.url)
        await receives(subject, rabbitmq.url, active=3, processed=9)
        (report,) = subject.reports(time.time())
        assert (report.hostname, report.active, report.processed) == ("celery@here", 3, 9)
        assert abs(report.skew) < 1
        (queue,) = await asyncio.to_thread(queues, rabbitmq)
        assert queue["exclusive"]
        assert queue["auto_delete"]
        assert not queue["durable"]
        assert queue["arguments"] == {**amqp.QUEUE_LIMITS, "x-queue-type": "classic"}

    async def test_the_queue_goes_with_the_receiver(self, rabbitmq: Vhost) -> None:
        await sent(rabbitmq.url)
        subject = open_receiver(Broker.model_validate({"url": rabbitmq.url}), time.time)
        running = asyncio.create_task(subject.run())
        await receives(subject, rabbitmq.url)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await wait_until(
            lambda: asyncio.to_thread(lambda: not queues(rabbitmq)), description="no queue is left"
        )
        assert subject.listening_since is None

    @pytest.mark.parametrize(
        ("options", "broker"),
        [
            ({}, {}),
            ({"global_keyprefix": "exams."}, {"globalKeyprefix": "exams."}),
            ({"fanout_patterns": False}, {}),
        ],
        ids=["defaults", "key prefix", "no fanout patterns"],
    )
    async def test_channels_are_those_of_kombu(
        self, redis_server: RedisDatabase, listen: Listen, options: dict[str, Any], broker: dict[str, Any]
    ) -> None:
        subject = listen(url=redis_server.url, **broker)
        await receives(subject, redis_server.url, options=options)

    async def test_another_database_is_another_broker(
        self, redis_server: RedisDatabase, listen: Listen
    ) -> None:
        subject = listen(url=redis_server.url)
        await receives(subject, redis_server.url)
        before = next(subject.reports(time.time())).heard_at
        await sent(f"{redis_server.server.url(511)}")
        await receives(subject, redis_server.url, processed=7)
        assert len(list(subject.reports(time.time()))) == 1
        assert next(subject.reports(time.time())).heard_at > before

    async def test_what_isnt_json_is_counted_and_named(self, url: str, listen: Listen) -> None:
        await sent(url)
        subject = listen(url=url)
        await wait_until(lambda: not subject.problem, description="it listens")
        with Celery("sender", broker=url, set_as_current=False) as app:
            app.conf.event_serializer = "pickle"

            def pickled() -> None:
                with (
                    app.connection_for_write() as connection,
                    app.events.Dispatcher(connection, hostname="celery@here") as dispatcher,
                ):
                    dispatcher.send("worker-heartbeat", active=0, processed=0, freq=2.0)

            await asyncio.to_thread(pickled)
        await problem(subject, "event_serializer = 'json'")
        assert subject.skipped == 1
        assert list(subject.reports(time.time())) == []
        await receives(subject, url)

    async def test_fields_that_arent_celerys_are_counted(self, url: str, listen: Listen) -> None:
        await sent(url)
        subject = listen(url=url)
        await wait_until(lambda: not subject.problem, description="it listens")
        await sent(url, active="many")
        await wait_until(lambda: subject.skipped == 1, description="it is counted")
        await receives(subject, url)

    async def test_what_others_publish_into_the_channels_of_redis_is_counted(
        self, redis_server: RedisDatabase, listen: Listen
    ) -> None:
        subject = listen(url=redis_server.url)
        await wait_until(lambda: not subject.problem, description="it listens")
        database = redis_server.url.rpartition("/")[2]
        with redis.Redis.from_url(redis_server.url, protocol=2) as raw:
            for message in (b"", b"hello", b'{"body": "[1]"}', b"\xff" * 2_000_000):
                raw.publish(f"/{database}.celeryev/worker.heartbeat", message)
        await wait_until(lambda: subject.skipped == 4, description="all are counted")
        await receives(subject, redis_server.url)


class TestRefusals:
    async def test_no_worker_has_ever_run_there(self, rabbitmq: Vhost, listen: Listen) -> None:
        subject = listen(url=rabbitmq.url)
        await problem(subject, "has no exchange 'celeryev' yet")
        # Nothing was made in its place.
        exchanges = json.loads(rabbitmq.server.management("GET", f"/api/exchanges/{rabbitmq.name}"))
        assert not [exchange for exchange in exchanges if exchange["name"] == "celeryev"]
        await receives(subject, rabbitmq.url)

    async def test_a_user_without_rights_on_rabbitmq(
        self, rabbitmq: Vhost, listen: Listen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await sent(rabbitmq.url)
        server = rabbitmq.server
        server.add_user("watcher", "hunter2")
        server.add_permission(rabbitmq.name, "watcher", "^celery$")
        monkeypatch.setattr(receiver, "LONGEST_PAUSE", 0.2)
        subject = listen(url=server.url(rabbitmq.name, "watcher", "hunter2"))
        said = await problem(subject, r"grant configure, write and read on ^celeryev(\..*)?$")
        assert "hunter2" not in said
        # What it asks for is enough.
        server.add_permission(rabbitmq.name, "watcher", r"^celeryev(\..*)?$")
        await receives(subject, rabbitmq.url)

    async def test_a_user_without_rights_on_redis(
        self, restartable_redis: RedisDatabase, listen: Listen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receiver, "LONGEST_PAUSE", 0.2)
        port = restartable_redis.server.port
        with redis.Redis(port=port, protocol=2) as raw:
            user = ("ACL", "SETUSER", "watcher", "on", ">hunter2", "resetchannels", "+subscribe", "+ping")
            raw.execute_command(*user, "+select")
            subject = listen(url=f"redis://watcher:hunter2@127.0.0.1:{port}/0")
            said = await problem(subject, "allow SUBSCRIBE, PING and channels &/0.celeryev*")
            assert "hunter2" not in said
            raw.execute_command("ACL", "SETUSER", "watcher", "&/0.celeryev*")
        await receives(subject, restartable_redis.url)

    async def test_a_wrong_password_in_a_file_that_is_then_put_right(
        self, rabbitmq: Vhost, listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await sent(rabbitmq.url)
        monkeypatch.setattr(receiver, "LONGEST_PAUSE", 0.2)
        file = tmp_path / "url"
        subject = listen(urlFile=str(file))
        await problem(subject, "urlFile can't be read")
        file.write_text(rabbitmq.url.replace("guest@", "hunter2@"))
        said = await problem(subject, "refused the user or password")
        assert "hunter2" not in said
        file.write_text(rabbitmq.url + "\n")
        await receives(subject, rabbitmq.url)

    async def test_a_url_that_is_nonsense(self, listen: Listen, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("hunter2")
        said = await problem(listen(urlFile=str(tmp_path / "url")), "no known scheme")
        assert "hunter2" not in said

    async def test_nobody_listens_there(self, listen: Listen) -> None:
        await problem(listen(url="redis://127.0.0.1:1/0"), "refused the connection")


class TestOutages:
    @pytest.mark.parametrize("broker", ["restartable_rabbitmq", "restartable_redis"])
    async def test_a_broker_that_was_killed_is_heard_again_within_15_seconds(
        self, request: pytest.FixtureRequest, listen: Listen, broker: str
    ) -> None:
        place: Vhost | RedisDatabase = request.getfixturevalue(broker)
        await sent(place.url)
        subject = listen(url=place.url)
        await receives(subject, place.url)
        before = subject.listening_since
        place.kill()
        await wait_until(lambda: subject.problem, description="the loss is noticed")
        meanwhile = subject.listening_since
        await asyncio.to_thread(place.start)
        await receives(subject, place.url, within=15)
        assert before
        assert meanwhile is None
        assert (subject.listening_since or 0) > before

    @pytest.mark.parametrize("broker", ["restartable_rabbitmq", "restartable_redis"])
    async def test_a_broker_that_hangs_is_noticed(
        self,
        request: pytest.FixtureRequest,
        listen: Listen,
        broker: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        place: Vhost | RedisDatabase = request.getfixturevalue(broker)
        monkeypatch.setattr(amqp, "HEARTBEAT", 1)
        monkeypatch.setattr(pubsub, "QUIET", 0.3)
        await sent(place.url)
        subject = listen(url=place.url)
        await receives(subject, place.url)
        place.pause()
        await wait_until(lambda: subject.problem, timeout=15, description="the silence is noticed")
        place.resume()
        await receives(subject, place.url, within=20)

    async def test_silence_of_a_healthy_redis_is_no_outage(
        self, redis_server: RedisDatabase, listen: Listen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pubsub, "QUIET", 0.05)
        subject = listen(url=redis_server.url)
        await receives(subject, redis_server.url)
        since = subject.listening_since
        with redis.Redis.from_url(redis_server.url, protocol=2) as raw:
            asked = raw.info("commandstats")["cmdstat_ping"]["calls"]
            await wait_until(
                lambda: raw.info("commandstats")["cmdstat_ping"]["calls"] >= asked + 3,
                description="it was asked whether it is there",
            )
        await receives(subject, redis_server.url)
        assert subject.listening_since == since

    async def test_a_queue_that_is_taken_away_is_made_anew(self, rabbitmq: Vhost) -> None:
        await sent(rabbitmq.url)
        transport = AmqpEvents(parse_addresses(rabbitmq.url)[0], NO_FILES)
        try:
            await transport.open()
            assert transport._connection is not None
            (queue,) = await asyncio.to_thread(queues, rabbitmq)
            async with transport._connection.channel() as channel:
                await channel.queue_delete(queue["name"])
            with pytest.raises(SourceError, match="took the queue of events away"):
                async with asyncio.timeout(5):
                    await transport.receive()
        finally:
            await transport.close()

    async def test_a_flood_that_nobody_reads_is_bounded(
        self, rabbitmq: Vhost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(amqp, "INBOX_LIMIT", 2_000)
        await sent(rabbitmq.url)
        transport = AmqpEvents(parse_addresses(rabbitmq.url)[0], NO_FILES)
        try:
            await transport.open()
            for _ in range(20):
                await sent(rabbitmq.url, note="x" * 500)
            await wait_until(lambda: transport._lost, description="the inbox is full")
            assert 2_000 < transport._waiting < 4_000
            while transport._inbox:
                await transport.receive()
            with pytest.raises(SourceError, match="faster than they can be read"):
                await transport.receive()
        finally:
            await transport.close()

    async def test_a_fault_of_ours_is_named_without_its_text(
        self, redis_server: RedisDatabase, listen: Listen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = listen(url=redis_server.url)
        await receives(subject, redis_server.url)

        def fault(*_: object) -> bool:
            raise KeyError("hunter2")

        monkeypatch.setattr(receiver, "LONGEST_PAUSE", 0.2)
        with monkeypatch.context() as patch:
            patch.setattr(subject._roster, "apply", fault)
            await sent(redis_server.url)
            assert "hunter2" not in await problem(subject, "internal error (KeyError)")
        await receives(subject, redis_server.url)


class TestTls:
    async def test_amqps(
        self, restartable_rabbitmq: Vhost, certificates: TlsDirectory, listen: Listen
    ) -> None:
        await sent(restartable_rabbitmq.url)
        server = restartable_rabbitmq.server
        url = restartable_rabbitmq.url.replace("amqp:", "amqps:").replace(
            str(server.port), str(server.tls_port)
        )
        await receives(listen(url=url, **files(certificates)), restartable_rabbitmq.url)

    @pytest.mark.usefixtures("redis_binary")
    async def test_rediss(self, certificates: TlsDirectory, tmp_path: Path, listen: Listen) -> None:
        port = free_port()
        options = ["--tls-port", port, "--tls-ca-cert-file", certificates.ca_file]
        options += ["--tls-cert-file", certificates.server_cert_file]
        options += ["--tls-key-file", certificates.server_key_file]
        server = RedisServer(tmp_path / "tls", *map(str, options))
        try:
            server.start()
            subject = listen(url=f"rediss://127.0.0.1:{port}/0", **files(certificates))
            await receives(subject, server.url())
        finally:
            server.kill()

    async def test_sentinel(self, restartable_redis: RedisDatabase, tmp_path: Path, listen: Listen) -> None:
        sentinel = RedisServer(tmp_path / "sentinel", sentinel=True)
        (tmp_path / "sentinel" / "sentinel.conf").write_text(
            f"port {sentinel.port}\nbind 127.0.0.1\n"
            f"sentinel monitor mymaster 127.0.0.1 {restartable_redis.server.port} 1\n"
        )
        try:
            sentinel.start()
            subject = listen(url=f"sentinel://127.0.0.1:{sentinel.port}/0", masterName="mymaster")
            await receives(subject, restartable_redis.url)
        finally:
            sentinel.kill()


def files(certificates: TlsDirectory) -> dict[str, str]:
    return {
        "caFile": str(certificates.ca_file),
        "certFile": str(certificates.client_cert_file),
        "keyFile": str(certificates.client_key_file),
    }


def queues(vhost: Vhost) -> list[dict[str, Any]]:
    """The queues of events in a virtual host."""
    found: list[dict[str, Any]] = json.loads(vhost.server.management("GET", f"/api/queues/{vhost.name}"))
    return [queue for queue in found if queue["name"].startswith("celeryev.")]
