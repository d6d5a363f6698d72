"""What RabbitMQ's HTTP API adds to a sweep over AMQP: unacknowledged messages, counters, alarms.

It only ever adds: whatever goes wrong here becomes a gap with its remedy, because the depth
that AMQP gives is live and needs no extra rights, while this API needs a plugin and a tag.

List calls, never one call per queue (for 1,000 queues 23 ms against 500 ms), and each at the
pace of what it tells:

- each sweep the lean list, with the totals switched on: live for classic queues, at most 5 s
  old for quorum queues. Brokers that don't know the totals tell them with the statistics;
- the statistics once after each collection of the broker (5 s, `Ticks`);
- alarms every 5 s, and only while there is one, the connections that it blocks;
- what the broker offers at the first call and every 30 s, so that a plugin, a right or a setting
  that comes later is found.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from scaler.core.observation import Counters
from scaler.sources.address import Address, TlsFiles
from scaler.sources.base import SourceError
from scaler.sources.failures import CALL_TIMEOUT, capped
from scaler.sources.management_http import ManagementHttp
from scaler.sources.management_ticks import Ticks, Window

#: Seconds between two looks at the alarms.
ALARM_INTERVAL = 5.0
#: Seconds after which what wasn't offered is tried again.
RETRY_INTERVAL = 30.0
#: Failures in a row that are followed by another attempt at the next sweep: a broker that restarts
#: is found at once, one without the API doesn't cost every sweep its 2 s.
QUICK_RETRIES = 3

_TOTALS = (
    "disable_stats=true&enable_queue_totals=true"
    "&columns=name,type,arguments,messages_ready,messages_unacknowledged"
)
_STATISTICS = (
    "columns=name,type,arguments,messages_ready,messages_unacknowledged,head_message_timestamp"
    ",message_stats.publish,message_stats.deliver_get,message_stats.ack,message_stats.redeliver"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One queue in the lean list."""

    kind: str = ""
    ready: int | None = None
    unacked: int | None = None
    #: It has priorities, so it isn't first in, first out.
    prioritised: bool = False
    #: The counts are of this moment.
    live: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """One queue in the broker's statistics."""

    #: Messages; None before the first one has passed. `at` is left to the reader.
    counters: Counters | None
    #: The publish time that the queue's first message carries, in seconds since the epoch.
    head: float | None


@dataclass(frozen=True, slots=True)
class Collection:
    """The statistics of all queues, and when they were true (event loop's clock)."""

    window: Window
    queues: Mapping[str, Statistics]


@dataclass(frozen=True, slots=True)
class ManagementReading:
    """What this sweep learned."""

    #: None: the list can't be read.
    listed: Mapping[str, Listed] | None = None
    #: Only with the sweep that read it.
    collection: Collection | None = None
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    calls: int = 0


@dataclass(slots=True)
class _Offer:
    """What this broker and this user offer."""

    #: Nothing of it is asked for before this time, except the list.
    until: float = 0.0
    totals: bool = True
    #: Why there are no statistics; empty: there are.
    mute: str = ""


@dataclass(slots=True)
class _Alarms:
    due: float = 0.0
    seen: bool = False
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(slots=True)
class _Failure:
    """Failures in a row, and what they are called meanwhile."""

    count: int = 0
    until: float = 0.0
    gaps: tuple[str, ...] = field(default=())


