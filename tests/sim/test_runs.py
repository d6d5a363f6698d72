"""Whole runs: the same for the same, nothing lost on the way, and physics as it should be."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scaler.core.decide import WorkerClass
from scaler.core.queueing import wait_probability
from scaler.policyfile.traces import load_trace
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.report import Report
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

MakeTrace = Callable[..., Trace]
MakeClass = Callable[..., WorkerClass]
Examx = Callable[[str], WorkerClass]


def accounted(report: Report) -> int:
    return report.completed + report.rejected + report.expired + report.lost + report.unfinished


@pytest.mark.parametrize("controller", ["scaler", "keda-rabbitmq-20", "cpu-hpa", "knative-kpa", "queue-time"])
def test_the_same_trace_gives_the_same_bytes(controller: str, examx: Examx, traces: Path) -> None:
    trace = load_trace(traces / "b.yaml")
    first, second = (
        simulate(trace, examx("cpu"), CONTROLLERS[controller], environment="production").to_text()
        for _ in range(2)
    )
    assert first == second


def test_another_seed_gives_other_tasks(examx: Examx, traces: Path) -> None:
    trace = load_trace(traces / "c2.yaml")
    other = trace.model_copy(update={"spec": trace.spec.model_copy(update={"seed": 2})})
    static = CONTROLLERS["static"]
    assert simulate(trace, examx("cpu"), static).waits != simulate(other, examx("cpu"), static).waits


def test_every_controller_meets_the_same_tasks(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(arrivals=[{"at": "0s", "rate": 3}], serviceTime=[{"mean": "2s"}])
    offered = {simulate(trace, make_class(), spec).offered for spec in CONTROLLERS.values()}
    assert len(offered) == 1


def test_a_json_report_has_sorted_camel_case_keys(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(duration="1m", arrivals=[{"at": "0s", "rate": 1}])
    found = simulate(trace, make_class(), CONTROLLERS["scaler"], environment="uat").to_json()
    assert list(found) == sorted(found)
    assert {"podMinutes", "workerClass", "queueLimit", "scaleUps", "maxBacklog"} <= found.keys()
    assert (found["controller"], found["environment"]) == ("scaler", "uat")
    assert [point["t"] for point in found["points"][:3]] == [0.0, 5.0, 10.0]


@pytest.mark.parametrize(("rate", "slots"), [(7.0, 1), (32.0, 4), (140.0, 16)])
def test_the_mean_wait_is_that_of_erlang_c(
    rate: float, slots: int, make_trace: MakeTrace, make_class: MakeClass
) -> None:
    # Exponential-like service: a lognormal one with cv 1 has the same first two moments, which decide
    # the mean wait of one slot exactly (Pollaczek-Khinchine) and of several closely.
    trace = make_trace(
        duration="2h", arrivals=[{"at": "0s", "rate": rate}], serviceTime=[{"mean": "100ms", "cv": 1.0}]
    )
    subject = make_class(concurrency=slots, replicas={"min": 1, "max": 1})
    found = simulate(trace, subject, CONTROLLERS["static"]).waits.mean
    load = rate * 0.1
    assert found == pytest.approx(wait_probability(slots, load) * 0.1 / (slots - load), rel=0.12)


def test_pod_minutes_count_from_creation_to_the_end(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(duration="10m", arrivals=[{"at": "0s", "rate": 0.1}], pods={"start": 3})
    assert simulate(trace, make_class(), CONTROLLERS["static"]).pod_minutes == pytest.approx(30.0)


def test_a_full_queue_refuses_what_it_cannot_hold(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(
        duration="2h", arrivals=[{"at": "1m", "burst": 100}], serviceTime=[{"mean": "10s", "cv": 0}]
    )
    subject = make_class(
        limits={"maxLength": 50, "overflow": "reject-publish"}, replicas={"min": 1, "max": 1}
    )
    report = simulate(trace, subject, CONTROLLERS["static"])
    # 4 go to the slots, 50 wait.
    assert (report.completed, report.rejected, report.queue_limit) == (54, 46, 50)


def test_drop_head_drops_the_oldest(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(
        duration="2h",
        arrivals=[{"at": "1m", "burst": 100, "over": "10s"}],
        serviceTime=[{"mean": "10s", "cv": 0}],
    )
    limits = {"maxLength": 50}
    dropped, refused = (
        simulate(
            trace,
            make_class(limits={**limits, "overflow": overflow}, replicas={"min": 1, "max": 1}),
            CONTROLLERS["static"],
        )
        for overflow in ("drop-head", "reject-publish")
    )
    assert dropped.rejected == refused.rejected > 0
    assert dropped.waits.max < refused.waits.max


def test_messages_expire_at_the_front(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(
        duration="1h", arrivals=[{"at": "1m", "burst": 100}], serviceTime=[{"mean": "10s", "cv": 0}]
    )
    subject = make_class(limits={"messageTtl": "60s"}, replicas={"min": 1, "max": 1})
    report = simulate(trace, subject, CONTROLLERS["static"])
    # Four start at 0, 10, …, 60 s after the burst.
    assert report.completed in {24, 28}
    assert report.completed + report.expired == 100
    assert report.waits.max <= 60


def test_a_prefetch_hoard_keeps_new_pods_idle(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(
        arrivals=[{"at": "1m", "burst": 16}],
        serviceTime=[{"mean": "60s", "cv": 0}],
        startupTime="5s",
    )
    reports = [
        simulate(trace, make_class(prefetchMultiplier=multiplier), CONTROLLERS["keda-rabbitmq-slots"])
        for multiplier in (1, 4)
    ]
    shared, hoarded = (report.waits.max for report in reports)
    assert shared < 60
    assert hoarded == pytest.approx(180)


@pytest.mark.parametrize(("late", "lost", "completed"), [(True, 0, 4), (False, 4, 0)])
def test_workers_that_die_give_back_what_was_not_acknowledged(
    late: bool, lost: int, completed: int, make_trace: MakeTrace, make_class: MakeClass
) -> None:
    trace = make_trace(
        arrivals=[{"at": "1m", "burst": 4}],
        serviceTime=[{"mean": "120s", "cv": 0}],
        faults=[{"at": "2m", "kind": "workers-lost"}],
    )
    report = simulate(trace, make_class(acksLate=late), CONTROLLERS["static"])
    assert (report.killed, report.lost, report.completed) == (4, lost, completed)


@pytest.mark.parametrize(("grace", "killed"), [("30s", 8), ("200s", 0)])
def test_a_stopping_pod_is_killed_after_its_grace_period(
    grace: str, killed: int, make_trace: MakeTrace, make_class: MakeClass
) -> None:
    # All twelve run when KEDA, which sees nothing ready, takes two of the three pods away.
    impatient = {"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {}}
    trace = make_trace(
        arrivals=[{"at": "5s", "burst": 12}],
        serviceTime=[{"mean": "100s", "cv": 0}],
        startupTime="5s",
        pods={"gracePeriod": grace, "start": 3},
    )
    subject = make_class(behavior=impatient, replicas={"min": 1, "max": 3})
    report = simulate(trace, subject, CONTROLLERS["keda-rabbitmq-ready"])
    assert report.points[2].running == 12
    assert report.steps[0].desired == 1
    assert report.killed == killed if not killed else report.killed >= killed
    assert report.completed == 12


def test_what_runs_on_redis_when_its_worker_dies_comes_back_after_an_hour(
    make_trace: MakeTrace, make_class: MakeClass
) -> None:
    trace = make_trace(
        duration="90m",
        arrivals=[{"at": "1m", "burst": 4}],
        serviceTime=[{"mean": "120s", "cv": 0}],
        faults=[{"at": "2m", "kind": "workers-lost"}],
        readings={"broker": "redis"},
    )
    report = simulate(trace, make_class(), CONTROLLERS["static"])
    assert report.completed == 4
    assert report.waits.max > 3600


def test_countdowns_wait_in_the_worker_and_are_no_backlog(
    make_trace: MakeTrace, make_class: MakeClass
) -> None:
    trace = make_trace(
        arrivals=[{"at": "1m", "burst": 50, "countdown": "10m"}], serviceTime=[{"mean": "1s", "cv": 0}]
    )
    report = simulate(trace, make_class(), CONTROLLERS["static"])
    before = [point.backlog for point in report.points if 60 < point.t < 660]
    assert set(before) == {0}
    assert report.completed == 50
    assert report.waits.max < 13


def test_retries_are_the_same_task(make_trace: MakeTrace, make_class: MakeClass) -> None:
    trace = make_trace(
        arrivals=[{"at": "1m", "burst": 40, "over": "40s"}],
        serviceTime=[{"mean": "0.1s", "cv": 0}],
        failures={"at": "0s", "duration": "20m", "share": 1.0, "retries": 2, "backoff": "10s"},
    )
    report = simulate(trace, make_class(), CONTROLLERS["static"])
    assert (report.offered, report.completed, report.unfinished) == (40, 40, 0)


def test_an_outage_holds_publishes_back_and_freezes_the_replicas(
    make_trace: MakeTrace, make_class: MakeClass
) -> None:
    trace = make_trace(
        duration="30m",
        arrivals=[{"at": "0s", "rate": 4}, {"at": "20m", "rate": 0}],
        serviceTime=[{"mean": "4s", "cv": 1.0}],
        faults=[{"at": "600s", "duration": "300s", "kind": "broker-down"}],
    )
    for name in ("scaler", "keda-rabbitmq-slots"):
        report = simulate(trace, make_class(), CONTROLLERS[name])
        during = [point.spec for point in report.points if 630 < point.t < 900]
        assert len(set(during)) == 1
        assert report.completed == report.offered


def test_two_scaled_objects_on_one_queue_each_answer_the_whole_of_it(
    make_trace: MakeTrace, make_class: MakeClass
) -> None:
    trace = make_trace(arrivals=[{"at": "1m", "rate": 3}], serviceTime=[{"mean": "5s"}])
    keda = CONTROLLERS["keda-rabbitmq-slots"]
    one = simulate(trace, make_class(), keda)
    two = simulate(
        trace.model_copy(update={"spec": trace.spec.model_copy(update={"scaled_objects": 2})}),
        make_class(),
        keda,
    )
    assert max(point.spec for point in two.points) > 1.5 * max(point.spec for point in one.points)


def test_peers_see_what_their_readings_show(make_trace: MakeTrace, make_class: MakeClass) -> None:
    # 16 tasks on four slots with a prefetch of 16: nothing is ready, all is unacknowledged.
    trace = make_trace(
        duration="3m", arrivals=[{"at": "1m", "burst": 16}], serviceTime=[{"mean": "300s", "cv": 0}]
    )
    subject = make_class(prefetchMultiplier=4)
    most = {
        name: max(point.spec for point in simulate(trace, subject, CONTROLLERS[name]).points)
        for name in ("keda-redis", "keda-rabbitmq-ready", "keda-rabbitmq-slots", "static")
    }
    assert most == {"keda-redis": 1, "keda-rabbitmq-ready": 1, "keda-rabbitmq-slots": 4, "static": 1}


def test_the_steps_of_a_report_explain_each_change(examx: Examx, traces: Path) -> None:
    report = simulate(load_trace(traces / "a2.yaml"), examx("io"), CONTROLLERS["scaler"])
    assert report.steps
    assert all(before.desired == after.before for before, after in pairwise(report.steps))
    assert all(step.why and step.winner for step in report.steps)


def test_a_simulated_hour_takes_less_than_a_hundredth_of_it(traces: Path, examx: Examx) -> None:
    import time

    trace = load_trace(traces / "d1.yaml")
    began = time.process_time()
    report = simulate(trace, examx("io"), CONTROLLERS["scaler"])
    took = time.process_time() - began
    assert report.offered > 80_000
    assert report.duration / took > 100


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"arrivals": [{"at": "0s", "rate": 100000}], "duration": "10h"}, "5,000,000"),
    ],
)
def test_a_trace_that_is_too_large_is_refused(
    spec: dict[str, Any], words: str, make_trace: MakeTrace, make_class: MakeClass
) -> None:
    from scaler.sim.load import TraceTooLargeError

    with pytest.raises(TraceTooLargeError, match=words):
        simulate(make_trace(**spec), make_class(), CONTROLLERS["static"])


def test_a_dump_that_no_reaction_beats_is_lost_only_where_it_was_not_announced(
    examx: Examx, traces: Path
) -> None:
    """10,000 tasks within 20 s, and 45 s until a pod has started."""
    surprise, announced = (
        simulate(load_trace(path), examx("io"), CONTROLLERS["scaler"])
        for path in (traces / "a3.yaml", traces / "fixed" / "a3-announced.yaml")
    )
    assert surprise.rejected > 2000
    assert (announced.rejected, announced.waits.late) == (0, 0)


def test_an_announcement_is_known_from_when_it_is_declared(
    make_trace: MakeTrace, make_class: MakeClass
) -> None:
    def first_step(ahead: str) -> float:
        told = {"at": "10m", "duration": "2m", "ahead": ahead, "replicas": 4}
        trace = make_trace(arrivals=[{"at": "0s", "rate": 0.01}], announcements=[told], startupTime="45s")
        return simulate(trace, make_class(), CONTROLLERS["scaler"]).steps[0].t

    assert first_step("9m") == 600 - 45 - 30
    assert first_step("20s") == 580


def test_behind_a_deadband_the_books_agree(make_trace: MakeTrace, make_class: MakeClass) -> None:
    """The HPA carries out every step that is decided, although it ignores changes of 10 % and less."""
    ramp = [{"at": "0s", "rate": 8}, {"at": "1m", "rate": 8, "to": 30, "until": "40m"}]
    trace = make_trace(arrivals=ramp, duration="60m", serviceTime=[{"mean": "5s"}], pods={"start": 10})
    report = simulate(trace, make_class(replicas={"min": 1, "max": 60}), CONTROLLERS["scaler-mode-c"])
    ups = [step for step in report.steps if step.desired > step.before >= 10]
    assert ups
    assert all(step.desired > 1.1 * step.before for step in ups)
    assert report.points[-1].desired == report.points[-1].spec


def test_no_pod_goes_while_more_arrives_than_the_others_can_do(examx: Examx, traces: Path) -> None:
    """6 tasks/s × 4 s keep 24 slots busy until minute 30; at minute 28 the forecast calls 1 pod enough."""
    report = simulate(load_trace(traces / "heartbeats-lost.yaml"), examx("mixed"), CONTROLLERS["scaler"])
    assert [(step.before, step.desired) for step in report.steps] == [(1, 2), (2, 1)]
    assert report.steps[1].t > 1800
