"""Stalls, blocked slots, purges and slow starts, on a time line."""

import json
from dataclasses import replace
from typing import Any

import pytest

from scaler.core import lead, progress
from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.fleet import Fleet, fleet_of
from scaler.core.lead import Lead
from scaler.core.observation import Holds, Observation, QueueReading, WorkerReport
from scaler.core.policy import WorkerPolicy
from scaler.core.progress import Progress
from scaler.core.state import WorkerState

T0 = 1_800_000_000.0


def worker(**changes: Any) -> WorkerPolicy:
    fields = {
        "queues": ["q"],
        "concurrency": 4,
        "acksLate": True,
        "prefetchMultiplier": 1,
        "serviceTime": "2s",
        "replicas": {"min": 1, "max": 9},
    }
    return WorkerPolicy.model_validate_json(json.dumps(fields | changes))


def pod(name: str, at: float, active: int = 0, processed: int = 0, **changes: Any) -> WorkerReport:
    return WorkerReport(
        f"celery@{name}",
        **{"heard_at": at, "frequency": 2.0, "since": T0, "active": active, "processed": processed} | changes,
    )


class Story:
    def __init__(self, policy: WorkerPolicy) -> None:
        self.policy = policy
        self.memory = Progress()
        self.now = T0
        self.last = Observation(None)
        self.fleet = Fleet()

    def run(self, seconds: int, *pods: WorkerReport, slots: int = 4, **reading: Any) -> list[str]:
        for _ in range(seconds):
            self.now += 1
            self.last = Observation(self.now, (QueueReading("q", **reading),))
            self.fleet = Fleet(pods)
            self.memory = progress.observe(
                self.memory,
                worker=self.policy,
                observation=self.last,
                fleet=self.fleet,
                service_time=2.0,
                slots=slots,
            )
        return self.faults()

    def faults(self) -> list[str]:
        return list(
            progress.faults(
                self.memory,
                worker=self.policy,
                observation=self.last,
                fleet=self.fleet,
                service_time=2.0,
            )
        )


def test_nothing_delivered_for_half_a_minute_is_a_stall() -> None:
    story = Story(worker())
    assert story.run(29, ready=50, unacked=4, consumers=1) == []
    (fault,) = story.run(3, ready=50, unacked=4, consumers=1)
    assert fault.startswith("stalled: 50 ready and workers listen, but nothing was delivered for 31 s")
    assert story.run(1, ready=49, unacked=4, consumers=1) == [], "one delivery ends it"


def test_full_slots_in_front_of_a_queue_that_grows_are_no_stall_where_tasks_are_seen_to_end() -> None:
    """Redis without heartbeats: as many are held at each reading, but not the same."""
    story = Story(worker())
    for second in range(120):
        assert story.run(1, ready=50 + second, unacked=4, holds=Holds(4.0 * second, 2 * second)) == []


def test_a_queue_without_workers_is_not_stalled() -> None:
    story = Story(worker())
    assert story.run(120, ready=50, unacked=0, consumers=0, slots=0) == []


def test_idle_slots_in_front_of_ready_messages_are_blocked_by_eta_tasks() -> None:
    story = Story(worker())
    idle = pod("a", T0, active=0, processed=7)
    assert story.run(8, idle, ready=20, unacked=4, consumers=1) == []
    (fault,) = story.run(5, idle, ready=20, unacked=4, consumers=1)
    assert "4 of 4 slots are idle although 20 are ready: more pods hardly help" in fault
    assert "ETA tasks fill the prefetch" in fault
    assert progress.blocked(story.memory)
    assert story.run(1, pod("a", T0, active=1, processed=8), ready=20, unacked=4, consumers=1) == []


def test_busy_slots_are_not_blocked() -> None:
    story = Story(worker())
    assert story.run(25, pod("a", T0, active=4, processed=7), ready=20, unacked=4, consumers=1) == []


def test_a_purge_is_named_and_passes() -> None:
    story = Story(worker())
    story.run(5, ready=4000, unacked=4, consumers=1)
    (fault,) = story.run(1, ready=0, unacked=4, consumers=1)
    assert fault == "4000 ready messages vanished undelivered: purged, expired, or taken by others"
    assert story.run(20, ready=0, unacked=4, consumers=1) == []


def test_fast_workers_are_no_purge() -> None:
    story = Story(worker())
    story.run(5, ready=40, unacked=4, consumers=1)
    assert story.run(1, ready=30, unacked=4, consumers=1) == []


def test_only_what_was_unacked_for_a_whole_minute_may_be_held() -> None:
    story = Story(worker())
    story.run(50, ready=0, unacked=12, consumers=1)
    assert progress.held_most(story.memory) is None
    story.run(30, ready=0, unacked=12, consumers=1)
    assert progress.held_most(story.memory) == 12
    story.run(1, ready=0, unacked=3, consumers=1)
    assert progress.held_most(story.memory) == 3


