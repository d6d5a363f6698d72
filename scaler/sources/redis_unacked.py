"""Reads what is unacknowledged: with each sweep, and in between often enough to time short tasks.

The readings in between are what makes service times without events possible: a task of 100 ms
that starts and ends between two sweeps would never be seen. They are cheap (a HKEYS of a few
tags, 0.35 ms of CPU; each message is read once) and end by themselves when nobody sweeps any more.

A message that vanishes was acknowledged, or given back by a worker that ends. The latter is known
when it is delivered again, or is among the oldest 50 of its list at the next sweep, and is then
taken back from the departures; if more than that are given back at once, the others count as done.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scaler.sources.kombu_redis import (
    UNACKED_INDEX_KEY,
    UNACKED_KEY,
    Binding,
    Envelope,
    binding_key,
    parse_bindings,
    parse_envelope,
    route,
)
from scaler.sources.redis_holds import GAP_AIM
from scaler.sources.unacked import READ_BUDGET, Entry, UnackedIndex

#: Messages per call; the event loop does other work between two calls (100 of 14 kB: 3 ms).
READ_CHUNK = 100

#: Seconds for which the bindings of an exchange are taken as unchanged.
BINDINGS_AGE = 5.0

#: Seconds between two readings, at least (3.5 % of a CPU) and at most.
SHORTEST_GAP, LONGEST_GAP = 0.010, 0.5

#: The same with nothing unacknowledged for so many seconds.
IDLE_GAP, IDLE_AFTER = 0.1, 5.0

#: Seconds per tag that a gap has at least, so that long lists of tags cost 3 % of a CPU at most.
GAP_PER_TAG = 20e-6

#: No readings between the sweeps with more tags than this.
WATCH_LIMIT = 2_000

#: Messages that are read between the sweeps, per second.
WATCH_READ_RATE = 2_000

#: Seconds for a reading between the sweeps; a slower broker is left to the sweeps.
WATCH_TIMEOUT = 0.5

#: Seconds without a sweep after which the readings end.
WATCH_LIFE = 3.0

Clock = Callable[[], float]


class UnackedReader:
    """The unacknowledged messages of one database. `lock` is held by whoever reads."""

    def __init__(self, separator: str, prefix: str) -> None:
        self.index = UnackedIndex()
        self.lock = asyncio.Lock()
        self.key = f"{prefix}{UNACKED_KEY}"
        #: Requests sent since the caller set this to zero.
        self.calls = 0
        self._index_key = f"{prefix}{UNACKED_INDEX_KEY}"
        self._separator = separator
        self._prefix = prefix
        self._bindings: dict[str, tuple[float, tuple[Binding, ...]]] = {}
        self._floors: Mapping[str, float] = {}
        self._clock: Clock = monotonic
        self._swept_at = 0.0
        self._timed = False
        self._watching: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Begin anew: there is too much to follow."""
        self.index = UnackedIndex()

    async def read(self, client: Redis, tags: Sequence[bytes], clock: Clock, *, timed: bool) -> None:
        """Take in the tags that a sweep has read; `timed`: the times of delivery may be read."""
        self._clock, self._timed, self._swept_at = clock, timed, monotonic()
        await self._take(client, tags, READ_BUDGET)

    async def refresh_longest(self, client: Redis, queues: Sequence[str]) -> None:
        """Ask for the present times of delivery of what is held longest: it may have been delivered anew."""
        tags = self.index.longest_held(queues)
        if tags and self._timed:
            self.calls += 1
            scores = await client.zmscore(self._index_key, cast("list[str]", tags))
            now = self._clock()
            # A moment to come is a worker's clock that is fast: what was taken at first sight stays.
            times = {tag: float(score) for tag, score in zip(tags, scores, strict=True) if score is not None}
            self.index.correct({tag: time for tag, time in times.items() if time <= now})

    def set_floors(self, floors: Mapping[str, float]) -> None:
        """By queue: no message that is delivered from now on arrived before that moment."""
        self._floors = floors

    def watch(self, client: Redis) -> None:
        """Read on until the next sweep, or for `WATCH_LIFE` if there is none."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(client), name="unacked watch")

    async def stop(self) -> None:
        """End the readings between the sweeps."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, client: Redis) -> None:
        # Whatever is wrong with the broker, the next sweep finds and tells it.
        with suppress(RedisError, OSError, TimeoutError):
            busy_at = monotonic()
            gap = self._gap(idle=False)
            while monotonic() - self._swept_at < WATCH_LIFE and self.index.tags <= WATCH_LIMIT:
                await asyncio.sleep(gap)
                async with self.lock, asyncio.timeout(WATCH_TIMEOUT):
                    self.calls += 1
                    tags = cast("list[bytes]", await client.hkeys(self.key))
                    await self._take(client, tags, max(1, int(gap * WATCH_READ_RATE)))
                if tags:
                    busy_at = monotonic()
                gap = self._gap(idle=monotonic() - busy_at > IDLE_AFTER)

    def _gap(self, *, idle: bool) -> float:
        mean = self.index.shortest_mean()
        aim = IDLE_GAP if idle or mean is None else mean * GAP_AIM
        return min(max(aim, SHORTEST_GAP, self.index.tags * GAP_PER_TAG, idle * IDLE_GAP), LONGEST_GAP)

    async def _take(self, client: Redis, tags: Sequence[bytes], budget: int) -> None:
        self.index.begin(tags, monotonic())
        unknown = self.index.unknown[:budget]
        for start in range(0, len(unknown), READ_CHUNK):
            entries = await self._entries(client, unknown[start : start + READ_CHUNK])
            self.index.learn(entries, self._clock(), lambda queue: self._floors.get(queue, float("-inf")))
        self.index.finish(self._clock())

    async def _entries(self, client: Redis, tags: Sequence[bytes]) -> dict[bytes, Entry | None]:
        self.calls += 1
        async with client.pipeline(transaction=False) as pipe:
            pipe.hmget(self.key, cast("list[str]", tags))
            if self._timed:
                pipe.zmscore(self._index_key, cast("list[str]", tags))
            values, *scores = await pipe.execute()
        times = scores[0] if scores else [None] * len(tags)
        envelopes: dict[bytes, Envelope | None] = {}
        for tag, value in zip(tags, values, strict=True):
            if value is not None:
                try:
                    envelopes[tag] = parse_envelope(value)
                except ValueError:
                    envelopes[tag] = None
        await self._read_bindings(client, {found.exchange for found in envelopes.values() if found} - {""})
        entries: dict[bytes, Entry | None] = {}
        for tag, time in zip(tags, times, strict=True):
            envelope = envelopes.get(tag)
            queues = route(envelope, self._bindings.get(envelope.exchange, (0, ()))[1]) if envelope else ()
            delivered = None if time is None else float(time)
            entries[tag] = Entry(envelope, queues, delivered) if tag in envelopes else None
        return entries

    async def _read_bindings(self, client: Redis, exchanges: set[str]) -> None:
        oldest = monotonic() - BINDINGS_AGE
        names = sorted(name for name in exchanges if self._bindings.get(name, (0.0, ()))[0] < oldest)
        if not names:
            return
        self.calls += 1
        async with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.smembers(binding_key(name, self._prefix))
            tables = await pipe.execute()
        at = monotonic()
        for name, table in zip(names, tables, strict=True):
            self._bindings[name] = (at, parse_bindings(table, self._separator))
