"""The tasks of a trace, drawn beforehand: when each is published, how long it runs, what becomes of it.

Nothing is drawn while the simulation runs, so the tasks depend on the trace and its seed alone and
every controller meets the same ones, whatever it does.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from scaler.sim.trace import MOST_TASKS, Arrival, Failures, ServiceTime, TraceSpec

#: What producers held back during an outage of the broker is published within this many seconds after it.
FLUSH_SECONDS = 5.0
#: An attempt in front of an open circuit breaker occupies its slot for so long (seconds).
REFUSED_SECONDS = 0.05


class TraceTooLargeError(ValueError):
    """A trace has more tasks than can be simulated; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """All tasks in the order of their publication; seconds from the trace's start."""

    published: list[float]
    #: How long each occupies its slot.
    service: list[float]
    #: Countdown of each, or None where no task has one.
    countdown: list[float] | None
    #: Priority of each, or None where all are the same.
    priority: list[int] | None
    failures: Failures | None
    seed: int

    def fails(self, task: int, attempt: int, at: float) -> bool:
        """Whether this attempt (0, 1, …) that ends at `at` fails; the same for every controller."""
        rules = self.failures
        if rules is None or not rules.at <= at < rules.at + rules.duration:
            return False
        return self.refused(at) or _dice(self.seed, f"{task}:{attempt}").random() < rules.share

    def refused(self, at: float) -> bool:
        """Whether the circuit breaker is open at `at`."""
        rules = self.failures
        if rules is None or rules.breaker_after is None:
            return False
        return rules.at + rules.breaker_after <= at < rules.at + rules.duration

    def backoff(self, attempt: int) -> float | None:
        """Seconds until the next attempt after `attempt` failed; None: no more attempts."""
        rules = self.failures
        if rules is None or attempt >= rules.retries:
            return None
        return float(rules.backoff * 2**attempt)


@dataclass(slots=True)
class _Draft:
    at: float
    countdown: float = 0.0
    seconds: float | None = None
    order: int = field(default=0)


def draw(spec: TraceSpec, prior: float) -> Tasks:
    """The tasks of a trace.

    Args:
        spec: the trace.
        prior: mean service time in seconds where the trace has none.

    Raises:
        TraceTooLargeError: more than 5,000,000 tasks.
    """
    drafts = list(_drafts(spec))
    for number, draft in enumerate(drafts):
        draft.order = number
    _hold_back(spec, drafts)
    drafts.sort(key=lambda draft: (draft.at, draft.order))
    drafts = [draft for draft in drafts if draft.at < spec.duration]
    dice = _dice(spec.seed, "service")
    rules = spec.service_time or (ServiceTime.model_validate({"mean": f"{prior:.6f}s"}),)
    starts = [rule.at for rule in rules]
    service = [
        _lognormal(dice, rules[max(0, bisect_right(starts, draft.at) - 1)])
        if draft.seconds is None
        else draft.seconds
        for draft in drafts
    ]
    skew = _skews(spec, len(drafts))
    later = any(draft.countdown for draft in drafts)
    return Tasks(
        published=[draft.at for draft in drafts],
        service=service,
        countdown=[
            max(0.0, draft.countdown + shift) if draft.countdown else 0.0
            for draft, shift in zip(drafts, skew, strict=True)
        ]
        if later
        else None,
        priority=_priorities(spec, len(drafts)),
        failures=spec.failures,
        seed=spec.seed,
    )


