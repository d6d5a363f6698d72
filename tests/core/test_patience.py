"""The forecast by hand: how long somebody waits, and with how few pods nobody waits too long."""

import math
from itertools import pairwise

import pytest

from scaler.core.patience import Queue, at_last, enough, filled, standing, worst


def queue(
    *,
    waiting: float = 0.0,
    rate: float = 0.0,
    working: int = 1,
    starting: tuple[tuple[float, int], ...] = (),
    pace: float = 10.0,
    utilization: float = 1.0,
) -> Queue:
    """10 tasks a second per pod, 45 s to start one, so 75 s are looked ahead."""
    return Queue(waiting, rate, working, starting, 45.0, pace, utilization)


def test_a_backlog_waits_for_the_pods_that_work() -> None:
    assert worst(queue(waiting=300), 1) == pytest.approx((30.0, 300.0))


def test_pods_that_come_after_the_backlog_is_gone_change_nothing() -> None:
    assert worst(queue(waiting=300), 5) == worst(queue(waiting=300), 1)


def test_pods_ordered_now_work_after_the_lead_time() -> None:
    """1,000 tasks: 450 within 45 s by one pod, the other 550 at 50/s in 11 s."""
    assert worst(queue(waiting=1000), 5)[0] == pytest.approx(45 + 11)


def test_pods_that_start_already_come_sooner() -> None:
    """150 by one pod in 15 s, then 850 by three."""
    started = queue(waiting=1000, starting=((15.0, 2),))
    assert worst(started, 3)[0] == pytest.approx(15 + 850 / 30)


def test_an_overload_of_a_fifth_costs_a_fifth_of_the_horizon() -> None:
    """12/s on 10/s: the last of the 900 that come in 75 s starts at 90 s, when 150 wait."""
    assert worst(queue(rate=12), 1) == pytest.approx((15.0, 150.0))


def test_waits_count_on_the_utilization_and_lengths_on_all_slots() -> None:
    """9/s on 10 slots a second, of which 80 % are counted on: 675 ÷ 8 - 75 s; nothing piles up."""
    waits, length = worst(queue(rate=9, utilization=0.8), 1)
    assert waits == pytest.approx(675 / 8 - 75)
    assert length == pytest.approx(0.0)


def test_without_a_pod_a_task_waits_for_ever_or_for_the_first_one() -> None:
    assert worst(queue(waiting=1, working=0), 0)[0] == math.inf
    assert worst(queue(waiting=10, working=0), 1)[0] == pytest.approx(46.0)


def test_a_flow_that_all_pods_cant_do_waits_the_longer_the_longer_it_lasts() -> None:
    """12/s on 10/s: after 600 s 1,200 wait, 120 s of work; on two pods, of which one starts, nobody does."""
    assert at_last(queue(rate=12), 1, 600) == pytest.approx(120.0)
    assert at_last(queue(rate=12), 2, 600) == 0.0


def test_enough_is_the_least_that_keeps_the_wait() -> None:
    """12/s: one pod lets wait 15 s."""
    assert enough(queue(rate=12), wait=15.1, length=math.inf, relief=1e6, most=9) == 1
    assert enough(queue(rate=12), wait=10.0, length=math.inf, relief=1e6, most=9) == 2


def test_enough_keeps_the_length_as_well() -> None:
    """12/s leave 150 after 75 s on one pod and 90 after 45 s when a second comes."""
    assert enough(queue(rate=12), wait=60.0, length=100.0, relief=1e6, most=9) == 2


def test_what_no_pod_can_mend_is_no_reason_for_pods() -> None:
    """400 tasks are gone after 40 s, before a new pod could start."""
    assert enough(queue(waiting=400), wait=10.0, length=math.inf, relief=1e6, most=9) == 1


def test_all_that_is_allowed_is_no_reason_for_patience() -> None:
    assert enough(queue(waiting=5000, rate=200), wait=10.0, length=math.inf, relief=1e6, most=3) is None
    assert enough(queue(waiting=1, working=0), wait=10.0, length=math.inf, relief=1e6, most=0) is None


def test_pods_that_are_ordered_clear_the_queue_within_the_relief() -> None:
    """20/s on 10/s: 450 stand after 45 s. Three pods leave 150 after 30 s, four need 22.5 s."""
    spike = queue(rate=20)
    assert enough(spike, wait=50.0, length=math.inf, relief=1e6, most=9) == 3
    assert standing(spike, 3, 30.0) == pytest.approx(150.0)
    assert enough(spike, wait=50.0, length=math.inf, relief=30.0, most=9) == 4


def test_no_relief_is_sought_while_nothing_must_be_ordered() -> None:
    """12/s on 10/s: the queue stands for ever, and nobody waits longer than allowed."""
    assert enough(queue(rate=12), wait=15.1, length=math.inf, relief=10.0, most=9) == 1


def test_nothing_to_do_needs_nothing() -> None:
    assert enough(queue(), wait=10.0, length=math.inf, relief=1e6, most=9) == 0


def test_a_queue_is_filled_by_what_the_pods_of_the_moment_leave() -> None:
    """30/s on 10/s: 600 after 30 s. A second pod after 20 s leaves 10/s of it: 400 then, 600 after 40 s."""
    assert filled(queue(rate=30), 600.0) == pytest.approx(30.0)
    second = queue(rate=30, starting=((20.0, 1),))
    assert filled(second, 600.0) == pytest.approx(40.0)
    assert filled(queue(rate=30, starting=((20.0, 2),)), 401.0) == math.inf, "the other two end its growth"


def test_a_queue_that_shrinks_is_not_filled_however_much_it_holds() -> None:
    assert filled(queue(waiting=900, rate=10), 800.0) == math.inf
    assert filled(queue(waiting=900, rate=11), 800.0) == 0.0
    assert filled(queue(rate=0, working=0), 1.0) == math.inf


@pytest.mark.parametrize("rate", [3.0, 12.0, 25.0, 80.0])
@pytest.mark.parametrize("waiting", [0.0, 40.0, 900.0])
def test_more_pods_never_wait_longer(rate: float, waiting: float) -> None:
    seen = [
        worst(queue(waiting=waiting, rate=rate, working=2, starting=((5.0, 1),)), n) for n in range(1, 12)
    ]
    for fewer, more in pairwise(seen):
        assert more[0] <= fewer[0] + 1e-9
        assert more[1] <= fewer[1] + 1e-9
