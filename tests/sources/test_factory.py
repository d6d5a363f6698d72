"""From the broker in the policy to the source that reads it, with the URL in place or in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scaler.core.policy.document import Broker
from scaler.sources.base import QueueSource, SourceDeniedError, SourceUnavailableError
from scaler.sources.factory import open_source
from scaler.testing.rabbitmq import Vhost
from scaler.testing.servers import RedisDatabase, free_port

Open = Callable[[QueueSource], QueueSource]

NOW = 1_750_000_000.0


@pytest.mark.services
async def test_a_url_of_each_kind_opens_its_source(
    rabbitmq: Vhost, redis_server: RedisDatabase, opened: Open
) -> None:
    amqp = Broker(url=SecretStr(rabbitmq.url), management_url=SecretStr(rabbitmq.management_url))
    sample = await opened(open_source(amqp)).sample(["email"], NOW)
    assert (sample.queues[0].exists, sample.gaps) == (False, ())
    redis = Broker(url=SecretStr(redis_server.url))
    sample = await opened(open_source(redis)).sample(["email"], NOW)
    assert (sample.queues[0].exists, sample.gaps) == (True, ())


@pytest.mark.services
async def test_an_empty_management_url_is_none(rabbitmq: Vhost, opened: Open) -> None:
    broker = Broker.model_validate({"url": rabbitmq.url, "managementUrl": ""})
    sample = await opened(open_source(broker)).sample(["email"], NOW)
    assert sample.gaps == ("unacked messages are not seen: set managementUrl",)


@pytest.mark.services
async def test_a_url_in_a_file_is_read_again_after_a_failure(
    rabbitmq: Vhost, redis_server: RedisDatabase, opened: Open, tmp_path: Path
) -> None:
    secret = tmp_path / "broker-url"
    source = opened(open_source(Broker(url_file=str(secret))))
    with pytest.raises(SourceDeniedError, match=f"No such file.*{secret}"):
        await source.sample(["email"], NOW)
    secret.write_text(rabbitmq.url.replace("guest:guest", "guest:old") + "\n")
    with pytest.raises(SourceDeniedError, match="refused the user or password"):
        await source.sample(["email"], NOW)
    secret.write_text(rabbitmq.url + "\n")
    assert not (await source.sample(["email"], NOW)).queues[0].exists
    # A secret that changes under a connection that works is no reason to drop it …
    secret.write_text(redis_server.url)
    assert not (await source.sample(["email"], NOW)).queues[0].exists
    # … and is used when there is a connection to make, be it to another kind of broker.
    await source.close()
    assert (await source.sample(["email"], NOW)).queues[0].by_priority


async def test_a_broker_that_cannot_be_reached_is_asked_again_by_the_same_source(opened: Open) -> None:
    source = opened(open_source(Broker(url=SecretStr(f"redis://127.0.0.1:{free_port()}/0"))))
    for _ in range(2):
        with pytest.raises(SourceUnavailableError, match="refused the connection"):
            await source.sample(["email"], NOW)


@pytest.mark.parametrize("content", ["", "sqs://key:hunter2@queue", "hunter2", "\udcff"])
async def test_a_file_without_a_broker_url_is_denied_without_repeating_it(
    content: str, opened: Open, tmp_path: Path
) -> None:
    secret = tmp_path / "broker-url"
    secret.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SourceDeniedError) as error:
        await opened(open_source(Broker(url_file=str(secret)))).sample(["email"], NOW)
    assert "hunter2" not in str(error.value)


async def test_options_of_kombu_and_files_reach_the_source(opened: Open) -> None:
    options: dict[str, Any] = {
        "global_keyprefix": "exams.",
        "priority_steps": (0, 5),
        "sep": ":",
        "master_name": "mymaster",
        "ca_file": "/nowhere/ca.pem",
    }
    source = opened(open_source(Broker(url=SecretStr("sentinel://127.0.0.1:1/0"), **options)))
    with pytest.raises(SourceDeniedError, match=r"/nowhere/ca\.pem"):
        await source.sample(["email"], NOW)
