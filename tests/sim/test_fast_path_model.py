"""The fast path beside an HPA, played with every delay there is: they never fight.

A model in steps of 50 ms. Decisions jump at random. The HPA (the model of `scaler.sim.hpa`) reads the
scale, asks KEDA, and writes with the version that it read, each of it some time later; it is answered by
the decider or by a follower that is up to a second behind. The fast path sees the replicas through a watch
that lags, reads the scale itself before it writes, and writes with the version too.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from scaler.core import fast_path
from scaler.core.decision import Decision
from scaler.core.fast_path import Watch
from scaler.core.workload import Autoscaler, Condition, KedaObject, Workload
from scaler.sim.controllers import WIDE_OPEN
from scaler.sim.hpa import SYNC_SECONDS, Hpa, Metric

STEP = 0.05
MOST = 12
FOLLOWING = 1.0


def decision(desired: int, now: float) -> Decision:
    return Decision(
        policy="p",
        worker_class="io",
        decided_at=now,
        desired=desired,
        previous=desired,
        recommendation=desired,
        active=True,
        active_because="",
        quality="fresh",
        quality_reasons=(),
        terms=(),
        winner="drain",
        limit="none",
        limit_detail="",
        next_step_at=None,
        sampled_at=now,
    )


@dataclass
class Deployment:
    """spec.replicas with its version, and who wrote what when."""

    replicas: int
    version: int = 0
    writes: list[tuple[float, int, str]] = field(default_factory=list)

    def write(self, replicas: int, version: int, now: float, who: str) -> bool:
        if version != self.version:
            return False
        if replicas != self.replicas:
            self.replicas, self.version = replicas, version + 1
            self.writes.append((now, replicas, who))
        return True

    def at(self, now: float) -> int:
        """As it was then."""
        return [replicas for at, replicas, _ in self.writes if at <= now][-1]


class Model:
    """Everything on one time line; actions wait in `later`."""

    def __init__(
        self, worker: Any, dice: random.Random, wanted: Callable[[float], int], settle: float = FOLLOWING
    ) -> None:
        self.worker, self.dice, self.wanted, self.settle = worker, dice, wanted, settle
        self.now = 1000.0
        first = wanted(self.now)
        self.deployment = Deployment(first, writes=[(0.0, first, "start")])
        self.hpa = Hpa(WIDE_OPEN, 1, MOST, tolerance=0.0)
        self.watch, self.lag = Watch(), dice.uniform(0.0, 2.0)
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.decided: list[tuple[float, int]] = []
        self.stated = [(0.0, first)]
        self.busy = False
        self.behind: list[float] = []
        self.latencies: list[float] = []

    def after(self, least: float, most: float, action: Callable[[], None]) -> None:
        """The bounds are as likely as all between them: what goes wrong does so there."""
        delay = self.dice.choice([least, self.dice.uniform(least, most), most])
        self.later.append((self.now + delay, action))

    def play(self, seconds: float) -> None:
        self.tick()
        self.later.append((self.now + self.dice.uniform(0.0, SYNC_SECONDS), self.sync))
        self.after(0.0, 0.25, self.look)
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            due = [action for at, action in self.later if at <= self.now]
            self.later = [(at, action) for at, action in self.later if at > self.now]
            for action in due:
                action()

    def tick(self) -> None:
        self.decided.append((self.now, self.wanted(self.now)))
        self.after(0.25, 1.0, self.tick)

    def answer(self) -> int:
        """Of the decider, or of a follower that is up to a second behind."""
        asked = self.now - self.dice.choice(self.behind or [0.0, self.dice.uniform(0.0, FOLLOWING)])
        return [desired for at, desired in self.decided if at <= max(asked, self.decided[0][0])][-1]

    def sync(self) -> None:
        replicas, version = self.deployment.replicas, self.deployment.version

        def ask() -> None:
            metric = Metric(float(self.answer()), 1.0)

            def write() -> None:
                # Reading, computing and writing are one look of the HPA's; its status comes after the write.
                wanted = self.hpa.sync(replicas, replicas, metric, self.now)
                if self.deployment.write(wanted, version, self.now, "hpa"):
                    self.after(0.0, 0.5, lambda: self.stated.append((self.now, wanted)))
                self.after(SYNC_SECONDS, SYNC_SECONDS, self.sync)

            self.after(0.0, 1.0, write)

        self.after(0.0, 1.0, ask)

    def workload(self) -> Workload:
        return Workload(
            replicas=self.deployment.at(self.now - self.lag),
            scaled_object=KedaObject("io", max=MOST, conditions=(Condition("Ready", "True"),)),
            autoscaler=Autoscaler("hpa", 1, MOST, 1, self.stated[-1][1], tolerance=0.0),
        )

    def look(self) -> None:
        at, desired = self.decided[-1]
        workload = self.workload()
        self.watch = fast_path.told(self.watch, decision(desired, at), self.now)
        assert workload.replicas is not None
        self.watch = fast_path.saw(self.watch, workload.replicas, workload, self.now, late=True)
        if not self.busy and self.verdict() is not None:
            self.busy = True
            self.after(0.0, 0.5, self.judge_again)
        self.after(0.2, 0.3, self.look)

    def verdict(self) -> int | None:
        at, desired = self.decided[-1]
        return fast_path.judge(
            self.watch, self.worker, decision(desired, at), self.workload(), self.now, settle=self.settle
        ).replicas

    def judge_again(self) -> None:
        read, version = self.deployment.replicas, self.deployment.version
        self.watch = fast_path.saw(self.watch, read, self.workload(), self.now)
        replicas = self.verdict()

        def write() -> None:
            self.busy = False
            if replicas is not None and self.deployment.write(replicas, version, self.now, "fast path"):
                self.watch = fast_path.wrote(self.watch, replicas, self.now)
                self.latencies.append(self.now - self.watch.told[-1][0])

        self.after(0.0, 0.5, write)


def seesaws(writes: list[tuple[float, int, str]], within: float) -> list[tuple[float, float]]:
    """(first rise, next rise) around a fall, so close to each other."""
    moves = [
        (later[0], later[1] - earlier[1]) for earlier, later in pairwise(writes) if later[1] != earlier[1]
    ]
    found = []
    for number, (at, change) in enumerate(moves):
        rest = moves[number + 1 :]
        fall = next((index for index, (_, step) in enumerate(rest) if step < 0), None)
        if change <= 0 or fall is None:
            continue
        again = next((when for when, step in rest[fall:] if step > 0), None)
        if again is not None and again - at <= within:
            found.append((at, again))
    return found


def jumping(dice: random.Random) -> Callable[[float], int]:
    """Replicas that jump up and down at random, now and then and sometimes wildly."""
    pause = dice.choice([1.0, 4.0, 12.0, 40.0])
    at, steps = 1000.0, [(0.0, dice.randint(1, MOST))]
    while at < 1400.0:
        at += dice.expovariate(1 / pause)
        steps.append((at, dice.randint(1, MOST)))
    return lambda now: [value for begun, value in steps if begun <= now][-1]


def climbing(dice: random.Random) -> Callable[[float], int]:
    """Replicas that only grow."""
    times = sorted(dice.uniform(1005.0, 1380.0) for _ in range(MOST - 1))
    return lambda now: 1 + sum(begun <= now for begun in times)


@pytest.mark.parametrize("seed", range(40))
def test_no_rise_fall_rise_within_one_period(seed: int, make_class: Any) -> None:
    dice = random.Random(seed)
    worker = make_class(replicas={"min": 1, "max": MOST}).worker
    model = Model(worker, dice, jumping(dice))
    model.play(380.0)
    assert seesaws(model.deployment.writes, SYNC_SECONDS) == []
    assert all(
        later[1] > earlier[1] for earlier, later in pairwise(model.deployment.writes) if later[2] != "hpa"
    ), "it only raises"


@pytest.mark.parametrize("seed", range(15))
def test_what_was_raised_stays_while_the_load_grows(seed: int, make_class: Any) -> None:
    dice = random.Random(seed)
    worker = make_class(replicas={"min": 1, "max": MOST}).worker
    model = Model(worker, dice, climbing(dice))
    model.play(420.0)
    values = [replicas for _, replicas, _ in model.deployment.writes]
    assert values == sorted(values), "no answer of a follower takes a pod back"
    assert values[-1] == MOST
    assert model.latencies
    # A second to settle, a look every quarter, three requests of half a second; once more after a conflict.
    assert sorted(model.latencies)[len(model.latencies) // 2] <= 2.5
    assert max(model.latencies) <= 5.0


def test_the_model_would_show_a_fight(make_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "CALM_SECONDS", 0.0)
    worker = make_class(replicas={"min": 1, "max": MOST}).worker
    found = []
    for seed in range(20):
        dice = random.Random(seed)
        model = Model(worker, dice, jumping(dice))
        model.play(380.0)
        found += seesaws(model.deployment.writes, SYNC_SECONDS)
    assert found, "without the calm after a fall"


def test_the_model_would_show_an_answer_from_before(make_class: Any) -> None:
    worker = make_class(replicas={"min": 1, "max": MOST}).worker
    for seed in range(100):
        dice = random.Random(seed)
        model = Model(worker, dice, climbing(dice), settle=0.0)
        model.behind = [FOLLOWING]
        model.play(420.0)
        values = [replicas for _, replicas, _ in model.deployment.writes]
        if values != sorted(values):
            return
    pytest.fail("without settling, a follower's older answer takes pods back")
