"""What the forecast sees on a line of time: dumps, flows that go on, queues that are cleared.

A class whose tasks take one second on ten slots is played second by second as a fluid, first in, first out:
pods work when their start is over, the age of the head is read exactly.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.observation import Holds, Observation, QueueReading
from scaler.core.state import WorkerState

Build = Callable[..., WorkerClass]
T0 = 1_800_000_000.0
#: Seconds from an order to a pod that works.
STARTUP = 45


@dataclass
class Play:
    """One class, its queue and its pods; seconds since the start."""

    subject: WorkerClass
    arrivals: Callable[[int], float]
    #: Tasks per second that a pod really does.
    pace: float = 10.0
    decisions: list[Decision] = field(default_factory=list)
    late: float = 0.0

    def run(self, seconds: int) -> "Play":
        state, queue = WorkerState(), deque[list[float]]()
        starts, wait_objective = [-STARTUP], self.subject.worker.objective.wait
        held, ended = 0.0, 0.0
        for at in range(seconds):
            if (came := self.arrivals(at)) > 0:
                queue.append([at, came])
            working = sum(at >= start for start in starts)
            left = room = working * self.pace
            while queue and left > 0:
                taken = min(queue[0][1], left)
                self.late += taken * (at - queue[0][0] > wait_objective)
                left -= taken
                queue[0][1] -= taken
                if queue[0][1] <= 0:
                    queue.popleft()
            busy = min(10 * working, round((room - left) / self.pace * 10) if room else 0)
            age = float(at - queue[0][0]) if queue else 0.0
            held, ended = held + busy, ended + room - left
            reading = QueueReading(
                "email",
                round(sum(count for _, count in queue)),
                unacked=busy,
                eta_held=0,
                consumers=working,
                wait=(age, age),
                holds=Holds(held, round(ended)),
            )
            state, decision = decide(self.subject, state, Observation(T0 + at, (reading,)), T0 + at)
            starts = starts[: decision.desired] + [at + STARTUP] * (decision.desired - len(starts))
            self.decisions.append(decision)
        return self

    @property
    def most(self) -> int:
        return max(decision.desired for decision in self.decisions)

    def first(self, replicas: int) -> int:
        """When so many were first ordered."""
        return next(at for at, decision in enumerate(self.decisions) if decision.desired >= replicas)


@pytest.fixture
def build(io_class: Build) -> Build:
    """1 to 20 pods of ten slots, no bounds on the steps up; `wait` 100 s."""

    def made(**changes: Any) -> WorkerClass:
        up = {"scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 15}]}}
        fields = {
            "concurrency": 10,
            "serviceTime": "1s",
            "objective": {"wait": "100s", "patience": 0.7},
            "replicas": {"min": 1, "max": 20},
            "behavior": up,
        }
        return io_class(**fields | changes)

    return made


def dump(count: float) -> Callable[[int], float]:
    return lambda second: count if second == 300 else 0.0


def flow(rate: float) -> Callable[[int], float]:
    return lambda second: rate if second >= 300 else 0.0


@pytest.mark.parametrize(("count", "at_once", "at_last"), [(1000, 2, 2), (2500, 5, 6), (4000, 8, 10)])
def test_a_dump_orders_its_pods_at_once_and_hardly_more_while_they_start(
    build: Build, count: int, at_once: int, at_last: int
) -> None:
    """What waits grows older by a second each second, and the pods come nearer by as much."""
    play = Play(build(), dump(count)).run(480)
    assert (play.decisions[300].desired, play.most, play.late) == (at_once, at_last, 0)


@pytest.mark.parametrize(("rate", "pods"), [(25.0, 4), (30.0, 4)])
def test_pods_for_a_flow_clear_the_queue_within_one_and_a_half_objectives(
    build: Build, rate: float, pods: int
) -> None:
    """Within one, 30/s would get 5 of 10/s, and within two 25/s would get 3, on which half a pod is left."""
    assert Play(build(), flow(rate)).run(600).most == pods


@pytest.mark.parametrize(("rate", "pods"), [(20.0, 3), (30.0, 6)])
def test_and_within_one_where_somebody_waits_longer_than_patience_allows_whatever_is_ordered(
    build: Build, rate: float, pods: int
) -> None:
    """42 s of 60 s, and a pod takes 45 s: 30/s let somebody wait longer than 42 s. (Within 1.5: 5 pods.)"""
    assert Play(build(objective={"wait": "60s", "patience": 0.7}), flow(rate)).run(600).most == pods


def test_few_long_tasks_get_their_pods_while_all_of_them_still_wait(build: Build) -> None:
    """One a minute per slot and 10 min to wait: what comes on coming counts, though none has been begun."""
    subject = build(concurrency=4, serviceTime="60s", objective={"wait": "10m", "patience": 0.7})
    play = Play(subject, lambda at: float(at >= 300 and at % 4 == 0), pace=4 / 60).run(900)
    assert play.first(2) <= 410, "by what waits alone: 420 s"
    assert play.late == 0


def test_half_a_minute_without_arrivals_takes_no_pod_that_comes_back(build: Build) -> None:
    """13/s keep 1.3 pods busy. One would be enough for now, but the window is as long as the 5-min view."""
    down = {
        "stabilizationWindowSeconds": 900,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }
    up = {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 15}]}

    def arrivals(at: int) -> float:
        return 0.0 if at < 60 or 1600 <= at < 1635 else 25.0 if at < 200 else 13.0

    play = Play(build(behavior={"scaleUp": up, "scaleDown": down}), arrivals).run(2000)
    assert play.decisions[1500].recommendation == 1
    assert {decision.desired for decision in play.decisions[1100:]} == {2}


def ramp(at: int) -> float:
    """To 60/s within 2 min, on pods that do 10/s."""
    return 60.0 * min(1.0, max(0.0, (at - 300) / 120))


def test_a_ramp_gets_all_pods_once_its_queue_will_be_full_before_new_ones_start(build: Build) -> None:
    """The pod of 340 s works at 385 s; what it will do isn't done while it starts."""
    subject = build(limits={"maxLength": 3000}, objective={"wait": "10m", "patience": 0.7})
    play = Play(subject, ramp).run(700)
    assert max(decision.ready or 0 for decision in play.decisions) < 3000
    assert "fill" in {decision.winner for decision in play.decisions}


def test_pods_that_end_its_growth_sooner_than_new_ones_could_are_enough(build: Build) -> None:
    """All 20 are ordered by then; asking for them on and on would only keep them longer."""
    play = Play(build(limits={"maxLength": 1000}), ramp).run(440)
    fills = [at for at, decision in enumerate(play.decisions) if decision.winner == "fill"]
    assert 0 < len(fills) < 5
    words = next(term.formula for term in play.decisions[fills[-1] + 5].terms if term.name == "fill")
    assert "than 20 pods can do, 19 of them start: sooner than new ones would" in words