def _drafts(spec: TraceSpec) -> Iterator[_Draft]:
    total = sum(arrival.burst or 0 for arrival in spec.arrivals) + sum(count for _, count in spec.recorded)
    total += int(sum(_mean(start, end, low, high) for start, end, low, high in _pieces(spec)))
    if total > MOST_TASKS:
        raise TraceTooLargeError(
            f"the trace has about {total:,} tasks, more than {MOST_TASKS:,};"
            " lower its rates or bursts, or shorten it"
        )
    dice = _dice(spec.seed, "arrivals")
    for start, end, low, high in _pieces(spec):
        yield from (_Draft(at) for at in _poisson(dice, start, end, low, high))
    for arrival in spec.arrivals:
        for number in range(arrival.burst or 0):
            at = arrival.at + arrival.over * number / (arrival.burst or 1)
            yield _Draft(at, countdown=arrival.countdown or 0.0)
    yield from _recorded(spec.recorded)
    if spec.poison is not None:
        for _ in range(spec.poison.count):
            yield _Draft(spec.poison.at, seconds=spec.poison.seconds)


def _recorded(rows: Sequence[tuple[float, int]]) -> Iterator[_Draft]:
    """Each row's tasks, evenly spread until the next row; the last row's as long as the one before."""
    for index, (at, count) in enumerate(rows):
        before = at - rows[index - 1][0] if index else 1.0
        span = rows[index + 1][0] - at if index + 1 < len(rows) else before
        for number in range(count):
            yield _Draft(at + span * number / count)


def _pieces(spec: TraceSpec) -> list[tuple[float, float, float, float]]:
    """(start, end, rate at the start, rate at the end), without gaps from the first rate on."""
    rates: list[Arrival] = [arrival for arrival in spec.arrivals if arrival.rate is not None]
    found = []
    for index, arrival in enumerate(rates):
        end = rates[index + 1].at if index + 1 < len(rates) else spec.duration
        low = arrival.rate or 0.0
        if arrival.to is None or arrival.until is None:
            found.append((arrival.at, end, low, low))
            continue
        found.append((arrival.at, arrival.until, low, arrival.to))
        if end > arrival.until:
            found.append((arrival.until, end, arrival.to, arrival.to))
    return found


def _mean(start: float, end: float, low: float, high: float) -> float:
    return (end - start) * (low + high) / 2


def _poisson(dice: Random, start: float, end: float, low: float, high: float) -> Iterator[float]:
    """Times of a Poisson process whose rate goes linearly from `low` to `high`: unit steps, stretched."""
    span, passed = end - start, 0.0
    total, slope = _mean(start, end, low, high), (high - low) / (end - start)
    while True:
        passed += dice.expovariate(1.0)
        if passed >= total:
            return
        if slope == 0:
            yield start + passed / low
        else:
            # passed = low·x + slope·x²/2
            root = math.sqrt(max(0.0, low * low + 2 * slope * passed))
            yield start + min(span, 2 * passed / (low + root))


def _hold_back(spec: TraceSpec, drafts: list[_Draft]) -> None:
    """Producers that can't publish keep their tasks, and publish them when the broker is back."""
    for outage in spec.faults:
        if outage.kind != "broker-down":
            continue
        end = outage.at + outage.duration
        held = sorted(
            (draft for draft in drafts if outage.at <= draft.at < end),
            key=lambda draft: (draft.at, draft.order),
        )
        for number, draft in enumerate(held):
            draft.at = end + FLUSH_SECONDS * number / len(held)


def _dice(seed: int, what: str) -> Random:
    return Random(f"{seed}:{what}")  # noqa: S311 - repeatable on purpose


def _lognormal(dice: Random, rule: ServiceTime) -> float:
    if rule.cv == 0:
        return rule.mean
    variance = math.log1p(rule.cv * rule.cv)
    return dice.lognormvariate(math.log(rule.mean) - variance / 2, math.sqrt(variance))


def _skews(spec: TraceSpec, count: int) -> list[float]:
    skew = spec.readings.clock_skew
    return [skew if number % 2 else -skew for number in range(count)]


def _priorities(spec: TraceSpec, count: int) -> list[int] | None:
    if not spec.priorities:
        return None
    dice = _dice(spec.seed, "priorities")
    levels = [share.priority for share in spec.priorities]
    weights = [share.share for share in spec.priorities]
    return dice.choices(levels, weights, k=count)
