"""The summary counts truthfully, and says what went wrong."""

import math
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from scaler.core.policy import WorkerPolicy
from scaler.demo.report import Outcome, quantile, summary

WORKER = WorkerPolicy.model_validate(
    {
        "queues": ("email",),
        "concurrency": 20,
        "serviceTime": "2s",
        "objective": {"wait": "30s", "serviceLevel": 0.75},
        "replicas": {"min": 1, "max": 5},
    }
)

#: Four tasks, one of them later than the objective.
GOOD = Outcome(
    worker=WORKER,
    sent=4,
    done=4,
    done_twice=0,
    killed=0,
    waits=(1.0, 3.0, 2.0, 40.0),
    first_decision=1.25,
    first_pod=2.5,
    peak=4,
    final=1,
    duration=60.0,
    pod_seconds=90.0,
)


def text_of(outcome: Outcome) -> str:
    console = Console(width=80, file=StringIO(), record=True)
    console.print(summary(outcome))
    return console.export_text()


def test_nothing_is_wrong_with_a_spike_that_went_up_and_down() -> None:
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"done": 3}, "1 of 4 tasks were not done"),
        ({"peak": 1}, "it never scaled up"),
        ({"final": 3}, "it ended with 3 pods instead of 1"),
        ({"killed": 2}, "2 workers didn't stop within their grace and were killed"),
        ({"time_limit": 110.0}, "the time limit of 110 s was reached"),
    ],
)
def test_each_failure_is_named(change: dict[str, Any], problem: str) -> None:
    assert replace(GOOD, **change).problems() == [problem]


def test_a_task_done_twice_is_no_loss_but_is_shown() -> None:
    twice = replace(GOOD, done_twice=1)
    assert twice.problems() == []
    assert "lost 0, done twice 1" in text_of(twice)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.76, 40), (0.95, 40), (1.0, 40)]
)
def test_a_quantile_is_the_smallest_value_that_covers_the_share(share: float, expected: float) -> None:
    assert quantile(GOOD.waits, share) == expected


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert math.isnan(quantile((), 0.5))


def test_the_objective_is_judged_by_the_tasks_that_were_sent_not_by_those_that_came_back() -> None:
    assert GOOD.in_time == 0.75
    assert "0.75 within 30 s: 0.7500 met" in text_of(GOOD)
    lost_one = replace(GOOD, done=3, waits=(1.0, 3.0, 40.0))
    assert lost_one.in_time == 0.5
    assert "0.5000 missed" in text_of(lost_one)


def test_pod_seconds_stand_beside_those_of_a_fleet_that_is_always_at_max() -> None:
    assert GOOD.always_max == 300
    assert "90; always 5 pods: 300 (70% saved)" in text_of(GOOD)


def test_what_never_happened_is_called_never() -> None:
    quiet = text_of(replace(GOOD, first_decision=None, first_pod=None, waits=()))
    assert quiet.count("never") == 2
    assert "nan / nan / nan" in quiet


def test_the_service_explains_the_peak_in_its_own_lines() -> None:
    sum_in_words = "backlog 1300 × 2 s ÷ 30 s = 86.67 slots ÷ 20 slots per pod, and so on and so forth"
    explained = replace(
        GOOD,
        peak_why=(
            "io: 4 replicas (was 1)",
            f"  → drain      4.42  {sum_in_words}",
            "  limit:   3 pods per 15 s",
        ),
        peak_at=9.0,
    )
    lines = text_of(explained).splitlines()
    title = lines.index("Why at the peak, 9 s in (celery-scaler explain)")
    assert lines[title + 1] == "io: 4 replicas (was 1)"
    assert lines[-1] == "  limit:   3 pods per 15 s"
    assert sum_in_words in " ".join(" ".join(lines[title + 2 : -1]).split())
    assert max(map(len, lines)) <= 80


def test_the_summary_fits_a_terminal_of_80_columns() -> None:
    assert max(len(line) for line in text_of(GOOD).splitlines()) <= 80
