"""Declared spikes: the pods are there when they begin, and nothing is left of them afterwards."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scaler.core.announcement import Announcement
from scaler.core.decide import WorkerClass, decide
from scaler.core.observation import Observation, QueueReading
from scaler.core.state import WorkerState

T0 = 1_800_000_000.0
BEGINS = T0 + 600


def announced(**sizes: Any) -> Announcement:
    return Announcement(BEGINS, BEGINS + 300, "ops", "morning exams", **sizes)


def play(subject: WorkerClass, state: WorkerState, seconds: int) -> dict[int, int]:
    """Seconds since T0 of each change of the replicas of an idle class."""
    steps, before = {}, 1
    for second in range(seconds):
        now = T0 + second
        reading = QueueReading("email", 0, 0, 0, wait=(0.0, 0.0))
        state, decision = decide(subject, state, Observation(now, (reading,)), now)
        if decision.desired != before:
            steps[second] = before = decision.desired
    return steps


def test_the_last_pod_is_ordered_a_lead_time_before_the_beginning(
    io_class: Callable[..., WorkerClass],
) -> None:
    """1 to 4 at once and to 5 a minute later, each 45 s to start, 30 s to spare: 600 - 75 - 60."""
    state = WorkerState(announcements=(announced(min_replicas=5),))
    steps = play(io_class(), state, 3000)
    assert list(steps.items())[:2] == [(465, 4), (525, 5)]
    assert list(steps.items())[2] == (1799, 4), "15 min after its last second"


def test_expected_tasks_and_rates_become_pods(io_class: Callable[..., WorkerClass]) -> None:
    """12,000 × 1.5 s ÷ 30 s ÷ 200 slots = 3; 400/s × 1.5 s ÷ .85 ÷ 200 = 3.5."""
    at_once = play(io_class(), WorkerState(announcements=(announced(tasks=12_000),)), 600)
    flow = play(io_class(), WorkerState(announcements=(announced(rate=400.0),)), 600)
    assert at_once == {525: 3}
    assert flow == {525: 4}


def test_more_than_max_is_max_and_the_decision_says_who_wanted_it(
    io_class: Callable[..., WorkerClass],
) -> None:
    state = WorkerState(announcements=(announced(min_replicas=50),))
    _, decision = decide(
        io_class(), replace(state, desired=5), Observation(BEGINS, (QueueReading("email", 0, 0, 0),)), BEGINS
    )
    floor = next(term for term in decision.terms if term.name == "floor")
    assert (decision.desired, decision.limit, decision.winner) == (5, "max", "floor")
    assert "announced by ops" in floor.formula
    assert "morning exams" in floor.formula


def test_announcements_survive_a_restart_and_end(io_class: Callable[..., WorkerClass]) -> None:
    state = WorkerState(announcements=(announced(min_replicas=3, rate=2.5, tasks=7),))
    assert WorkerState.from_json(state.to_json()) == state
    after, _ = decide(io_class(), state, Observation(BEGINS + 300, ()), BEGINS + 300)
    assert after.announcements == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"until": BEGINS},
        {"until": float("inf")},
        {"who": " "},
        {"why": ""},
        {"min_replicas": None},
        {"min_replicas": 0},
        {"min_replicas": 10_001},
        {"rate": float("nan")},
        {"tasks": -1},
    ],
    ids=str,
)
def test_an_announcement_without_an_end_a_size_or_somebody_to_ask_is_none(broken: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "begins": BEGINS,
        "until": BEGINS + 60,
        "who": "ops",
        "why": "exams",
        "min_replicas": 3,
    }
    Announcement(**good)
    with pytest.raises(ValueError, match="announcement"):
        Announcement(**(good | broken))
