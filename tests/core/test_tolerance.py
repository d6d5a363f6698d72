"""Every step that is decided behind a deadband is one that the HPA makes."""

import math

import pytest

from scaler.core.tolerance import land


def hpa(current: int, value: int, tolerance: float = 0.1) -> int:
    """What the HPA makes of a total `value` with a target of 1 per pod (replica_calculator.go)."""
    ratio = value / current
    return current if 1 - tolerance <= ratio <= 1 + tolerance else math.ceil(value)


def test_without_a_tolerance_every_step_lands() -> None:
    assert land(0.0, current=40, desired=41, allowed=99).replicas == 41


def test_one_more_than_twenty_becomes_three_more() -> None:
    landing = land(0.1, current=20, desired=21, allowed=40)
    assert (landing.replicas, landing.held) == (23, False)
    assert "21 widened to 23" in landing.why


def test_what_the_burst_policy_does_not_allow_is_held_and_says_what_to_do() -> None:
    landing = land(0.1, current=40, desired=43, allowed=43)
    assert (landing.replicas, landing.held) == (40, True)
    assert "held by the HPA's deadband" in landing.why
    assert "tolerance to 0" in landing.why


def test_down_is_never_widened() -> None:
    landing = land(0.1, current=20, desired=19, allowed=40)
    assert (landing.replicas, landing.held) == (20, True)


@pytest.mark.parametrize("current", range(1, 120))
def test_whatever_is_decided_the_hpa_does(current: int) -> None:
    for desired in range(max(1, current - 15), current + 16):
        landing = land(0.1, current=current, desired=desired, allowed=current + 15)
        assert hpa(current, landing.replicas) == landing.replicas
        if not landing.held:
            assert (landing.replicas - current) * (desired - current) >= 0


def test_from_zero_anything_lands() -> None:
    assert land(0.1, current=0, desired=1, allowed=1).replicas == 1
