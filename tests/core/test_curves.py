"""Head-of-line wait from depths and late counters: stories on a time line, against the known truth."""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.curves import LEFT_OTHERWISE, POINTS, RETURNED, ArrivalCurve
from scaler.core.observation import Span

#: Seconds by which the sweeps' own blur lets a bound be off.
BLUR = 0.1


@dataclass(frozen=True)
class Sight:
    """What was said at one sweep, and what was so."""

    at: float
    ready: int
    truth: float
    wait: Span

    @property
    def error(self) -> float:
        return abs(sum(self.wait) / 2 - self.truth)

    @property
    def contained(self) -> bool:
        return self.wait[0] - BLUR <= self.truth <= self.wait[1] + BLUR


class Queue:
    """First in, first out, with sweeps each second and counters that the broker collects every 5 s."""

    def __init__(self, arrivals: Sequence[float], departures: Sequence[float]) -> None:
        self.arrivals = arrivals
        self.departures = departures

    def ready(self, at: float) -> int:
        return bisect_right(self.arrivals, at) - bisect_right(self.departures, at)

    def delivered(self, at: float) -> int:
        return bisect_right(self.departures, at)

    def truth(self, at: float) -> float:
        return at - self.arrivals[self.delivered(at)] if self.ready(at) else 0.0

    def watched(
        self,
        until: int,
        *,
        phase: float | None = 2.7,
        window: float = 1.0,
        lag: float = 0.0,
        consumers: Callable[[float], int] = lambda at: 1,
    ) -> list[Sight]:
        """Sweeps from 0 on. `phase` None: no counters; `lag`: sweeps are that late to fetch them."""
        curve, sights, fetched = ArrivalCurve(), [], -math.inf
        for at in map(float, range(until)):
            curve.see(at, self.ready(at), consumers=consumers(at))
            if phase is not None:
                tick = (at - lag - phase) // 5 * 5 + phase
                if tick >= 0 and tick > fetched:
                    fetched = tick
                    begin = max(0.0, tick - window / 2)
                    curve.count(self.delivered(tick), since=begin, until=min(begin + window, at))
            wait = curve.wait()
            assert wait is not None
            sights.append(Sight(at, self.ready(at), self.truth(at), wait))
        return sights


def flow(pace: Callable[[float], float], until: float, chance: random.Random | None = None) -> list[float]:
    """Times of events at `pace` per second, evenly or by chance."""
    times, owed, step = [], 0.5, 0.01
    for number in range(int(until / step)):
        owed += pace(number * step) * step * (chance.expovariate(1) if chance else 1)
        while owed >= 1:
            times.append(number * step)
            owed -= 1
    return times


def served(
    arrivals: Sequence[float],
    pace: Callable[[float], float],
    until: float,
    chance: random.Random | None = None,
) -> list[float]:
    """When workers that can do `pace` per second took the messages."""
    free, departures, waiting = 0.0, [], list(reversed(arrivals))
    while waiting and free < until:
        free = max(free, waiting[-1])
        speed = pace(free)
        if speed <= 0:
            free += 0.1
            continue
        free += (chance.expovariate(1) if chance else 1) / speed
        departures.append(free)
        waiting.pop()
    return departures


def queue(
    arriving: Callable[[float], float],
    taking: Callable[[float], float],
    until: float = 120,
    seed: int | None = 1,
) -> Queue:
    chance = None if seed is None else random.Random(seed)
    arrivals = flow(arriving, until, chance)
    return Queue(arrivals, served(arrivals, taking, until, chance))