class Management:
    """The HTTP API of one broker, as seen from one virtual host. Not for concurrent reads."""

    def __init__(self, url: str, files: TlsFiles) -> None:
        """Nothing is connected yet."""
        self._http = ManagementHttp(url, files)
        self._failure = _Failure()
        self._forget()

    async def read(self, broker: Address) -> ManagementReading:
        """What is to be had at this sweep; never an error."""
        now = asyncio.get_running_loop().time()
        if self._failure.count > QUICK_RETRIES and now < self._failure.until:
            return ManagementReading(gaps=self._failure.gaps, paths=(("unacked, counters", "not seen"),))
        calls = self._http.calls
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                reading = await self._read(broker, now)
        except (SourceError, aiohttp.ClientError, OSError) as error:
            text = capped(f"unacked messages are not seen: {self._http.named(error)}")
            self._failure = _Failure(self._failure.count + 1, now + RETRY_INTERVAL, (text,))
            self._start_over()
            reading = ManagementReading(gaps=(text,), paths=(("unacked, counters", "not seen"),))
        else:
            self._failure = _Failure()
        return ManagementReading(
            reading.listed,
            reading.collection,
            reading.suspicions,
            reading.gaps,
            reading.paths,
            self._http.calls - calls,
        )

    async def close(self) -> None:
        """Give the connections back; the next `read` opens new ones."""
        self._forget()
        await self._http.close()

    def broker_came_back(self) -> None:
        """The broker was away, and this API most likely with it: all is to be found out anew, and at once."""
        self._failure = _Failure()
        self._start_over()

    def _start_over(self) -> None:
        self._offer = _Offer()
        self._ticks = Ticks()

    def _forget(self) -> None:
        self._offer = _Offer()
        self._alarms = _Alarms()
        self._failure = _Failure()
        self._ticks = Ticks()
        self._listed: Mapping[str, Listed] = {}
        self._statistics: Mapping[str, Statistics] = {}

    async def _read(self, broker: Address, now: float) -> ManagementReading:
        vhost = quote(broker.path or "/", safe="")
        if now >= self._offer.until:
            await self._ask_offer(broker, now)
        listed: Mapping[str, Listed] | None = None
        if self._offer.totals:
            listed = _listed(await self._http.listed(broker, f"api/queues/{vhost}", _TOTALS), live=True)
            if listed and all(queue.unacked is None for queue in listed.values()):
                self._offer.totals = False
        collection = None
        if not self._offer.mute and self._ticks.due(now):
            collection = await self._collect(broker, vhost)
        if not self._offer.totals:
            listed = self._listed
        await self._look_at_alarms(broker, vhost, now)
        gaps = self._alarms.gaps
        if self._offer.mute and not self._offer.totals:
            gaps += (f"unacked messages are not seen: {self._offer.mute}",)
        if self._offer.mute:
            gaps += (f"message counters are not seen: {self._offer.mute}",)
        return ManagementReading(listed, collection, self._alarms.suspicions, gaps, self._paths())

    async def _ask_offer(self, broker: Address, now: float) -> None:
        columns = "columns=disable_stats,rates_mode"
        status, body = await self._http.get(broker, "api/overview", columns)
        mute = ""
        if status == HTTPStatus.OK and isinstance(body, dict):
            if body.get("disable_stats") is True:
                mute = "the broker's setting management.disable_stats is on"
            elif body.get("rates_mode") == "none":
                mute = "the broker's setting management.rates_mode is none"
        status, body = await self._http.get(broker, "api/nodes", "columns=name")
        # A user without the tag monitoring isn't told.
        self._ticks.alone = status == HTTPStatus.OK and isinstance(body, list) and len(body) == 1
        self._offer = _Offer(until=now + RETRY_INTERVAL, mute=mute)

    async def _collect(self, broker: Address, vhost: str) -> Collection:
        elements = await self._http.listed(broker, f"api/queues/{vhost}", _STATISTICS)
        # When it was asked: what changed while the answer was on its way is in no case younger.
        answered = asyncio.get_running_loop().time()
        if not self._offer.totals:
            self._listed = _listed(elements, live=False)
        statistics = {element["name"]: _statistics(element) for element in elements}
        changed = {name: queue.counters for name, queue in statistics.items()} != {
            name: queue.counters for name, queue in self._statistics.items()
        }
        self._statistics = statistics
        return Collection(self._ticks.looked(answered, changed=changed), statistics)

    async def _look_at_alarms(self, broker: Address, vhost: str, now: float) -> None:
        if now < self._alarms.due:
            return
        status, body = await self._http.get(broker, "api/health/checks/alarms")
        self._alarms = alarms = _Alarms(due=now + ALARM_INTERVAL, seen=status == HTTPStatus.OK)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raised = body.get("alarms", []) if isinstance(body, dict) else []
            names = sorted({str(alarm.get("resource")) for alarm in raised if isinstance(alarm, dict)})
            text = f"broker alarm ({', '.join(names) or 'unknown'}): publishers are blocked"
            alarms.seen = True
            alarms.suspicions = (capped(text), *await self._blocked(broker, vhost))
        elif status != HTTPStatus.OK:
            alarms.gaps = (
                f"broker alarms are not seen ({status}): give the management user the tag monitoring",
            )

    async def _blocked(self, broker: Address, vhost: str) -> tuple[str, ...]:
        """Connections that publish and are held back; one call, while an alarm lasts."""
        status, body = await self._http.get(broker, f"api/vhosts/{vhost}/connections", "columns=state")
        if status != HTTPStatus.OK or not isinstance(body, list):
            return ()
        states = [connection.get("state") for connection in body if isinstance(connection, dict)]
        blocked = states.count("blocked")
        if not blocked:
            return ()
        return (f"{blocked} of {len(states)} connections published and are blocked by the alarm",)

    def _paths(self) -> tuple[tuple[str, str], ...]:
        if self._offer.totals:
            unacked = "management list with totals: classic queues live, quorum queues up to 5 s old"
        elif self._offer.mute:
            unacked = "not seen"
        else:
            unacked = "management statistics, up to 10 s old"
        counters = "not seen" if self._offer.mute else "management statistics, up to 6 s old"
        alarms = "management health check, every 5 s" if self._alarms.seen else "not seen"
        return (("unacked", unacked), ("counters", counters), ("alarms", alarms))


def _listed(elements: list[dict[str, Any]], *, live: bool) -> Mapping[str, Listed]:
    return {element["name"]: _listed_queue(element, live=live) for element in elements}


def _listed_queue(element: Mapping[str, Any], *, live: bool) -> Listed:
    kind, arguments = element.get("type"), element.get("arguments")
    return Listed(
        kind=kind if isinstance(kind, str) else "",
        ready=_count(element.get("messages_ready")),
        unacked=_count(element.get("messages_unacknowledged")),
        prioritised=isinstance(arguments, dict) and bool(arguments.get("x-max-priority")),
        live=live and kind == "classic",
    )


def _statistics(element: Mapping[str, Any]) -> Statistics:
    passed, head = element.get("message_stats"), _count(element.get("head_message_timestamp"))
    counters = None
    if isinstance(passed, dict) and passed:
        # A count that isn't there hasn't begun.
        counters = Counters(
            at=0.0,
            published=_count(passed.get("publish")) or 0,
            delivered=_count(passed.get("deliver_get")) or 0,
            acked=_count(passed.get("ack")) or 0,
            redelivered=_count(passed.get("redeliver")) or 0,
        )
    return Statistics(counters, None if head is None else float(head))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
