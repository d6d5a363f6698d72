"""Taking pods away without killing tasks: which go, when it is too early, and how long that may last."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.drain import Starts, watch
from scaler.core.observation import Observation, PodSeen, QueueReading, WorkerReport
from scaler.core.override import Override
from scaler.core.state import WorkerState
from scaler.core.victims import Lives, order

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0
#: Steps of any number of pods at once, one minute after the load has gone.
QUICK = {
    "scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]},
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
}

ONE_BY_ONE = {
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
    }
}


def long_tasks(build: Build, **changes: Any) -> WorkerClass:
    """One slot, tasks of a minute, up to 12 pods."""
    fields: dict[str, Any] = {
        "concurrency": 1,
        "serviceTime": "60s",
        "objective": {"wait": "10m"},
        "replicas": {"min": 1, "max": 12},
        "behavior": QUICK,
        "limits": {},
    }
    return build(**fields | changes)


def pods(count: int, **changes: Any) -> tuple[PodSeen, ...]:
    return tuple(PodSeen(f"io-{n}", grace=30.0, created=T0 - 1000 + n, **changes) for n in range(count))


def workers(busy: dict[int, int], count: int, now: float, **changes: Any) -> tuple[WorkerReport, ...]:
    """Pods 0 to count - 1, each with its tasks by its last heartbeat."""
    return tuple(
        WorkerReport(
            f"celery@io-{n}",
            now,
            2.0,
            T0 - 1000,
            active=busy.get(n, 0),
            processed=10,
            counted_at=now,
            **changes,
        )
        for n in range(count)
    )


class Story:
    """A class of `count` pods whose load has gone; second by second."""

    def __init__(self, subject: WorkerClass, count: int, busy: dict[int, int]) -> None:
        self.subject, self.count, self.busy = subject, count, busy
        self.named: tuple[PodSeen, ...] | None = pods(count)
        self.reports: tuple[WorkerReport, ...] | None = None
        #: spec.replicas; None: they do what is decided at once.
        self.spec: int | None = None
        self.suspicious = False
        #: Whether somebody writes the marks.
        self.marked = True
        # No task has begun for two minutes.
        self.state = WorkerState(desired=count, decided_at=T0, starts=Starts(T0 - 120, 10 * count))
        self.now = T0
        self.decision: Decision

    def play(self, seconds: float, *, state: WorkerState | None = None) -> Decision:
        for _ in range(int(seconds)):
            self.now += 1
            running = sum(self.busy.values())
            queue = QueueReading("email", 0, running, 0, self.count, kind="classic", wait=(0.0, 0.0))
            others = tuple(QueueReading(name, 0, 0, 0, self.count) for name in self.subject.worker.queues[1:])
            seen = Observation(
                self.now,
                (queue, *others),
                workers=workers(self.busy, self.count, self.now)
                if self.reports is None
                else tuple(replace(one, heard_at=self.now) for one in self.reports),
                named=self.named,
                replicas_current=self.spec or self.state.desired,
                suspicions=("queue 'email' looks odd",) if self.suspicious else (),
            )
            self.state, self.decision = decide(self.subject, state or self.state, seen, self.now)
            state = None
            if self.marked and self.decision.costs:
                costs = dict(self.decision.costs)
                self.named = tuple(replace(pod, cost=costs[pod.name]) for pod in self.named or ())
        return self.decision


def test_of_twelve_pods_the_ten_busy_ones_are_worth_more_than_the_two_idle(io_class: Build) -> None:
    story = Story(long_tasks(io_class), 12, dict.fromkeys(range(10), 1))
    told = story.play(1)
    assert (told.desired, told.limit, told.stepping_down_to) == (12, "draining", 10)
    costs = dict(told.costs)
    assert [name for name, cost in sorted(costs.items()) if cost == 0] == ["io-10", "io-11"]
    assert min(cost for cost in costs.values() if cost) > 10
    assert story.play(4).desired == 12, "for 5 s the pods are marked"
    assert story.play(1).desired == 10
    assert story.play(60).desired == 10, "the others go when their tasks are done"
    assert story.decision.limit == "running", "workers hold ten tasks for certain"


def test_a_step_that_would_kill_waits_says_why_and_is_made_when_the_tasks_are_done(io_class: Build) -> None:
    story = Story(long_tasks(io_class), 3, {0: 1, 1: 1, 2: 1})
    waits = story.play(1)
    since = waits.decided_at
    assert (waits.desired, waits.limit) == (3, "running"), "workers hold 3 tasks for certain"
    story.busy = {0: 1}
    story.named = pods(3, works=True)
    story.play(1)
    assert story.decision.stepping_down_to == 1
    assert story.play(5).desired == 1
    assert since < story.now


def test_threads_that_are_half_busy_wait_for_a_longer_grace_period(io_class: Build) -> None:
    """Two tasks of a minute in pods of 16 slots: one pod would do for all, but 30 s are too few to end."""
    story = Story(long_tasks(io_class, concurrency=16), 3, {0: 2, 1: 2, 2: 1})
    waits = story.play(1)
    assert (waits.desired, waits.limit) == (3, "draining")
    assert waits.waiting_since == story.now
    assert "tasks would be killed in" in waits.limit_detail
    grace = int(waits.limit_detail.partition("terminationGracePeriodSeconds: ")[2].partition(" ")[0])
    begun = story.now
    assert story.play(30).waiting_since == begun, "it is told since when"
    story.named = tuple(replace(pod, grace=float(grace)) for pod in pods(3))
    assert story.play(6).desired < 3, "and the grace period that it names does help"
    assert story.decision.waiting_since is None


def test_part_of_a_step_is_made_where_only_part_is_safe(io_class: Build) -> None:
    story = Story(long_tasks(io_class, concurrency=16), 4, {0: 2, 1: 2})
    assert story.play(6).desired == 2
    assert story.play(5).desired == 2
    assert story.decision.limit == "draining"


def test_patience_may_have_an_end(io_class: Build) -> None:
    story = Story(long_tasks(io_class, concurrency=16, drain={"maxWait": "2m"}), 3, {0: 2, 1: 2, 2: 1})
    assert story.play(100).desired == 3
    assert story.decision.next_step_at == T0 + 121
    assert story.play(30).desired == 1


def test_a_pod_whose_worker_isnt_heard_may_run_anything(io_class: Build) -> None:
    subject = long_tasks(io_class)
    seen = Observation(T0, workers=workers({}, 2, T0), named=pods(3))
    found = order(subject.worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0)
    assert found is not None
    assert [(pod.seen.name, pod.heard, pod.safe) for pod in found] == [
        ("io-1", True, True),
        ("io-0", True, True),
        ("io-2", False, False),
    ]


def test_a_worker_that_has_fallen_silent_may_run_anything_and_a_solo_one_runs_its_task(
    io_class: Build,
) -> None:
    for subject, silence in ((long_tasks(io_class), 7.0), (long_tasks(io_class, pool="solo"), 4.0)):
        reports = workers({}, 3, T0)
        reports = (replace(reports[0], heard_at=T0 - silence), *reports[1:])
        seen = Observation(T0, workers=reports, named=pods(3))
        found = (
            order(subject.worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0) or []
        )
        assert [pod.seen.name for pod in found if pod.safe] == ["io-2", "io-1"]
        assert not found[-1].heard


def test_pods_that_start_go_first_and_a_statefulset_has_no_choice(io_class: Build) -> None:
    starting = (*pods(2), PodSeen("io-2", works=False, created=T0 - 5))
    seen = Observation(T0, workers=workers({1: 1}, 2, T0), named=starting)
    found = order(
        long_tasks(io_class).worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0
    )
    assert [pod.seen.name for pod in found or ()] == ["io-2", "io-0", "io-1"]
    stateful = long_tasks(io_class, scaleTarget={"kind": "StatefulSet", "name": "io"})
    seen = replace(seen, named=pods(3))
    found = order(stateful.worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0)
    assert [pod.seen.name for pod in found or ()] == ["io-2", "io-1", "io-0"]


def test_an_idle_pod_isnt_safe_while_long_tasks_keep_coming(io_class: Build) -> None:
    """One task a minute on 3 pods: 11 % that one begins within 20 s in the pod that goes."""
    worker, seen = long_tasks(io_class).worker, Observation(T0, workers=workers({}, 3, T0), named=pods(3))
    coming = order(worker, seen, rate=1 / 60, waiting=0, running=None, service_time=60.0, now=T0) or []
    assert not any(pod.safe for pod in coming)
    short = order(worker, seen, rate=1.0, waiting=0, running=None, service_time=1.0, now=T0) or []
    assert all(pod.safe for pod in short), "short ones end in time"
    quiet = order(worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0) or []
    assert all(pod.safe for pod in quiet)


def test_starts_are_counted_for_two_minutes() -> None:
    memory = Starts()
    for second in range(200):
        begun = min(second, 60)  # one a second for a minute, then none
        reports = (WorkerReport("celery@io-0", T0, 2.0, T0, processed=begun),)
        memory = watch(memory, Observation(T0, workers=reports), T0 + second)
        rate = memory.rate(T0 + second)
        if second < 30:
            assert rate is None
        elif second <= 60:
            assert rate == pytest.approx(1.0)
    assert memory.rate(T0 + 199) == 0.0
    assert watch(memory, Observation(T0), T0 + 200) == Starts(), "without heartbeats nothing is known"


def test_nothing_waits_where_no_pod_is_known_or_it_is_switched_off(io_class: Build) -> None:
    for changes, named in (({}, None), ({"drain": {"enabled": False}}, pods(3))):
        story = Story(long_tasks(io_class, concurrency=16, **changes), 3, {0: 2, 1: 2, 2: 1})
        story.named = named
        assert story.play(1).desired == 1
        assert story.decision.costs == ()


def test_an_order_and_a_lowered_max_dont_wait_but_mark_the_pods(io_class: Build) -> None:
    story = Story(long_tasks(io_class, concurrency=16), 3, {0: 2, 1: 2, 2: 1})
    order_ = Override(replicas=2, until=T0 + 600, who="ops", why="nodes go")
    told = story.play(1, state=replace(story.state, override=order_))
    assert told.desired == 2
    assert [name for name, _ in told.costs] == ["io-0", "io-1", "io-2"]
    assert told.stepping_down_to is None

    story = Story(long_tasks(io_class, concurrency=16, replicas={"min": 1, "max": 2}), 3, {0: 2, 1: 2, 2: 1})
    told = story.play(1)
    assert (told.desired, told.limit) == (2, "max")
    assert len(told.costs) == 3


def test_pods_that_nobody_marks_are_not_taken_for_idle_ones(io_class: Build) -> None:
    """The right is missing, or somebody else writes the annotation: any of the 12 might go."""
    story = Story(long_tasks(io_class), 12, dict.fromkeys(range(10), 1))
    story.marked = False
    since = story.play(6).waiting_since
    assert (story.decision.desired, story.decision.limit) == (12, "draining")
    assert "the pods don't carry the marks" in story.decision.limit_detail
    assert since == story.now
    assert story.play(60).desired == 12
    assert story.decision.waiting_since == since, "it goes on waiting while it is announced again"
    story.marked = True
    last = story.play(12)
    assert (last.desired, last.waiting_since) == (10, None)

    idle = Story(long_tasks(io_class), 3, {})
    idle.marked = False
    assert idle.play(6).desired == 1, "of idle pods any may go"


def test_pods_that_cant_be_read_any_more_are_no_leave_to_kill(io_class: Build) -> None:
    story = Story(long_tasks(io_class, concurrency=16, drain={"maxWait": "10m"}), 3, {0: 2, 1: 2, 2: 1})
    since = story.play(20).waiting_since
    story.named = None
    lost = story.play(100)
    assert (lost.desired, lost.limit, lost.waiting_since) == (3, "draining", since)
    assert "the pods can't be read now" in lost.limit_detail
    assert story.play(500).desired == 1, "until maxWait"


def test_a_wait_goes_on_counting_through_doubtful_readings(io_class: Build) -> None:
    story = Story(long_tasks(io_class, concurrency=16, drain={"maxWait": "2m"}), 3, {0: 2, 1: 2, 2: 1})
    story.play(60)
    story.suspicious = True
    assert story.play(5).limit == "data"
    story.suspicious = False
    assert story.play(62).desired == 1


def test_of_pods_the_one_that_isnt_ready_goes_first_whatever_it_costs(io_class: Build) -> None:
    """Its probe fails, its tasks run: to take the idle one in its stead isn't in anybody's power."""
    story = Story(long_tasks(io_class, concurrency=16), 3, {0: 4})
    story.named = (replace(pods(3)[0], ready=False), *pods(3)[1:])
    assert story.play(30).desired == 3
    assert "io-0" in story.decision.limit_detail
    young = replace(pods(3)[0], ready=False, works=False)
    story.named = (young, *pods(3)[1:])
    assert story.play(30).desired == 3, "never ready yet, but its worker tells of tasks"


def test_all_workers_of_a_pod_count(io_class: Build) -> None:
    subject = long_tasks(io_class, concurrency=16)
    busy, idle = workers({0: 4}, 2, T0)
    reports = (replace(busy, hostname="w1@io-0.pods"), replace(idle, hostname="w2@io-0.pods"))
    seen = Observation(T0, workers=reports, named=pods(1))
    found = order(subject.worker, seen, rate=0.0, waiting=0, running=None, service_time=60.0, now=T0) or []
    assert [pod.running for pod in found] == [4]


def test_without_a_word_of_any_worker_what_the_broker_shows_has_to_do(io_class: Build) -> None:
    """Heartbeats are off: nothing runs for certain, or it is as without a cluster, after some seconds."""
    for busy in ({}, {0: 2}):
        story = Story(long_tasks(io_class, concurrency=16), 3, busy)
        story.reports = ()
        assert story.play(30).desired == 1
    renamed = Story(long_tasks(io_class, concurrency=16), 3, {})
    renamed.reports = tuple(replace(one, hostname=f"w{n}@prod") for n, one in enumerate(workers({}, 3, T0)))
    assert renamed.play(30).desired == 1


def test_a_worker_that_hangs_goes_before_the_healthy_one(io_class: Build) -> None:
    """RabbitMQ knows of one consumer, and one worker is heard: the other pod does nothing."""
    subject, reports = long_tasks(io_class), workers({}, 1, T0)
    queue = QueueReading("email", 0, 0, 0, 1, kind="classic")
    seen = Observation(
        T0, (queue,), workers=reports, named=(*pods(1), replace(pods(2)[1], created=T0 - 9000))
    )
    found = order(subject.worker, seen, rate=0.0, waiting=0, running=1, service_time=60.0, now=T0) or []
    assert {pod.seen.name: pod.cost for pod in found} == {"io-0": 0, "io-1": 0}
    busy = replace(seen, workers=workers({0: 1}, 1, T0))
    found = order(subject.worker, busy, rate=0.0, waiting=0, running=1, service_time=60.0, now=T0) or []
    assert [pod.seen.name for pod in found] == ["io-1", "io-0"]


def test_no_step_is_made_on_top_of_one_that_nobody_carries_out(io_class: Build) -> None:
    """Paused at 12: desired would fall to 1, and the HPA would make one step of it once it may."""
    story = Story(long_tasks(io_class, behavior=ONE_BY_ONE), 12, {})
    story.spec = 12
    assert story.play(60).desired == 11
    assert story.play(600).desired == 11
    assert story.decision.limit == "unfollowed"
    story.spec = None
    assert story.play(60).desired < 11


def test_part_of_a_step_that_a_deadband_would_swallow_isnt_made(io_class: Build) -> None:
    """20 pods of which one is idle, and an HPA that ignores 10 %: 19 would be said for ever."""
    fields = {"replicas": {"min": 1, "max": 30}, "hpaTolerance": "0.1", "concurrency": 16}
    story = Story(long_tasks(io_class, **fields), 20, dict.fromkeys(range(19), 1))
    assert story.play(60).desired == 20
    assert story.decision.limit == "deadband"


def test_more_work_takes_the_announcement_back(io_class: Build) -> None:
    story = Story(long_tasks(io_class), 12, dict.fromkeys(range(10), 1))
    assert story.play(3).stepping_down_to == 10
    story.busy = dict.fromkeys(range(12), 1)
    assert story.play(1).stepping_down_to is None
    assert story.play(20).desired == 12


@pytest.mark.parametrize(("cv", "mean"), [(0.0, 10.0), (0.5, 10.0), (1.0, 10.0), (2.0, 10.0)])
def test_how_long_tasks_live(cv: float, mean: float) -> None:
    """The residual life of a task that is met at work, integrated by hand."""
    lives = Lives.of(mean, cv)
    assert lives.longer(0.0) == lives.still(0.0, None) == 1.0
    step, horizon = 0.05, 2000.0
    for seconds in (5.0, 20.0):
        by_hand = sum(lives.longer(seconds + n * step) * step for n in range(int(horizon / step))) / mean
        assert lives.still(seconds, None) == pytest.approx(by_hand, abs=0.01)
    assert lives.still(5.0, 3.0) == pytest.approx(lives.longer(8.0) / lives.longer(3.0), abs=1e-9)


@given(
    mean=st.floats(0.01, 1e5),
    cv=st.floats(0, 10),
    seconds=st.floats(0, 1e7),
    more=st.floats(0, 1e7),
    age=st.none() | st.floats(0, 1e7),
)
def test_chances_are_chances_and_fall_with_time(
    mean: float, cv: float, seconds: float, more: float, age: float | None
) -> None:
    lives = Lives.of(mean, cv)
    early, late = lives.still(seconds, age), lives.still(seconds + more, age)
    assert 0.0 <= late <= early + 1e-9 <= 1.0 + 1e-6
