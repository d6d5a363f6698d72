"""Comparing what was decided from with what was true, sample by sample."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.accuracy.truth import Truth
from scaler.core.decision import Decision

#: A message on its way between broker, worker and note is in neither or in both for this long.
TRAVEL_SECONDS = 0.25


@dataclass(frozen=True)
class Shares:
    """Shares of the samples, 0 to 1."""

    samples: int
    #: The truth was inside the stated interval.
    inside: float
    #: The best single number was within the truth of one tick before and after.
    near: float
    #: Mean width of the interval.
    width: float


def compare(decisions: Iterable[Decision], truth: Truth, kind: str, tick: float) -> Shares:
    """How often `kind` ("running" or "waiting") was right; samples that tell nothing count as wrong."""
    inside = near = width = 0.0
    samples = 0
    for decision in decisions:
        if decision.sampled_at is None:
            continue
        samples += 1
        interval = decision.running if kind == "running" else decision.backlog
        if interval is None:
            continue
        low, high = truth.around(kind, decision.sampled_at, TRAVEL_SECONDS)
        inside += interval[0] <= high and low <= interval[1]
        width += interval[1] - interval[0]
        if decision.likely is not None:
            low, high = truth.around(kind, decision.sampled_at, tick + TRAVEL_SECONDS)
            near += low - 0.5 <= decision.likely[0 if kind == "running" else 1] <= high + 0.5
    count = max(1, samples)
    return Shares(samples, inside / count, near / count, width / count)


@dataclass(frozen=True)
class Errors:
    """Errors of the head-of-line wait, in seconds, over the samples with a task waiting."""

    samples: int
    median: float
    p99: float
    #: Share of the samples whose stated bounds contain the truth.
    inside: float


def wait_errors(decisions: Iterable[Decision], truth: Truth) -> Errors:
    """The middle of the stated wait against the age of the oldest task that waits."""
    errors: list[float] = []
    inside = 0
    for decision in decisions:
        if decision.sampled_at is None or not decision.ready:
            continue
        oldest = truth.oldest_wait(decision.sampled_at)
        if oldest is None:
            continue
        if decision.wait is None:
            errors.append(math.inf)
            continue
        least, most = decision.wait
        middle = least if most is None else (least + most) / 2
        errors.append(abs(middle - oldest))
        bound = math.inf if most is None else most
        inside += least - TRAVEL_SECONDS <= oldest <= bound + TRAVEL_SECONDS
    errors.sort()
    count = max(1, len(errors))
    return Errors(len(errors), _quantile(errors, 0.5), _quantile(errors, 0.99), inside / count)


def _quantile(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
