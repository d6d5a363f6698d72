"""The HPA v2 behavior algorithm: stabilise, rate-limit, clamp; the same numbers as the controller's.

Source: kube-controller-manager v1.36, pkg/controller/podautoscaler/horizontal.go
(stabilizeRecommendationWithBehaviors, convertDesiredReplicasWithBehaviorRate,
calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors) and, for the
tolerance, replica_calculator.go. Two things differ on purpose:

- History survives restarts: the controller keeps it in memory and forgets it.
- No scale event is forgotten while any policy period of either direction still covers it. The
  controller may overwrite an event once it is older than the longest period of its own
  direction, although the other direction still counts it.

Recommendations are kept as monotonic queues (only those that can still become the minimum or
maximum of their window), so that a 15 min window at one tick a second holds a few entries,
not 900; the extremes are the same as over the full list.
"""

import math
from dataclasses import dataclass, replace

from scaler.core.decision import Bound
from scaler.core.policy.behavior import Behavior, Direction, ScalingRules

#: (seconds since the epoch, replicas)
Stamp = tuple[float, int]


@dataclass(frozen=True, slots=True)
class History:
    """What the limiter remembers. All tuples are oldest first."""

    #: Recommendations that may yet be the smallest of the scale-up window (increasing values).
    lows: tuple[Stamp, ...] = ()
    #: Recommendations that may yet be the largest of the scale-down window (decreasing values).
    highs: tuple[Stamp, ...] = ()
    #: Replicas added and removed, with the time of each event.
    added: tuple[Stamp, ...] = ()
    removed: tuple[Stamp, ...] = ()


#: Steps are remembered so long at least, by whoever asks which pods are still starting: a longer start
#: than this isn't waited for. `scale_limit` looks at each policy's own period only.
REMEMBERED_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Step:
    """What the limiter allows now, what held it back, and in words by how much."""

    desired: int
    limit: Bound
    detail: str


def recommend(history: History, behavior: Behavior, recommendation: int, now: float) -> History:
    """The history with one more (unstabilised, unlimited) recommendation."""
    lows = tuple(stamp for stamp in history.lows if stamp[1] < recommendation)
    highs = tuple(stamp for stamp in history.highs if stamp[1] > recommendation)
    up_cutoff = now - behavior.scale_up.stabilization_window_seconds
    down_cutoff = now - behavior.scale_down.stabilization_window_seconds
    return replace(
        history,
        lows=(*_after(lows, up_cutoff), (now, recommendation)),
        highs=(*_after(highs, down_cutoff), (now, recommendation)),
    )


def record(history: History, behavior: Behavior, current: int, desired: int, now: float) -> History:
    """The history after the replicas moved from `current` to `desired`."""
    periods = [
        step.period_seconds for rules in (behavior.scale_up, behavior.scale_down) for step in rules.policies
    ]
    cutoff = now - max(REMEMBERED_SECONDS, *periods)
    added, removed = _after(history.added, cutoff), _after(history.removed, cutoff)
    if desired > current:
        added = (*added, (now, desired - current))
    elif desired < current:
        removed = (*removed, (now, current - desired))
    return replace(history, added=added, removed=removed)


def settle(behavior: Behavior, current: int, recommendation: int) -> int:
    """The recommendation, or `current` where the difference is within the tolerance (the HPA's deadband)."""
    if current == 0:
        return recommendation
    ratio = recommendation / current
    if 1 - behavior.scale_down.tolerance <= ratio <= 1 + behavior.scale_up.tolerance:
        return current
    return recommendation


def limit(
    history: History,
    behavior: Behavior,
    *,
    current: int,
    recommendation: int,
    bounds: tuple[int, int],
    now: float,
) -> Step:
    """The replicas that the behavior allows at `now`, and what binds.

    Args:
        history: must not yet hold `recommendation` of this moment (it is considered anyway).
        behavior: both directions' rules.
        current: replicas before this step, ≥ 0.
        recommendation: what the load needs.
        bounds: (min, max); a current value outside of them is clamped at once, as the
            controller does it, without asking the policies.
        now: seconds since the epoch.
    """
    low, high = bounds
    if current > high:
        return Step(high, "max", f"{current} replicas are above max {high}: clamped at once")
    if current < low:
        return Step(low, "min", f"{current} replicas are below min {low}: clamped at once")

    stabilized = _stabilize(history, behavior, current, recommendation, now)
    if stabilized > current:
        step = _up(history, behavior.scale_up, current, wanted=stabilized, high=high, now=now)
    elif stabilized < current:
        step = _down(history, behavior.scale_down, current, wanted=stabilized, low=low, now=now)
    else:
        step = Step(current, "none", "")
    if step.limit == "none" and step.desired != recommendation:
        return _held_by_window(history, behavior, step.desired, recommendation, now)
    return step


