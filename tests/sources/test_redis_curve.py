"""The arrival curve of a list against a list that knows when each of its messages arrived."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.sources.redis_curve import STRETCHES, ArrivalCurve


class KnownList:
    """Messages by their time of arrival, oldest first, and looks at them as Redis would answer."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.curve = ArrivalCurve()
        self._newest: float | None = None

    def look(self, now: float) -> None:
        newer = None
        if self._newest in self.times:
            newer = len(self.times) - 1 - self.times.index(self._newest)
        self._newest = self.times[-1] if self.times else None
        self.curve.look(len(self.times), newer, now, now)

    def holds_the_truth(self, first_look: float) -> None:
        for place, time in enumerate(self.times):
            after, until = self.curve.arrival(place)
            assert after < time <= until
            if time > first_look:
                assert after > -math.inf


STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=60)


@given(backlog=st.integers(0, 5), steps=STEPS)
def test_each_arrival_lies_between_two_looks_whatever_comes_and_goes(
    backlog: int, steps: list[tuple[int, int]]
) -> None:
    known = KnownList()
    known.times = [-float(number) for number in range(backlog, 0, -1)]
    known.look(0.0)
    for number, (come, gone) in enumerate(steps):
        known.times += [number + (place + 1) / 10 for place in range(come)]
        del known.times[:gone]
        known.look(number + 1.0)
        known.holds_the_truth(0.0)
        for place, time in enumerate(known.times):
            after, until = known.curve.arrival(place)
            assert time < 0 or until - after == 1.0


def test_a_backlog_that_was_there_first_is_as_old_as_nobody_knows() -> None:
    curve = ArrivalCurve()
    curve.look(10, None, 100.0, 100.0)
    assert curve.arrival() == (-math.inf, 100.0)
    curve.look(12, 2, 101.0, 101.0)
    assert curve.arrival(9) == (-math.inf, 100.0)
    assert curve.arrival(10) == (100.0, 101.0)


def test_without_a_trace_nothing_is_older_than_the_oldest_was() -> None:
    curve = ArrivalCurve()
    curve.look(0, None, 1.0, 1.0)
    curve.look(5, None, 2.0, 2.0)
    curve.lose_track(900, 3.0, 3.0)
    assert curve.arrival(0) == curve.arrival(899) == (1.0, 3.0)


def test_messages_that_are_put_back_in_front_count_as_the_oldest_known() -> None:
    curve = ArrivalCurve()
    curve.look(0, None, 1.0, 1.0)
    curve.look(3, None, 2.0, 2.0)
    curve.look(5, 0, 3.0, 3.0)  # two came back at the old end, none at the new one
    assert curve.arrival(0) == curve.arrival(4) == (1.0, 2.0)


def test_a_day_of_backlog_takes_bounded_memory_and_stays_precise() -> None:
    day, known = 86_400, ArrivalCurve()
    known.look(0, None, 0.0, 0.0)
    known.look(1, None, 1.0, 1.0)
    for second in range(2, day):
        known.look(second, 1, float(second), float(second))
    assert len(known._stretches) <= STRETCHES
    for place in (0, day // 2, day - 3_600, day - 900, day - 10):
        after, until = known.arrival(place)
        assert after < place + 1 <= until
        assert until - after <= max(1.0, 0.02 * (day - place))
    after, until = known.arrival(day - 300)
    assert until - after == 1.0


def test_a_place_beyond_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="no place 0"):
        ArrivalCurve().arrival()
