"""When the broker refreshes its statistics, found out by looking.

RabbitMQ collects its counters every 5 s and answers with the last collection in between (3.10.8:
every 4.99-5.02 s, publishes and deliveries together), so a count is 0-5 s old when it is read.
Looks at which something had changed tell when a collection was, to within the time between two
looks; the next look is then placed in the middle of what is left open, until collections are
known to a fraction of a second and one look right after each is enough.
"""

from dataclasses import dataclass

#: Seconds between two collections, by RabbitMQ's default.
PERIOD = 5.0
#: Seconds by which one collection may come off its rhythm (measured: 0.02).
DRIFT = 0.04
#: Seconds of a window that needs no further narrowing: a little more than between two sweeps.
NARROW = 1.25
#: Seconds between two looks while the rhythm isn't known.
LOOK = 2.5


@dataclass(frozen=True, slots=True)
class Window:
    """The time between which a collection was; seconds on the caller's clock."""

    since: float
    until: float


class Ticks:
    """The rhythm of one broker's collections.

    The nodes of a cluster collect each at its own time, and an answer mixes them: there no rhythm
    is looked for, and every count is as old as it can be.
    """

    def __init__(self) -> None:
        self._known: Window | None = None
        self._looked: float | None = None
        #: Whether the broker is a single node.
        self.alone = False

    def due(self, now: float) -> bool:
        """Whether a look at the statistics is worth a call."""
        if self._looked is None:
            return True
        window = self._first_ending_after(self._looked)
        if window is None:
            return now - self._looked >= LOOK
        if now >= window.until:
            return True
        middle = (window.since + window.until) / 2
        return window.until - window.since > NARROW and self._looked < middle <= now

    def looked(self, now: float, *, changed: bool) -> Window:
        """A look was answered at `now`; returns when what it showed was true.

        Numbers that haven't changed were true at the last collection that has surely been;
        changed ones at one since the look before.
        """
        looked, self._looked = self._looked, now
        oldest = now - PERIOD * (1 + DRIFT)
        if not self.alone:
            self._known = None
            return Window(oldest, now)
        if looked is not None and changed:
            return self._learned(Window(max(looked, oldest), now), rhythm=now - looked < PERIOD)
        ending = self._first_ending_after(now - PERIOD - DRIFT)
        if ending is None or ending.until > now:
            return Window(oldest, now)
        return ending

    def _learned(self, seen: Window, *, rhythm: bool) -> Window:
        first = self._first_ending_after(seen.since)
        if first is None or first.since > seen.until:
            # The first one seen, or a broker that was restarted.
            self._known = seen if rhythm else None
            return seen
        second = self._first_ending_after(first.until)
        if second is None or second.since > seen.until:
            # Only this one can have been.
            self._known = Window(max(first.since, seen.since), min(first.until, seen.until))
            return self._known
        if second.until <= seen.until:
            return second
        return Window(max(first.since, seen.since), seen.until)

    def _first_ending_after(self, time: float) -> Window | None:
        """The first window, counted from the known one, that ends after a time; None: none is known."""
        known = self._known
        if known is None:
            return None
        rounds = max(0.0, (time - known.until) // (PERIOD + DRIFT) + 1)
        since, until = known.since + rounds * (PERIOD - DRIFT), known.until + rounds * (PERIOD + DRIFT)
        # Long without a change, the drifts have eaten up what was known.
        return None if until - since >= PERIOD else Window(since, until)