def next_step_at(
    history: History,
    behavior: Behavior,
    *,
    current: int,
    recommendation: int,
    bounds: tuple[int, int],
    now: float,
) -> float | None:
    """The first moment after `now` at which `limit` would leave `current`, all else unchanged.

    None: never, because the recommendation is reached or a bound or a disabled direction holds.
    Only moments at which a remembered stamp leaves a window or a period can matter.
    """
    candidates = {now}
    for stamps, window in (
        (history.lows, behavior.scale_up.stabilization_window_seconds),
        (history.highs, behavior.scale_down.stabilization_window_seconds),
    ):
        candidates |= {at + window for at, _ in stamps}
    for rules in (behavior.scale_up, behavior.scale_down):
        for policy in rules.policies:
            candidates |= {at + policy.period_seconds for at, _ in (*history.added, *history.removed)}
    for at in sorted(candidates):
        if at < now:
            continue
        step = limit(history, behavior, current=current, recommendation=recommendation, bounds=bounds, now=at)
        if step.desired != current:
            return at
    return None


def scale_limit(history: History, rules: ScalingRules, direction: Direction, current: int, now: float) -> int:
    """The farthest replica count that the policies of one direction allow at `now`."""
    if rules.select_policy == "Disabled":
        return current
    proposals = []
    for step in rules.policies:
        cutoff = now - step.period_seconds
        start = current - _sum_after(history.added, cutoff) + _sum_after(history.removed, cutoff)
        if direction == "up":
            change = start + step.value if step.type == "Pods" else math.ceil(start * (1 + step.value / 100))
        else:
            change = start - step.value if step.type == "Pods" else int(start * (1 - step.value / 100))
        proposals.append(change)
    farthest = max if (direction == "up") == (rules.select_policy == "Max") else min
    chosen = farthest(proposals)
    return max(chosen, current) if direction == "up" else min(chosen, current)


def _stabilize(history: History, behavior: Behavior, current: int, recommendation: int, now: float) -> int:
    up_cutoff = now - behavior.scale_up.stabilization_window_seconds
    down_cutoff = now - behavior.scale_down.stabilization_window_seconds
    lowest = min([recommendation, *(value for _, value in _after(history.lows, up_cutoff))])
    highest = max([recommendation, *(value for _, value in _after(history.highs, down_cutoff))])
    return min(max(current, lowest), highest)


def _up(history: History, rules: ScalingRules, current: int, *, wanted: int, high: int, now: float) -> Step:
    allowed = scale_limit(history, rules, "up", current, now)
    if wanted > min(high, allowed):
        if high <= allowed:
            return Step(high, "max", f"{wanted} wanted, max is {high}")
        return Step(allowed, "scale-up-policy", f"{wanted} wanted, {_words(rules)} allows {allowed} now")
    return Step(wanted, "none", "")


def _down(history: History, rules: ScalingRules, current: int, *, wanted: int, low: int, now: float) -> Step:
    allowed = scale_limit(history, rules, "down", current, now)
    if wanted < max(low, allowed):
        if low >= allowed:
            return Step(low, "min", f"{wanted} wanted, min is {low}")
        return Step(allowed, "scale-down-policy", f"{wanted} wanted, {_words(rules)} allows {allowed} now")
    return Step(wanted, "none", "")


def _held_by_window(
    history: History, behavior: Behavior, desired: int, recommendation: int, now: float
) -> Step:
    if recommendation > desired:
        window = behavior.scale_up.stabilization_window_seconds
        lowest = min((value for _, value in _after(history.lows, now - window)), default=desired)
        return Step(desired, "scale-up-window", f"{lowest} was enough within the last {window} s")
    window = behavior.scale_down.stabilization_window_seconds
    highest = max((value for _, value in _after(history.highs, now - window)), default=desired)
    return Step(desired, "scale-down-window", f"{highest} was needed within the last {window} s")


def _words(rules: ScalingRules) -> str:
    if rules.select_policy == "Disabled":
        return "selectPolicy Disabled"
    steps = ", ".join(str(step) for step in rules.policies)
    return f"{rules.select_policy} of ({steps})" if len(rules.policies) > 1 else steps


def _after(stamps: tuple[Stamp, ...], cutoff: float) -> tuple[Stamp, ...]:
    """Strictly after: an event exactly one period old no longer counts."""
    return tuple(stamp for stamp in stamps if stamp[0] > cutoff)


def _sum_after(stamps: tuple[Stamp, ...], cutoff: float) -> int:
    return sum(count for at, count in stamps if at > cutoff)
