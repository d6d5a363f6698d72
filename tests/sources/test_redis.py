"""Redis as Celery uses it: priority lists, real workers, bindings, refusals, outages, TLS, Sentinel."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from celery import Celery

from scaler.core.observation import QueueReading
from scaler.sources.address import TlsFiles
from scaler.sources.base import SourceDeniedError, SourceUnavailableError
from scaler.sources.failures import CALL_TIMEOUT, CONNECT_TIMEOUT
from scaler.sources.redis import RedisSource
from scaler.sources.redis_access import SERVER_GAP, UNACKED_GAP, WAIT_GAP
from scaler.sources.unacked import READ_BUDGET, TAG_LIMIT
from scaler.testing import wait_until
from scaler.testing.servers import RedisDatabase, RedisServer, free_port
from scaler.testing.tls import TlsDirectory

pytestmark = pytest.mark.services

Open = Callable[[RedisSource], RedisSource]
Worker = Callable[..., None]


async def one(source: RedisSource, queue: str) -> QueueReading:
    (reading,) = (await source.sample([queue], time.time())).queues
    return reading


def send(
    url: str, task: str, *arguments: object, options: dict[str, Any] | None = None, **kwargs: Any
) -> None:
    """Publish as an application does; `options` are its broker_transport_options."""
    with Celery("producer", broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = options or {}
        app.send_task(task, arguments, **kwargs)


@pytest.fixture
def raw(redis_server: RedisDatabase) -> Iterator["redis.Redis"]:
    """The database itself, to put in what no Celery would."""
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


class TestPriorities:
    async def test_all_ten_priorities_of_celery_in_the_default_steps(
        self, redis_server: RedisDatabase, opened: Open
    ) -> None:
        for priority in range(10):
            send(redis_server.url, "t", queue="email", priority=priority)
        reading = await one(opened(RedisSource(redis_server.url)), "email")
        assert reading.ready == 10
        assert reading.by_priority == ((0, 3), (3, 3), (6, 3), (9, 1))

    async def test_own_steps_separator_and_prefix(self, redis_server: RedisDatabase, opened: Open) -> None:
        options = {"priority_steps": list(range(10)), "sep": ":", "global_keyprefix": "exams."}
        for priority in range(10):
            for _ in range(priority + 1):
                send(redis_server.url, "t", queue="email", priority=priority, options=options)
        source = opened(
            RedisSource(redis_server.url, priority_steps=range(10), sep=":", global_keyprefix="exams.")
        )
        reading = await one(source, "email")
        assert reading.ready == 55
        assert reading.by_priority == tuple((priority, priority + 1) for priority in range(10))
        # Without the options none of it is where one would look.
        assert (await one(opened(RedisSource(redis_server.url)), "email")).ready == 0


class TestWorkers:
    async def test_running_and_prefetched_tasks_of_a_worker_are_unacked(
        self, redis_server: RedisDatabase, opened: Open, celery_worker: Worker, tmp_path: Path
    ) -> None:
        finish = tmp_path / "finish"
        for _ in range(6):
            send(redis_server.url, "hold", str(finish), queue="email")
        source = opened(RedisSource(redis_server.url))
        celery_worker(redis_server.url, "-Q", "email,other", "--concurrency=2", "--pool=prefork", "-Ofair")

        async def both_slots_are_busy() -> bool:
            return (await one(source, "email")).unacked == 2

        await wait_until(both_slots_are_busy, timeout=20, description="two tasks run")
        email, other = (await source.sample(["email", "other"], time.time())).queues
        assert (email.ready, email.unacked, email.eta_held) == (4, 2, 0)
        assert (other.ready, other.unacked) == (0, 0)
        finish.touch()

        async def all_is_done() -> bool:
            reading = await one(source, "email")
            return (reading.ready, reading.unacked) == (0, 0)

        await wait_until(all_is_done, description="all tasks are acknowledged")

    async def test_tasks_with_a_countdown_are_held_by_the_worker_and_due_when_their_time_has_come(
        self, redis_server: RedisDatabase, opened: Open, celery_worker: Worker, tmp_path: Path
    ) -> None:
        options = {"global_keyprefix": "exams.", "sep": ":"}
        source = opened(RedisSource(redis_server.url, global_keyprefix="exams.", sep=":"))
        for _ in range(5):
            send(redis_server.url, "hold", "x", queue="email", countdown=3600, options=options)
        # The worker proves that it has taken the five by doing the sixth.
        send(redis_server.url, "touch", str(tmp_path / "sixth"), queue="email", options=options)
        celery_worker(redis_server.url, "-Q", "email", "--pool=solo", options=options)
        await wait_until((tmp_path / "sixth").exists, timeout=20, description="the worker works")

        async def settled() -> bool:
            return (await one(source, "email")).unacked == 5

        await wait_until(settled, description="the sixth is acknowledged")
        reading = await one(source, "email")
        assert (reading.ready, reading.unacked, reading.eta_held) == (0, 5, 5)
        (in_two_hours,) = (await source.sample(["email"], time.time() + 7200)).queues
        assert (in_two_hours.unacked, in_two_hours.eta_held) == (5, 0)


class TestAttribution:
    @pytest.mark.parametrize("separator", ["\x06\x16", ":"])
    async def test_each_kind_of_exchange_leads_back_to_the_queue(
        self, redis_server: RedisDatabase, opened: Open, separator: str
    ) -> None:
        direct, topic = kombu.Exchange("work", "direct"), kombu.Exchange("events", "topic")
        queues = {
            "by-name": kombu.Queue("by-name"),
            "by-key": kombu.Queue("by-key", direct, routing_key="orders"),
            "by-pattern": kombu.Queue("by-pattern", topic, routing_key="exam.*.done"),
            "by-rest": kombu.Queue("by-rest", topic, routing_key="mail.#"),
        }
        sent = [
            ("", "by-name"),
            ("work", "orders"),
            ("work", "orders"),
            ("events", "exam.7.done"),
            ("events", "exam.8.done"),
            ("events", "exam.9.done"),
            ("events", "mail.to.all"),
        ]
        source = opened(RedisSource(redis_server.url, sep=separator))
        with kombu.Connection(redis_server.url, transport_options={"sep": separator}) as connection:
            channel = connection.channel()
            for queue in queues.values():
                queue(channel).declare()
            producer = kombu.Producer(channel)
            for exchange, routing_key in sent:
                producer.publish({}, exchange=exchange, routing_key=routing_key)
            ready = (await source.sample(list(queues), time.time())).queues
            assert [reading.ready for reading in ready] == [1, 2, 3, 1]
            for queue, reading in zip(queues.values(), ready, strict=True):
                for _ in range(reading.ready):
                    assert queue(channel).get(no_ack=False) is not None
            delivered = (await source.sample(list(queues), time.time())).queues
        assert [reading.unacked for reading in delivered] == [1, 2, 3, 1]
        assert [reading.ready for reading in delivered] == [0, 0, 0, 0]

    async def test_a_full_hash_is_unknown_until_it_is_read_and_then_exact(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        count = READ_BUDGET + 500
        raw.hset("unacked", mapping={f"tag-{number}": envelope("email") for number in range(count)})
        source = opened(RedisSource(redis_server.url))
        first = await source.sample(["email"], time.time())
        assert (first.queues[0].unacked, first.queues[0].eta_held) == (None, None)
        assert first.gaps == (f"unacked: still reading, 500 of {count} messages to go",)
        second = await source.sample(["email"], time.time())
        assert (second.queues[0].unacked, second.gaps) == (count, ())
        raw.hdel("unacked", *(f"tag-{number}" for number in range(count - 1)))
        assert (await one(source, "email")).unacked == 1

    async def test_a_hash_beyond_all_bounds_is_left_alone(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        entry = envelope("email")
        raw.hset("unacked", mapping={str(number): entry for number in range(TAG_LIMIT + 1)})
        sample = await opened(RedisSource(redis_server.url)).sample(["email"], time.time())
        assert sample.queues[0].unacked is None
        assert sample.gaps == (
            f"unacked: {TAG_LIMIT + 1} messages are too many to attribute (limit {TAG_LIMIT})",
        )
        raw.delete("unacked")

    async def test_entries_that_nobody_can_read_are_told_and_belong_to_no_queue(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        broken = [b"", b"\xff\xfe", b"{}", b"[]", b'["message","e","r"]', b"[{},1,2]", b"[{}", b"null"]
        raw.hset("unacked", mapping={f"broken-{number}": value for number, value in enumerate(broken)})
        raw.hset("unacked", "good", envelope("email"))
        sample = await opened(RedisSource(redis_server.url)).sample(["email"], time.time())
        assert sample.queues[0].unacked == 1
        assert sample.gaps == (
            f"unacked: {len(broken)} entries of 'unacked' can't be read and belong to no queue here",
        )

    async def test_an_eta_is_read_with_and_without_offset_and_nonsense_is_due(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        moment = datetime(2031, 5, 1, 12, tzinfo=UTC)
        etas = [
            "2031-05-01T12:00:00+00:00",
            "2031-05-01T12:00:00",
            "2031-05-01T17:30:00+05:30",
            "2031-05-01T12:00:00Z",
        ]
        for eta in [*etas, "tomorrow", "", None, 5]:
            raw.hset("unacked", f"tag-{eta}", envelope("email", eta))
        source = opened(RedisSource(redis_server.url))
        (before,) = (await source.sample(["email"], moment.timestamp() - 1)).queues
        (after,) = (await source.sample(["email"], moment.timestamp())).queues
        assert (before.unacked, before.eta_held) == (8, 4)
        assert (after.unacked, after.eta_held) == (8, 0)

    async def test_a_foreign_key_called_unacked_is_a_gap(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        raw.set("unacked", "something else")
        sample = await opened(RedisSource(redis_server.url)).sample(["email"], time.time())
        assert (sample.queues[0].ready, sample.queues[0].unacked) == (0, None)
        assert sample.gaps == ("unacked messages are not seen: key 'unacked' isn't kombu's hash",)


class TestRefusals:
    async def test_a_wrong_password_is_denied_and_not_repeated(self, redis_server: RedisDatabase) -> None:
        port = redis_server.server.port
        with pytest.raises(
            SourceDeniedError, match=f"127.0.0.1:{port} refused the user or password"
        ) as error:
            await RedisSource(f"redis://operator:hunter2@127.0.0.1:{port}/0").sample(["email"], time.time())
        assert "hunter2" not in str(error.value)
        assert "operator" not in str(error.value)

    async def test_a_refused_port_is_unavailable_at_once(self) -> None:
        port = free_port()
        began = time.monotonic()
        with pytest.raises(SourceUnavailableError, match=f"127.0.0.1:{port} refused the connection"):
            await RedisSource(f"redis://127.0.0.1:{port}/0").sample(["email"], time.time())
        assert time.monotonic() - began < 1

    async def test_a_key_of_another_type_points_to_the_wrong_database(
        self, redis_server: RedisDatabase, raw: "redis.Redis"
    ) -> None:
        raw.set("email", "not a list")
        with pytest.raises(SourceDeniedError, match=r"no list; is .* the broker's database"):
            await RedisSource(redis_server.url).sample(["email"], time.time())

    @pytest.mark.parametrize("database", ["9999", "zero"])
    async def test_a_database_that_cannot_be_is_denied(
        self, redis_server: RedisDatabase, database: str
    ) -> None:
        url = f"redis://127.0.0.1:{redis_server.server.port}/{database}"
        with pytest.raises(SourceDeniedError, match="database"):
            await RedisSource(url).sample(["email"], time.time())

    async def test_a_user_who_may_read_lists_only_gets_depth_and_a_gap(
        self, redis_server: RedisDatabase, opened: Open, raw: "redis.Redis"
    ) -> None:
        raw.lpush("email", "{}", "{}")
        raw.execute_command("ACL", "SETUSER", "lists", "on", ">secret", "~*", "+ping", "+select", "+llen")
        url = redis_server.url.replace("redis://", "redis://lists:secret@")
        sample = await opened(RedisSource(url)).sample(["email"], time.time())
        assert (sample.queues[0].ready, sample.queues[0].unacked) == (2, None)
        assert sample.gaps == (UNACKED_GAP, WAIT_GAP, SERVER_GAP)

    async def test_a_user_who_may_not_read_lists_is_denied(
        self, redis_server: RedisDatabase, raw: "redis.Redis"
    ) -> None:
        raw.execute_command("ACL", "SETUSER", "nobody", "on", ">secret", "~*", "+ping", "+select")
        url = redis_server.url.replace("redis://", "redis://nobody:secret@")
        with pytest.raises(SourceDeniedError, match="allow the user LLEN"):
            await RedisSource(url).sample(["email"], time.time())

    @pytest.mark.parametrize(
        ("answer", "kind", "text"),
        [
            ("NOAUTH Authentication required.", SourceDeniedError, "refused the user or password"),
            ("LOADING Redis is loading the dataset in memory", SourceUnavailableError, "still loading"),
            ("BUSY Redis is busy running a script.", SourceUnavailableError, "SCRIPT KILL"),
            ("MASTERDOWN Link with MASTER is down", SourceUnavailableError, "answered with an error"),
            (
                "READONLY You can't write against a read only replica.",
                SourceUnavailableError,
                "answered with an error",
            ),
            ("MOVED 3999 127.0.0.1:6381", SourceDeniedError, "is a cluster"),
            ("ERR max number of clients reached", SourceUnavailableError, "see maxclients"),
            ("ERR something for user bob", SourceUnavailableError, "answered with an error; look at its log"),
        ],
    )
    async def test_what_redis_answers_instead_is_told_with_the_remedy(
        self, answer: str, kind: type[Exception], text: str
    ) -> None:
        async with answering(f"-{answer}\r\n".encode()) as port:
            with pytest.raises(kind, match=text) as error:
                await RedisSource(f"redis://127.0.0.1:{port}/0").sample(["email"], time.time())
        assert f"127.0.0.1:{port}" in str(error.value)
        assert "bob" not in str(error.value)

    async def test_a_server_that_is_no_redis_is_unavailable(self) -> None:
        async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            with pytest.raises(SourceUnavailableError, match="is it Redis"):
                await RedisSource(f"redis://127.0.0.1:{port}/0").sample(["email"], time.time())


class TestOutages:
    async def test_after_a_crash_and_a_restart_the_next_sample_works(
        self, restartable_redis: RedisDatabase, opened: Open
    ) -> None:
        source = opened(RedisSource(restartable_redis.url))
        send(restartable_redis.url, "t", queue="email")
        assert (await one(source, "email")).ready == 1
        restartable_redis.kill()
        for _ in range(3):
            with pytest.raises(
                SourceUnavailableError, match=r"refused the connection|closed the connection$"
            ):
                await source.sample(["email"], time.time())
        await asyncio.to_thread(restartable_redis.start)
        assert (await one(source, "email")).ready == 1

    async def test_a_crash_that_nobody_looked_at_is_not_noticed(
        self, restartable_redis: RedisDatabase, opened: Open
    ) -> None:
        source = opened(RedisSource(restartable_redis.url))
        send(restartable_redis.url, "t", queue="email")
        await source.sample(["email"], time.time())
        restartable_redis.kill()
        await asyncio.to_thread(restartable_redis.start)
        assert (await one(source, "email")).ready == 1

    async def test_a_hung_broker_is_unavailable_within_the_bound_and_then_found_again(
        self, restartable_redis: RedisDatabase, opened: Open
    ) -> None:
        source = opened(RedisSource(restartable_redis.url))
        await source.sample(["email"], time.time())
        restartable_redis.pause()
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(SourceUnavailableError, match="didn't answer within 2 s"):
                await source.sample(["email"], time.time())
            assert time.monotonic() - began < CALL_TIMEOUT + 1
        restartable_redis.resume()
        assert (await one(source, "email")).ready == 0


class TestTls:
    @pytest.fixture
    def tls_url(self, certificates: TlsDirectory, redis_binary: str, tmp_path: Path) -> Iterator[str]:
        assert redis_binary
        port = free_port()
        tls = ["--tls-port", port, "--tls-ca-cert-file", certificates.ca_file]
        tls += [
            "--tls-cert-file",
            certificates.server_cert_file,
            "--tls-key-file",
            certificates.server_key_file,
        ]
        server = RedisServer(tmp_path / "redis-tls", *map(str, tls))
        try:
            server.start()
            yield f"rediss://127.0.0.1:{port}/0"
        finally:
            server.kill()

    async def test_a_private_authority_and_client_certificates(
        self, tls_url: str, certificates: TlsDirectory, opened: Open
    ) -> None:
        files = TlsFiles(
            str(certificates.ca_file), str(certificates.client_cert_file), str(certificates.client_key_file)
        )
        assert (await one(opened(RedisSource(tls_url, files=files)), "email")).ready == 0

    async def test_files_and_verification_as_celery_writes_them_in_the_url(
        self, tls_url: str, certificates: TlsDirectory, opened: Open
    ) -> None:
        identity = f"ssl_certfile={certificates.client_cert_file}&ssl_keyfile={certificates.client_key_file}"
        url = f"{tls_url}?ssl_cert_reqs=none&{identity}"
        assert (await one(opened(RedisSource(url)), "email")).ready == 0

    async def test_an_authority_that_nobody_trusts_is_denied_with_the_remedy(self, tls_url: str) -> None:
        with pytest.raises(SourceDeniedError, match="fails at TLS; check caFile"):
            await RedisSource(tls_url).sample(["email"], time.time())

    async def test_a_missing_file_is_named(self, tls_url: str) -> None:
        with pytest.raises(SourceDeniedError, match=r"No such file.*/nowhere/ca.pem"):
            await RedisSource(tls_url, files=TlsFiles("/nowhere/ca.pem")).sample(["email"], time.time())


class TestSentinel:
    @pytest.fixture
    def sentinel_port(self, restartable_redis: RedisDatabase, tmp_path: Path) -> Iterator[int]:
        server = RedisServer(tmp_path / "sentinel", sentinel=True)
        (tmp_path / "sentinel" / "sentinel.conf").write_text(
            f"port {server.port}\nbind 127.0.0.1\n"
            f"sentinel monitor mymaster 127.0.0.1 {restartable_redis.server.port} 1\n"
        )
        try:
            server.start()
            yield server.port
        finally:
            server.kill()

    async def test_the_master_is_found_also_behind_a_lost_sentinel(
        self, restartable_redis: RedisDatabase, sentinel_port: int, opened: Open
    ) -> None:
        send(restartable_redis.url, "t", queue="email")
        url = f"sentinel://127.0.0.1:{free_port()}/0;sentinel://127.0.0.1:{sentinel_port}"
        source = opened(RedisSource(url, master_name="mymaster"))
        assert (await one(source, "email")).ready == 1
        restartable_redis.kill()
        with pytest.raises(SourceUnavailableError):
            await source.sample(["email"], time.time())
        await asyncio.to_thread(restartable_redis.start)

        async def found_again() -> bool:
            try:
                return (await one(source, "email")).ready == 1
            except SourceUnavailableError:
                return False  # until the sentinel itself has noticed the master's return

        await wait_until(found_again, timeout=15, description="the master is found again")

    async def test_sentinels_with_a_password_of_their_own(
        self, restartable_redis: RedisDatabase, tmp_path: Path, opened: Open
    ) -> None:
        guarded = RedisServer(tmp_path / "guarded", sentinel=True)
        (tmp_path / "guarded" / "sentinel.conf").write_text(
            f"port {guarded.port}\nbind 127.0.0.1\nrequirepass hunter2\n"
            f"sentinel monitor mymaster 127.0.0.1 {restartable_redis.server.port} 1\n"
        )
        url = f"sentinel://127.0.0.1:{guarded.port}/0"
        try:
            guarded.start()
            source = opened(RedisSource(url, master_name="mymaster", sentinel_password="hunter2"))
            assert (await one(source, "email")).ready == 0
            with pytest.raises(SourceUnavailableError):
                await RedisSource(url, master_name="mymaster").sample(["email"], time.time())
        finally:
            guarded.kill()

    async def test_a_master_that_no_sentinel_knows_is_named(self, sentinel_port: int) -> None:
        source = RedisSource(f"sentinel://127.0.0.1:{sentinel_port}/0", master_name="other")
        with pytest.raises(SourceUnavailableError, match="a master 'other'; check masterName"):
            await source.sample(["email"], time.time())

    async def test_sentinels_that_are_all_hung_cost_the_connect_bound(self) -> None:
        async with answering(b"") as first, answering(b"") as second:
            url = f"sentinel://127.0.0.1:{first}/0;sentinel://127.0.0.1:{second}"
            began = time.monotonic()
            with pytest.raises(SourceUnavailableError):
                await RedisSource(url, master_name="mymaster").sample(["email"], time.time())
            assert time.monotonic() - began < CONNECT_TIMEOUT + 1


def envelope(queue: str, eta: object = None) -> bytes:
    """An entry of the unacked hash as kombu writes it for a task on the default exchange."""
    message = {"body": "e30=", "headers": {"eta": eta}, "properties": {"delivery_info": {}}}
    return json.dumps([message, "", queue]).encode()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that says the same to everything; an empty answer is silence."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
