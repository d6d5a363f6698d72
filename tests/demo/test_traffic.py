"""The load goes out as planned."""

from scaler.demo.traffic import Plan

PLAN = Plan(trickle=3.0, burst_at=6.0, burst_tasks=1000, burst_seconds=2.0)


def test_the_trickle_goes_on_through_everything() -> None:
    assert PLAN.due(0.0) == 0
    assert PLAN.due(5.0) == 15
    assert PLAN.due(60.0) - PLAN.due(50.0) == 30


def test_the_burst_comes_on_top_spread_over_its_seconds() -> None:
    assert PLAN.due(6.0) == 18
    assert PLAN.due(7.0) == 21 + 500
    assert PLAN.due(8.0) == 24 + 1000
    assert PLAN.due(9.0) == 27 + 1000


def test_what_is_due_never_shrinks() -> None:
    due = [PLAN.due(step / 10) for step in range(200)]
    assert due == sorted(due)
