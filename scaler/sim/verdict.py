"""What a controller thinks at one moment, for reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The replicas that it wants, what the load needs by its own lights, and why."""

    desired: int
    #: Replicas before limits and before rounding up.
    recommendation: float
    #: What kept `desired` from the recommendation; "none" where nothing did.
    limit: str
    winner: str
    #: One sentence with the numbers.
    why: str
