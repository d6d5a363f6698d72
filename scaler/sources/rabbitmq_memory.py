"""What is remembered of one RabbitMQ queue from sweep to sweep, and the reading made of it.

The counters of the broker come every 5 s and are older than the sweep that brings them; what is
compared with them (depths, unacknowledged messages) is therefore kept until they come.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from scaler.core.curves import ArrivalCurve
from scaler.core.observation import Counters, Holds, QueueReading
from scaler.sources.management import Listed, Statistics

#: Seconds for which counters that went back are told: three looks of anyone who reads every 5 s.
RESET_TOLD = 15.0
#: Sweeps in a row that a contradiction must last: a queue may be made or filled between two answers.
STREAK = 3
#: Messages, and share, by which two counts of a queue at rest may differ.
TOLERANCE = (10, 0.1)
#: Seconds between which a count must be known to lie before message-seconds are cut there, and for how
#: long that is waited for: half of 5 s is 11 of 50 tasks at 4.5 a second. Where no rhythm of the
#: broker's counts is found (a cluster), any count must do.
SHARP = 1.3
PATIENCE = 30.0
#: Sweeps whose unacknowledged messages are kept for counters that are up to 6 s older.
KEPT = 32

PRIORITIES = "estimate: the queue has priorities"


class Holding:
    """Message-seconds of unacknowledged messages, cut at the times when acknowledgements were counted."""

    def __init__(self) -> None:
        # (time, message-seconds since the beginning) of the last sweeps.
        self._sums: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._unacked = 0
        # What the sum and the counter were at the last count.
        self._begin: tuple[float, int] | None = None
        self._asked: float | None = None
        self._holds: Holds | None = None

    def see(self, at: float, unacked: int | None) -> None:
        """A sweep saw so many with the workers; None ends the span that is watched."""
        if unacked is None:
            self._sums.clear()
            self._begin = None
            return
        before, total = self._sums[-1] if self._sums else (at, 0.0)
        self._sums.append((at, total + (self._unacked + unacked) / 2 * (at - before)))
        self._unacked = unacked

    def count(self, since: float, until: float, acked: int) -> Holds | None:
        """The broker counted so many acknowledgements between these times; both sums move to the middle."""
        at = (since + until) / 2
        if self._asked is None:
            self._asked = until
        if self._sums and (until - since <= SHARP or until - self._asked > PATIENCE):
            watched = self._sum_at(at)
            if self._begin is not None and acked >= self._begin[1] and watched >= self._begin[0]:
                before = self._holds or Holds(0.0, 0)
                self._holds = Holds(
                    before.watched + watched - self._begin[0], before.ended + acked - self._begin[1]
                )
            # A count that went back begins a new span; what was watched before stays.
            self._begin = (watched, acked)
        return self._holds

    def _sum_at(self, at: float) -> float:
        later = None
        for time, total in reversed(self._sums):
            if time <= at:
                if later is None or later[0] == time:
                    return total
                return total + (later[1] - total) * (at - time) / (later[0] - time)
            later = (time, total)
        return later[1] if later else 0.0


class QueueMemory:
    """One queue that is asked for at every sweep."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: When it was seen last.
        self.at = 0.0
        self._curve = ArrivalCurve()
        self._holding = Holding()
        self._holds: Holds | None = None
        self._counters: Counters | None = None
        self._head: float | None = None
        self._reset_at: float | None = None
        self._unlisted = 0
        self._different = 0
        self._before: tuple[int, int | None] | None = None
        self._counts = (0, 0)
        self._told = Listed()

    def see(self, at: float, counts: tuple[int, int], listed: Mapping[str, Listed] | None) -> None:
        """A sweep over AMQP saw `counts` (ready, consumers), and the list of all queues beside it."""
        self.at, self._counts = at, counts
        ready, consumers = counts
        told = listed.get(self.name) if listed is not None else None
        self._compare(ready, told, unlisted=listed is not None and told is None)
        self._told = told = told or Listed()
        self._curve.see(at, ready, unacked=told.unacked if told.live else None, consumers=consumers)
        self._holding.see(at, told.unacked)

    def miss(self, at: float) -> None:
        """A sweep found no such queue. A new one of this name starts with other messages."""
        self.at, self._told = at, Listed()
        self._curve = ArrivalCurve()
        self._holding.see(at, None)
        self._head = None
        self._unlisted = self._different = 0

    def count(self, told: Statistics | None, *, since: float, until: float) -> None:
        """The broker's statistics came, true at a time from `since` to `until`; None: not in them."""
        if told is None:
            return
        self._head = told.head
        middle = (since + until) / 2
        # The statistics are on: what isn't counted yet is none.
        passed = told.counters or Counters(at=0.0)
        if told.counters is not None:
            new = replace(passed, at=middle)
            if self._counters is not None and _went_back(self._counters, new):
                self._reset_at = self.at
            self._counters = new
        self._curve.count(
            passed.delivered or 0, since=since, until=until, redelivered=passed.redelivered or 0
        )
        self._holds = self._holding.count(since, until, passed.acked or 0)

    def reading(self) -> QueueReading:
        """The newest sweep, and what the ones before make of it."""
        ready, consumers = self._counts
        return QueueReading(
            name=self.name,
            ready=ready,
            unacked=self._told.unacked,
            consumers=consumers,
            kind=self._told.kind,
            wait=self._curve.wait(self._head),
            wait_note=PRIORITIES if self._told.prioritised else self._curve.note,
            holds=self._holds,
            counters=self._counters,
        )

    def suspicions(self, now: float) -> tuple[str, ...]:
        """Reasons to distrust this queue's numbers."""
        told = []
        if self._reset_at is not None and now - self._reset_at <= RESET_TOLD:
            told.append(f"counters of queue {self.name!r} went back: broker restarted or queue remade")
        if self._unlisted >= STREAK:
            told.append(
                f"queue {self.name!r} is there over AMQP but not in the management API;"
                " does managementUrl belong to another broker?"
            )
        elif self._different >= STREAK:
            told.append(
                f"AMQP and the management API tell different depths of queue {self.name!r};"
                " does managementUrl belong to another broker?"
            )
        return tuple(told)

    def _compare(self, ready: int, told: Listed | None, *, unlisted: bool) -> None:
        self._unlisted = self._unlisted + 1 if unlisted else 0
        now = (ready, told.ready if told is not None and told.live else None)
        # Only a queue at rest can be compared: the two answers aren't of the same moment.
        if now[1] is None or now != self._before:
            self._different = 0
        else:
            least, share = TOLERANCE
            apart = abs(ready - now[1]) > max(least, share * ready)
            self._different = self._different + 1 if apart else 0
        self._before = now


def _went_back(before: Counters, now: Counters) -> bool:
    pairs = (
        (before.published, now.published),
        (before.delivered, now.delivered),
        (before.acked, now.acked),
    )
    return any(old is not None and new is not None and new < old for old, new in pairs)
