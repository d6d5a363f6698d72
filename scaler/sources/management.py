"""What RabbitMQ's HTTP API adds to a sweep over AMQP: unacknowledged messages and alarms.

It only ever adds: whatever goes wrong here becomes a gap with its remedy, because the depth
that AMQP gives is live and needs no extra rights, while this API needs a plugin and a tag.

One list call per sweep instead of one call per queue: for 1,000 queues 23 ms against 500 ms,
and with the totals switched on it is live for classic queues (at most 5 s old for quorum
queues), while the usual answer is 4-10 s old.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from scaler.sources.address import MANAGEMENT_PORTS, Address, TlsFiles, parse_addresses, tls_context
from scaler.sources.base import SourceError
from scaler.sources.failures import CALL_TIMEOUT, capped, denied, unavailable

#: Seconds between two looks at the alarms, which need a second call.
ALARM_INTERVAL = 5.0

_TOTALS = "disable_stats=true&enable_queue_totals=true&columns=name,messages_unacknowledged"
_STATISTICS = "columns=name,messages_unacknowledged"


@dataclass(frozen=True, slots=True)
class ManagementReading:
    """Unacknowledged messages per queue name, and what to tell beside them."""

    unacked: Mapping[str, int] = field(default_factory=dict)
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


class Management:
    """The HTTP API of one broker; credentials of the broker's URL serve where its own URL has none."""

    def __init__(self, url: str, files: TlsFiles) -> None:
        self._url = url
        self._files = files
        self._place = "managementUrl"
        self._session: aiohttp.ClientSession | None = None
        self._base = ""
        self._alarms_due = 0.0
        self._alarms = ManagementReading()

    async def read(self, broker: Address) -> ManagementReading:
        """Unacknowledged messages of the broker's virtual host and the alarms in effect; never an error."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                session = await self._opened(broker)
                unacked = await self._unacked(session, quote(broker.path or "/", safe=""))
                await self._look_at_alarms(session)
        except (SourceError, aiohttp.ClientError, OSError) as error:
            return ManagementReading(gaps=(capped(f"unacked messages are not seen: {self._named(error)}"),))
        return ManagementReading(unacked, self._alarms.suspicions, self._alarms.gaps)

    async def close(self) -> None:
        """Give the connections back; the next `read` opens new ones."""
        session, self._session = self._session, None
        self._alarms_due = 0.0
        if session is not None:
            await session.close()

    def _named(self, error: Exception) -> SourceError:
        place = f"management API at {self._place}"
        match error:
            case SourceError():
                return error
            case TimeoutError():
                return unavailable(
                    f"{place} didn't answer within {CALL_TIMEOUT:g} s; look at the broker's load"
                )
            case aiohttp.ClientSSLError():
                return denied(f"{place} fails at TLS; check its certificate and caFile")
            case _:
                return unavailable(
                    f"{place} can't be reached; check managementUrl and the plugin rabbitmq_management"
                )

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

    async def _unacked(self, session: aiohttp.ClientSession, vhost: str) -> Mapping[str, int]:
        queues = await self._listed(session, vhost, _TOTALS)
        if queues and not any("messages_unacknowledged" in queue for queue in queues):
            # A broker that doesn't know the totals: the statistics, which are some seconds old.
            queues = await self._listed(session, vhost, _STATISTICS)
        return {
            queue["name"]: queue["messages_unacknowledged"]
            for queue in queues
            if isinstance(queue.get("messages_unacknowledged"), int)
        }

    async def _listed(self, session: aiohttp.ClientSession, vhost: str, query: str) -> list[dict[str, Any]]:
        status, body = await self._get(session, f"api/queues/{vhost}", query)
        place = f"management API at {self._place}"
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise denied(
                f"{place} refused the user ({status}); check the credentials, the user's tag management"
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

    async def _look_at_alarms(self, session: aiohttp.ClientSession) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._alarms_due:
            return
        status, body = await self._get(session, "api/health/checks/alarms", "")
        self._alarms_due = now + ALARM_INTERVAL
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raised = body.get("alarms", []) if isinstance(body, dict) else []
            names = sorted({str(alarm.get("resource")) for alarm in raised if isinstance(alarm, dict)})
            text = f"broker alarm ({', '.join(names) or 'unknown'}): publishers are blocked"
            self._alarms = ManagementReading(suspicions=(capped(text),))
        elif status == HTTPStatus.OK:
            self._alarms = ManagementReading()
        else:
            text = f"broker alarms are not seen ({status}): give the management user the tag monitoring"
            self._alarms = ManagementReading(gaps=(text,))

    async def _get(self, session: aiohttp.ClientSession, path: str, query: str) -> tuple[int, Any]:
        async with session.get(f"{self._base}/{path}?{query}", allow_redirects=False) as answer:
            text = await answer.text()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, None
