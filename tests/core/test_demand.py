"""The terms one by one: what each asks for, and which doubts cut it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scaler.core.arrivals import Rate
from scaler.core.backlog import Backlog
from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision, Term
from scaler.core.demand import terms
from scaler.core.load import Load
from scaler.core.observation import Observation, QueueReading, WorkerReport
from scaler.core.state import WorkerState

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0


def load(**changes: Any) -> Load:
    """Two working pods of io, nothing arrives and nothing waits."""
    backlog = changes.pop("backlog", None) or Backlog(0, (0, 0), (0, 0), (0, 0), busy=0.0)
    fields: dict[str, Any] = {
        "backlog": backlog,
        "rate": Rate(0.0, "last 5 min"),
        "fast_rate": 0.0,
        "queues": (),
        "pods": 2,
        "service_time": 1.5,
        "lead_time": 45.0,
    }
    return Load(**fields | changes)


def waiting(ready: int, running: int) -> Backlog:
    return Backlog(ready, (0, 0), (running, running), (0, 0), busy=float(running))


def term(subject: WorkerClass, name: str, given: Load) -> Term:
    return next(found for found in terms(subject.worker, given, T0) if found.name == name)


def test_six_seconds_of_more_than_all_pods_can_do_ask_for_all_of_them(io_class: Build) -> None:
    """5 pods do 667 mails/s; 900/s would leave 2 pods 600 s behind within the lead time."""
    found = term(io_class(), "surge", load(surge_rate=900.0, backlog=waiting(5400, 400)))
    assert found.replicas == 5.0
    assert "900 tasks/s in the last 6 s, 5 pods can do 666.7" in found.formula


def test_a_flow_that_all_pods_can_do_is_left_to_the_slower_terms(io_class: Build) -> None:
    assert term(io_class(), "surge", load(surge_rate=600.0, backlog=waiting(3600, 400))).replicas is None


def test_a_surge_that_the_objective_can_bear_asks_for_nothing(io_class: Build) -> None:
    patient = io_class(objective={"wait": "30m"})
    found = term(patient, "surge", load(surge_rate=700.0, backlog=waiting(4200, 400)))
    assert found.replicas is None
    assert "keep waits below 1260 s" in found.formula


def test_a_rate_that_leaves_no_queue_is_cut_to_what_the_slots_take(io_class: Build) -> None:
    """400 slots take 267/s; 900/s would have left thousands waiting."""
    steady = term(io_class(), "steady", load(rate=Rate(900.0, "last 30 s, rising"), backlog=waiting(0, 400)))
    assert "cut to what 0 waiting tasks show" in steady.formula
    assert "266.7 tasks/s" in steady.formula
    believed = term(
        io_class(), "steady", load(rate=Rate(900.0, "last 30 s, rising"), backlog=waiting(9000, 400))
    )
    assert "900 tasks/s" in believed.formula


def test_long_tasks_ask_for_no_more_slots_than_there_are_tasks(io_class: Build) -> None:
    """12 tasks of a minute, to be gone in 30 s: 24 slots would do it, if a task could run in two."""
    single = io_class(concurrency=1, objective={"wait": "30s"}, replicas={"min": 0, "max": 50})
    given = load(backlog=waiting(12, 0), pods=0, service_time=60.0, lead_time=10.0)
    found = term(single, "drain", given)
    assert found.replicas == 12.0
    assert "= 24) slots, 12 of them useful: there are no more tasks" in found.formula
    flowing = replace(given, rate=Rate(0.1, "last 5 min"))
    assert term(single, "drain", flowing).replicas == 16.0, "and for 4 that come within 40 s"


def test_while_nothing_is_read_publishers_hold_back_what_arrives(io_class: Build) -> None:
    """100/s for 20 s that weren't seen, and for the 40 s that are expected to follow: 6,000."""
    dark = load(rate=Rate(100.0, "last 5 min"), unseen=20.0, backlog=waiting(0, 150))
    drain = term(io_class(), "drain", dark)
    assert "6000 of it expected from 20 s without a reading" in drain.formula
    assert (drain.replicas or 0) > (term(io_class(), "drain", replace(dark, unseen=0.0)).replicas or 0)


class Story:
    """Plays readings second by second."""

    def __init__(self, subject: WorkerClass) -> None:
        self.subject, self.state, self.now = subject, WorkerState(), T0

    def play(self, seconds: int, ready: int, unacked: int, pods: int | None = None) -> Decision:
        for _ in range(seconds):
            self.now += 1
            reading = QueueReading("email", ready, unacked, 0, consumers=pods)
            self.state, decision = decide(
                self.subject, self.state, Observation(self.now, (reading,)), self.now
            )
        return decision

    def dark(self, seconds: int) -> Decision:
        for _ in range(seconds):
            self.now += 1
            self.state, decision = decide(self.subject, self.state, Observation(None, error="gone"), self.now)
        return decision


def test_no_pod_is_taken_from_what_runs(io_class: Build) -> None:
    """Four pods are full of tasks that hang on one slow host; the rate says that one pod would do."""
    rules = {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 10, "periodSeconds": 60}],
    }
    story = Story(io_class(serviceTime="1.5s", behavior={"scaleDown": rules}))
    story.state = WorkerState(desired=4, decided_at=T0)
    busy = story.play(900, ready=0, unacked=800, pods=4)
    assert busy.desired == 4
    free = story.play(600, ready=0, unacked=120, pods=4)
    assert (free.desired, free.limit) == (1, "none")
    story.state = replace(story.state, desired=4)
    half = story.play(1, ready=0, unacked=500, pods=4)
    assert (half.desired, half.limit) == (3, "running")
    assert "fills 3 pods" in half.limit_detail


