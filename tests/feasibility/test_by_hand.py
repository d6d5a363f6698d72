"""Cases small enough for paper: 10 slots per pod, 1 s per task, without chance."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from scaler.core.feasibility import Fault, Fix, Flow, Outcome, Spike, burst, certify, lines, outcome
from scaler.core.policy import WorkerPolicy

Build = Callable[..., WorkerPolicy]


def dump(tasks: float, over: float = 0.0, base: float = 0.0, **more: Any) -> Spike:
    flows = (Flow(0.0, 600.0, base), burst(0.0, tasks, over))
    return Spike("dump", flows, 600.0, before=base, pods=1, deviations=0.0, **more)


def level(rate: float, seconds: float, **more: Any) -> Spike:
    return Spike("level", (Flow(0.0, seconds, rate),), seconds, before=0.0, pods=1, deviations=0.0, **more)


def fix_of(build: Build, spike: Spike, kind: str, **changes: Any) -> Fix:
    return next(fix for fix in certify(build(**changes), spike).fixes if fix.kind == kind)


def test_idle_slots_take_as_many_tasks_at_once_as_there_are(build: Build) -> None:
    found = outcome(build(), dump(10))

    assert found.safe
    assert found.worst_backlog == pytest.approx(0, abs=0.1)
    assert found.worst_wait == pytest.approx(0, abs=0.01)


def test_the_last_of_a_queue_waits_with_all_its_bad_luck(build: Build) -> None:
    """90 behind 10 slots of 1 s ± 50 %: 9 s, and 2 √(0.25 × 90) = 9.5 tasks more, 0.95 s."""
    flows = (Flow(0.0, 600.0, 0.0), burst(0.0, 100.0, 0.0))
    spike = Spike("dump", flows, 600.0, before=0.0, pods=1, variation=0.5)
    found = outcome(build(), spike)

    assert found.worst_wait == pytest.approx(9, abs=0.05)
    assert found.wait_allowance == pytest.approx(0.95, abs=0.05)


def test_few_tasks_take_longer_to_be_told_from_chance(build: Build) -> None:
    """0.5/s of 60 s each, 30 busy slots where 20 are all: 20 have come after 40 s. 50 bear patience."""
    spike = Spike("few", (Flow(0.0, 600.0, 0.5),), 600.0, before=0.0, pods=1, deviations=0.0)
    unable, able = (
        outcome(build(serviceTime="60s", replicas={"min": 1, "max": most}), spike).moves for most in (2, 5)
    )

    assert unable[1].decided == 46, "40 s, a reading 5 s old, and a tick"
    assert able[1].decided < 40


def test_slots_not_rates_decide_about_long_tasks(build: Build) -> None:
    """10 tasks of a minute start at once in 10 slots, although the pod does one in 6 s."""
    assert outcome(build(serviceTime="60s"), dump(10)).worst_wait == pytest.approx(0, abs=0.01)
    assert outcome(build(serviceTime="60s"), dump(14)).worst_wait == pytest.approx(24, abs=0.2)


def test_what_slots_and_queue_hold_is_safe_and_one_more_is_rejected(build: Build) -> None:
    assert outcome(build(), dump(110)).safe
    found = outcome(build(), dump(111.1))

    assert [problem.kind for problem in found.problems] == ["rejected"]
    assert found.rejected == pytest.approx(1.1, abs=0.05)
    assert found.rejected_at == pytest.approx(0, abs=0.01)


def test_the_last_of_a_dump_waits_for_all_before_it(build: Build) -> None:
    """100 behind 10 slots of 1 s: 10 s; it is done a second later."""
    found = outcome(build(), dump(110))

    assert found.worst_wait == pytest.approx(10, abs=0.05)
    assert found.started_at == pytest.approx(10, abs=0.05)
    assert found.done_at == pytest.approx(11, abs=0.05)


def test_a_queue_that_nobody_helps_in_time_is_full_when_arithmetic_says_so(build: Build) -> None:
    """20/s against 10/s: slots are busy after ln 2 s, then 10 more tasks each second: full after 10.7 s."""
    found = outcome(build(), level(20, 300))

    assert found.rejected_at == pytest.approx(math.log(2) + 10, abs=1e-6)


def test_pods_work_a_lead_time_after_the_queue_and_one_per_minute(build: Build) -> None:
    """Seen after 5 s at worst and the next whole second; HPA 15 s and start 39 s later they work."""
    found = outcome(build(), level(35, 300))

    assert [(move.decided, move.replicas, move.working) for move in found.moves[:4]] == [
        (0, 1, 0),
        (6, 2, 60),
        (66, 3, 120),
        (126, 4, 180),
    ]


def test_new_pods_take_what_waits_at_once_and_drain_the_rest(build: Build) -> None:
    """15/s: ln 3 s until slots are busy, then + 5/s until second 61; 10 new slots take ten, then − 5/s."""
    found = outcome(build(limits={}), level(15, 300))
    highest = 5 * (61 - math.log(3))

    assert found.worst_backlog == pytest.approx(highest)
    assert found.worst_backlog_at == 61
    drained = next(at for at, pods in found.working if pods == 2) + (highest - 10) / 5
    assert outcome(build(limits={}), level(15, drained + 1)).started_at == pytest.approx(drained + 1)


def test_no_max_helps_a_dump_that_is_over_before_pods_start(build: Build) -> None:
    certificate = certify(build(), dump(400, over=20))
    best = next(fix for fix in certificate.fixes if fix.kind == "max")

    assert best.needed is None
    assert "max replicas: none helps" in "\n".join(lines(certificate))
    assert "400 tasks arrive before the first new pods work" in "\n".join(lines(certificate))


def test_warm_pods_are_counted_out(build: Build) -> None:
    """300 at once, 100 may wait: 20 pods of 10 slots hold the other 200, though max has to be raised."""
    fix = fix_of(build, dump(300), "warm")

    assert (fix.needed, fix.raises_max) == (20, True)


def test_the_queue_has_to_hold_what_slots_do_not_take(build: Build) -> None:
    """310 at once in 10 slots leave 300, and these wait 30 s: just in time."""
    assert fix_of(build, dump(310), "maxLength", objective={"wait": "31s"}).needed == 300


def test_a_longer_queue_that_only_makes_tasks_late_is_said_to_lose_nothing(build: Build) -> None:
    fix = fix_of(build, dump(510), "maxLength", behavior={"scaleUp": {"selectPolicy": "Disabled"}})

    assert fix.needed is None
    assert fix.lossless == 500


def test_spreading_a_dump_is_counted_in_seconds(build: Build) -> None:
    """400 tasks over x seconds against 10/s and 100 places: 400 − 10 x − 10 slots ≤ 100 from 29 s on."""
    fix = fix_of(build, dump(400), "spread", behavior={"scaleUp": {"selectPolicy": "Disabled"}})

    assert fix.needed == pytest.approx(30, abs=1)
    assert fix.outcome.worst_backlog <= 100


def test_tasks_that_outlive_the_ttl_expire(build: Build) -> None:
    """201 places and 20 s to live: of 211 tasks the ones behind the first 210 wait longer."""
    found = outcome(build(limits={"maxLength": 1000, "messageTtl": "20s"}), dump(260))

    assert found.problems[0].kind == "expired"
    assert found.expired == pytest.approx(50, abs=1)
    assert found.expired_at == pytest.approx(20, abs=0.05)


def test_an_outage_is_flushed_at_once_afterwards(build: Build) -> None:
    """5/s for 100 s held back are 500 tasks in 5 s: too many for 10 slots and 100 places."""
    spike = level(5, 400, faults=(Fault(100, 200, "broker-down"),))
    found = outcome(build(), spike)

    assert 200 < (found.rejected_at or 0) < 205
    # 500 held, 25 that come meanwhile; 50 are worked off, 10 are taken at once, 100 wait.
    assert found.rejected == pytest.approx(500 + 25 - 50 - 10 - 100, abs=3)


def test_nothing_can_be_read_during_an_outage_so_no_pod_is_asked_for(build: Build) -> None:
    spike = level(15, 400, faults=(Fault(0, 100, "blind"),))

    assert outcome(build(limits={}), spike).moves[1].decided >= 100


def test_pods_that_die_give_back_what_they_ran(build: Build) -> None:
    spike = level(8, 300, faults=(Fault(100, 130, "workers-lost"),))
    found = outcome(build(limits={}), spike)

    # 8 running, and 8/s for half a minute.
    assert found.worst_backlog == pytest.approx(8 + 8 * 30, abs=0.1)


def test_pods_that_are_replaced_take_a_start_to_be_back(build: Build) -> None:
    """However short the fault is: a pod of this class starts for 45 s."""
    at_once = level(8, 300, faults=(Fault(100, 100, "workers-lost", restarted=True),))
    found = outcome(build(limits={}, startupTime="45s"), at_once)

    assert found.worst_backlog == pytest.approx(8 + 8 * 45, abs=0.1)


def test_from_nothing_the_first_pod_comes_without_asking_the_behavior(build: Build) -> None:
    spike = Spike("zero", (burst(10.0, 200, 0.0),), 300.0, before=0.0, deviations=0.0)
    found = outcome(build(replicas={"min": 0, "max": 2}, limits={}), spike)

    # The second one waits for its turn: one per minute.
    assert [(move.decided, move.replicas) for move in found.moves[:3]] == [(0, 0), (16, 1), (76, 2)]


def test_chance_makes_a_queue_that_is_nearly_full_unsafe(build: Build) -> None:
    flows = (Flow(0.0, 30.0, 13.0),)  # 3/s too many for 29 s: 86 wait, and 13 × 30 come at random
    certain = Spike("close", flows, 30.0, before=0.0, pods=1, deviations=0.0)
    doubtful = Spike("close", flows, 30.0, before=0.0, pods=1)

    assert outcome(build(), certain).safe
    assert [problem.kind for problem in outcome(build(), doubtful).problems] == ["close"]


def test_each_figure_says_what_bad_luck_makes_of_it_and_a_line_says_what_that_is(build: Build) -> None:
    flows = (Flow(0.0, 30.0, 13.0),)  # 10/s leave: the queue grows to 86 by arithmetic
    said = list(lines(certify(build(), Spike("close", flows, 30.0, before=0.0, pods=1))))

    (figures,) = [line for line in said if line.startswith("  worst backlog")]
    found = re.search(r"worst backlog 8\d \((\d+) with bad luck\).*worst wait ([\d.]+)s \(([\d.]+)s", figures)
    assert found
    assert int(found[1]) > 100
    assert float(found[2]) < float(found[3])
    assert [line.split(":")[0] for line in said[-2:]] == ["  bad luck", "  bound"]

    certain = list(lines(certify(build(), Spike("c", flows, 30.0, before=0.0, pods=1, deviations=0.0))))
    assert not [line for line in certain if "bad luck:" in line or "with bad luck" in line]


def test_a_full_queue_gets_no_longer_by_bad_luck(build: Build) -> None:
    said = "\n".join(
        lines(certify(build(), Spike("full", (Flow(0.0, 30.0, 40.0),), 30.0, before=0.0, pods=1)))
    )

    assert "worst backlog 100 at" in said


def test_a_load_that_fits_on_the_average_is_late_by_chance_when_it_fills_all_slots(build: Build) -> None:
    worker = build(replicas={"min": 1, "max": 1}, objective={"wait": "1s", "serviceLevel": 0.99})
    spike = Spike("tight", (Flow(0.0, 3600.0, 9.8),), 3600.0)

    assert [problem.kind for problem in outcome(worker, spike).problems] == ["late"]


def test_the_same_inputs_give_the_same_certificate(build: Build) -> None:
    first, second = (certify(build(), dump(400, over=20)) for _ in range(2))

    assert first == second
    assert list(lines(first)) == list(lines(second))


def test_the_verdict_comes_first(build: Build) -> None:
    found: Outcome = outcome(build(), dump(50))

    assert found.safe
    assert next(lines(certify(build(), dump(50)))).startswith("SAFE: dump: ")
    assert next(lines(certify(build(), dump(500)))).startswith("UNSAFE: dump: ")


def test_a_deadband_that_no_step_can_leave_keeps_the_pods_where_they_are(build: Build) -> None:
    """20 pods do 200/s, 250/s need 25: one pod a minute is within 10 % of 20, and the HPA ignores it."""
    spike = Spike("level", (Flow(0.0, 1200.0, 250.0),), 1200.0, before=0.0, pods=20, deviations=0.0)
    wide = {"replicas": {"min": 1, "max": 40}, "limits": {"maxLength": 100_000}, "objective": {"wait": "90s"}}

    assert outcome(build(**wide), spike).moves[-1].replicas > 25
    assert outcome(build(**wide, hpaTolerance=0.1), spike).moves[-1].replicas == 20
    paced = {"scaleUp": {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}]}}
    assert outcome(build(**wide, hpaTolerance=0.1, behavior=paced), spike).moves[-1].replicas > 25
