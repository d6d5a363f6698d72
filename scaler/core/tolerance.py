"""Steps for an HPA with a deadband: it ignores what differs by 10 % or less from the replicas it has.

On Kubernetes 1.35 and newer the HPA's tolerance can be set to 0 and it lands on every number. Where
it can't (`hpaTolerance: 0.1`), from 10 pods on a step of one pod up is not carried out, and from 11
on not one down: a decision that says 21 would leave 20 pods for ever, and the books wouldn't agree.
So a step up is widened until the HPA moves, as far as the burst policy allows; what can't be
widened isn't decided, and the decision says that the deadband holds it. Down nothing is widened: it
would take more pods than the load allows.
"""

import math
from dataclasses import dataclass

#: 20 × 1.1 isn't 22 in binary.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Landing:
    """Replicas that the HPA will really set, and why they aren't those that were wanted; empty: they are."""

    replicas: int
    why: str = ""
    held: bool = False


def land(tolerance: float, *, current: int, desired: int, allowed: int) -> Landing:
    """What becomes of a step from `current` to `desired`.

    Args:
        tolerance: of the HPA, 0 to 1.
        current: replicas that the HPA has.
        desired: replicas after the step.
        allowed: the most that a step up may reach now, by the burst policy and max.
    """
    if current in {0, desired} or abs(desired / current - 1) > tolerance + SLACK:
        return Landing(desired)
    band = f"the HPA ignores changes of {tolerance:.0%} or less of {current} replicas"
    least = current + math.floor(tolerance * current + SLACK) + 1
    if desired > current and least <= allowed:
        return Landing(least, f"{desired} widened to {least}: {band}")
    remedy = "set its tolerance to 0 (Kubernetes 1.35 or newer), or allow larger steps"
    return Landing(current, f"held by the HPA's deadband: {desired} wanted, {band}; {remedy}", held=True)
