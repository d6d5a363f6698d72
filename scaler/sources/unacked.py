"""Which queue the delivered messages of a Redis database belong to, and which are held for later.

kombu keeps all of them in one hash, whole messages included; reading all of it in each sweep
would cost 180 ms at 50,000 entries. Here each reading gets the tags, and each message once, when
its tag is new: 27 ms at 50,000 entries, 16 ms of it in one piece. The reading is bounded: after
a start in front of a full hash it takes some sweeps to catch up, and until then the answer is
"unknown", not a number that is too low.

The same comparison of tags, made more often, tells how long messages are held (`redis_holds`).
"""

import heapq
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from scaler.core.observation import Dues, Holds
from scaler.sources.dues import as_dues, due_step
from scaler.sources.kombu_redis import Envelope
from scaler.sources.redis_holds import Gap, HoldMeter

#: Messages read in one sweep: 2 MB and 30 ms at 1 kB a message, 28 MB at 14 kB.
READ_BUDGET = 2_000

#: With more unacknowledged messages than this even their tags (36 bytes each) are too many to read each time.
TAG_LIMIT = 50_000

#: Longest-held messages that a reading names.
HELD_SHOWN = 50

#: Departed messages that are remembered, to know them again when a worker gives them back.
DEPARTED_KEPT = 5_000

#: In place of the number of a reading: before any that matters.
LONG_AGO = -1


