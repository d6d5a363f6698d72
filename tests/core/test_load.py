"""Which pods are taken to work, which to start and when: from orders, from the cluster, from who is heard."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from scaler.core.backlog import Backlog
from scaler.core.behavior import History
from scaler.core.decide import WorkerClass
from scaler.core.load import HEARD_SECONDS, Load, load_of
from scaler.core.measure import Picture, look
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
        (LEAD + 299, 1, 0, ((LEAD, 2),)),
        (LEAD + 301, 1, 0, ()),
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
        "is expected for five minutes",
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


@pytest.mark.parametrize(("ago", "consumers", "silent"), [(20.0, None, 2), (70.0, None, 0), (20.0, 2, 0)])
def test_a_silent_worker_works_for_a_minute_where_no_broker_tells(
    io_class: Build, ago: float, consumers: int | None, silent: int
) -> None:
    """Longer, and it may be a pod that was taken away without a goodbye."""
    reports = tuple(WorkerReport(f"w@{n}", T0 - ago, 2.0, T0 - 90, active=10) for n in (1, 2))
    queue = QueueReading("email", 900, unacked=20, eta_held=0, consumers=consumers)
    observation = Observation(T0, (queue,), workers=reports)
    _, picture = look(io_class().worker, WorkerState(), observation, T0, fresh=True)
    assert picture.silent == silent


def test_a_queue_is_full_for_as_long_as_it_was_read_to_be() -> None:
    """A reading that ages says nothing about the seconds since."""
    full = replace(WorkerState(), progress=Progress(read_at=T0 - 20, full_since=T0 - 21))
    picture = Picture(
        Backlog(0, (0, 0), (0, 0), (0, 0)), 0, 1.0, "", LEAD, "", None, None, 0, untouched=False
    )
    assert load_of(full, picture, Observation(T0 - 20, ()), 1, T0).full == 1.0
