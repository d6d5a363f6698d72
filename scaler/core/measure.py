"""From an observation and the memory to the picture that a decision is made from.

What is measured replaces the policy's priors as soon as enough has been seen, and says so.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from scaler.core import arrivals, lead, others, progress, service
from scaler.core.backlog import Backlog, Sight, read_backlog
from scaler.core.fleet import Fleet, fleet_of
from scaler.core.observation import Interval, Observation, Span
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState

#: Acknowledgements are counted over this long at least, to tell busy slots by Little's law.
FLOW_SECONDS = 30.0
FLOW_FACTOR = 3.0
#: A worker may take this long after an outage to connect anew (Celery tries after 2, 4, 6 … s) and to tell.
UNHEARD_SECONDS = 60.0
#: A pod may be called ready this much earlier than the measured lead time, or later.
READY_SECONDS = 30.0
#: What falls due within two slow ticks after the lead time is seen in time.
DUE_MARGIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Picture:
    """One class at one moment: its work, and the times to compute with (seconds)."""

    backlog: Backlog
    #: Messages that wait in the broker, those that aren't due included.
    ready: int
    service_time: float
    service_source: str
    lead_time: float
    lead_source: str
    #: Age of the oldest ready and due task; None where it isn't known.
    wait: Span | None
    #: The class's workers that listen; None where nothing tells.
    listening: int | None
    #: Workers beside them that were heard and are silent now, where no broker tells whether they listen.
    silent: int
    #: Idle slots don't take what is ready.
    untouched: bool
    #: Workers of others on the class's queues.
    others: int = 0

    @property
    def typical_wait(self) -> float:
        """The middle of what is known of the wait, its least where no upper bound is known."""
        if self.wait is None:
            return 0.0
        least, most = self.wait
        return (least + most) / 2 if math.isfinite(most) else least

    @property
    def counts(self) -> dict[str, Any]:
        """The fields of a decision that tell what was seen."""
        backlog, wait = self.backlog, self.wait
        return {
            "ready": self.ready,
            "running": backlog.running,
            "backlog": None if backlog.prefetched is None else backlog.waiting,
            "prefetched": backlog.prefetched,
            "eta_held": backlog.eta_held,
            "likely": backlog.likely,
            "due_soon": backlog.due_soon,
            "stuck": backlog.stuck,
            "wait": None if wait is None else (wait[0], wait[1] if math.isfinite(wait[1]) else None),
        }


def follow(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, now: float
) -> tuple[WorkerState, tuple[str, ...]]:
    """Compare with the reading before; the state after it, and what is doubtful about both."""
    fleet = fleet_of(worker, observation, now)
    seconds = _service_time(worker, state)[0]
    slots = (
        observation.consumers
        if observation.consumers is not None
        else _pods(worker, state, observation, fleet, now)[1]
    ) * worker.concurrency
    moved = progress.observe(
        state.progress, worker=worker, observation=observation, fleet=fleet, service_time=seconds, slots=slots
    )
    found = progress.faults(moved, worker=worker, observation=observation, fleet=fleet, service_time=seconds)
    faults = (*fleet.faults, *found) if observation.sampled_at is not None else fleet.faults
    return replace(state, progress=moved), faults


def look(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, now: float, *, fresh: bool
) -> tuple[WorkerState, Picture]:
    """The picture of a tick; the estimators learn from fresh data only."""
    fleet = fleet_of(worker, observation, now)
    seconds, source = _service_time(worker, state)
    wait_for, lead_source = _lead_time(worker, state)
    listening = _listening(observation, fleet)
    backlog = read_backlog(worker, observation, fleet, _sight(worker, state, observation, fleet, now))
    if observation.sampled_at is not None:
        beside = others.observe(
            state.others,
            at=observation.sampled_at,
            listening=observation.consumers,
            own=_own(worker, state, observation, fleet, now),
        )
        state = replace(state, others=beside)
    ours = None if listening is None else max(0, listening - state.others.count)
    if fresh:
        state = replace(
            state,
            service=service.observe(
                state.service,
                worker=worker,
                observation=observation,
                fleet=fleet,
                backlog=backlog,
                now=now,
            ),
            arrivals=arrivals.observe(
                state.arrivals,
                at=observation.sampled_at or 0.0,
                unfinished=float(backlog.unfinished),
                running=None if backlog.busy is None else float(backlog.busy),
                service_time=seconds,
                exact=backlog.exact,
            ),
            lead=lead.observe(state.lead, desired=state.desired or 0, seen=ours, now=now),
        )
    picture = Picture(
        backlog=backlog,
        ready=observation.ready,
        service_time=seconds,
        service_source=source,
        lead_time=wait_for,
        lead_source=lead_source,
        wait=_wait(observation),
        listening=ours,
        silent=0
        if observation.consumers is not None
        # Who is silent for longer may be a pod that is long gone.
        else sum(report.heard_at > now - UNHEARD_SECONDS for report in fleet.silent),
        untouched=len(fleet.alive) == listening and progress.untouched(state.progress, worker, fleet),
        others=state.others.count,
    )
    return state, picture


def _own(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, fleet: Fleet, now: float
) -> Interval | None:
    """The class's own workers that listen, (least, most); None where nothing but our own orders tells."""
    heard, pods, desired = len(fleet.alive) + len(fleet.silent), observation.pods, state.desired or 0
    most = max(heard, desired, 0 if pods is None else sum(pods))
    if heard:
        return len(fleet.alive), most
    if pods is None:
        return None
    # Without a probe a pod is ready before its worker listens.
    young = now - _lead_time(worker, state)[0] - READY_SECONDS
    return max(0, pods[0] - sum(count for at, count in state.history.added if at > young)), most


