"""Due times in steps."""

from hypothesis import given
from hypothesis import strategies as st

from scaler.sources.dues import DUE_STEP, DUE_STEPS, as_dues, due_step, gathered


@given(st.lists(st.floats(1, 1e6), max_size=500))
def test_no_message_is_lost_and_none_counts_before_it_is_due(etas: list[float]) -> None:
    dues = as_dues(gathered(etas))
    assert sum(count for _, count in dues) == len(etas)
    assert list(dues) == sorted(dues)
    assert len(dues) <= DUE_STEPS
    for due, _ in dues[:-1]:
        by_then = sum(count for step, count in dues if step <= due)
        assert by_then == sum(eta <= due for eta in etas)


def test_a_step_ends_at_most_ten_seconds_later() -> None:
    assert (due_step(1000.0), due_step(1000.1), due_step(1009.9)) == (1000.0, 1010.0, 1010.0)


def test_what_is_due_in_hours_is_gathered_in_the_last_step() -> None:
    etas = [step * DUE_STEP for step in range(1, DUE_STEPS + 41)]
    dues = as_dues(gathered(etas))
    assert len(dues) == DUE_STEPS
    assert dues[-1] == (DUE_STEPS * DUE_STEP, 41)
