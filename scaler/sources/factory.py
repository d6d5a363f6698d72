"""The right source for a broker of the policy, also when its URL is in a file that changes.

Nothing is read before the first sample: a secret that isn't mounted yet, or a URL with a
mistake, is an error of the broker like any other (shown, retried, healed), not a reason for the
process not to start.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from scaler.core.observation import BrokerSample
from scaler.core.policy.document import Broker
from scaler.sources.address import BROKER_PORTS, TlsFiles
from scaler.sources.base import QueueSource, SourceError
from scaler.sources.failures import denied
from scaler.sources.rabbitmq import RabbitMQSource
from scaler.sources.redis import RedisSource


def open_source(broker: Broker) -> QueueSource:
    """A source for RabbitMQ or Redis, by the scheme of the broker's URL; nothing is connected yet."""
    return _BrokerSource(broker)


class _BrokerSource:
    """Stands before the source that fits the URL, and replaces it when the URL has changed.

    The URL is looked at again after each error, because that is when the source connects anew:
    a rotated password is found by the failure of the old one.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._url: str | None = None
        self._source: QueueSource | None = None
        self._look = True

    async def sample(self, queues: Sequence[str], now: float) -> BrokerSample:
        """As `QueueSource.sample`."""
        source = await self._current()
        try:
            return await source.sample(queues, now)
        except SourceError:
            self._look = True
            raise

    async def close(self) -> None:
        """Give the connections back; a later `sample` reads the URL again and connects anew."""
        self._look = True
        if self._source is not None:
            await self._source.close()

    async def _current(self) -> QueueSource:
        if self._source is not None and not self._look:
            return self._source
        url = await asyncio.to_thread(_url_of, self._broker)
        if self._source is None or url != self._url:
            if self._source is not None:
                await self._source.close()
                self._source = None
            self._source = _made(url, self._broker)
            self._url = url
        self._look = False
        return self._source


def _url_of(broker: Broker) -> str:
    if broker.url is not None:
        return broker.url.get_secret_value()
    path = Path(broker.url_file or "")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise denied(f"urlFile can't be read ({reason}); check the mounted secret: {path}") from error


def _made(url: str, broker: Broker) -> QueueSource:
    files = TlsFiles(broker.ca_file, broker.cert_file, broker.key_file)
    match url.partition("://")[0]:
        case "amqp" | "amqps":
            management = broker.management_url
            return RabbitMQSource(
                url, management_url=management.get_secret_value() if management else None, files=files
            )
        case "redis" | "rediss" | "sentinel":
            return RedisSource(
                url,
                global_keyprefix=broker.global_keyprefix,
                priority_steps=broker.priority_steps,
                sep=broker.sep,
                master_name=broker.master_name,
                sentinel_username=broker.sentinel_username,
                sentinel_password=broker.sentinel_password.get_secret_value()
                if broker.sentinel_password
                else None,
                files=files,
            )
        case _:
            raise denied(f"the broker url has no known scheme; write one of {', '.join(BROKER_PORTS)}://…")
