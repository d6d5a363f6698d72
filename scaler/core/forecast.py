"""The forecast as the terms use it: a queue played forward from a load, and what is enough for now."""

import math
from dataclasses import dataclass, replace

from scaler.core import patience
from scaler.core.decision import Term
from scaler.core.load import Load
from scaler.core.others import share
from scaler.core.policy import WorkerPolicy

#: How much longer an outage is expected to last, in terms of what it has lasted.
EXPECTED_REST = 2.0
#: A queue that stands is gone after so many objectives, once the pods work that were ordered for it; after
#: one where somebody waits longer than the forecast may use, whatever is ordered.
RELIEF = 1.5


@dataclass(frozen=True, slots=True)
class Enough:
    """Replicas that keep the objective for now, and why."""

    replicas: float
    reason: str


def enough(worker: WorkerPolicy, load: Load) -> Enough | None:
    """The pods that keep the objective for now; None where the forecast is no reason to wait."""
    objective, backlog = worker.objective, load.backlog
    late = load.wait >= objective.wait
    share = objective.patience * objective.wait
    if share == 0 or backlog.busy is None or late:
        return None
    horizon = load.lead_time + patience.REACTION_SECONDS
    queue = queue_of(worker, load, max(load.rate.value, load.sure_rate))
    limit = worker.limits.max_length
    lasting = replace(queue, rate=max(queue.rate, load.coming_rate))
    most = most_pods(worker, load)
    if lasting.rate > most * queue.pace and patience.at_last(lasting, most, objective.wait) > share:
        # More than all pods can do, if it lasts: each second without them is waited for in the end.
        return None
    pods = patience.enough(
        queue,
        wait=share,
        length=math.inf if limit is None else objective.patience * limit,
        relief=objective.wait * (RELIEF if patience.worst(queue, most)[0] <= share else 1.0),
        most=most,
    )
    if pods is None:
        return None
    # With fewer, chance decides and Erlang's formula is right.
    starts = share * worker.concurrency / load.service_time
    pods = max(pods, math.ceil(patience.LEAST_STARTS / starts))
    stuck = backlog.stuck / worker.concurrency
    wait = patience.worst(queue, pods)[0]
    return Enough(
        pods + stuck,
        f"; but with {pods + stuck:g} nobody is forecast to wait longer than {wait:.3g} s"
        f" of {objective.wait:g} s in the next {horizon:.3g} s: enough for now",
    )


def at_most(needed: Enough | None, term: Term) -> Term:
    """The term, asking for no more than what is enough for now."""
    if needed is None or term.replicas is None or term.replicas <= needed.replicas:
        return term
    return Term(term.name, needed.replicas, term.formula + needed.reason)


def queue_of(worker: WorkerPolicy, load: Load, rate: float) -> patience.Queue:
    """What is played forward: what waits and what is kept from the broker, at so many arrivals per second."""
    backlog = load.backlog
    return patience.Queue(
        waiting=float(backlog.waiting[1] - (backlog.ready if load.untouched else 0) + held_back(load)),
        rate=rate + backlog.due_soon / (load.lead_time + patience.REACTION_SECONDS),
        working=load.working,
        starting=load.starting,
        lead_time=load.lead_time,
        pace=worker.concurrency / load.service_time,
        utilization=worker.objective.utilization,
    )


def held_back(load: Load) -> int:
    """Publishers keep what they can't send to a broker that is down; it comes at once when it is back.

    An outage is expected to last twice as long again, because once nothing is known any more (after 60 s)
    nothing can be ordered either.
    """
    return round(load.rate.value * load.unseen * (1 + EXPECTED_REST))


def most_pods(worker: WorkerPolicy, load: Load) -> int:
    """All pods that there can be."""
    return worker.replicas.max + load.others


def ours(load: Load, term: Term) -> Term:
    """This class's part of what all workers on its queues are to do."""
    if not load.others or not term.replicas:
        return term
    part = share(term.replicas, own=load.pods, others=load.others)
    return Term(
        term.name,
        part,
        f"{term.formula}; {load.others} more that aren't ours listen on these queues: {part:.2f} for us",
    )