class TestWithCounters:
    @pytest.mark.parametrize("phase", [0.3, 2.7, 4.4])
    @pytest.mark.parametrize(
        ("arriving", "taking"),
        [
            pytest.param(lambda at: 100 if at < 3 else 20, lambda at: 20, id="steady backlog"),
            pytest.param(lambda at: 20, lambda at: 24, id="steady without backlog"),
            pytest.param(lambda at: 1000 if 20 <= at < 21 else 2, lambda at: 20, id="burst"),
            pytest.param(lambda at: 200 if 20 <= at < 30 else 2, lambda at: 20, id="long burst"),
            pytest.param(lambda at: at / 2, lambda at: 20, id="ramp"),
        ],
    )
    def test_the_middle_is_within_a_sampling_period_of_the_truth(
        self, arriving: Callable[[float], float], taking: Callable[[float], float], phase: float
    ) -> None:
        sights = queue(arriving, taking).watched(120, phase=phase)
        waiting = [sight for sight in sights if sight.truth > 0]
        errors = sorted(sight.error for sight in waiting)
        # The sampling period of the counters is 5 s.
        assert median(errors) <= 1.5
        assert errors[int(0.99 * len(errors))] <= 10
        assert sum(sight.contained for sight in sights) >= 0.98 * len(sights)

    def test_a_dump_keeps_its_exact_age_until_it_is_worked_off(self) -> None:
        # 600 at t=20.5, 20 per second: gone at t=50.5; one message per second behind them.
        sights = queue(lambda at: 60_000 if 20.5 <= at < 20.51 else 1, lambda at: 20, seed=None).watched(49)
        dump = [sight for sight in sights if 21 <= sight.at < 45]
        assert all(sight.wait[1] == sight.at - 20 for sight in dump)
        assert max(sight.error for sight in dump) <= 0.6

    def test_workers_that_hang_are_seen_in_the_growing_wait(self) -> None:
        sights = queue(lambda at: 20, lambda at: 25 if at < 40 else 0).watched(100)
        hung = [sight for sight in sights if sight.at > 41]
        assert all(sight.contained for sight in hung)
        assert max(sight.error for sight in hung if sight.at > 53) <= 5

    def test_the_wait_of_a_backlog_met_at_the_start_has_no_upper_bound_until_it_is_gone(self) -> None:
        # 400 came at once before the first sweep, 20 leave per second, 20 come per second.
        sights = queue(lambda at: 40_020 if at < 0.01 else 20, lambda at: 20, seed=None).watched(60)
        assert {sight.wait[1] for sight in sights[1:15]} == {math.inf}
        assert all(sight.wait[0] <= sight.truth + BLUR for sight in sights)
        assert sights[-1].wait[1] < 30

    def test_a_restarted_broker_counts_anew_and_the_backlog_keeps_its_age(self) -> None:
        curve = ArrivalCurve()
        curve.see(0.0, 0, consumers=1)
        for at in range(1, 31):
            curve.see(float(at), 500, consumers=1)
            if at % 5 == 0:
                curve.count(1_000 if at <= 15 else 0, since=at - 1, until=at)
        least, most = curve.wait() or (0.0, 0.0)
        assert 20 <= least <= 29 < most == 30

    def test_a_purge_is_an_end_of_all_waiting(self) -> None:
        curve = ArrivalCurve()
        for at, ready in enumerate([0, 300, 300, 300, 0, 7]):
            curve.see(float(at), ready, consumers=1)
            curve.count(10, since=at - 0.2, until=at - 0.1)
        least, most = curve.wait() or (1.0, 0.0)
        assert 0 <= least <= most == 1

    def test_messages_that_leave_otherwise_make_it_an_estimate(self) -> None:
        curve = ArrivalCurve()
        for at, ready in enumerate([0, 300, 300, 300, 200, 200, 200, 200]):
            curve.see(float(at), ready, consumers=1)
            curve.count(10, since=at - 0.2, until=at - 0.1)
        assert curve.note == LEFT_OTHERWISE
        curve.see(8.0, 0)
        curve.see(9.0, 5)
        assert curve.note == ""

    def test_returned_messages_make_it_an_estimate_until_the_queue_was_empty(self) -> None:
        curve = ArrivalCurve()
        curve.see(0.0, 0)
        curve.see(1.0, 20)
        curve.count(5, since=1.0, until=1.5)
        curve.see(6.0, 20)
        assert curve.note == ""
        curve.count(9, since=6.0, until=6.5, redelivered=4)
        assert curve.note == RETURNED
        curve.see(7.0, 0)
        assert curve.note == ""


