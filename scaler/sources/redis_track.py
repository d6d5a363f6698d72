"""One list: what to ask about it, and how long its oldest message has waited.

An empty list costs one LLEN, a filled one LINDEX at both ends and a LPOS of the message that was
newest at the last look. LPOS compares as many messages as have arrived since (20 to 90 ns each,
0.9 us at 14 kB with bodies that begin alike), which is little beside what their publishing cost
Redis; `LOOK_MESSAGES` and `LOOK_BYTES` bound it at 9 ms. The commands have to go in one
transaction, because an arrival between two of them would be miscounted for ever.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio.client import Pipeline

from scaler.core.observation import Span
from scaler.sources.dues import due_step
from scaler.sources.redis_curve import ArrivalCurve
from scaler.sources.redis_message import Message, parse_message

#: A LPOS looks through so many messages at most, …
LOOK_MESSAGES = 100_000
#: … and through so many bytes.
LOOK_BYTES = 128_000_000

#: Messages at the old end of a list that are read where the oldest one isn't due, or was given back.
CLOSER_LOOK = 50

#: Messages behind those that are looked at as samples where the oldest one isn't due: a flood of ETA tasks
#: in front of no worker is no work yet, and 16 samples tell it from a mixture.
SAMPLES = 16

#: Seconds by which a publish time may lie outside of what we saw ourselves before it isn't believed.
CLOCK_SLACK = 1.0

REQUEUED_NOTE = "the oldest message was given back by a worker"
HEADER_NOTE = "the publish time in the oldest message contradicts its arrival; compare the hosts' clocks"
ETA_NOTE = f"the oldest {CLOSER_LOOK} messages are not yet due"

#: (arrived after, delivered at) of a message that a worker gave back, by delivery tag.
Departed = Callable[[bytes], tuple[float, float] | None]


@dataclass(slots=True)
class ListTrack:
    """What is remembered of one list."""

    key: str
    #: Messages, as of the first command of the last look.
    length: int = 0
    _curve: ArrivalCurve = field(default_factory=ArrivalCurve)
    _newest: bytes = b""
    _oldest: bytes = b""
    #: The oldest message is another one than at the last look.
    moved: bool = False
    #: Its contents, and after a closer look those of some behind it.
    head: tuple[Message, ...] = ()
    #: Samples of those behind `head`, taken at the last look where the oldest wasn't due.
    behind: tuple[Message, ...] = ()
    #: Moments between which the last look happened.
    sent: float = -math.inf
    answered: float = -math.inf
    _sent_before: float = -math.inf

    def ask(self, pipe: Pipeline, *, deep: bool) -> int:
        """Put the questions of one look; the number of answers to come."""
        pipe.llen(self.key)
        if not deep:
            return 1
        pipe.lindex(self.key, 0)
        pipe.lindex(self.key, -1)
        if not self._newest:
            return 3
        pipe.lpos(self.key, cast("str", self._newest), maxlen=self._reach)
        return 4

    @property
    def followed(self) -> bool:
        """Whether it had messages at the last look, so that the next one should be deep."""
        return bool(self._newest)

    @property
    def _reach(self) -> int:
        return min(LOOK_MESSAGES, LOOK_BYTES // len(self._newest))

    def take_empty(self, sent: float, answered: float) -> None:
        """There is nothing in the list."""
        self._curve.look(0, None, sent, answered)
        self._newest = self._oldest = b""
        self.head, self.moved = (), False
        self._pass(sent, answered)

    def take(self, answers: Sequence[Any], sent: float, answered: float) -> None:
        """The answers of a deep look."""
        length, newest, oldest = answers[:3]
        if not length:
            self.take_empty(sent, answered)
            return
        place = answers[3] if len(answers) > 3 else None  # noqa: PLR2004 - length, two ends, place
        if place is None and self._newest and length > self._reach:
            self._curve.lose_track(length, sent, answered)
        else:
            self._curve.look(length, place, sent, answered)
        self.moved = oldest != self._oldest
        self.behind = ()
        if self.moved:
            self.head = (parse_message(oldest),)
        self._newest, self._oldest = newest, oldest
        self._pass(sent, answered)

    def floor(self) -> float:
        """A message that leaves the list after the last look arrived after this moment."""
        return self._curve.arrival()[0] if self._newest else self.sent

    def wait(self, departed: Departed) -> tuple[Span, str]:
        """How long the oldest due message has waited, and a note where that isn't sure."""
        if not self._newest:
            # Counted, and gone before it could be looked at: it came after the look before.
            return ((0.0, self.answered - self._sent_before), "")
        place = next((place for place, message in enumerate(self.head) if not self._later(message)), None)
        if place is None:
            if len(self.head) < CLOSER_LOOK:
                return ((0.0, 0.0), "")
            after, _ = self._curve.arrival(len(self.head) - 1)
            return ((0.0, max(0.0, self.answered - after)), ETA_NOTE)
        message, note = self.head[place], ""
        after, until = self._curve.arrival(place)
        if message.redelivered:
            after, until = departed(message.tag) or (-math.inf, until)
            note = REQUEUED_NOTE
        if message.published is not None:
            if after - CLOCK_SLACK <= message.published <= until + CLOCK_SLACK:
                after = until = min(max(message.published, after), until)
                note = ""
            else:
                note = HEADER_NOTE
        if message.eta is not None:
            after, until = max(after, message.eta), max(until, message.eta)
        return ((max(0.0, self.sent - until), max(0.0, self.answered - after)), note)

    @property
    def sample_places(self) -> tuple[int, ...]:
        """Indices, from the new end, of samples spread evenly over what a closer look doesn't read."""
        rest = self.length - CLOSER_LOOK
        if rest <= 0 or not self._later(self.head[0]):
            return ()
        return tuple(rest * (2 * number + 1) // (2 * SAMPLES) for number in range(min(SAMPLES, rest)))

    def not_due(self) -> dict[float, float]:
        """About how many messages fall due when, of those in the list that aren't due yet, by step."""
        if not self.head or not self._later(self.head[0]):
            return {}
        weight = max(0, self.length - len(self.head)) / max(1, len(self.behind))
        steps: dict[float, float] = {}
        for messages, each in ((self.head, 1.0), (self.behind, weight)):
            for message in messages:
                if message.eta is not None and self._later(message):
                    step = due_step(message.eta)
                    steps[step] = steps.get(step, 0.0) + each
        return steps

    def _pass(self, sent: float, answered: float) -> None:
        self._sent_before, self.sent, self.answered = self.sent, sent, answered

    def _later(self, message: Message) -> bool:
        return message.eta is not None and message.eta > self.answered

    @property
    def needs_closer_look(self) -> bool:
        """The oldest message isn't due, or a worker has just given it back."""
        return bool(self.head) and (self._later(self.head[0]) or (self.moved and self.head[0].redelivered))


def put_off(lists: Iterable[ListTrack]) -> dict[float, int]:
    """Messages of several lists that wait for their time, by the step in which they fall due."""
    steps: dict[float, float] = {}
    for track in lists:
        for step, count in track.not_due().items():
            steps[step] = steps.get(step, 0.0) + count
    return {step: round(count) for step, count in steps.items() if round(count)}
