"""What waits and what runs: the truth is inside the interval, which is as narrow as can be told."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.backlog import Backlog, Sight, read_backlog, room
from scaler.core.fleet import Fleet
from scaler.core.observation import Observation, QueueReading, WorkerReport
from scaler.core.policy import WorkerPolicy

NOW = 1_800_000_000.0


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


def seen(ready: int = 0, unacked: int | None = 0, **reading: Any) -> Observation:
    return Observation(NOW, (QueueReading("q", ready, unacked, **reading),))


def pod(name: str, active: int | None, **changes: Any) -> WorkerReport:
    return WorkerReport(
        f"celery@{name}", heard_at=NOW, frequency=2, since=NOW - 60, active=active, counted_at=NOW, **changes
    )


def look(policy: WorkerPolicy, observation: Observation, *pods: WorkerReport, **sight: Any) -> Backlog:
    known: dict[str, Any] = {"pods": (1, 1), "now": NOW} | sight
    return read_backlog(policy, observation, Fleet(pods), Sight(**known))


def test_late_ack_without_prefetch_is_exact() -> None:
    backlog = look(worker(), seen(7, 3, eta_held=0))
    assert (backlog.running, backlog.prefetched, backlog.waiting) == ((3, 3), (0, 0), (7, 7))
    assert backlog.busy == 3


def test_late_ack_with_prefetch_knows_the_bounds() -> None:
    """8 messages in 2 workers of 4 slots that may hold 16 each: one worker full, or both half full."""
    backlog = look(worker(prefetchMultiplier=4), seen(0, 8, eta_held=0, consumers=2))
    assert backlog.running == (4, 8)
    assert backlog.prefetched == (0, 4)


def test_early_ack_hides_running_tasks_and_heartbeats_show_them() -> None:
    policy = worker(acksLate=False, prefetchMultiplier=4)
    alone = look(policy, seen(0, 0, eta_held=0, consumers=1))
    assert alone.running == (0, 4)
    assert alone.busy is None
    heard = look(policy, seen(0, 0, eta_held=0, consumers=1), pod("a", 3))
    assert heard.busy == 3


def test_eta_tasks_on_rabbitmq_are_no_load_when_heartbeats_show_idle_slots() -> None:
    """12 unacknowledged on one worker of 4 slots that runs nothing: they wait for their time."""
    backlog = look(worker(), seen(0, 12, consumers=1), pod("a", 0), rest=(12, 12))
    assert backlog.eta_held == (12, 12)
    assert backlog.running == (0, 0)
    assert backlog.busy == 0


def test_eta_tasks_beyond_the_prefetch_are_certain_without_any_heartbeat() -> None:
    backlog = look(worker(), seen(0, 1500, consumers=1))
    assert backlog.eta_held == (1496, 1500)
    assert backlog.waiting == (0, 0)
    assert backlog.running == (0, 4)


def test_without_heartbeats_acknowledgements_tell_the_busy_slots() -> None:
    backlog = look(worker(), seen(0, 4, consumers=1), flow=0.0)
    assert backlog.busy == 0, "nothing was acknowledged for a long time: they are held"
    assert look(worker(), seen(0, 4, consumers=1), flow=3.9).busy == pytest.approx(3.9)


def test_task_events_tell_what_is_held_exactly() -> None:
    due = ((NOW + 600, 10), (NOW - 5, 3))
    backlog = look(worker(), seen(0, 12, consumers=1), pod("a", 2, task_events=True, due=due))
    assert backlog.eta_held == (10, 10)
    assert backlog.running == (2, 2)


def test_what_falls_due_within_the_horizon_counts_as_soon() -> None:
    queue = QueueReading("q", 0, 30, 30, due=((NOW + 40, 20), (NOW + 400, 10)))
    backlog = look(worker(), Observation(NOW, (queue,)), horizon=55.0)
    assert backlog.due_soon == 20
    delayed = replace(seen(0, 0, eta_held=0), delayed=((4, 7), (5, 9)))
    assert look(worker(), delayed, horizon=55.0).due_soon == 7, "celery_delayed_5 may hold them for 63 s"


def test_ready_messages_that_are_not_due_are_no_backlog_yet() -> None:
    queue = QueueReading("q", 1500, 0, 0, not_due=1490, due=((NOW + 600, 1490),))
    backlog = look(worker(), Observation(NOW, (queue,)), horizon=55.0)
    assert backlog.waiting == (10, 10)
    assert backlog.due_soon == 0


def test_a_slot_held_for_ten_service_times_is_stuck_and_no_load() -> None:
    held = (NOW - 900, NOW - 3)
    backlog = look(worker(), seen(0, 2, eta_held=0, held_since=held), service_time=2.0)
    assert backlog.stuck == 1
    assert backlog.busy == 1


def test_a_task_of_ten_times_the_mean_is_none_that_hangs_before_a_minute() -> None:
    held = (NOW - 59, NOW - 12, NOW - 61)
    assert look(worker(), seen(0, 3, eta_held=0, held_since=held), service_time=1.0).stuck == 1


def test_nothing_is_known_without_unacked_and_heartbeats() -> None:
    backlog = look(worker(), seen(5, None, consumers=1))
    assert (backlog.running, backlog.prefetched, backlog.anything) == (None, None, True)
    heard = look(worker(prefetchMultiplier=2), seen(5, None, consumers=1), pod("a", 4))
    assert heard.busy == 4
    assert heard.prefetched == (0, 4)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[WorkerPolicy, list[tuple[int, int, int]]]:
    """A policy, and (running, prefetched, ETA-held) of each worker, as Celery's rules allow them."""
    concurrency = draw(st.sampled_from([1, 4, 16]))
    multiplier = draw(st.sampled_from([1, 2, 4]))
    late = draw(st.booleans())
    policy = worker(concurrency=concurrency, prefetchMultiplier=multiplier, acksLate=late)
    room = (multiplier - (1 if late else 0)) * concurrency
    pods = []
    for _ in range(draw(st.integers(1, 4))):
        running = draw(st.one_of(st.just(concurrency), st.integers(0, concurrency)))
        waits = draw(st.integers(0, room)) if running == concurrency else 0
        pods.append((running, waits, draw(st.one_of(st.just(0), st.integers(0, 30)))))
    return policy, pods