def test_less_than_a_minute_in_the_dark_costs_no_window_and_more_does(io_class: Build) -> None:
    rules = {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }

    def steps_down_after(dark: int) -> int:
        story = Story(io_class(behavior={"scaleDown": rules}))
        # Without history it adopts the 2 pods that listen, for one window at least.
        story.play(299 - dark, ready=0, unacked=0, pods=2)
        story.dark(dark)
        for second in range(1000):
            if story.play(1, ready=0, unacked=0, pods=2).desired == 1:
                return second
        raise AssertionError("it never steps down")

    assert steps_down_after(50) <= 5
    assert 300 <= steps_down_after(70) <= 305


def test_from_zero_keda_starts_the_first_pod_though_a_percentage_of_nothing_is_nothing(
    io_class: Build,
) -> None:
    rules = {"scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}
    story = Story(io_class(replicas={"min": 0, "max": 5}, behavior=rules, serviceTime="12s"))
    story.state = WorkerState(desired=0, decided_at=T0)
    assert story.play(1, ready=4000, unacked=0).desired == 1
    assert story.play(100, ready=4000, unacked=200, pods=1).desired == 5


def test_pods_that_start_longer_than_any_policy_period_are_still_starting(io_class: Build) -> None:
    """4 pods more, 45 s to start, and periods of 15 s: 30 s later one works."""
    rules = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}
    story = Story(io_class(behavior=rules, serviceTime="12s"))
    story.play(1, ready=4000, unacked=200, pods=1)
    story.play(30, ready=4000, unacked=200, pods=1)
    assert [count for _, count in story.state.history.added] == [4]


def test_a_widened_step_says_so(io_class: Build) -> None:
    rules = {"scaleUp": {"policies": [{"type": "Pods", "value": 30, "periodSeconds": 15}]}}
    wide = io_class(
        hpaTolerance="0.1",
        replicas={"min": 1, "max": 60},
        behavior=rules,
        serviceTime="12s",
        objective={"wait": "30s", "patience": 0},
    )
    story = Story(wide)
    story.state = WorkerState(desired=20, decided_at=T0)
    step = story.play(1, ready=10_100, unacked=0, pods=20)
    assert (step.desired, step.limit, step.recommendation) == (23, "deadband", 21)
    assert "21 widened to 23" in step.limit_detail


def test_chance_adds_its_pod_also_where_the_load_fills_whole_pods(io_class: Build) -> None:
    """6 busy slots of 18 s are 2 pods of 4 slots at 75 %, but then 1 in 5 is late; with 3, 1 in 200."""
    few = io_class(
        concurrency=4, serviceTime="18s", objective={"wait": "5s", "serviceLevel": 0.99, "utilization": 0.75}
    )
    given = load(rate=Rate(6 / 18, "last 5 min"), service_time=18.0, backlog=waiting(0, 6))
    found = term(few, "steady", given)
    assert found.replicas == 3.0
    assert "3 pods so that 0.99 start within 5 s" in found.formula


def test_pods_that_can_not_start_are_not_counted_on(io_class: Build) -> None:
    """Four were ordered long ago, the cluster has room for one."""
    subject = io_class(limits={"maxLength": 5000})

    def seen(pods: tuple[int, int] | None) -> Term:
        state, now = WorkerState(desired=4, decided_at=T0, no_down_until=T0 + 900), T0
        for second in range(40):
            now += 1
            reading = QueueReading("email", 100 + 200 * min(second, 12), 200, 0, consumers=1)
            state, decision = decide(subject, state, Observation(now, (reading,), pods=pods), now)
        return next(found for found in decision.terms if found.name == "fill")

    assert "than 4 pods can do" in seen(None).formula
    assert "than 1 pods can do" in seen((1, 3)).formula


def test_workers_of_others_do_their_part(io_class: Build) -> None:
    """500 busy slots ÷ 0.85 are 2.94 pods; one of others runs, so that we need 1.94, not 2.94."""
    rising = Rate(500 / 1.5, "last 30 s, rising")
    impatient = io_class(objective={"wait": "30s", "utilization": 0.85, "patience": 0})
    given = load(rate=rising, pods=1, backlog=waiting(3000, 200))
    alone = term(impatient, "steady", given)
    beside = term(impatient, "steady", replace(given, others=1, backlog=waiting(3000, 400)))
    assert (alone.replicas or 0) > 2.9
    assert 1.9 < (beside.replicas or 0) <= 2.0
    assert "1 more that aren't ours listen on these queues" in beside.formula


def test_others_do_not_count_once_the_objective_is_missed(io_class: Build) -> None:
    """A connection that nobody serves may look like a worker; it doesn't shorten a queue."""
    late = load(rate=Rate(500 / 1.5, "last 5 min"), pods=1, backlog=waiting(9000, 200), wait=31.0, others=2)
    assert "aren't ours" not in term(io_class(), "steady", late).formula


def test_heartbeats_tell_ours_from_others(io_class: Build) -> None:
    """Two listen, one of them is heard: the other counts after 3 min, and goes with its consumer."""
    subject, state, now = io_class(), WorkerState(desired=1, decided_at=T0), T0
    counts = []
    for consumers in [2] * 200 + [1]:
        now += 1
        heard = WorkerReport("celery@io-1", now, 2.0, T0, active=50, processed=9, counted_at=now)
        reading = QueueReading("email", 0, 100, 0, consumers=consumers)
        state, _ = decide(subject, state, Observation(now, (reading,), workers=(heard,)), now)
        counts.append(state.others.count)
    assert (counts[170], counts[198], counts[200]) == (0, 1, 0)
    assert WorkerState.from_json(state.to_json()) == state