class TestWithoutCounters:
    def test_nothing_ready_waits_for_nothing(self) -> None:
        curve = ArrivalCurve()
        assert curve.wait() is None
        curve.see(0.0, 0)
        assert curve.wait() == (0.0, 0.0)

    def test_what_is_there_came_after_the_queue_was_last_empty(self) -> None:
        curve = ArrivalCurve()
        for at, ready in [(0.0, 0), (10.0, 0), (11.0, 3), (15.0, 3)]:
            curve.see(at, ready, consumers=1)
        assert curve.wait() == (0.0, 5.0)

    def test_without_a_consumer_nothing_leaves_and_the_age_is_exact(self) -> None:
        curve = ArrivalCurve()
        for at, ready in [(0.0, 0), (1.0, 3), (30.0, 8), (60.0, 8)]:
            curve.see(at, ready, consumers=0)
        assert curve.wait() == (59.0, 60.0)

    def test_workers_that_left_freeze_what_is_still_there(self) -> None:
        curve = ArrivalCurve()
        for at, consumers in [(0.0, 1), (10.0, 0), (40.0, 0)]:
            curve.see(at, 5, consumers=consumers)
        assert curve.wait() == (30.0, math.inf)

    def test_each_fall_is_messages_that_left(self) -> None:
        curve = ArrivalCurve()
        # The two of t=4 have left by t=6: all that wait then came after t=4.
        for at, ready in [(0.0, 0), (2.0, 5), (4.0, 2), (5.0, 9), (6.0, 7)]:
            curve.see(at, ready, consumers=1)
        assert curve.wait() == (0.0, 2.0)

    def test_what_workers_took_left_though_the_depth_stayed(self) -> None:
        curve = ArrivalCurve()
        curve.see(0.0, 0, unacked=0, consumers=1)
        curve.see(1.0, 4, unacked=0, consumers=1)
        curve.see(2.0, 4, unacked=4, consumers=1)
        assert curve.wait() == (0.0, 1.0)

    def test_a_publish_time_bounds_the_wait(self) -> None:
        curve = ArrivalCurve()
        curve.see(100.0, 4, consumers=1)
        assert curve.wait() == (0.0, math.inf)
        assert curve.wait(oldest=80.0) == (0.0, 20.0)

    @given(st.integers(0, 10**6))
    @settings(max_examples=40, deadline=None)
    def test_the_truth_is_in_the_interval_whatever_comes_and_goes(self, seed: int) -> None:
        assert all(sight.contained for sight in random_queue(seed).watched(60, phase=None))


def random_queue(seed: int) -> Queue:
    """Arrivals and workers that change their pace at random moments, from nothing to 200 per second."""
    chance = random.Random(seed)

    def paces(values: Sequence[float], changes: int) -> Callable[[float], float]:
        drawn = [chance.choice(values) for _ in range(changes)]
        return lambda at: drawn[min(changes - 1, int(at / 60 * changes))]

    arriving = paces([0, 0.5, 3, 20, 60, 200], chance.randint(1, 6))
    taking = paces([0, 2, 10, 30, 100], chance.randint(1, 4))
    return queue(arriving, taking, 60, seed)


@given(seed=st.integers(0, 10**6), phase=st.floats(0, 5), window=st.floats(0.2, 5.2), lag=st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_the_wait_is_never_negative_never_inside_out_and_never_longer_than_the_queue_was_filled(
    seed: int, phase: float, window: float, lag: float
) -> None:
    told = random_queue(seed).watched(60, phase=phase, window=window, lag=lag)
    emptied = -math.inf
    for sight in told:
        assert 0 <= sight.wait[0] <= sight.wait[1]
        if sight.ready == 0:
            emptied = sight.at
            assert sight.wait == (0.0, 0.0)
        else:
            assert sight.wait[1] <= sight.at - emptied


def test_the_truth_is_in_the_interval_in_99_of_100_sweeps_of_the_wildest_flows() -> None:
    # Departures may get faster within a tick by more than the factor that is assumed.
    chance = random.Random(7)
    sights = [
        sight
        for seed in range(60)
        for sight in random_queue(seed).watched(
            60, phase=chance.uniform(0, 5), window=chance.choice([0.5, 1, 5.2]), lag=chance.choice([0, 1])
        )
    ]
    assert sum(sight.contained for sight in sights) >= 0.99 * len(sights)


def test_an_hour_of_backlog_keeps_bounded_memory_and_one_percent_of_precision() -> None:
    # 10 per second come and 5 leave; looked at each second for an hour.
    curve = ArrivalCurve()
    for at in range(3600):
        curve.see(float(at), 5 * at, consumers=1)
        if at % 5 == 0:
            curve.count(5 * at, since=at - 0.2, until=at - 0.1)
    assert len(curve._points) <= POINTS
    least, most = curve.wait() or (0.0, 0.0)
    truth = 3599 / 2
    assert least <= truth <= most
    assert abs((least + most) / 2 - truth) < 0.01 * truth


def test_bounds_of_the_points_never_go_back() -> None:
    curve, told = ArrivalCurve(), random_queue(3)
    for at in map(float, range(60)):
        curve.see(at, told.ready(at), consumers=1)
        if at % 5 == 4:
            curve.count(told.delivered(at - 1), since=at - 1.5, until=at - 0.5)
        for before, point in pairwise(curve._points):
            assert before.low <= point.low
            assert before.high <= point.high
            assert point.low <= point.high
