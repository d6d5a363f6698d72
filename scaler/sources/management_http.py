"""Calls of RabbitMQ's HTTP API: one connection, bounded answers, failures in words."""

import asyncio
import json
import ssl
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from scaler.sources.address import MANAGEMENT_PORTS, Address, TlsFiles, parse_addresses, tls_context
from scaler.sources.base import SourceError
from scaler.sources.failures import CALL_TIMEOUT, denied, unavailable

#: Bytes of an answer: 100,000 queues in the lean list are 15 MB. A longer one is given up.
BODY_LIMIT = 32 << 20
#: Elements of a list that are parsed before the event loop gets its turn: about 2 ms.
CHUNK = 500

_JSON = json.JSONDecoder()


class ManagementHttp:
    """The HTTP API of one broker; credentials of the broker's URL serve where its own URL has none."""

    def __init__(self, url: str, files: TlsFiles) -> None:
        self._url = url
        self._files = files
        self._place = "managementUrl"
        self._session: aiohttp.ClientSession | None = None
        self._base = ""
        #: Requests sent so far.
        self.calls = 0

    @property
    def place(self) -> str:
        """For messages: which API at which host:port."""
        return f"management API at {self._place}"

    async def get(self, broker: Address, path: str, query: str = "") -> tuple[int, Any]:
        """Status and parsed body of an answer; None for a body that isn't JSON.

        Raises:
            SourceError, aiohttp.ClientError, OSError: `named` makes a SourceError of each.
        """
        session = await self._opened(broker)
        self.calls += 1
        async with session.get(f"{self._base}/{path}?{query}", allow_redirects=False) as answer:
            body = bytearray()
            async for piece in answer.content.iter_chunked(1 << 16):
                body += piece
                if len(body) > BODY_LIMIT:
                    raise unavailable(f"{self.place} answers with more than {BODY_LIMIT >> 20} MB")
            status = answer.status
        try:
            return status, await _parsed(body.decode())
        except ValueError:
            return status, None

    async def listed(self, broker: Address, path: str, query: str) -> list[dict[str, Any]]:
        """The queues of a list call: those elements that have a name.

        Raises:
            As `get`, and SourceError for any answer that is no list.
        """
        status, body = await self.get(broker, path, query)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise denied(
                f"{self.place} refused the user ({status}); check the credentials, the user's tag management"
                " and its rights on the virtual host"
            )
        if status == HTTPStatus.NOT_FOUND:
            raise denied(
                f"no management API or no such virtual host at {self._place} (404); check managementUrl"
            )
        if status != HTTPStatus.OK or not isinstance(body, list):
            raise unavailable(
                f"{self._place} doesn't answer as a management API ({status}); check managementUrl"
            )
        return [queue for queue in body if isinstance(queue, dict) and isinstance(queue.get("name"), str)]

    def named(self, error: Exception) -> SourceError:
        """What a failed call means to the person who reads about it."""
        match error:
            case SourceError():
                return error
            case TimeoutError():
                return unavailable(
                    f"{self.place} didn't answer within {CALL_TIMEOUT:g} s; look at the broker's load"
                )
            case aiohttp.ClientSSLError():
                return denied(f"{self.place} fails at TLS; check its certificate and caFile")
            case _:
                return unavailable(
                    f"{self.place} can't be reached; check managementUrl and the plugin rabbitmq_management"
                )

    async def close(self) -> None:
        """Give the connection back; the next call opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self, broker: Address) -> aiohttp.ClientSession:
        if self._session is None:
            (address, *_) = parse_addresses(self._url, MANAGEMENT_PORTS, "managementUrl")
            context: ssl.SSLContext | bool = True
            if address.scheme == "https":
                context = await asyncio.to_thread(tls_context, self._files, address.query)
            self._place = address.place
            self._base = f"{address.scheme}://{address.place}/{quote(address.path)}".rstrip("/")
            login = address if address.username else broker
            self._session = aiohttp.ClientSession(
                headers={
                    "Authorization": aiohttp.encode_basic_auth(
                        login.username or "guest", login.password or "guest", encoding="utf-8"
                    )
                },
                connector=aiohttp.TCPConnector(ssl=context, limit=1),
            )
        return self._session


async def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON of a stranger
    """A document; a list is parsed piece by piece, so that 10,000 queues don't stop the service for 50 ms."""
    if not text.startswith("["):
        return json.loads(text)
    elements: list[Any] = []
    at = _past_space(text, 1)
    if text[at : at + 1] == "]":
        return elements
    while True:
        element, at = _JSON.raw_decode(text, at)
        elements.append(element)
        at = _past_space(text, at)
        mark = text[at : at + 1]
        if mark == "]":
            return elements
        if mark != ",":
            raise ValueError("a list without an end")
        at = _past_space(text, at + 1)
        if len(elements) % CHUNK == 0:
            await asyncio.sleep(0)


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\n", "\r", "\t"}:
        at += 1
    return at
