"""One HTTP client of the API server: addresses, TLS and credentials by kubernetes-asyncio, JSON untouched.

Its models aren't used: decoding 500 pods into them takes 280 ms of the event loop. After a refused token
or a failed TLS handshake the client is made anew, which reads kubeconfig, token and CA files again;
in a cluster the token file is read once a minute anyway (kubelet replaces it at 80 % of its life).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Literal

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException

from scaler.cluster.errors import READING, ClusterError, UnauthorizedError, error_of

Configure = Callable[[], Awaitable[Configuration]]

Document = dict[str, Any]
Verb = Literal["get", "create", "update", "patch", "delete"]
_METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_GOOD = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})

#: Seconds for one object to be read or written.
SEND_SECONDS = 5.0
#: Seconds for TCP and TLS.
CONNECT_SECONDS = 5.0
#: Bytes of one answer: 500 pods of 60 kB. A longer one is given up.
MOST_BYTES = 32 << 20


class Connection:
    """Opened at the first request, and again after `close`."""

    def __init__(self, configure: Configure) -> None:
        """`configure` reads the configuration anew at each call."""
        self._configure = configure
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def read(
        self, path: str, query: Mapping[str, str], *, place: tuple[str, str], silence: float
    ) -> str:
        """The body of an answer.

        Raises:
            ClusterError: there is none.
        """
        async with self.stream(path, query, place=place, silence=silence) as content:
            body = bytearray()
            async for piece in content.iter_any():
                body += piece
                if len(body) > MOST_BYTES:
                    raise ClusterError(f"a list of {place[0]} has more than {MOST_BYTES >> 20} MB a page")
            return body.decode(errors="replace")

    async def send(
        self,
        verb: Verb,
        path: str,
        body: Document | None = None,
        *,
        place: tuple[str, str],
        query: Mapping[str, str] | None = None,
        silence: float = SEND_SECONDS,
    ) -> Document:
        """Read or change one object; the answer is the object as it stands then.

        Args:
            verb: a patch is a JSON merge patch (RFC 7386); a `resourceVersion` in it is a condition.
            path: of the object, or of its list for "create"; with the leading slash.
            body: the object or the patch.
            place: (plural, "namespace NAME") for messages.
            query: parameters, such as `fieldManager`.
            silence: seconds without a byte after which the request is given up; it may have been done.

        Raises:
            MissingError: there is no such object.
            ConflictError: it was changed since the given `resourceVersion`, or exists already.
            ClusterError: it didn't work otherwise.
        """
        async with self._answer(
            verb, path, query or {}, place=place, silence=silence, body=body, right=verb
        ) as response:
            text = await response.text(errors="replace")
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ClusterError("the API server answers with something that is no JSON") from error
        if not isinstance(document, dict):
            raise ClusterError("the API server answers with something that is no object")
        return document

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, place: tuple[str, str], silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of an answer as it comes.

        Args:
            path: with the leading slash.
            query: parameters.
            place: (plural, "namespace NAME") for messages.
            silence: seconds without a byte after which the connection counts as lost.

        Raises:
            ClusterError: no answer, one that isn't 2xx, or an end in the middle of it.
        """
        async with self._answer("get", path, query, place=place, silence=silence) as response:
            yield response.content

    @asynccontextmanager
    async def _answer(
        self,
        verb: Verb,
        path: str,
        query: Mapping[str, str],
        *,
        place: tuple[str, str],
        silence: float,
        body: Document | None = None,
        right: str = READING,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is 2xx."""
        client: Any = None
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            client = await self._opened()
            response = await client.call_api(
                path,
                _METHODS[verb],
                query_params=list(query.items()),
                header_params={"Accept": "application/json"} | _content(verb),
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
            async with response:
                # The library looks at the status of answers only that it decodes itself.
                if response.status not in _GOOD:
                    after = response.headers.get("Retry-After")
                    raise error_of(response.status, *place, after, right=right)
                yield response
        except UnauthorizedError:
            await self._drop(client)
            raise
        except ConfigException as error:
            raise ClusterError(f"the Kubernetes configuration can't be used: {error}"[:200]) from error
        except TimeoutError as error:
            raise ClusterError(f"nothing came from the API server for {silence:g} s") from error
        except aiohttp.ClientSSLError as error:
            await self._drop(client)
            raise ClusterError("TLS with the API server fails; check its certificate and the CA") from error
        except (aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            name = type(error).__name__
            raise ClusterError(f"the API server can't be reached or went away ({name})") from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._drop(self._client)

    async def _opened(self) -> ApiClient:
        async with self._opening:
            if self._client is None:
                self._client = ApiClient(await self._configure())
            return self._client

    async def _drop(self, client: ApiClient) -> None:
        # Of several requests that fail together only the first may drop: the others' successor is new.
        if client is self._client and client is not None:
            self._client = None
            await client.close()


def _content(verb: Verb) -> dict[str, str]:
    """The content type of what is sent."""
    if verb in {"get", "delete"}:
        return {}
    return {"Content-Type": "application/merge-patch+json" if verb == "patch" else "application/json"}
