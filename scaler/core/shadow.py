"""Shadow mode: what we would have done, beside what somebody else does.

Our number is a line of its own: each decision starts from our last one, so that the burst policy and its
windows hold for it as they would. The load isn't: what waits is what the *actual* pods leave. With more
pods than we would have, the queue that would have made us add some never forms; with fewer it is longer
than it would be. So our pod-minutes come out too low beside a class that is oversized today, and too high
beside one that starves; steady load, which is sized by the arrivals, compares as it stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.core.workload import Workload

#: Between two looks further apart than this nobody knows what was.
GAP_SECONDS = 15.0
#: Differences that are kept.
MOST_DIFFERENCES = 5


@dataclass(frozen=True, slots=True)
class Sight:
    """One moment of a class. `actual` None: it isn't known how many pods there are."""

    at: float
    ours: int
    actual: int | None
    winner: str
    limit: str
    why: str
    #: Whether the other autoscaler could add no more; None: its maximum isn't known.
    at_max: bool | None
    #: Whether a task has waited longer than the objective; None: it can't be seen.
    late: bool | None

    @property
    def state(self) -> str:
        """How ours compares: above, below, equal or unknown."""
        if self.actual is None:
            return "unknown"
        return "equal" if self.ours == self.actual else "above" if self.ours > self.actual else "below"


@dataclass(frozen=True, slots=True)
class Difference:
    """A time in which ours stayed on one side of the actual replicas: its widest moment, and why."""

    began: float
    seconds: float
    ours: int
    actual: int
    winner: str
    limit: str
    why: str

    @property
    def width(self) -> int:
        """Pods between the two."""
        return abs(self.ours - self.actual)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was counted of a class since it was first looked at. Seconds."""

    since: float
    last: Sight
    ours: float = 0.0
    actual: float = 0.0
    above: float = 0.0
    below: float = 0.0
    equal: float = 0.0
    unknown: float = 0.0
    at_max: float = 0.0
    late: float = 0.0
    #: The one that goes on, if any, and the widest of those that are over, widest first.
    present: Difference | None = None
    past: tuple[Difference, ...] = ()

    @property
    def largest(self) -> tuple[Difference, ...]:
        """The widest, longest first among equals."""
        return _widest((*self.past, *((self.present,) if self.present else ())))


def look(worker: WorkerPolicy, decision: Decision, observation: Observation, workload: Workload) -> Sight:
    """What one tick shows."""
    actual, _ = actual_replicas(observation, workload)
    autoscaler = workload.autoscaler
    term = next((term for term in decision.terms if term.name == decision.winner), None)
    return Sight(
        at=decision.decided_at,
        ours=decision.desired,
        actual=actual,
        winner=decision.winner,
        limit=decision.limit,
        why=term.formula if term else "",
        at_max=None if autoscaler is None or actual is None else actual >= autoscaler.max,
        late=None if decision.wait is None else decision.wait[0] > worker.objective.wait,
    )


def actual_replicas(observation: Observation, workload: Workload) -> tuple[int | None, str]:
    """The replicas that there are, and who says so."""
    if workload.replicas is not None:
        return workload.replicas, "cluster"
    if observation.workers is not None:
        return len(observation.workers), "heartbeats"
    if observation.consumers is not None:
        return observation.consumers, "consumers"
    return None, "unknown"


def scaled_by(workload: Workload) -> str:
    """Who scales the class now, as far as the cluster tells."""
    names = []
    if workload.autoscaler is not None:
        names.append(f"HPA {workload.autoscaler.name}")
    if workload.scaled_object is not None:
        names.append(f"ScaledObject {workload.scaled_object.name}")
    names += workload.rivals
    if names:
        return ", ".join(names)
    return "no HPA or ScaledObject" if workload.reference is not None else "unknown: no cluster is read"


def account(ledger: Ledger | None, sight: Sight) -> Ledger:
    """The ledger after one more look; the time since the last one was as that one showed it."""
    if ledger is None:
        return Ledger(sight.at, sight, present=_difference(None, sight, 0.0))
    last, seconds = ledger.last, sight.at - ledger.last.at
    if seconds <= 0:
        return replace(ledger, last=sight)
    if seconds > GAP_SECONDS:
        ledger = replace(ledger, unknown=ledger.unknown + seconds)
        return replace(_close(ledger), last=sight, present=_difference(None, sight, 0.0))
    if last.actual is not None:
        ledger = replace(
            ledger,
            ours=ledger.ours + last.ours * seconds,
            actual=ledger.actual + last.actual * seconds,
        )
    ledger = replace(
        ledger,
        above=ledger.above + seconds * (last.state == "above"),
        below=ledger.below + seconds * (last.state == "below"),
        equal=ledger.equal + seconds * (last.state == "equal"),
        unknown=ledger.unknown + seconds * (last.state == "unknown"),
        at_max=ledger.at_max + seconds * (last.at_max is True),
        late=ledger.late + seconds * (last.late is True),
        last=sight,
    )
    present = ledger.present and replace(ledger.present, seconds=ledger.present.seconds + seconds)
    ledger = replace(ledger, present=present)
    if sight.state != last.state:
        return replace(_close(ledger), present=_difference(None, sight, 0.0))
    return replace(ledger, present=_difference(present, sight, present.seconds if present else 0.0))


def lines(decision: Decision, observation: Observation | None, workload: Workload) -> Iterator[str]:
    """What an explanation of a class in shadow mode says besides."""
    actual, source = actual_replicas(observation or Observation(None), workload)
    count = "an unknown number of" if actual is None else str(actual)
    yield f"  shadow:  nobody follows the {decision.desired}; {count} replicas run ({source})"
    yield f"  shadow:  scaled by {scaled_by(workload)}"
    if actual is not None and actual != decision.desired:
        effect = "hides load that we would see" if actual > decision.desired else "leaves more than we would"
        yield f"  shadow:  what waits is what those {actual} leave, which {effect}"


def _difference(present: Difference | None, sight: Sight, seconds: float) -> Difference | None:
    if sight.actual is None or sight.ours == sight.actual:
        return None
    began = sight.at if present is None else present.began
    found = Difference(began, seconds, sight.ours, sight.actual, sight.winner, sight.limit, sight.why)
    return found if present is None or found.width > present.width else replace(present, seconds=seconds)


def _close(ledger: Ledger) -> Ledger:
    return replace(ledger, past=ledger.largest, present=None)


def _widest(found: tuple[Difference, ...]) -> tuple[Difference, ...]:
    return tuple(sorted(found, key=lambda one: (-one.width, -one.seconds))[:MOST_DIFFERENCES])
