"""The simulator's HPA, written from Kubernetes' source, against the limiter that serves."""

import random
from typing import Literal

import pytest

from scaler.core import behavior
from scaler.core.behavior import History
from scaler.core.policy import Behavior
from scaler.core.policy.behavior import ScaleDownRules, ScaleUpRules, ScalingStep, SelectPolicy
from scaler.sim.hpa import Hpa, Metric

BLOCKS, PER_BLOCK, SYNCS = 100, 100, 40


def some_behavior(dice: random.Random) -> Behavior:
    def steps() -> tuple[ScalingStep, ...]:
        return tuple(
            ScalingStep(
                type=dice.choice(["Pods", "Percent"]),
                value=dice.choice([1, 2, 3, 10, 25, 50, 100, 150]),
                period_seconds=dice.choice([15, 30, 60, 90, 120, 600]),
            )
            for _ in range(dice.randint(1, 3))
        )

    select: list[SelectPolicy] = ["Max", "Max", "Min", "Disabled"]
    return Behavior(
        scale_up=ScaleUpRules(
            stabilization_window_seconds=dice.choice([0, 0, 30, 60]),
            select_policy=dice.choice(select),
            policies=steps(),
        ),
        scale_down=ScaleDownRules(
            stabilization_window_seconds=dice.choice([0, 60, 300]),
            select_policy=dice.choice(select),
            policies=steps(),
        ),
    )


@pytest.mark.parametrize("block", range(BLOCKS))
def test_ten_thousand_random_sequences_take_the_same_steps(block: int) -> None:
    dice = random.Random(block)
    for _ in range(PER_BLOCK):
        rules, low, high = some_behavior(dice), dice.randint(1, 3), dice.randint(5, 60)
        hpa, history = Hpa(rules, low, high), History()
        ours = theirs = dice.randint(low, high)
        now = 0.0
        for _ in range(SYNCS):
            now += dice.choice([15, 15, 15, 30, 1])
            wanted = dice.choice([low, high, dice.randint(0, high + 20)])
            theirs = hpa.normalise(theirs, wanted, now)
            step = behavior.limit(
                history, rules, current=ours, recommendation=wanted, bounds=(low, high), now=now
            )
            history = behavior.recommend(history, rules, wanted, now)
            history = behavior.record(history, rules, ours, step.desired, now)
            ours = step.desired
            assert ours == theirs


@pytest.mark.parametrize(
    ("policies", "start", "expected"),
    [
        ([("Pods", 3, 60), ("Percent", 100, 120)], 1, {0: 4, 60: 7, 120: 10, 180: 14, 240: 20, 300: 28}),
        ([("Pods", 2, 120), ("Percent", 100, 120)], 1, {0: 3, 120: 6, 240: 12, 360: 24}),
        ([("Pods", 2, 90), ("Percent", 100, 120)], 1, {0: 3, 90: 5, 120: 6, 180: 7, 210: 10}),
    ],
)
def test_the_steps_up_are_those_of_kubernetes(
    policies: list[tuple[Literal["Pods", "Percent"], int, int]], start: int, expected: dict[int, int]
) -> None:
    steps = tuple(
        ScalingStep(type=kind, value=value, period_seconds=period) for kind, value, period in policies
    )
    hpa, replicas = Hpa(Behavior(scale_up=ScaleUpRules(policies=steps)), 1, 50), start
    seen = {}
    for now in range(0, 361, 15):
        replicas = hpa.normalise(replicas, 50, float(now))
        seen[now] = replicas
    assert {now: seen[now] for now in expected} == expected


@pytest.mark.parametrize(
    ("status", "total", "expected"),
    [(20, 22, 20), (20, 23, 23), (20, 18, 20), (20, 17, 17), (9, 10, 10), (10, 11, 10), (10, 12, 12)],
)
def test_the_deadband_swallows_what_is_within_a_tenth_of_status_replicas(
    status: int, total: int, expected: int
) -> None:
    assert Hpa(Behavior(), 1, 50).proposal(Metric(float(total), 1.0), status) == expected


def test_without_a_deadband_the_hpa_lands_on_every_number() -> None:
    hpa = Hpa(Behavior(), 1, 100, tolerance=0.0)
    assert [hpa.proposal(Metric(float(n), 1.0), 20) for n in (18, 19, 20, 21, 22)] == [18, 19, 20, 21, 22]


def test_without_a_metric_nothing_moves_but_bounds_hold() -> None:
    hpa = Hpa(Behavior(), 2, 5)
    assert [hpa.sync(spec, spec, None, 0.0) for spec in (1, 3, 9)] == [2, 3, 5]


def test_starting_pods_count_as_idle_on_the_way_up() -> None:
    hpa = Hpa(Behavior(), 1, 9)
    # One pod at 150 % of its target asks for two; with the second one already starting nothing more.
    assert hpa.proposal(Metric(105.0, 70.0, measured=1), status=1) == 2
    assert hpa.proposal(Metric(105.0, 70.0, measured=1), status=2) == 2