@dataclass(frozen=True, slots=True)
class Unacked:
    """What is unacknowledged of one queue; None while that isn't known."""

    count: int | None = None
    eta_held: int | None = None
    due: Dues = ()
    held_since: tuple[float, ...] = ()
    holds: Holds | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What was read about one message: an envelope, or None where nobody can read it."""

    envelope: Envelope | None
    queues: tuple[str, ...]
    #: When it was delivered, as the worker's clock has it; None: not told.
    delivered: float | None


@dataclass(slots=True)
class _Held:
    queues: tuple[str, ...]
    eta: float | None
    #: When it was delivered, or first seen.
    since: float
    #: It can't have arrived in its list before this moment.
    arrived_after: float
    #: Number of the reading in which it came or fell due; None while it is not yet due.
    came: int | None = None
    watched: bool = False


@dataclass(slots=True)
class _Queue:
    count: int = 0
    #: Not yet due, by step.
    steps: Counter[float] = field(default_factory=Counter)
    eta_held: int = 0
    #: Since when due messages are held.
    due: dict[bytes, float] = field(default_factory=dict)
    meter: HoldMeter = field(default_factory=HoldMeter)
    gap: Gap = field(default_factory=Gap)
    before: tuple[int, int] = (0, 0)

    def hold(self, eta: float) -> None:
        """One more that is not yet due."""
        self.eta_held += 1
        self.steps[due_step(eta)] += 1

    def release(self, eta: float) -> None:
        """It fell due, or went."""
        self.eta_held -= 1
        step = due_step(eta)
        self.steps[step] -= 1
        if not self.steps[step]:
            del self.steps[step]


class UnackedIndex:
    """Remembers what each tag is, from one reading to the next and across reconnects.

    One reading is `begin`, then `learn` for tags that `begin` didn't know, then `finish`.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, _Held] = {}
        self._unreadable: set[bytes] = set()
        self._unknown: dict[bytes, None] = {}
        #: Those of the unknown that weren't there at the reading before.
        self._fresh: set[bytes] = set()
        self._queues: dict[str, _Queue] = {}
        #: (due at, tag) of what is not yet due; entries of departed messages are skipped when met.
        self._later: list[tuple[float, bytes]] = []
        self._departed: OrderedDict[bytes, _Held] = OrderedDict()
        self._reading = 0
        self._began_at = 0.0
        self._finished_at: float | None = None
        #: Whether the reading before was complete: only then the gap since says something. Its seconds.
        self._measured = False
        self._seconds = 0.0
        self._lost = 0.0

    @property
    def unknown(self) -> list[bytes]:
        """Tags that nobody has read yet."""
        return list(self._unknown)

    @property
    def unreadable(self) -> int:
        """Entries that aren't what kombu writes."""
        return len(self._unreadable)

    @property
    def tags(self) -> int:
        """Entries of the last reading."""
        return len(self._held) + len(self._unreadable) + len(self._unknown)

    def shortest_mean(self) -> float | None:
        """Seconds that messages are held in the queue where it is shortest; None: none was ever seen."""
        return min((queue.meter.mean for queue in self._queues.values()), default=None)

    def begin(self, tags: Iterable[bytes], at: float) -> None:
        """Compare with the reading before; `at` in seconds of a clock that never jumps."""
        present = set(tags)
        self._reading += 1
        self._began_at = at
        self._measured = self._finished_at is not None
        self._seconds = at - (self._finished_at or 0.0)
        self._finished_at = None
        for queue in self._queues.values():
            queue.gap = Gap()
            queue.before = (queue.meter.level, queue.meter.watched_level)
        for tag in self._held.keys() - present:
            self._depart(tag)
        self._unreadable &= present
        strange = present - self._held.keys() - self._unreadable
        self._fresh = strange - self._unknown.keys()
        self._unknown = dict.fromkeys(tag for tag in chain(self._unknown, self._fresh) if tag in strange)

    def learn(
        self,
        entries: Mapping[bytes, Entry | None],
        now: float,
        arrived_after: Callable[[str], float],
    ) -> None:
        """Take in what was read about new tags; None: acknowledged in the meantime.

        Args:
            entries: By tag.
            now: Seconds since the epoch.
            arrived_after: Moment before which no message of a queue that was delivered just now arrived.
        """
        for tag, entry in entries.items():
            self._unknown.pop(tag, None)
            if entry is None:
                self._lost += tag in self._fresh
            elif entry.envelope is None:
                self._unreadable.add(tag)
            else:
                self._add(tag, entry, now, arrived_after)

    def finish(self, now: float) -> None:
        """All that could be learned is; `now` in seconds since the epoch."""
        self._fall_due(now)
        come = sum(queue.gap.come for queue in self._queues.values())
        for queue in self._queues.values():
            queue.gap.lost = self._lost * queue.gap.come / come if come else 0.0
            if self._measured:
                queue.meter.pass_gap(self._seconds, queue.gap, *queue.before)
            else:
                queue.meter.skip_gap()
        if come:
            self._lost = 0.0
        self._finished_at = self._began_at

    def of(self, name: str) -> Unacked:
        """The reading of one queue; one without an entry has none unacknowledged."""
        queue = self._queues.get(name) or _Queue()
        return Unacked(
            count=queue.count,
            eta_held=queue.eta_held,
            due=as_dues(queue.steps),
            held_since=tuple(since for since, _ in self._longest(queue)),
            holds=queue.meter.holds,
        )

    def longest_held(self, names: Iterable[str]) -> list[bytes]:
        """Tags of the messages that `of` names with their time."""
        return [tag for name in names if (queue := self._queues.get(name)) for _, tag in self._longest(queue)]

    def correct(self, delivered: Mapping[bytes, float]) -> None:
        """Newer times of delivery: a message that a worker gave back starts anew at the next one."""
        for tag, since in delivered.items():
            held = self._held.get(tag)
            if held is not None and held.came is not None:
                held.since = since
                for name in held.queues:
                    self._queues[name].due[tag] = max(since, held.eta or since)

    def departed(self, tag: bytes) -> tuple[float, float] | None:
        """(arrived after, delivered at) of a message that was unacknowledged and isn't any more."""
        held = self._departed.get(tag)
        return (held.arrived_after, held.since) if held else None

    def take_back(self, tags: Sequence[bytes]) -> None:
        """These messages are in a list again, or delivered again: they weren't acknowledged."""
        for tag in tags:
            held = self._departed.get(tag)
            if held is not None and held.watched:
                held.watched = False
                for name in held.queues:
                    self._queues[name].meter.take_back(1)

    def _add(self, tag: bytes, entry: Entry, now: float, arrived_after: Callable[[str], float]) -> None:
        since = now if entry.delivered is None else min(entry.delivered, now)
        after = min(map(arrived_after, entry.queues), default=-math.inf)
        self.take_back([tag])
        earlier = self._departed.pop(tag, None)
        held = _Held(
            entry.queues,
            entry.envelope.eta if entry.envelope else None,
            since,
            earlier.arrived_after if earlier else after,
        )
        self._held[tag] = held
        for name in held.queues:
            self._queues.setdefault(name, _Queue()).count += 1
        if held.eta is not None and held.eta > now:
            heapq.heappush(self._later, (held.eta, tag))
            for name in held.queues:
                self._queues[name].hold(held.eta)
        else:
            self._come(tag, held, fresh=tag in self._fresh)

    def _come(self, tag: bytes, held: _Held, *, fresh: bool) -> None:
        held.came = self._reading if fresh else LONG_AGO
        # At the very first reading all are taken: they are the steady state, as far as anyone knows.
        # Later on those that could be read at once only: of the others just the long-lived get read.
        held.watched = fresh and (
            not self._measured or all(self._queues[name].meter.trusts(self._seconds) for name in held.queues)
        )
        for name in held.queues:
            queue = self._queues[name]
            queue.due[tag] = max(held.since, held.eta or held.since)
            queue.meter.level += 1
            queue.meter.watched_level += held.watched
            queue.gap.come += fresh

    def _depart(self, tag: bytes) -> None:
        held = self._held.pop(tag)
        self._departed[tag] = held
        if len(self._departed) > DEPARTED_KEPT:
            self._departed.popitem(last=False)
        for name in held.queues:
            queue = self._queues[name]
            queue.count -= 1
            if held.came is None and held.eta is not None:
                queue.release(held.eta)
                continue
            del queue.due[tag]
            queue.meter.level -= 1
            queue.meter.watched_level -= held.watched
            queue.gap.gone += 1
            queue.gap.gone_watched += held.watched
            queue.gap.gone_young += held.came == self._reading - 1

    def _fall_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            eta, tag = heapq.heappop(self._later)
            held = self._held.get(tag)
            if held is None or held.came is not None or held.eta != eta:
                continue
            for name in held.queues:
                self._queues[name].release(eta)
            self._come(tag, held, fresh=True)

    def _longest(self, queue: _Queue) -> list[tuple[float, bytes]]:
        return heapq.nsmallest(HELD_SHOWN, ((since, tag) for tag, since in queue.due.items()))
