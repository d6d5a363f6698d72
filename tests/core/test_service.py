"""How long a task takes, measured on workers that are played second by second."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from scaler.core import service
from scaler.core.backlog import Backlog
from scaler.core.fleet import Fleet
from scaler.core.observation import Holds, Observation, QueueReading, WorkerReport
from scaler.core.policy import WorkerPolicy
from scaler.core.service import Service

T0 = 1_800_000_000.0
Draw = Callable[[], float]
POLICY = WorkerPolicy.model_validate_json(
    '{"queues": ["q"], "concurrency": 4, "acksLate": true, "prefetchMultiplier": 2,'
    ' "serviceTime": "1s", "replicas": {"max": 9}}'
)


def play(
    draw: Draw,
    *,
    slots: int,
    load: float,
    seconds: int,
    method: str,
    after: Service | None = None,
    begin: float = T0,
) -> tuple[Service, int, dict[int, Service]]:
    """One worker with Poisson arrivals in front; (memory, tasks that ended, memory by second)."""
    dice = random.Random(3)
    memory = after or Service()
    next_arrival, waiting = 0.0, 0
    running: list[tuple[float, float]] = []
    started = finished = 0
    runtime = watched = 0.0
    by_second = {}
    step = 0.05
    for tick in range(int(seconds / step)):
        now = tick * step
        while next_arrival <= now:
            waiting += 1
            next_arrival += dice.expovariate(load)
        for entry in [entry for entry in running if entry[1] <= now]:
            running.remove(entry)
            finished += 1
            runtime += entry[1] - entry[0]
        while waiting and len(running) < slots:
            waiting, started = waiting - 1, started + 1
            running.append((now, now + draw()))
        watched += len(running) * step
        if tick % 20:
            continue
        heartbeat = method != "acknowledgements"
        report = WorkerReport(
            "celery@a",
            heard_at=begin + now,
            frequency=2,
            since=begin,
            active=len(running) if heartbeat else None,
            processed=started,
            counted_at=begin + now,
            task_events=method == "task events",
            finished=finished,
            runtime=runtime,
            running_age=sum(now - begun for begun, _ in running),
        )
        queue = QueueReading("q", waiting, len(running), 0, holds=Holds(watched, finished))
        busy = (len(running), len(running))
        memory = service.observe(
            memory,
            worker=POLICY,
            observation=Observation(begin + now, (queue,)),
            fleet=Fleet((report,)) if heartbeat else Fleet(),
            backlog=Backlog(waiting, (0, 0), busy, (0, 0)),
            now=begin + now,
        )
        by_second[int(now)] = memory
    return memory, finished, by_second


@pytest.mark.parametrize("method", ["task events", "heartbeats", "acknowledgements"])
@pytest.mark.parametrize("load", [1.0, 50.0], ids=["half idle", "saturated"])
def test_constant_tasks_are_measured_within_a_tenth(method: str, load: float) -> None:
    memory, finished, _ = play(lambda: 2.0, slots=4, load=load, seconds=80, method=method)
    assert finished >= 50
    assert memory.value == pytest.approx(2.0, rel=0.1)
    assert memory.method == method


@pytest.mark.parametrize("method", ["task events", "heartbeats", "acknowledgements"])
def test_the_first_tasks_of_a_burst_dont_make_it_look_short(method: str) -> None:
    """200 exponential tasks of 12 s start at once: the first 50 that end took 1.6 s on the average."""
    dice = random.Random(11)
    _, _, by_second = play(lambda: dice.expovariate(1 / 12), slots=200, load=1000, seconds=60, method=method)
    values = [
        memory.value for memory in by_second.values() if memory.value and memory.tasks >= service.ENOUGH
    ]
    assert values
    assert all(9 < value < 15 for value in values)


def test_a_policy_that_is_wrong_by_four_is_corrected_after_eight_tasks_and_forgotten_after_fifty() -> None:
    """4 slots, always busy with 4 s where the policy says 1 s: eight have ended by 8 s, fifty by 52 s."""
    _, _, by_second = play(lambda: 4.0, slots=4, load=100, seconds=60, method="task events")
    values = {second: memory.value for second, memory in by_second.items()}
    assert values[4] is None
    # (8.4 × 1 s + 32 s) ÷ (8.4 + 8)
    assert values[9] == pytest.approx(2.5, rel=0.15)
    known = [value for value in values.values() if value is not None]
    assert all(later >= earlier * 0.9 for earlier, later in pairwise(known))
    assert known[-1] == pytest.approx(4.0, rel=0.1)


def test_a_few_tasks_of_many_that_run_dont_tell_how_long_they_are() -> None:
    """Eight have ended while 40 messages are held: for a reason that nobody sees, or not done yet."""
    memory = Service()
    for second in range(600):
        held = Holds(40.0 * second, min(second, 8))
        memory = service.observe(
            memory,
            worker=POLICY,
            observation=Observation(T0 + second, (QueueReading("q", 0, 40, 0, holds=held),)),
            fleet=Fleet(),
            backlog=Backlog(0, (0, 0), (40, 40), (0, 0)),
            now=T0 + second,
        )
        assert memory.value is None


@pytest.mark.parametrize("method", ["task events", "acknowledgements"])
def test_a_right_policy_stays_right_while_a_burst_of_even_tasks_begins(method: str) -> None:
    """100 tasks of 1 s ± 10 % at once on 100 slots, again and again: they never look twice as long."""
    dice = random.Random(5)
    _, _, by_second = play(lambda: dice.gauss(1, 0.1), slots=100, load=400, seconds=30, method=method)
    values = [memory.value for memory in by_second.values() if memory.value is not None]
    assert values
    assert max(values) < 2


def test_what_was_weighed_with_a_policy_doesnt_outlive_it() -> None:
    """20 tasks of 4 s where the policy says 1 s; hours later it says 10 s, and that holds."""
    mixed, _, _ = play(lambda: 4.0, slots=4, load=100, seconds=22, method="task events")
    assert mixed.value is not None
    assert mixed.tasks < service.ENOUGH
    later = service.observe(
        mixed,
        worker=POLICY.model_copy(update={"service_time": 10.0}),
        observation=Observation(T0 + 9000, ()),
        fleet=Fleet(
            (WorkerReport("celery@b", heard_at=T0 + 9000, frequency=2, since=T0 + 8999, task_events=True),)
        ),
        backlog=Backlog(0, (0, 0), (0, 0), (0, 0)),
        now=T0 + 9000,
    )
    assert later.value is None


def test_the_value_stays_when_nothing_runs() -> None:
    memory, _, _ = play(lambda: 1.0, slots=2, load=100, seconds=60, method="heartbeats")
    assert memory.value is not None
    quiet, _, _ = play(
        lambda: 1.0, slots=2, load=1e-9, seconds=900, method="heartbeats", after=memory, begin=T0 + 100
    )
    assert quiet.value == pytest.approx(memory.value, rel=0.05)


def test_a_relay_that_slows_down_is_noticed_within_two_minutes() -> None:
    fast, _, _ = play(lambda: 1.5, slots=40, load=20, seconds=120, method="heartbeats")
    assert fast.value == pytest.approx(1.5, rel=0.1)
    slow, _, _ = play(
        lambda: 12.0, slots=40, load=20, seconds=120, method="heartbeats", after=fast, begin=T0 + 200
    )
    assert slow.value is not None
    assert slow.value > 6


def test_early_acknowledgement_without_heartbeats_measures_nothing() -> None:
    """What is held then is the prefetch, not the task."""
    queue = QueueReading("q", 0, 8, 0, holds=Holds(100.0, 50))
    memory = service.observe(
        Service(),
        worker=POLICY.model_copy(update={"acks_late": False}),
        observation=Observation(T0, (queue,)),
        fleet=Fleet(),
        backlog=Backlog(0, (8, 8), (2, 4), (0, 0)),
        now=T0,
    )
    assert memory.value is None
    assert memory.method == ""
