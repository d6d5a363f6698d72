"""Which pods are taken to work, which to start and when: from orders, from the cluster, from who is heard."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from scaler.core.backlog import Backlog
from scaler.core.behavior import History
from scaler.core.decide import WorkerClass, decide
from scaler.core.load import HEARD_SECONDS, OVERDUE_SECONDS, Load, load_of
from scaler.core.measure import Picture
from scaler.core.observation import Observation, QueueReading, WorkerReport
from scaler.core.progress import Progress
from scaler.core.state import WorkerState

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0
LEAD = 45.0


def seen(
    *, ordered: float, listening: int | None, silent: int = 0, pods: tuple[int, int] | None = None
) -> Load:
    """Three pods of which two were ordered so many seconds ago; so many listen."""
    picture = Picture(
        backlog=Backlog(0, (0, 0), (0, 0), (0, 0), busy=0.0),
        ready=0,
        service_time=1.0,
        service_source="policy",
        lead_time=LEAD,
        lead_source="policy",
        wait=None,
        listening=listening,
        silent=silent,
        untouched=False,
    )
    state = WorkerState(history=History(added=((T0 - ordered, 2),)))
    observation = Observation(T0, (QueueReading("q", 0),), pods=pods)
    return load_of(state, picture, observation, 3, T0)


@pytest.mark.parametrize(
    ("ordered", "listening", "silent", "starting"),
    [
        (40.0, 1, 0, ((5.0, 2),)),
        (47.0, 1, 0, ((HEARD_SECONDS, 2),)),
        (47.0, 2, 0, ((HEARD_SECONDS, 1),)),
        (65.0, 1, 0, ((20.0, 2),)),
        (200.0, 1, 0, ((LEAD, 2),)),
        (LEAD + OVERDUE_SECONDS + 1, 1, 0, ()),
        (65.0, 3, 0, ()),
        (65.0, None, 0, ()),
        (65.0, 0, 3, ()),
        (65.0, 1, 1, ((20.0, 1),)),
    ],
    ids=[
        "starts",
        "just started and not heard yet",
        "one of the two is heard",
        "as late again as it is",
        "a start away at most",
        "no longer expected",
        "all are heard",
        "nothing tells who listens",
        "all are silent: they work and can't be heard",
        "one is silent and one was never heard",
    ],
)
def test_a_pod_that_was_ordered_starts_until_it_is_heard(
    ordered: float, listening: int | None, silent: int, starting: tuple[tuple[float, int], ...]
) -> None:
    assert seen(ordered=ordered, listening=listening, silent=silent).starting == starting


def test_a_pod_that_the_cluster_does_not_call_ready_is_a_start_away() -> None:
    assert seen(ordered=1000.0, listening=None, pods=(2, 1)).starting == ((LEAD, 1),)


def test_silence_of_all_heartbeats_takes_no_pod_for_one_that_starts(io_class: Build) -> None:
    """Redis shows no consumers: two pods that worked fall silent, the second young."""
    subject, state = io_class(concurrency=10, serviceTime="1s", objective={"wait": "2m"}), WorkerState()
    loud = tuple(WorkerReport(f"w@{n}", T0, 2.0, T0 - 90, active=10, counted_at=T0) for n in (1, 2))
    for second in range(120):
        now = T0 + second
        heard = now if second < 60 else T0 + 60
        workers = tuple(replace(report, heard_at=heard, counted_at=heard) for report in loud)
        queue = QueueReading("email", 900, unacked=20, eta_held=0)
        state, decision = decide(subject, state, Observation(now, (queue,), workers=workers), now)
        if second == 5:
            assert decision.desired == 2, "the second pod is ordered"
        if second == 59:
            before = decision.recommendation
    assert decision.recommendation == before


def test_a_queue_is_full_for_as_long_as_it_was_read_to_be() -> None:
    """A reading that ages says nothing about the seconds since."""
    full = replace(WorkerState(), progress=Progress(read_at=T0 - 20, full_since=T0 - 21))
    picture = Picture(
        Backlog(0, (0, 0), (0, 0), (0, 0)), 0, 1.0, "", LEAD, "", None, None, 0, untouched=False
    )
    assert load_of(full, picture, Observation(T0 - 20, ()), 1, T0).full == 1.0
