"""Reads the lists of all queues: one request for up to `BATCH` lists, another for what is new or doubtful."""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from scaler.sources.redis_message import parse_message
from scaler.sources.redis_track import CLOSER_LOOK, ListTrack

#: Lists per request: 250 commands with empty lists, 1,000 with filled ones, which take the client 2 and 8 ms.
BATCH = 250


class ListReader:
    """The lists that were asked for last."""

    def __init__(self) -> None:
        #: Requests sent since the caller set this to zero.
        self.calls = 0
        #: Keys of the last look that are no lists.
        self.foreign: set[str] = set()
        self._tracks: dict[str, ListTrack] = {}

    def select(self, keys: Sequence[str]) -> dict[str, ListTrack]:
        """The tracks of these lists; others are forgotten."""
        self._tracks = {key: self._tracks.get(key) or ListTrack(key) for key in keys}
        return self._tracks

    async def look(
        self,
        client: Redis,
        clock: Callable[[], float],
        *,
        deep: bool,
        also: Callable[[Pipeline], None],
    ) -> list[Any]:
        """Look at all lists.

        Args:
            client: Connected to the broker's database.
            clock: Seconds since the epoch.
            deep: Look at the messages as well; needs transactions.
            also: Adds commands to the last request, to be answered for the same moment.

        Returns:
            The answers of the added commands, refusals among them.
        """
        self.foreign.clear()
        tracks = list(self._tracks.values())
        batches = [tracks[start : start + BATCH] for start in range(0, len(tracks), BATCH)] or [[]]
        for batch in batches[:-1]:
            await self._look_at(client, batch, clock, deep=deep)
        answers = await self._look_at(client, batches[-1], clock, deep=deep, also=also)
        if deep:
            filled = [track for track in tracks if track.length and not track.followed]
            for start in range(0, len(filled), BATCH):
                await self._look_at(client, filled[start : start + BATCH], clock, deep=True, again=True)
        return answers

    async def look_closer(self, client: Redis) -> tuple[bytes, ...]:
        """Read more messages where the oldest isn't due, or was given back; tags of those given back."""
        doubtful = [track for track in self._tracks.values() if track.needs_closer_look]
        if not doubtful:
            return ()
        self.calls += 1
        async with client.pipeline(transaction=False) as pipe:
            for track in doubtful:
                pipe.lrange(track.key, -CLOSER_LOOK, -1)
                for place in track.sample_places:
                    pipe.lindex(track.key, place)
            answers = iter(await pipe.execute())
        returned: list[bytes] = []
        for track in doubtful:
            elements = next(answers)
            samples = [next(answers) for _ in track.sample_places]
            track.behind = tuple(parse_message(sample) for sample in samples if sample is not None)
            messages = tuple(map(parse_message, reversed(elements)))
            returned += [message.tag for message in messages if message.redelivered]
            # Another message may have become the oldest in between; the next look sees it.
            if messages and messages[0] == track.head[0]:
                track.head = messages
        return tuple(returned)

    async def _look_at(
        self,
        client: Redis,
        tracks: Sequence[ListTrack],
        clock: Callable[[], float],
        *,
        deep: bool,
        again: bool = False,
        also: Callable[[Pipeline], None] | None = None,
    ) -> list[Any]:
        sent = clock()
        async with client.pipeline(transaction=deep) as pipe:
            counts = [track.ask(pipe, deep=deep and (again or track.followed)) for track in tracks]
            if also is not None:
                also(pipe)
            if not len(pipe):
                return []
            self.calls += 1
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        answered = clock()
        start = 0
        for track, count in zip(tracks, counts, strict=True):
            mine = answers[start : start + count]
            start += count
            refused = next((answer for answer in mine if isinstance(answer, Exception)), None)
            if refused is not None and not str(refused).startswith("WRONGTYPE"):
                raise refused
            if refused is not None:
                self.foreign.add(track.key)
                track.length = 0
                track.take_empty(sent, answered)
                continue
            if not again:
                track.length = mine[0]
            if count > 1:
                track.take(mine, sent, answered)
            elif not track.length:
                track.take_empty(sent, answered)
        return answers[start:]
