"""The books of shadow mode on a time line, and what a switch to `scale` takes over."""

from dataclasses import replace
from typing import Any

from scaler.core.decide import decide
from scaler.core.observation import Observation, QueueReading
from scaler.core.shadow import Ledger, Sight, account, actual_replicas, scaled_by
from scaler.core.state import WorkerState
from scaler.core.workload import Autoscaler, KedaObject, Reference, Workload, hindrances

NOW = 1_800_000_000.0


def sight(at: float, ours: int, actual: int | None, **changed: Any) -> Sight:
    made = Sight(NOW + at, ours, actual, "drain", "none", f"{ours} wanted", at_max=None, late=None)
    return replace(made, **changed)


def kept(*sights: Sight) -> Ledger:
    ledger = None
    for one in sights:
        ledger = account(ledger, one)
    assert ledger is not None
    return ledger


def test_pods_are_counted_from_look_to_look() -> None:
    ledger = kept(sight(0, 2, 5), sight(10, 4, 5), sight(20, 6, 5), sight(30, 5, 5), sight(35, 5, 5))
    assert (ledger.ours, ledger.actual) == (20 + 40 + 60 + 25, 35 * 5)
    assert (ledger.below, ledger.above, ledger.equal, ledger.unknown) == (20, 10, 5, 0)
    assert ledger.since == NOW


def test_what_is_not_known_is_not_counted() -> None:
    ledger = kept(sight(0, 2, None), sight(10, 2, 4), sight(20, 2, 4), sight(100, 2, 4), sight(101, 2, 4))
    assert (ledger.ours, ledger.actual) == (22, 44), "10 s and 1 s in which both were known"
    assert ledger.unknown == 10 + 80, "and nobody looked for 80 s"


def test_at_max_and_late_are_times_of_the_actual_pods() -> None:
    ledger = kept(
        sight(0, 2, 5, at_max=True, late=True), sight(10, 2, 5, at_max=True, late=False), sight(15, 2, 5)
    )
    assert (ledger.at_max, ledger.late) == (15, 10)


def test_the_widest_differences_are_kept_with_their_reasons() -> None:
    times = [(0, 2, 3), (10, 2, 6), (20, 2, 4), (30, 4, 4), (40, 5, 4), (50, 4, 4)]
    ledger = kept(*(sight(*one) for one in times))
    assert [(one.ours, one.actual, one.seconds, one.why) for one in ledger.largest] == [
        (2, 6, 30, "2 wanted"),
        (5, 4, 10, "5 wanted"),
    ]
    for number in range(10):
        at = 60 + 10 * number
        ledger = account(ledger, sight(at, 2 + number, 4 if number % 2 else 1))
    assert len(ledger.largest) == 5
    assert [one.width for one in ledger.largest] == sorted(
        (one.width for one in ledger.largest), reverse=True
    )


def test_actual_replicas_come_from_whoever_knows_them_best() -> None:
    seen = Observation(NOW)
    assert actual_replicas(replace(seen, workers=()), Workload(replicas=3)) == (3, "cluster")
    assert actual_replicas(replace(seen, workers=()), Workload()) == (0, "heartbeats")
    assert actual_replicas(seen, Workload()) == (None, "unknown")


def test_who_scales_is_named() -> None:
    hpa = Autoscaler("celery-io", 1, 9, 2, 2)
    assert scaled_by(Workload(autoscaler=hpa, rivals=("HPA other",))) == "HPA celery-io, HPA other"
    known = Workload(reference=Reference("apps/v1", "Deployment", "celery", "io"))
    assert scaled_by(known) == "no HPA or ScaledObject"
    assert scaled_by(Workload()) == "unknown: no cluster is read"


def reading(now: float, replicas: int) -> Observation:
    queues = tuple(QueueReading(name, 0, 0, 0) for name in ("email", "api_calls", "file_uploads"))
    return Observation(now, queues, replicas_current=replicas)


def test_from_shadow_to_scale_it_starts_from_what_runs(io_class: Any) -> None:
    """Ours was 1 while 7 ran: told to KEDA at once, it would take 6 pods in one step."""
    subject = io_class(replicas={"min": 1, "max": 9})
    shadowed = io_class(replicas={"min": 1, "max": 9}, mode="shadow")
    state, decision = decide(shadowed, WorkerState(desired=2, decided_at=NOW), reading(NOW, 7), NOW)
    assert (state.shadow, decision.desired) == (True, 1)
    assert WorkerState.from_json(state.to_json()) == state
    for second in (1, 2, 60):
        now = NOW + second
        state, decision = decide(subject, state, reading(now, 7), now)
        assert decision.desired == 7, "and steps down no sooner than after a window"
        assert decision.limit == "recovery"
    assert not state.shadow


def test_ours_keeps_its_burst_policy_whatever_runs(io_class: Any) -> None:
    subject = io_class(replicas={"min": 1, "max": 9}, mode="shadow")
    state, desired = WorkerState(desired=1, decided_at=NOW), []
    for second in range(1, 30):
        now = NOW + second
        busy = QueueReading("email", 20_000, 0, 0)
        seen = replace(reading(now, 9), queues=(busy, *reading(now, 9).queues[1:]))
        state, decision = decide(subject, state, seen, now)
        desired.append(decision.desired)
    assert max(desired) == 4, "1 + 3 within a minute, although 9 pods run"


def test_nothing_hinders_what_nobody_carries_out(io_class: Any) -> None:
    paused = Workload(scaled_object=KedaObject("io-so", paused=True))
    assert list(hindrances(io_class().worker, paused))
    assert list(hindrances(io_class(mode="shadow").worker, paused)) == []
