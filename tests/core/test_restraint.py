"""What holds a step down back: tasks at work, and arrivals that fewer pods couldn't take."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from scaler.core.backlog import Backlog
from scaler.core.decide import WorkerClass
from scaler.core.restraint import restraint

Build = Callable[..., WorkerClass]


def working(running: int, prefetched: int = 0) -> Backlog:
    return Backlog(0, (prefetched, prefetched), (running, running), (0, 0), busy=float(running))


@pytest.mark.parametrize(
    ("running", "rate", "pods", "limit"),
    [
        (0, 0.0, 0, "running"),
        (201, 0.0, 2, "running"),
        (390, 250.0, 2, "running"),
        (150, 133.0, 1, "running"),
        (150, 134.0, 2, "load"),
        (399, 280.0, 3, "load"),
    ],
)
def test_the_larger_of_tasks_at_work_and_load_counts(
    io_class: Build, running: int, rate: float, pods: int, limit: str
) -> None:
    """A pod of 200 slots does 133.3 mails of 1.5 s per second."""
    found = restraint(io_class().worker, working(running), rate=rate, service_time=1.5)
    assert (found.replicas, found.limit) == (pods, limit)


def test_a_slot_that_hangs_serves_nobody(io_class: Build) -> None:
    hung = replace(working(0), stuck=200)
    assert restraint(io_class().worker, hung, rate=200.0, service_time=1.5).replicas == 3


def test_a_load_of_whole_pods_needs_no_further_one(io_class: Build) -> None:
    """1333.33 × 0.3 ÷ 200 is 2.0000000000000004 in floats."""
    found = restraint(io_class().worker, working(0), rate=4000 / 3, service_time=0.3)
    assert found.replicas == 2


def test_what_workers_hold_counts_with_what_they_run(io_class: Build) -> None:
    found = restraint(io_class().worker, working(200, prefetched=1), rate=0.0, service_time=1.5)
    assert found.replicas == 2


def test_work_that_cant_be_seen_holds_nothing(io_class: Build) -> None:
    unseen = Backlog(0, None, None, None)
    assert restraint(io_class().worker, unseen, rate=0.0, service_time=1.5).replicas == 0


def test_the_words_give_the_sum(io_class: Build) -> None:
    found = restraint(io_class().worker, working(400), rate=300.0, service_time=1.5)
    assert found.why == "300 tasks/s keep 2.25 pods busy: not taken away while so much arrives"
