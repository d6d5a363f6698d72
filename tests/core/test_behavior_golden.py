"""The burst policies on a time line: the numbers that the HPA v2 controller gives at a 15 s sync."""

from typing import Any, Literal

import pytest

from scaler.core import behavior
from scaler.core.behavior import History
from scaler.core.policy import Behavior

SYNC = 15
Kind = Literal["Pods", "Percent"]


def rules(*steps: tuple[Kind, int, int], window: int = 0, select: str = "Max") -> dict[str, Any]:
    return {
        "stabilizationWindowSeconds": window,
        "selectPolicy": select,
        "policies": [
            {"type": kind, "value": value, "periodSeconds": period} for kind, value, period in steps
        ],
    }


def both(up: dict[str, Any] | None = None, down: dict[str, Any] | None = None) -> Behavior:
    import json

    blocks = {"scaleUp": up} if up else {}
    return Behavior.model_validate_json(json.dumps(blocks | ({"scaleDown": down} if down else {})))


def play(
    block: Behavior,
    *,
    start: int,
    recommendation: int,
    until: int,
    bounds: tuple[int, int] = (1, 1000),
    history: History | None = None,
) -> dict[int, int]:
    """Sync by sync; the time of each change and the replicas after it."""
    history = history or History()
    current, changes = start, {}
    for now in range(0, until + 1, SYNC):
        step = behavior.limit(
            history, block, current=current, recommendation=recommendation, bounds=bounds, now=now
        )
        history = behavior.recommend(history, block, recommendation, now)
        history = behavior.record(history, block, current, step.desired, now)
        if step.desired != current:
            changes[now] = step.desired
        current = step.desired
    return changes


IO_UP = rules(("Pods", 3, 60), ("Percent", 100, 120))
CPU_UP = rules(("Pods", 2, 120), ("Percent", 100, 120))
MIXED_UP = rules(("Pods", 2, 90), ("Percent", 100, 120))


def test_v1_io_from_1_adds_3_per_minute_until_doubling_is_faster() -> None:
    changes = play(both(IO_UP), start=1, recommendation=50, until=420, bounds=(1, 50))
    assert changes == {0: 4, 60: 7, 120: 10, 180: 14, 240: 20, 300: 28, 360: 40, 420: 50}


def test_v2_io_from_4() -> None:
    changes = play(both(IO_UP), start=4, recommendation=1000, until=240)
    assert changes == {0: 8, 60: 11, 120: 16, 180: 22, 240: 32}


def test_v3_io_from_8() -> None:
    changes = play(both(IO_UP), start=8, recommendation=1000, until=240)
    assert changes == {0: 16, 60: 19, 120: 32, 180: 38, 240: 64}


def test_v4_cpu_from_1() -> None:
    changes = play(both(CPU_UP), start=1, recommendation=50, until=360)
    assert changes == {0: 3, 120: 6, 240: 12, 360: 24}


def test_v5_mixed_from_1() -> None:
    changes = play(both(MIXED_UP), start=1, recommendation=50, until=330)
    assert changes == {0: 3, 90: 5, 120: 6, 180: 7, 210: 10, 240: 12, 300: 14, 330: 20}


def test_v6_down_waits_15_minutes_then_takes_1_per_10_minutes() -> None:
    block = both(down=rules(("Pods", 1, 600), window=900))
    loaded = behavior.recommend(History(), block, 5, now=0)
    changes = play(block, start=5, recommendation=1, until=3600, history=loaded)
    assert changes == {900: 4, 1500: 3, 2100: 2, 2700: 1}


def test_v7_removed_pods_are_given_back_to_the_budget() -> None:
    removed = History(removed=((-30.0, 1),))
    block = both(IO_UP)
    step = behavior.limit(removed, block, current=4, recommendation=50, bounds=(1, 50), now=0)
    assert step.desired == 10  # Pods: 4 + 1 + 3 = 8; Percent: ceil(5 x 2) = 10


def test_v8_min_policy_takes_the_smaller_change() -> None:
    changes = play(
        both(rules(("Pods", 3, 60), ("Percent", 100, 120), select="Min")),
        start=1,
        recommendation=50,
        until=240,
    )
    assert changes == {0: 2, 120: 4, 240: 7}


def test_v9_disabled_stays_where_it_is() -> None:
    block = both(
        rules(("Pods", 3, 60), select="Disabled"), rules(("Pods", 1, 60), window=0, select="Disabled")
    )
    assert play(block, start=3, recommendation=50, until=240) == {}
    assert play(block, start=3, recommendation=1, until=240) == {}


@pytest.mark.parametrize(("current", "bounds", "expected"), [(9, (1, 5), 5), (1, (3, 5), 3), (0, (2, 5), 2)])
def test_v10_outside_min_and_max_is_clamped_at_once(
    current: int, bounds: tuple[int, int], expected: int
) -> None:
    """The controller clamps before it looks at metrics or behavior, and counts the step as an event."""
    block = both(IO_UP, rules(("Pods", 1, 600), window=900))
    loaded = behavior.recommend(History(), block, 9, now=-1)
    step = behavior.limit(loaded, block, current=current, recommendation=9, bounds=bounds, now=0)
    assert step.desired == expected


def test_an_event_counts_until_its_period_is_over_and_not_at_its_end() -> None:
    block = both(rules(("Pods", 3, 60)))
    history = behavior.record(History(), block, 1, 4, now=1000)
    at = {
        now: behavior.limit(history, block, current=4, recommendation=50, bounds=(1, 50), now=now).desired
        for now in (1059, 1059.5, 1060)
    }
    assert at == {1059: 4, 1059.5: 4, 1060: 7}


def test_percent_down_truncates_and_percent_up_rounds_up() -> None:
    block = both(rules(("Percent", 10, 60)), rules(("Percent", 50, 60), window=0))
    assert play(block, start=3, recommendation=50, until=0) == {0: 4}
    assert play(block, start=5, recommendation=1, until=0) == {0: 2}


def test_without_a_block_the_hpa_defaults_hold() -> None:
    assert play(Behavior(), start=1, recommendation=50, until=60, bounds=(1, 20)) == {0: 5, 15: 10, 30: 20}
    loaded = behavior.recommend(History(), Behavior(), 10, now=0)
    assert play(Behavior(), start=10, recommendation=2, until=600, history=loaded) == {300: 2}


def test_the_next_step_is_foretold() -> None:
    block = both(IO_UP)
    history = behavior.record(behavior.recommend(History(), block, 8, 0), block, 1, 4, now=0)
    at = behavior.next_step_at(history, block, current=4, recommendation=8, bounds=(1, 5), now=0)
    assert at == 60
    done = behavior.next_step_at(history, block, current=5, recommendation=8, bounds=(1, 5), now=0)
    assert done is None


def test_the_deadband_keeps_small_moves_away_only_when_asked_to() -> None:
    tolerant = both(IO_UP | {"tolerance": "0.1"}, rules(("Pods", 1, 60), window=0) | {"tolerance": "100m"})
    assert [behavior.settle(tolerant, 20, wanted) for wanted in (17, 18, 21, 22, 23)] == [17, 20, 20, 20, 23]
    assert behavior.settle(both(IO_UP), 20, 21) == 21
    assert behavior.settle(tolerant, 0, 1) == 1