def test_what_nobody_is_known_to_run_waits() -> None:
    """After an outage one worker is known, two more may have started and aren't heard yet."""
    backlog = look(worker(), seen(11, 8, eta_held=0), pods=(1, 3))
    assert (backlog.running, backlog.prefetched, backlog.likely) == ((4, 8), (0, 4), (4, 15))


@given(
    clusters(),
    st.sampled_from(["redis", "rabbitmq", "heartbeats", "amqp with heartbeats"]),
    st.integers(0, 4),
)
def test_the_truth_is_inside_the_interval(
    cluster: tuple[WorkerPolicy, list[tuple[int, int, int]]], how: str, unheard: int
) -> None:
    policy, pods = cluster
    listening = max(0, len(pods) - unheard), len(pods)
    running, waits, held = (sum(column) for column in zip(*pods, strict=True))
    unacked = waits + held + (running if policy.acks_late else 0)
    reports = tuple(pod(f"p{n}", active) for n, (active, _, _) in enumerate(pods))
    rest = unacked - (running if policy.acks_late else 0)
    observation = {
        "redis": seen(3, unacked, eta_held=held),
        "rabbitmq": seen(3, unacked, consumers=len(pods)),
        "heartbeats": seen(3, unacked, consumers=len(pods)),
        "amqp with heartbeats": seen(3, None, consumers=len(pods)),
    }[how]
    heard = "heartbeats" in how
    policy_room = room(policy)
    full = sum(2 * active >= policy.concurrency for active, _, _ in pods)
    known = (max(0, rest - full * policy_room), rest) if how == "heartbeats" else None
    backlog = look(policy, observation, *(reports if heard else ()), rest=known, pods=listening)
    assert backlog.running is not None
    assert backlog.running[0] <= running <= backlog.running[1]
    assert backlog.waiting[0] <= 3 + waits <= backlog.waiting[1]
    if backlog.eta_held is not None:
        assert backlog.eta_held[0] <= held <= backlog.eta_held[1]
    if heard:
        assert backlog.busy is not None
        assert backlog.busy >= running - 1e-9 or policy.prefetch_multiplier > 1
