"""Messages by the time at which they fall due, in steps: enough for a spike an hour ahead."""

import math
from collections.abc import Iterable, Mapping

from scaler.core.observation import Dues

#: Seconds of one step. A message counts at the end of its step, so never before it is due.
DUE_STEP = 10.0

#: Steps in one reading: an hour ahead where every step is taken. The last gathers what is due later still.
DUE_STEPS = 360


def due_step(eta: float) -> float:
    """The end of the step in which a moment lies (seconds since the epoch)."""
    return math.ceil(eta / DUE_STEP) * DUE_STEP


def gathered(etas: Iterable[float]) -> dict[float, int]:
    """Messages per step."""
    steps: dict[float, int] = {}
    for eta in etas:
        step = due_step(eta)
        steps[step] = steps.get(step, 0) + 1
    return steps


def as_dues(steps: Mapping[float, int]) -> Dues:
    """At most `DUE_STEPS` steps in the order of time; the last one holds all later messages too."""
    ordered = sorted((due, count) for due, count in steps.items() if count)
    if len(ordered) <= DUE_STEPS:
        return tuple(ordered)
    *kept, (last, count) = ordered[:DUE_STEPS]
    return (*kept, (last, count + sum(later for _, later in ordered[DUE_STEPS:])))
