"""A queue at its limit refuses what comes, and no counter tells how much: when it is so, and when not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.handover import taken_over
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
            decision = self.see(*queues)
        return decision

    def see(self, *queues: QueueReading, workers: tuple[WorkerReport, ...] | None = None) -> Decision:
        """One reading at this moment."""
        self.last = Observation(self.now, queues, workers=workers)
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


@pytest.mark.parametrize(("ready", "busy", "fall"), [(999, 1, 1.0), (1095, 10, 4.0), (1000, 10, 10.0)])
def test_a_queue_that_falls_refuses_nothing(story: Story, ready: int, busy: int, fall: float) -> None:
    """A dump that just fits and is worked off, or one beyond a limit that nobody enforces."""
    story.run(300, 0, busy=5)
    assert story.run(60, ready, busy=busy, fall=fall).desired == 1


def test_two_queues_that_are_full_in_turn_are_not_one_that_stays_full(story: Story) -> None:
    story.run(300, 0, 0, busy=5)
    for _ in range(5):
        story.run(4, 999, 900)
        decision = story.run(4, 900, 999)
    assert "full for" not in reason(decision)


def test_a_full_queue_shows_by_its_level_where_running_tasks_cannot_be_seen(story: Story) -> None:
    """RabbitMQ over AMQP alone: no unacknowledged messages, so that no arrivals can be inferred."""
    for second in range(330):
        story.now += 1
        queue = QueueReading("email", 0 if second < 300 else 1000, unacked=None, consumers=1)
        decision = story.see(queue)
    assert "email holds 1000 of 1000 and has been full for" in reason(decision)


def test_slots_that_hang_keep_no_queue_from_refusing(story: Story) -> None:
    """Six of ten slots hang; the other four are kept busy by what gets in."""
    story.run(300, 0, busy=5)
    held = (T0 - 500,) * 6
    assert "full for" in reason(story.run(30, 999, held_since=held))


def test_no_pods_for_a_dump_before_a_class_at_rest(io_class: Build) -> None:
    """No pod works: nothing is refilled, and what the dump needs is asked for by its size."""
    subject = io_class(
        concurrency=10,
        serviceTime="1s",
        objective={"wait": "30m"},
        limits={"maxLength": LIMIT},
        replicas={"min": 0, "max": 5},
    )
    state = WorkerState()
    for second in range(60):
        queue = QueueReading("email", 0 if second < 20 else LIMIT, unacked=0, eta_held=0, consumers=0)
        state, decision = decide(subject, state, Observation(T0 + second, (queue,)), T0 + second)
    assert decision.desired == 1
    assert "full for" not in reason(decision)


def test_a_takeover_by_another_clock_moves_the_time_of_the_full_queue(story: Story) -> None:
    story.run(300, 0, busy=5)
    story.run(3, 999)
    story.state = taken_over(story.state, 60.0, story.now + 60)
    story.now += 60
    assert "full for" not in reason(story.run(5, 999))
    assert "full for" in reason(story.run(5, 999))


def test_tasks_that_workers_hold_until_they_are_due_fill_no_queue(story: Story) -> None:
    """2,000 are due in 50 s, and the workers have them already."""
    for _ in range(330):
        story.now += 1
        due = ((story.now + 50, 2000),)
        queue = QueueReading("email", 0, unacked=2005, eta_held=2000, consumers=1, due=due)
        decision = story.see(queue)
    assert "no more arrives" in reason(decision)


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
        decision = story.see(queue, workers=(report,))
    assert "full for" not in reason(decision)