def _sight(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, fleet: Fleet, now: float
) -> Sight:
    seconds = _service_time(worker, state)[0]
    span = max(FLOW_SECONDS, FLOW_FACTOR * seconds)
    rate = service.ended_per_second(state.service, now, span)
    return Sight(
        pods=_pods(worker, state, observation, fleet, now),
        held_most=progress.held_most(state.progress),
        rest=progress.rest(state.progress),
        gone=progress.gone(state.progress),
        flow=None if rate is None else rate * seconds,
        service_time=seconds,
        horizon=_lead_time(worker, state)[0] + DUE_MARGIN_SECONDS,
        now=now,
    )


def _service_time(worker: WorkerPolicy, state: WorkerState) -> tuple[float, str]:
    memory = state.service
    if memory.value is None:
        return worker.service_time, "policy"
    weighed = " and the policy" if memory.tasks < service.ENOUGH else ""
    return memory.value, f"{memory.tasks} tasks by {memory.method}{weighed}"


def _lead_time(worker: WorkerPolicy, state: WorkerState) -> tuple[float, str]:
    value = state.lead.value
    if value is None:
        return worker.startup_time, "policy"
    return value, f"{len(state.lead.measured)} starts"


def _listening(observation: Observation, fleet: Fleet) -> int | None:
    if observation.consumers is not None:
        return observation.consumers
    return len(fleet.alive) if observation.workers else None


def _pods(
    worker: WorkerPolicy, state: WorkerState, observation: Observation, fleet: Fleet, now: float
) -> Interval:
    """Pods that are thought to work where no broker shows consumers: (least, most).

    Those that are heard; else those that were, and what may have started since; at most those that the
    cluster calls ready (without a cluster: what was desired long enough ago). A ready pod may have no worker
    that listens: without a probe it is ready as soon as its container runs.
    """
    heard = len(fleet.alive) + len(fleet.silent)
    if heard:
        return heard, heard
    began = now - _lead_time(worker, state)[0]
    starting = sum(count for at, count in state.history.added if at > began)
    pods = (state.desired if state.desired is not None else worker.replicas.min) - starting
    pods = max(1, pods if observation.pods is None else observation.pods[0])
    last = progress.last_heard(state.progress)
    if last is None:
        return pods, pods
    known_at, known = last
    since = sum(count for at, count in state.history.added if began - (now - known_at) < at <= began)
    most = min(pods, max(1, known + since))
    # A worker that has started is heard within seconds; who is never heard has no heartbeat.
    return (min(most, max(1, known)) if now - known_at <= UNHEARD_SECONDS else most), most


def _wait(observation: Observation) -> Span | None:
    """The longest over the queues; unknown while a queue with ready messages doesn't tell."""
    spans = [
        queue.wait if queue.wait is not None or queue.ready else (0.0, 0.0) for queue in observation.queues
    ]
    known = [span for span in spans if span is not None]
    if not known:
        return None
    least = max(span[0] for span in known)
    most = max(span[1] for span in known) if len(known) == len(spans) else math.inf
    return least, most