def test_half_of_the_heartbeats_gone_is_named_with_the_pods() -> None:
    reports = (pod("a", T0), pod("b", T0 - 30), pod("c", T0 - 40))
    fleet = fleet_of(worker(), Observation(T0, workers=reports), T0)
    (fault,) = fleet.faults
    assert fault.startswith("2 of 3 workers are silent (celery@b, celery@c)")


def test_a_solo_worker_says_nothing_while_it_works_so_its_silence_means_nothing() -> None:
    reports = (pod("a", T0 - 100), pod("b", T0))
    fleet = fleet_of(worker(pool="solo", concurrency=1), Observation(T0, workers=reports), T0)
    assert fleet.faults == ()
    assert fleet.active is None


def test_a_clock_that_is_off_is_named() -> None:
    reports = (pod("a", T0), pod("b", T0, skew=-42.0))
    (fault,) = fleet_of(worker(), Observation(T0, workers=reports), T0).faults
    assert fault.startswith("the clock of celery@b is -42 s off")


def test_three_starts_replace_the_prior_of_the_lead_time() -> None:
    memory = Lead()
    for step, took in enumerate((30.0, 50.0, 40.0)):
        at = T0 + step * 1000
        memory = lead.ordered(memory, before=1, desired=2, seen=1, now=at)
        memory = lead.observe(memory, desired=2, seen=1, now=at + took - 1)
        assert memory.value is None
        memory = lead.observe(memory, desired=2, seen=2, now=at + took)
    assert memory.value == 40.0


def test_a_pod_that_was_there_or_that_is_taken_back_measures_nothing() -> None:
    there = lead.ordered(Lead(), before=1, desired=2, seen=2, now=T0)
    assert there.pending == ()
    ordered = lead.ordered(Lead(), before=1, desired=3, seen=1, now=T0)
    back = lead.observe(ordered, desired=1, seen=1, now=T0 + 5)
    assert lead.observe(back, desired=3, seen=3, now=T0 + 9).measured == ()


@pytest.mark.parametrize("pods", [None, (3, 0)])
@pytest.mark.parametrize("before", [3, 60])
def test_workers_that_cant_be_heard_after_a_reconnect_are_neither_gone_nor_more(
    before: int, pods: tuple[int, int] | None
) -> None:
    """A restarted Redis gives its one worker 4 messages more; they wait, whoever was ordered meanwhile.

    Pods that the cluster calls ready may have no worker that listens yet.
    """
    subject = WorkerClass("p", "w", worker(serviceTime="30s", startupTime="10s"))
    state, now = WorkerState(), T0

    def play(seconds: int, heard: bool, ready: int, unacked: int) -> int:
        nonlocal state, now
        for _ in range(seconds):
            now += 1
            reading = QueueReading("q", ready, unacked, 0)
            workers = (pod("one", now, active=4, processed=4),) if heard else ()
            seen = Observation(now, (reading,), workers=workers, pods=pods)
            state, decision = decide(subject, state, seen, now)
        assert decision.likely is not None
        return round(decision.likely[1])

    assert play(before, heard=True, ready=15, unacked=4) == 15
    assert play(30, heard=False, ready=11, unacked=8) == 15
    assert play(5, heard=True, ready=11, unacked=8) == 15


@pytest.mark.parametrize(("outage", "seconds"), [(20, 5), (40, 5), (58, 5), (40, 30)])
def test_pods_full_of_tasks_stay_while_their_workers_arent_heard_again(outage: int, seconds: int) -> None:
    """Two workers were heard when a burst ordered nine; after the outage 36 tasks fill nine pods of four."""
    pace = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}
    quick = {"scaleUp": pace | {"policies": [{"type": "Pods", "value": 9, "periodSeconds": 15}]}}
    policy = worker(
        serviceTime=f"{seconds}s",
        startupTime="10s",
        behavior=quick | {"scaleDown": pace},
        replicas={"max": 9},
    )
    subject, state, now = WorkerClass("p", "w", policy), WorkerState(), T0
    heard = (pod("one", T0, active=4, processed=4), pod("two", T0, active=4, processed=4))

    def tick(ready: int, unacked: int, *, workers: Any, read_at: float) -> Decision:
        nonlocal state, now
        now += 1
        reading = QueueReading("q", ready, unacked, 0)
        seen = Observation(read_at or now, (reading,), workers=workers)
        state, decision = decide(subject, state, seen, now)
        return decision

    for _ in range(3):
        workers = tuple(replace(report, heard_at=now + 1, counted_at=now + 1) for report in heard)
        desired = tick(300, 8, workers=workers, read_at=0.0).desired
    assert desired == 9
    last = now
    for _ in range(outage):
        tick(300, 8, workers=(), read_at=last)
    after = [tick(0, 36, workers=(), read_at=0.0) for _ in range(15)]
    assert {decision.desired for decision in after} == {9}
    assert {decision.limit for decision in after} == {"running"}
