"""Workers of others on the class's queues: when they count, and that two scalers don't chase each other."""

import math

from hypothesis import given
from hypothesis import strategies as st

from scaler.core.others import Others, observe, share

T0 = 1_800_000_000.0


class Story:
    """One reading a second."""

    def __init__(self) -> None:
        self.memory, self.at = Others(), T0

    def pass_time(self, seconds: int, listening: int | None, own: tuple[int, int] | None) -> int:
        for _ in range(seconds):
            self.memory = observe(self.memory, at=self.at, listening=listening, own=own)
            self.at += 1.0
        return self.memory.count


def test_others_count_after_three_minutes_and_no_longer_than_they_are_seen() -> None:
    story = Story()
    assert story.pass_time(179, 3, (1, 1)) == 0
    assert story.pass_time(12, 3, (1, 1)) == 2
    assert story.pass_time(1, 2, (1, 1)) == 1
    assert story.pass_time(1, 1, (1, 1)) == 0


def test_a_rollouts_surge_and_a_second_connection_never_count() -> None:
    """Two more for two minutes, again and again."""
    story = Story()
    for _ in range(5):
        assert story.pass_time(120, 5, (3, 3)) == 0
        assert story.pass_time(10, 3, (3, 3)) == 0


def test_a_pod_of_ours_that_starts_or_falls_silent_takes_nothing_from_the_others() -> None:
    story = Story()
    assert story.pass_time(200, 3, (1, 1)) == 2
    assert story.pass_time(60, 3, (1, 2)) == 2  # ordered, not there yet
    assert story.pass_time(60, 4, (2, 2)) == 2
    assert story.pass_time(300, 4, (1, 2)) == 2  # silent: frozen, or gone?


def test_silent_workers_of_ours_never_become_others() -> None:
    story = Story()
    assert story.pass_time(400, 3, (1, 3)) == 0


def test_what_can_not_be_told_apart_does_not_count() -> None:
    story = Story()
    story.pass_time(200, 3, (1, 1))
    assert story.pass_time(1, None, (1, 1)) == 0
    assert story.pass_time(200, 3, None) == 0


def test_a_time_without_readings_proves_nothing() -> None:
    story = Story()
    story.pass_time(100, 3, (1, 1))
    story.at += 100.0
    assert story.pass_time(100, 3, (1, 1)) == 0


@given(
    st.floats(0.0, 40.0),
    st.lists(st.integers(1, 12), min_size=2, max_size=4),
)
def test_scalers_that_count_each_other_come_to_rest_with_enough(needed: float, pods: list[int]) -> None:
    """All of them step at the same moment, on the same need: enough at once, and then no step up any more."""
    for tick in range(20):
        before, total = list(pods), sum(pods)
        pods = [max(1, math.ceil(share(needed, own=own, others=total - own) - 1e-9)) for own in before]
        assert sum(pods) >= needed - 1e-6
        if tick:
            assert all(now <= then for now, then in zip(pods, before, strict=True))
    assert pods == before


@given(st.floats(0.0, 40.0), st.integers(0, 12), st.integers(0, 12))
def test_others_never_ask_for_more_and_never_excuse_from_what_they_can_not_do(
    needed: float, own: int, others: int
) -> None:
    part = share(needed, own=own, others=others)
    assert needed - others <= part <= needed
    assert share(needed, own=own, others=0) == needed
