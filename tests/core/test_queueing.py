"""Erlang C against tables and against its own limit."""

import math

import pytest

from scaler.core import queueing


@pytest.mark.parametrize(
    ("slots", "load", "expected"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (5, 4.0, 0.5541), (10, 8.0, 0.4092), (100, 90.0, 0.2167)],
)
def test_erlang_c_as_in_the_tables(slots: int, load: float, expected: float) -> None:
    assert queueing.wait_probability(slots, load) == pytest.approx(expected, abs=5e-4)


def test_square_root_staffing_gives_halfin_whitts_probabilities() -> None:
    """beta 1 → .22, 1.5 → .085, 2 → .027 for a large system."""
    for beta, expected in ((1.0, 0.223), (1.5, 0.085), (2.0, 0.027)):
        load = 100_000.0
        assert queueing.wait_probability(round(load + beta * math.sqrt(load)), load) == pytest.approx(
            expected, abs=2e-3
        )


def test_the_limit_takes_over_without_a_jump() -> None:
    exact = queueing.wait_probability(queueing.EXACT_SLOTS, queueing.EXACT_SLOTS - 50.0)
    limit = queueing.wait_probability(queueing.EXACT_SLOTS + 1, queueing.EXACT_SLOTS - 49.0)
    assert limit == pytest.approx(exact, rel=0.03)


def test_small_classes_get_the_margin_that_utilization_alone_does_not_give() -> None:
    """9 busy slots of 18 s each, pods of 4: 12 slots hold the load at 75 %, but one task in five waits."""
    sized = {
        wait: queueing.least_pods(
            9.0, slots_per_pod=4, utilization=0.75, service_time=18.0, wait=wait, level=0.99, most=10
        )
        for wait in (1.0, 600.0)
    }
    assert sized == {1.0: 5, 600.0: 3}


def test_nothing_needs_nothing_and_too_much_is_not_searched() -> None:
    def size(load: float) -> int:
        return queueing.least_pods(
            load, slots_per_pod=200, utilization=0.85, service_time=1.5, wait=30.0, level=0.99, most=5
        )

    assert size(0.0) == 0
    assert size(1e9) == math.ceil(1e9 / 0.85 / 200)


def test_equal_tasks_wait_half_as_long_and_uneven_ones_longer() -> None:
    """Allen and Cunneen: the decay of the tail is that of exponential tasks ÷ ((1 + cv²) ÷ 2)."""
    late = {cv: queueing.late_share(4, 3.0, 18.0, 60.0, cv) for cv in (0.0, 1.0, 2.0)}
    waits = queueing.wait_probability(4, 3.0)
    assert late[1.0] == pytest.approx(waits * math.exp(-60 / 18))
    assert late[0.0] == pytest.approx(waits * math.exp(-60 / 18 * 2))
    assert late[2.0] == pytest.approx(waits * math.exp(-60 / 18 / 2.5))
