"""What the terms are computed from: the work, the flow, and the pods that do it or are about to."""

from dataclasses import dataclass, field

from scaler.core import arrivals
from scaler.core.announcement import Announcement
from scaler.core.arrivals import Rate
from scaler.core.backlog import Backlog
from scaler.core.behavior import History
from scaler.core.measure import Picture
from scaler.core.observation import Observation, QueueReading, Utilization
from scaler.core.quality import FRESH_SECONDS
from scaler.core.state import WorkerState

#: How long a worker that was ordered is waited for before it is no longer expected.
OVERDUE_SECONDS = 300.0
#: A worker that has just started may not have been heard yet.
HEARD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the terms are computed from."""

    backlog: Backlog
    rate: Rate
    #: Arrivals per second over the last half minute alone, for the forecast of a full queue.
    fast_rate: float
    queues: tuple[QueueReading, ...]
    #: Replicas that work or are about to.
    pods: int
    #: Seconds that a task occupies a slot, and from deciding to a pod that works.
    service_time: float
    lead_time: float
    #: Age of the oldest waiting task, as far as it is known.
    wait: float = 0.0
    #: Slots are idle in front of what is ready, so that more of them wouldn't help.
    untouched: bool = False
    #: (seconds until they work, pods) of those of `pods` that start, soonest first.
    starting: tuple[tuple[float, int], ...] = ()
    utilization: Utilization | None = None
    #: Declared spikes that aren't over, and the limiter's memory for the steps towards their floor.
    announcements: tuple[Announcement, ...] = ()
    history: History = field(default_factory=History)
    #: Arrivals per second that the last 6 s show throughout, and the most of them.
    surge_rate: float = 0.0
    surge_peak: float = 0.0
    #: Arrivals per second that go on, those that wait included: likely, and for sure.
    coming_rate: float = 0.0
    sure_rate: float = 0.0
    #: For how long which queue had been full at the last reading, seconds, and what it held at first.
    full: float = 0.0
    full_queue: str = ""
    full_ready: int = 0
    #: Seconds for which nothing could be read, beyond those in which a reading counts as fresh.
    unseen: float = 0.0
    #: Workers of others on the same queues.
    others: int = 0

    @property
    def working(self) -> int:
        """Pods that take tasks now, those of others included."""
        return max(0, self.pods - sum(count for _, count in self.starting)) + self.others


def load_of(state: WorkerState, picture: Picture, observation: Observation, current: int, now: float) -> Load:
    """The load at `now`, from the memory after this tick's reading and the picture of it."""
    age = max(0.0, now - (observation.sampled_at or now))
    surge_rate, surge_peak = arrivals.surge_rates(state.arrivals, picture.service_time)
    coming_rate, sure_rate = arrivals.coming_rates(state.arrivals, picture.service_time)
    waiting, progress = float(picture.backlog.waiting[1]), state.progress
    return Load(
        backlog=picture.backlog,
        rate=arrivals.rate(state.arrivals, waiting, picture.service_time),
        fast_rate=arrivals.fast_rate(state.arrivals, picture.service_time),
        queues=observation.queues,
        pods=current,
        service_time=picture.service_time,
        lead_time=picture.lead_time,
        # What waited at the last reading has waited longer by now.
        wait=picture.typical_wait + (age if picture.ready and age >= FRESH_SECONDS else 0.0),
        untouched=picture.untouched,
        utilization=observation.utilization,
        announcements=state.announcements,
        history=state.history,
        surge_rate=surge_rate,
        surge_peak=surge_peak,
        coming_rate=coming_rate,
        sure_rate=sure_rate,
        full=0.0 if progress.full_since is None else (progress.read_at or 0.0) - progress.full_since,
        full_queue=progress.full_queue,
        full_ready=progress.full_ready,
        unseen=max(0.0, age - FRESH_SECONDS),
        starting=_starting(state, observation, picture, current, now),
        others=picture.others,
    )


def _starting(
    state: WorkerState, observation: Observation, picture: Picture, current: int, now: float
) -> tuple[tuple[float, int], ...]:
    """Pods that don't work yet: (seconds until they do, pods).

    Those that were ordered less than a lead time ago; and where the cluster tells how many are ready, those
    that should be and aren't (no node has room, an image is missing, a node was lost): a start away at best.
    A worker that should listen by now and doesn't is taken to be as late again as it is already.
    """
    lead_time = picture.lead_time
    groups = [(at + lead_time - now, count) for at, count in state.history.added if at > now - lead_time]
    left, starting = current, []
    for seconds, count in reversed(groups):
        # What was ordered and taken back meanwhile doesn't start.
        starting.append((seconds, min(count, left)))
        left -= min(count, left)
    if picture.listening is not None:
        missing = left - picture.listening - picture.silent
        for at, count in state.history.added:
            overdue = now - at - lead_time
            if missing > 0 and 0 <= overdue <= OVERDUE_SECONDS:
                unheard = min(count, missing, left)
                starting.append((min(max(overdue, HEARD_SECONDS), lead_time), unheard))
                missing, left = missing - unheard, left - unheard
    starting.sort()
    if observation.pods is not None and (late := left - observation.pods[0]) > 0:
        starting.append((lead_time, late))
    return tuple(starting)
