"""The smallest single change of each kind that makes an unsafe spike safe, by bisection.

Every kind has one whole number that can only help when it moves one way: pods, messages, seconds of
publishing, milliseconds of work. What is found was played and is safe, and one unit less was played
and is not. Where even the far end isn't safe the kind can't help, and its reason is told.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scaler.core.feasibility.growth import Move
from scaler.core.feasibility.outcome import Outcome, outcome
from scaler.core.feasibility.spike import Spike, spread
from scaler.core.policy import WorkerPolicy

Kind = Literal["max", "warm", "maxLength", "spread", "serviceTime"]
Case = tuple[WorkerPolicy, Spike]

#: The most replicas a policy may have, and the longest publishing that is tried (seconds).
MOST_REPLICAS = 10_000
LONGEST_SPREAD = 86_400


@dataclass(frozen=True, slots=True)
class Fix:
    """One kind of change. Replicas, messages, or seconds, as the kind says."""

    kind: Kind
    #: What it is now; None where it isn't limited.
    present: float | None
    #: The smallest change that makes it safe; None where none does.
    needed: float | None
    #: With `needed`: what becomes of the spike then. Without: what remains at the far end of the kind.
    outcome: Outcome
    #: The far end that was tried.
    tried: float
    #: Warm replicas above the present max, which has to be raised with them.
    raises_max: bool = False
    #: Where nothing makes it safe, but tasks were lost: the smallest change that loses none any more.
    lossless: float | None = None

    @property
    def first_help(self) -> Move | None:
        """The first pods that come too late in `outcome`."""
        return next((move for move in self.outcome.moves[1:] if move.working > move.decided), None)


def fixes(worker: WorkerPolicy, spike: Spike) -> tuple[Fix, ...]:
    """One entry per kind that applies; none for a kind without anything to change."""
    found = [_max(worker, spike), _warm(worker, spike), _max_length(worker, spike)]
    found += [_spread(worker, spike), _service_time(worker, spike)]
    return tuple(fix for fix in found if fix is not None)


def with_replicas(worker: WorkerPolicy, low: int, high: int) -> WorkerPolicy:
    """The policy with other bounds of its replicas."""
    return worker.model_copy(
        update={"replicas": worker.replicas.model_copy(update={"min": low, "max": high})}
    )


def with_max_length(worker: WorkerPolicy, messages: int) -> WorkerPolicy:
    """The policy with another limit of its queues."""
    return worker.model_copy(update={"limits": worker.limits.model_copy(update={"max_length": messages})})


def with_service_time(worker: WorkerPolicy, spike: Spike, seconds: float) -> Case:
    """Tasks that take no longer than `seconds`."""
    steps = tuple((at, min(mean, seconds)) for at, mean in spike.service)
    lower = min(worker.service_time, seconds)
    return worker.model_copy(update={"service_time": lower}), replace(spike, service=steps)


def _max(worker: WorkerPolicy, spike: Spike) -> Fix | None:
    low, high = worker.replicas.min, worker.replicas.max
    if high >= MOST_REPLICAS:
        return None
    return _search(
        "max",
        high,
        range(high + 1, MOST_REPLICAS + 1),
        lambda pods: (with_replicas(worker, low, pods), spike),
    )


def _warm(worker: WorkerPolicy, spike: Spike) -> Fix | None:
    low, high = worker.replicas.min, worker.replicas.max

    def case(pods: int) -> Case:
        return with_replicas(worker, pods, max(pods, high)), spike

    within = _search("warm", low, range(low + 1, high + 1), case) if low < high else None
    if within is not None and within.needed is not None:
        return within
    if high >= MOST_REPLICAS:
        return within
    beyond = _search("warm", low, range(high + 1, MOST_REPLICAS + 1), case)
    return replace(beyond, raises_max=True)


def _max_length(worker: WorkerPolicy, spike: Spike) -> Fix | None:
    present = worker.limits.max_length
    if present is None:
        return None
    # A queue that holds all that is ever published can't be full, whatever chance does.
    total = sum(piece.rate * (piece.end - piece.start) for piece in spike.pieces)
    most = present + math.ceil(total + spike.deviations * math.sqrt(total) * (1 + spike.variation)) + 1
    return _search(
        "maxLength", present, range(present + 1, most + 1), lambda n: (with_max_length(worker, n), spike)
    )


def _spread(worker: WorkerPolicy, spike: Spike) -> Fix | None:
    start, end = spike.window
    present = end - start
    if spike.extra <= 0 or present >= LONGEST_SPREAD:
        return None
    seconds = range(math.floor(present) + 1, LONGEST_SPREAD + 1)
    return _search("spread", present, seconds, lambda number: (worker, spread(spike, float(number))))


def _service_time(worker: WorkerPolicy, spike: Spike) -> Fix | None:
    present = max((mean for _, mean in spike.service), default=worker.service_time)
    milliseconds = range(math.ceil(present * 1000) - 1, 0, -1)
    if not milliseconds:
        return None
    found = _search(
        "serviceTime", present, milliseconds, lambda number: with_service_time(worker, spike, number / 1000)
    )
    needed, lossless = (
        None if number is None else number / 1000 for number in (found.needed, found.lossless)
    )
    return replace(found, needed=needed, lossless=lossless, tried=found.tried / 1000)


def _search(kind: Kind, present: float, numbers: Sequence[int], case: Callable[[int], Case]) -> Fix:
    """The first of the numbers (from the smallest change to the largest) that is safe."""
    last = outcome(*case(numbers[-1]))
    if not last.safe:
        lossless = None
        if not last.loses and (
            position := bisect_left(numbers, x=True, key=lambda number: not outcome(*case(number)).loses)
        ):
            lossless = numbers[position]
        return Fix(kind, present, None, last, numbers[-1], lossless=lossless)
    position = bisect_left(numbers, x=True, key=lambda number: outcome(*case(number)).safe)
    needed = numbers[position]
    return Fix(kind, present, needed, outcome(*case(needed)), numbers[-1])
