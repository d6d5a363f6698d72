"""The arrival estimator: what repeats is a rate, what came once is a backlog."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from scaler.core import arrivals
from scaler.core.arrivals import Arrivals


def feed(
    memory: Arrivals, points: list[tuple[float, float, float | None]], service_time: float = 1.0
) -> Arrivals:
    for at, unfinished, running in points:
        memory = arrivals.observe(
            memory, at=at, unfinished=unfinished, running=running, service_time=service_time
        )
    return memory


def total(memory: Arrivals, service_time: float = 1.0) -> float:
    return sum(arrivals.arrived(memory, service_time).values())


def test_measuring_the_service_time_anew_leaves_the_load_as_it_was() -> None:
    """3 slots busy all along; the prior said 5 s, the truth is 45 s."""
    memory = feed(Arrivals(), [(t, 3.0, 3.0) for t in range(320)], service_time=5)
    loads = [arrivals.rate(memory, 0, seconds).value * seconds for seconds in (5.0, 45.0)]
    assert all(2.8 < load < 3.1 for load in loads)


def test_a_dump_is_no_rate_neither_while_it_waits_nor_when_it_is_done() -> None:
    waiting = feed(Arrivals(), [(t, 0.0 if t < 10 else 4000.0, 0.0) for t in range(60)])
    assert arrivals.rate(waiting, waiting=4000, service_time=1.0).value == 0
    done = feed(waiting, [(60 + t, max(0.0, 4000.0 - 100 * t), 100.0 if t < 40 else 0.0) for t in range(60)])
    assert arrivals.rate(done, waiting=0, service_time=1.0).value == 0


def test_what_comes_every_minute_is_a_rate() -> None:
    """60 tasks on each full minute, worked off in between by 20 slots of 1 s."""
    points: list[tuple[float, float, float | None]] = [
        (t, max(0.0, 60.0 - 20 * (t % 60)), 20.0 if t % 60 < 3 else 0.0) for t in range(400)
    ]
    assert 0.3 <= arrivals.rate(feed(Arrivals(), points), waiting=0, service_time=1.0).value <= 1.1


def test_a_ramp_shows_within_half_a_minute() -> None:
    """100/s on top of nothing, served by nobody."""
    memory = feed(Arrivals(), [(t, 0.0, 0.0) for t in range(300)])
    seen = None
    for second in range(60):
        memory = feed(memory, [(300 + second, 100.0 * second, 0.0)])
        rate = arrivals.rate(memory, waiting=100.0 * second, service_time=1.0)
        if rate.value > 90 and seen is None:
            seen = second
    assert seen is not None
    assert 15 <= seen <= 30


def test_few_long_tasks_are_seen_to_come_although_none_has_been_begun() -> None:
    """One every 4 s for two minutes: no flow for the views of the load, one for the forecast."""
    memory = feed(Arrivals(), [(t, float(max(0, t - 300) // 4), 0.0) for t in range(420)])
    assert arrivals.rate(memory, waiting=29, service_time=60.0).value < 0.05
    likely, sure = arrivals.coming_rates(memory, 60.0)
    assert 0.15 < likely <= 0.25
    assert 0.1 < sure < likely


def test_a_dump_doesnt_go_on_coming() -> None:
    memory = feed(Arrivals(), [(t, 0.0 if t < 300 else 4000.0, 0.0) for t in range(330)])
    assert arrivals.coming_rates(memory, 1.0) == (0, 0)


def test_poisson_noise_does_not_lift_the_rate() -> None:
    """5 tasks/s for an hour, 10 s each, read every second: the rate never leaves 5 by more than half."""
    dice = random.Random(7)
    memory, ends = Arrivals(), [10 * dice.random() for _ in range(50)]
    worst = 0.0
    for second in range(3600):
        ends += [second + dice.expovariate(0.1) for _ in range(_poisson(dice, 5))]
        ends = [end for end in ends if end > second]
        memory = feed(memory, [(second, len(ends), len(ends))], service_time=10)
        if second > 330:
            worst = max(worst, arrivals.rate(memory, waiting=0, service_time=10.0).value)
    assert 5 <= worst <= 7.5


def _poisson(dice: random.Random, mean: float) -> int:
    count, at = 0, dice.expovariate(mean)
    while at < 1:
        count, at = count + 1, at + dice.expovariate(mean)
    return count


def test_a_purge_leaves_no_negative_rate_and_a_gap_is_not_compared() -> None:
    steady = feed(Arrivals(), [(t, 1000.0 + 10 * t, 0.0) for t in range(200)])
    purged = feed(steady, [(200 + t, 0.0, 0.0) for t in range(5)])
    assert arrivals.rate(purged, waiting=0, service_time=1.0).value > 0
    resumed = feed(steady, [(300, 90_000.0, 0.0)])
    assert total(resumed) <= total(steady)


def test_losing_sight_of_running_tasks_is_no_arrival() -> None:
    memory = feed(Arrivals(), [(t, 200.0, 200.0) for t in range(60)], service_time=1e6)
    flickering = feed(memory, [(60, 0.0, None), (61, 200.0, 200.0), (62, 0.0, None), (63, 200.0, 200.0)], 1e6)
    assert abs(total(flickering, 1e6)) < 1


@given(
    st.lists(
        st.tuples(st.floats(0.1, 30), st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e4))), max_size=80
    ),
    st.floats(0.01, 1e4),
)
def test_rates_are_finite_and_never_negative(
    points: list[tuple[float, float, float | None]], service: float
) -> None:
    memory, now = Arrivals(), 1e9
    for wait, unfinished, running in points:
        now += wait
        memory = arrivals.observe(
            memory, at=now, unfinished=unfinished, running=running, service_time=service
        )
        rate = arrivals.rate(memory, waiting=unfinished, service_time=1.0)
        assert 0 <= rate.value < float("inf")
        assert len(memory.buckets) <= 61


def test_a_lasting_rate_doesnt_fall_by_chance_and_falls_with_the_flow() -> None:
    """Poisson arrivals at 6/s for 10 min, each done after 1 s; then at 1/s."""
    for seed in range(20):
        dice, memory, gone = random.Random(seed), Arrivals(), None
        counts = [0] * 700
        for rate, begin, end in ((6.0, 0, 600), (1.0, 600, 700)):
            at = begin + dice.expovariate(rate)
            while at < end:
                counts[int(at)] += 1
                at += dice.expovariate(rate)
        for second, running in enumerate(counts):
            memory = feed(memory, [(float(second), float(running), float(running))])
            lasting = arrivals.lasting_rate(memory, waiting=0, service_time=1.0)
            if 320 <= second < 600:
                assert lasting > 4.5, (seed, second)
            if second >= 600 and gone is None and lasting < 3:
                gone = second
        assert gone is not None, seed
        assert gone < 660, seed


def test_a_flow_that_has_ended_is_forgotten_in_two_minutes_and_not_in_five() -> None:
    """Tasks every 3 s, done at once, for 10 min; then none."""
    memory, gone = Arrivals(), None
    for second in range(900):
        came = 1.0 if second < 600 and second % 3 == 0 else 0.0
        memory = feed(memory, [(float(second), came, came)])
        seen = arrivals.rate(memory, waiting=0, service_time=1.0)
        if 310 <= second < 600:
            assert seen.value > 0.28, (second, seen)
        if second >= 600 and gone is None and seen.value < 0.05:
            gone = second
            assert seen.view.endswith("s, fallen")
    assert gone is not None
    assert 630 < gone <= 720


def test_what_goes_on_coming_is_what_is_seen_less_what_chance_may_have_added() -> None:
    """5 a second: of 600 arrivals in 2 min chance may be 24, and of 1,475 inferred ones in 5 min twice 54."""
    memory = feed(Arrivals(), [(t, 0.0, 5.0) for t in range(400)])
    likely, sure = arrivals.coming_rates(memory, 1.0)
    assert abs(likely - (600 - math.sqrt(600)) / 120) < 0.001
    assert abs(sure - (1475 - 2 * math.sqrt(2 * 1475)) / 300) < 0.001
