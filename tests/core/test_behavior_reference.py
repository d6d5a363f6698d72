"""The limiter against a second, naive writing of the HPA's algorithm that keeps every stamp for ever."""

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from scaler.core import behavior
from scaler.core.behavior import History
from scaler.core.policy import Behavior, ScalingRules


@dataclass
class NaiveHpa:
    """Lists that only grow, one pass per question, straight from the description of the algorithm."""

    behavior: Behavior
    low: int
    high: int
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    events: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, current: int, wanted: int, now: float) -> int:
        desired = self.normalise(current, wanted, now)
        self.recommendations.append((now, wanted))
        if desired != current:
            self.events.append((now, desired - current))
        return desired

    def normalise(self, current: int, wanted: int, now: float) -> int:
        if current > self.high:
            return self.high
        if current < self.low:
            return self.low
        up, down = self.behavior.scale_up, self.behavior.scale_down
        lower = upper = wanted
        for at, value in self.recommendations:
            if at > now - up.stabilization_window_seconds:
                lower = min(lower, value)
            if at > now - down.stabilization_window_seconds:
                upper = max(upper, value)
        target = min(max(current, lower), upper)
        if target > current:
            return min(target, self.high, max(current, self.reach(up, current, now, +1)))
        if target < current:
            return max(target, self.low, min(current, self.reach(down, current, now, -1)))
        return current

    def reach(self, rules: ScalingRules, current: int, now: float, sign: int) -> int:
        if rules.select_policy == "Disabled":
            return current
        found = []
        for policy in rules.policies:
            start = current - sum(change for at, change in self.events if at > now - policy.period_seconds)
            if policy.type == "Pods":
                found.append(start + sign * policy.value)
            elif sign > 0:
                found.append(math.ceil(start * (1 + policy.value / 100)))
            else:
                found.append(math.trunc(start * (1 - policy.value / 100)))
        largest_change = max(found, key=lambda n: sign * n)
        smallest_change = min(found, key=lambda n: sign * n)
        return largest_change if rules.select_policy == "Max" else smallest_change


steps = st.builds(
    lambda kind, value, period: {"type": kind, "value": value, "periodSeconds": period},
    st.sampled_from(["Pods", "Percent"]),
    st.integers(1, 150),
    st.sampled_from([1, 15, 30, 60, 90, 120, 600, 1800]),
)
sides = st.builds(
    lambda window, select, policies: {
        "stabilizationWindowSeconds": window,
        "selectPolicy": select,
        "policies": policies,
    },
    st.sampled_from([0, 0, 15, 60, 300, 900, 3600]),
    st.sampled_from(["Max", "Max", "Min", "Disabled"]),
    st.lists(steps, min_size=1, max_size=3),
)


@st.composite
def behaviors(draw: st.DrawFn) -> Behavior:
    import json

    return Behavior.model_validate_json(json.dumps({"scaleUp": draw(sides), "scaleDown": draw(sides)}))


@given(
    block=behaviors(),
    start=st.integers(0, 60),
    low=st.integers(0, 5),
    extra=st.integers(1, 100),
    ticks=st.lists(
        st.tuples(st.sampled_from([0, 1, 1, 5, 15, 15, 60, 300, 900]), st.integers(0, 120)),
        min_size=1,
        max_size=60,
    ),
)
def test_every_sequence_gives_the_replicas_of_the_reference(
    block: Behavior, start: int, low: int, extra: int, ticks: list[tuple[int, int]]
) -> None:
    reference = NaiveHpa(block, low, low + extra)
    history, now, current = History(), 1000.0, start
    for wait, wanted in ticks:
        now += wait
        step = behavior.limit(
            history, block, current=current, recommendation=wanted, bounds=(low, low + extra), now=now
        )
        assert step.desired == reference.sync(current, wanted, now)
        history = behavior.recommend(history, block, wanted, now)
        history = behavior.record(history, block, current, step.desired, now)
        current = step.desired


@given(
    block=behaviors(), start=st.integers(1, 60), wanted=st.lists(st.integers(0, 120), min_size=1, max_size=40)
)
def test_the_foretold_next_step_is_the_step_that_comes(
    block: Behavior, start: int, wanted: list[int]
) -> None:
    """Played second by second with the recommendation unchanged, nothing moves before the foretold moment."""
    history, current, now = History(), start, 0.0
    bounds = (1, 200)
    for value in wanted:
        now += 15
        step = behavior.limit(history, block, current=current, recommendation=value, bounds=bounds, now=now)
        history = behavior.recommend(history, block, value, now)
        history = behavior.record(history, block, current, step.desired, now)
        current = step.desired
    foretold = behavior.next_step_at(
        history, block, current=current, recommendation=wanted[-1], bounds=bounds, now=now
    )
    horizon = int(foretold - now) if foretold is not None else 5400
    moved_at = None
    for second in range(horizon + 1):
        step = behavior.limit(
            history, block, current=current, recommendation=wanted[-1], bounds=bounds, now=now + second
        )
        if step.desired != current:
            moved_at = now + second
            break
    assert moved_at == foretold
