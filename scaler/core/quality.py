"""How far the data may be trusted: fresh, hold or blind, with the reasons."""

from dataclasses import dataclass

from scaler.core.decision import Quality
from scaler.core.observation import Observation
from scaler.core.state import WorkerState

#: Younger than this a reading is fresh: three missed sweeps of 5 s.
FRESH_SECONDS = 15.0
#: Older than this nothing is known any more, and KEDA is told so.
BLIND_SECONDS = 60.0
#: A queue that is missing for this long isn't coming back with a node or a worker that restarts: it is
#: believed to be gone, and one window later the class may step down.
VANISHED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Assessment:
    """The quality of an observation, and why it isn't better."""

    quality: Quality
    reasons: tuple[str, ...] = ()
    #: Queues that the broker knew before and doesn't know now.
    vanished: tuple[str, ...] = ()


def assess(
    state: WorkerState, observation: Observation, now: float, faults: tuple[str, ...] = ()
) -> Assessment:
    """Judge an observation at `now`; a state's last good reading counts until a new one arrives.

    Args:
        state: before this tick's decision.
        observation: what was read.
        now: seconds since the epoch.
        faults: what the readings before and the workers' heartbeats make doubtful.
    """
    suspicions = observation.suspicions + faults
    errors = ((observation.error,) if observation.error else ()) + suspicions
    sampled_at = observation.sampled_at if observation.sampled_at is not None else state.sampled_at
    if sampled_at is None:
        return Assessment("blind", ("nothing has been read from the broker yet", *errors))
    age = max(0.0, now - sampled_at)
    if age > BLIND_SECONDS:
        return Assessment("blind", (f"the last reading is {age:.0f} s old", *errors))
    if age >= FRESH_SECONDS or observation.sampled_at is None:
        return Assessment("hold", (f"the last reading is {age:.0f} s old", *errors))
    since = dict(state.vanished)
    vanished = tuple(
        queue.name
        for queue in observation.queues
        if not queue.exists
        and queue.name in state.seen_queues
        and now - since.get(queue.name, now) < VANISHED_SECONDS
    )
    if vanished or suspicions:
        lost = tuple(f"queue {name} has vanished from the broker" for name in vanished)
        return Assessment("hold", (*lost, *suspicions), vanished)
    blinded = (
        state.arrivals.running is not None and observation.unacked is None and observation.consumers != 0
    )
    if blinded and not observation.workers:  # heartbeats show the busy slots as well
        unseen = "what workers have taken was visible before and isn't now"
        return Assessment("hold", (unseen, *observation.gaps))
    missing = tuple(
        f"queue {queue.name} doesn't exist yet" for queue in observation.queues if not queue.exists
    )
    return Assessment("fresh", missing)
