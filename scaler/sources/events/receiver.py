"""Keeps listening to one broker's events, whatever happens to the broker.

Measured with benchmarks/bench_events.py on one of two shared cores, in events per second of CPU
time: 200,000-250,000 in lists of 24 (prefork, threads, solo) from either broker; one by one
(gevent) 50,000 from Redis and 20,000 from RabbitMQ, whose cost is the client libraries' for each
message. At those rates others waited for the loop 30 ms at worst. A service that can't keep
up is cut off by Redis, which shows as a gap; RabbitMQ drops what its bounded queue doesn't hold,
which shows in counts of running tasks that contradict the heartbeats, and become unknown.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import structlog

from scaler.core.observation import WorkerReport
from scaler.core.policy import Broker
from scaler.sources.address import TlsFiles, parse_addresses
from scaler.sources.base import SourceDeniedError, SourceError
from scaler.sources.events.amqp import AmqpEvents
from scaler.sources.events.messages import MessageError, events_in
from scaler.sources.events.pubsub import RedisEvents
from scaler.sources.events.roster import Roster
from scaler.sources.failures import denied

log = structlog.get_logger(__name__)

#: Seconds until the next attempt, doubled after each failure. A refusal waits for a person: at once the most.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0

#: Events until everybody else on the loop has a turn: some 1 ms.
CHUNK = 100

#: What is wrong before the first attempt has ended.
NOT_YET = "events: not connected yet"

#: What is wrong while every message is unreadable.
UNREADABLE = "events arrive, but none can be read; set event_serializer = 'json' in Celery"


class Transport(Protocol):
    """One connection: opened once, read until it breaks, closed in any case."""

    async def open(self) -> None:
        """Begin to receive. Raises `SourceError`."""
        ...

    async def receive(self) -> bytes | None:
        """The next message; empty for one that can't be read, None now and then. Raises `SourceError`."""
        ...

    async def close(self) -> None:
        """Give everything back, also after a failed `open`."""
        ...


def open_receiver(broker: Broker, clock: Callable[[], float]) -> "EventReceiver":
    """A receiver for RabbitMQ or Redis, by the scheme of the URL; nothing is connected before `run`."""
    return EventReceiver(broker, clock)


class EventReceiver:
    """The workers of one broker, as their events tell."""

    def __init__(self, broker: Broker, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch; it must not step."""
        self._broker = broker
        self._clock = clock
        self._roster = Roster()
        #: Connections tried, to take turns with the alternates of the URL.
        self._tried = 0
        #: Why nothing is received, safe to show; empty while events can be received.
        self.problem = NOT_YET
        #: Since when events are received without a break: silence before means nothing. None: they aren't.
        self.listening_since: float | None = None
        #: Messages and events that were not as Celery sends them.
        self.skipped = 0

    def reports(self, now: float) -> Iterator[WorkerReport]:
        """All workers heard of in the last 5 min by host name; some 10 µs for each, so once per tick."""
        return self._roster.reports(now)

    async def run(self) -> None:
        """Receive until cancelled, over as many connections as it takes."""
        pause = FIRST_PAUSE
        while not _cancelled():
            began = self._clock()
            try:
                await self._listen()
            except SourceError as error:
                problem, refused = str(error), isinstance(error, SourceDeniedError)
            except Exception as error:  # a fault of ours must not end the loop; its text may hold anything
                log.exception("events: internal error")
                problem, refused = f"events: internal error ({type(error).__name__})", True
            else:
                return
            if problem != self.problem:
                log.warning("no events", error=problem)
                self.problem = problem
            if self._clock() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            # Not all services that lost the same broker at the same moment come back at the same moment.
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
            await asyncio.sleep((LONGEST_PAUSE if refused else pause) * jitter)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Over one connection; ends when cancelled in a way that the library has swallowed."""
        transport = await self._transport()
        try:
            await transport.open()
            self._roster.resumed(self._clock())
            self.listening_since = self._clock()
            self.problem = ""
            log.info("events are received")
            await self._take_in(transport)
        finally:
            self.listening_since = None
            self._roster.interrupted()
            await transport.close()

    async def _take_in(self, transport: Transport) -> None:
        since_turn = understood = 0
        while not _cancelled():
            body = await transport.receive()
            if body is None:
                continue
            now = self._clock()
            try:
                events = events_in(body)
            except MessageError:
                events = []
                self.skipped += 1
            for event in events:
                if self._roster.apply(event, now):
                    understood += 1
                else:
                    self.skipped += 1
                since_turn += 1
                if since_turn >= CHUNK:
                    since_turn = 0
                    await asyncio.sleep(0)
            self.problem = "" if understood else UNREADABLE

    async def _transport(self) -> Transport:
        """By the URL as it is now: a rotated password is found by the failure of the old one."""
        url = await asyncio.to_thread(_url_of, self._broker)
        addresses = parse_addresses(url)
        first = self._tried % len(addresses)
        addresses = (*addresses[first:], *addresses[:first])
        self._tried += 1
        files = TlsFiles(self._broker.ca_file, self._broker.cert_file, self._broker.key_file)
        # parse_addresses knows no other schemes than those of the two brokers.
        if addresses[0].scheme in {"amqp", "amqps"}:
            return AmqpEvents(addresses[0], files)
        return RedisEvents(
            addresses,
            files,
            global_keyprefix=self._broker.global_keyprefix,
            master_name=self._broker.master_name,
        )


def _url_of(broker: Broker) -> str:
    if broker.url is not None:
        return broker.url.get_secret_value()
    path = Path(broker.url_file or "")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise denied(f"urlFile can't be read ({reason}); check the mounted secret: {path}") from error


def _cancelled() -> bool:
    """Whether the running task was asked to end: redis-py on Python 3.11 may lose a cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
