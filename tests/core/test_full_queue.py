"""A queue at its limit refuses what comes, and no counter tells how much: when it is so, and when not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.observation import Observation, QueueReading, WorkerReport
from scaler.core.state import WorkerState

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0
LIMIT = 1000


@dataclass
class Story:
    """A class of 1 to 20 pods, each 10 tasks a second; one pod works and 10/s get in, second by second."""

    subject: WorkerClass
    state: WorkerState = field(default_factory=WorkerState)
    now: float = T0

    def run(self, seconds: int, *ready: int, busy: int = 10, fall: float = 0.0, **reading: Any) -> Decision:
        """So many ready in each of the queues, falling by so many a second."""
        for second in range(seconds):
            self.now += 1
            left = [max(0, round(count - fall * second)) for count in ready]
            queues = [
                QueueReading(
                    name, count, unacked=busy if not number else 0, eta_held=0, consumers=1, **reading
                )
                for number, (name, count) in enumerate(zip(("email", "api_calls"), left, strict=False))
            ]
            self.last = Observation(self.now, tuple(queues))
            self.state, decision = decide(self.subject, self.state, self.last, self.now)
        return decision

    def age(self, seconds: int) -> Decision:
        """Nothing new is read for so long."""
        for _ in range(seconds):
            self.now += 1
            self.state, decision = decide(self.subject, self.state, self.last, self.now)
        return decision


@pytest.fixture
def story(io_class: Build) -> Story:
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 15}]}}
    return Story(
        io_class(
            concurrency=10,
            serviceTime="1s",
            objective={"wait": "30m"},
            limits={"maxLength": LIMIT},
            replicas={"min": 1, "max": 20},
            behavior=behavior,
        )
    )


def reason(decision: Decision) -> str:
    return next(term.formula for term in decision.terms if term.name == "fill")


def test_a_queue_that_stays_full_gets_all_pods_after_ten_seconds(story: Story) -> None:
    """One pod does 10/s and 10/s get in; how many more are refused, no counter tells."""
    story.run(300, 0, busy=5)
    assert story.run(10, 999).desired == 1, "a dump that just fits"
    decision = story.run(2, 999)
    assert (decision.winner, decision.recommendation) == ("fill", 20)
    assert "email holds 999 of 1000 and has been full for 11 s: what it refuses can't be seen" in reason(
        decision
    )


def test_the_queue_that_is_full_is_named_and_not_the_longest(story: Story) -> None:
    story.run(300, 0, 0, busy=5)
    assert "api_calls holds 999 of 1000" in reason(story.run(20, 1900, 999))


def test_one_reading_that_ages_is_no_queue_that_stays_full(story: Story) -> None:
    story.run(300, 0, busy=5)
    story.run(2, 999)
    assert story.age(50).desired == 1


def test_a_gap_begins_the_count_anew(story: Story) -> None:
    """Full before an hour without a reading and full after it."""
    story.run(300, 0, busy=5)
    story.run(3, 999)
    story.now += 3600
    assert "full for" not in reason(story.run(5, 999))


def test_a_dump_that_is_worked_off_refuses_nothing(story: Story) -> None:
    """One slot of ten is busy: a tenth of a task a second leaves the queue."""
    story.run(300, 0, busy=0)
    assert story.run(60, 999, busy=1, fall=0.1).desired == 1


def test_a_dump_before_a_class_at_rest_fits(io_class: Build) -> None:
    """No pod works yet: nothing is refilled, and what the dump needs is asked for by its size."""
    subject = io_class(
        concurrency=10, serviceTime="1s", objective={"wait": "30m"}, limits={"maxLength": LIMIT}
    )
    state = WorkerState()
    for second in range(60):
        queue = QueueReading("email", 0 if second < 20 else LIMIT, unacked=0, eta_held=0, consumers=0)
        state, decision = decide(subject, state, Observation(T0 + second, (queue,)), T0 + second)
    assert decision.desired == 1
    assert decision.winner != "fill"


def test_what_is_not_due_fills_no_queue(story: Story) -> None:
    story.run(300, 0, busy=5)
    assert "full for" not in reason(story.run(30, 999, not_due=900))


def test_a_queue_that_nobody_holds_to_its_limit_refuses_nothing(story: Story) -> None:
    story.run(300, 0, busy=5)
    assert "full for" not in reason(story.run(30, 1600))


def test_a_short_queue_is_full_with_some_messages_less(story: Story, io_class: Build) -> None:
    """Workers take ten at once: of a limit of 100, the readings say anything from 90 to 100."""
    subject = io_class(concurrency=10, serviceTime="1s", objective={"wait": "30m"}, limits={"maxLength": 100})
    story.subject = subject
    story.run(300, 0, busy=5)
    for _ in range(6):
        story.run(1, 100)
        decision = story.run(1, 91)
    assert "full for" in reason(decision)
    story.run(1, 79)
    assert "full for" not in reason(story.run(1, 100)), "there was room meanwhile"


def test_slots_that_take_nothing_are_no_reason_for_more_of_them(story: Story) -> None:
    """Every slot is idle and holds a task that isn't due; the heartbeat tells."""
    story.run(300, 0, busy=5)
    for _ in range(30):
        story.now += 1
        report = WorkerReport("w@1", story.now, 2.0, T0 - 90, active=0, processed=9, counted_at=story.now)
        queue = QueueReading("email", 999, unacked=10, consumers=1)
        seen = Observation(story.now, (queue,), workers=(report,))
        story.state, decision = decide(story.subject, story.state, seen, story.now)
    assert "full for" not in reason(decision)
