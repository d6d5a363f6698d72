"""How many replicas the load needs: one term per reason, each with its arithmetic in words."""

import math
from dataclasses import dataclass, replace

from scaler.core import announcement, patience, queueing
from scaler.core.arrivals import Rate
from scaler.core.decision import Term
from scaler.core.load import Load
from scaler.core.others import share
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration
from scaler.core.resources import resources
from scaler.core.schedule import active_window

#: The time in which a backlog is to be gone is kept within these bounds: shorter would ask for
#: the whole cluster at every burst, longer would let a backlog stand.
DRAIN_BOUNDS = (30.0, 600.0)
#: A queue is as good as full at this share of its limit (the level of the critical alert).
FULL_SHARE = 0.8
#: And as filling, so that 6 s of a flow are enough to say so, from this share of that on.
BEGUN_SHARE = 0.2
#: Two decisions at the slowest tick are added to the lead time when a fill is foreseen.
FILL_MARGIN_SECONDS = 10.0
#: How much longer an outage is expected to last, in terms of what it has lasted.
EXPECTED_REST = 2.0
#: A queue that stands is gone after so many objectives, once the pods work that were ordered for it; after
#: one where somebody waits longer than the forecast may use, whatever is ordered.
RELIEF = 1.5
#: A flow is told from a dump after 20 s, so long after its first 6 s.
PROOF_SECONDS = 14.0
#: A queue that has been full for so long refuses what comes, at a rate that can't be seen. A dump that just
#: fits leaves it sooner.
REFUSING_SECONDS = 10.0
#: Floats that are this close to a whole number of pods are that number.
WHOLE = 1e-9
#: A rate shows after 20 s. Where less waits than half of them would have left behind the slots, the
#: estimate is wrong (tasks that were put off for their ETA, a reading that came late) and is cut.
GROWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Enough:
    """Replicas that keep the objective for now, and why."""

    replicas: float
    reason: str


def terms(worker: WorkerPolicy, load: Load, now: float) -> tuple[Term, ...]:
    """All terms, in the order in which they are shown; the largest decides."""
    load = _plausible(worker, load)
    if load.wait >= worker.objective.wait:
        # Whoever the others are, what they do isn't enough; connections that nobody serves don't help.
        load = replace(load, others=0)
    needed = _enough(worker, load)
    ours = load.working - load.others
    return (
        _ours(load, _at_most(needed, _steady(worker, load))),
        _ours(load, _at_most(needed, _drain(worker, load))),
        _surge(worker, load),
        _fill(worker, load),
        resources(worker, load.utilization, pods=ours, waiting=load.backlog.waiting[1], now=now),
        _floor(worker, load, now),
    )


def _ours(load: Load, term: Term) -> Term:
    """This class's part of what all workers on its queues are to do."""
    if not load.others or not term.replicas:
        return term
    part = share(term.replicas, own=load.pods, others=load.others)
    return Term(
        term.name,
        part,
        f"{term.formula}; {load.others} more that aren't ours listen on these queues: {part:.2f} for us",
    )


def _plausible(worker: WorkerPolicy, load: Load) -> Load:
    """The load with rates that what waits can bear out: a queue must be left of what the slots can't take."""
    backlog = load.backlog
    slots = max(load.working * worker.concurrency, backlog.running[0] if backlog.running else 0)
    waiting = backlog.waiting[1] + backlog.due_soon
    most = slots / load.service_time + waiting / GROWN_SECONDS
    return replace(
        load,
        rate=Rate(most, f"{load.rate.view}, cut to what {waiting} waiting tasks show")
        if load.rate.value > most
        else load.rate,
        fast_rate=min(load.fast_rate, most),
        coming_rate=min(load.coming_rate, most),
        sure_rate=min(load.sure_rate, most),
    )


def offered(load: Load) -> float:
    """Offered load in slots: arrivals per second × service time."""
    return load.rate.value * load.service_time


def _most(worker: WorkerPolicy, load: Load) -> int:
    """All pods that there can be."""
    return worker.replicas.max + load.others


def _held_back(load: Load) -> int:
    """Publishers keep what they can't send to a broker that is down; it comes at once when it is back.

    An outage is expected to last twice as long again, because once nothing is known any more (after 60 s)
    nothing can be ordered either.
    """
    return round(load.rate.value * load.unseen * (1 + EXPECTED_REST))


def _queue(worker: WorkerPolicy, load: Load, rate: float) -> patience.Queue:
    backlog = load.backlog
    return patience.Queue(
        waiting=float(backlog.waiting[1] - (backlog.ready if load.untouched else 0) + _held_back(load)),
        rate=rate + backlog.due_soon / (load.lead_time + patience.REACTION_SECONDS),
        working=load.working,
        starting=load.starting,
        lead_time=load.lead_time,
        pace=worker.concurrency / load.service_time,
        utilization=worker.objective.utilization,
        # Nothing is older than the head of the queue.
        ages=tuple((min(age, load.wait), ahead) for age, ahead in load.ages if age),
    )


def _enough(worker: WorkerPolicy, load: Load) -> Enough | None:
    """The pods that keep the objective for now; None where the forecast is no reason to wait."""
    objective, backlog = worker.objective, load.backlog
    late = load.wait >= objective.wait
    share = objective.patience * objective.wait
    if share == 0 or backlog.busy is None or late:
        return None
    horizon = load.lead_time + patience.REACTION_SECONDS
    queue = _queue(worker, load, max(load.rate.value, load.sure_rate))
    limit = worker.limits.max_length
    lasting = replace(queue, rate=max(queue.rate, load.coming_rate))
    most = _most(worker, load)
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


def _at_most(needed: Enough | None, term: Term) -> Term:
    if needed is None or term.replicas is None or term.replicas <= needed.replicas:
        return term
    return Term(term.name, needed.replicas, term.formula + needed.reason)


def _steady(worker: WorkerPolicy, load: Load) -> Term:
    slots = offered(load)
    objective = worker.objective
    pods = queueing.least_pods(
        slots,
        slots_per_pod=worker.concurrency,
        utilization=objective.utilization,
        service_time=load.service_time,
        wait=objective.wait,
        level=objective.service_level,
        most=_most(worker, load),
        cv=worker.service_time_cv,
    )
    stuck = load.backlog.stuck / worker.concurrency
    share = slots / objective.utilization / worker.concurrency
    formula = (
        f"{load.rate.value:.4g} tasks/s ({load.rate.view}) × {load.service_time:.4g} s"
        f" = {slots:.4g} busy slots"
        f", ÷ {objective.utilization:g} ÷ {worker.concurrency} slots per pod = {share:.2f}"
    )
    if share > WHOLE and pods > math.ceil(share - WHOLE):
        share = float(pods)
        formula += f", {pods} pods so that {objective.service_level:.4g} start within {objective.wait:g} s"
    if stuck:
        formula += f", + {load.backlog.stuck} stuck slots = {share + stuck:.2f}"
    if load.backlog.busy is None:
        formula += "; running tasks can't be seen here, so this is a lower bound"
    return Term("steady", share + stuck, formula)


def _drain(worker: WorkerPolicy, load: Load) -> Term:
    backlog = load.backlog
    # Idle slots don't take what is ready: then only what workers hold is work that pods can do.
    waiting = backlog.waiting[1] - (backlog.ready if load.untouched else 0)
    held = _held_back(load)
    work = waiting + backlog.due_soon + held
    if work == 0:
        return Term(
            "drain", 0.0, "idle slots don't take what is ready" if load.untouched else "nothing waits"
        )
    low, high = DRAIN_BOUNDS
    within = min(max(worker.objective.wait - load.wait - load.lead_time, low), high)
    slots = offered(load)
    missing = max(0.0, slots - (load.pods + load.others) * worker.concurrency)
    parts = (
        slots / worker.objective.utilization,
        missing * load.lead_time / within,
        work * load.service_time / within,
    )
    # A task takes one slot: tasks longer than D would ask for more slots than there will be tasks.
    tasks = (backlog.running[1] if backlog.running else math.inf) + work
    tasks += load.rate.value * (load.lead_time + within)
    useful = max(parts[0], min(sum(parts), tasks))
    pods = (useful + backlog.stuck) / worker.concurrency
    soon = f" ({backlog.due_soon} of it due within {load.lead_time:.3g} s)" if backlog.due_soon else ""
    soon += f" ({held} of it expected from {load.unseen:.3g} s without a reading)" if held else ""
    return Term(
        "drain",
        pods,
        f"(load {slots:.4g} ÷ {worker.objective.utilization:g} = {parts[0]:.4g}"
        f" + shortfall while pods start {missing:.4g} × {load.lead_time:.4g} s ÷ {within:.4g} s"
        f" = {parts[1]:.4g}"
        f" + backlog {work}{soon} × {load.service_time:.4g} s ÷ {within:.4g} s = {parts[2]:.4g}"
        f"{f' + {backlog.stuck} stuck' if backlog.stuck else ''}) slots"
        f"{f', {useful:.4g} of them useful: there are no more tasks' if useful < sum(parts) else ''}"
        f" ÷ {worker.concurrency} slots per pod = {pods:.2f}",
    )


def _surge(worker: WorkerPolicy, load: Load) -> Term:
    """What six seconds of a flow ask for where the objective can't bear to wait until it is told from a dump.

    All pods at once where it is more than all of them can do.
    """
    most, pods, objective = _most(worker, load), load.pods + load.others, worker.objective
    able = most * worker.concurrency / load.service_time
    if load.surge_rate <= able:
        return _rush(worker, load, able)
    wait = patience.worst(_queue(worker, load, load.surge_rate), pods)[0]
    seen = f"{load.surge_rate:.4g} tasks/s in the last 6 s, {most} pods can do {able:.4g}"
    bound = objective.patience * objective.wait
    if wait <= bound:
        return Term("surge", None, f"{seen}, but if it goes on {pods} pods keep waits below {bound:g} s")
    return Term(
        "surge", float(worker.replicas.max), f"{seen}, so that every second counts: all that the limits allow"
    )


def _rush(worker: WorkerPolicy, load: Load, able: float) -> Term:
    """What a flow needs that all pods can do, if its proof would come too late."""
    most, objective, limit = _most(worker, load), worker.objective, worker.limits.max_length
    flow = f"{load.surge_rate:.4g} tasks/s in the last 6 s, {most} pods can do {able:.4g}"
    done = load.working * worker.concurrency / load.service_time
    if load.backlog.busy is None or load.surge_rate <= done:
        return Term("surge", None, f"no more arrives than {most} pods can do ({able:.4g}/s)")
    if limit is not None and load.queues:
        # What fills the queue before it can be told from a dump is one that pods come too late for, mostly.
        fullest = max(queue.ready for queue in load.queues)
        if limit - fullest < (load.surge_peak - done) * PROOF_SECONDS:
            return Term("surge", None, f"{flow}, but the queue is full before a dump can be ruled out")
    queue = replace(_queue(worker, load, load.surge_rate), utilization=1.0)
    proven = replace(queue, lead_time=queue.lead_time + PROOF_SECONDS)
    wait, length = patience.worst(proven, most)
    room = math.inf if limit is None else float(limit)
    if wait <= objective.wait and length <= room:
        return Term(
            "surge", None, f"{flow}; pods ordered {PROOF_SECONDS:.0f} s later keep waits below {wait:.3g} s"
        )
    needed = patience.enough(
        queue,
        wait=objective.patience * objective.wait,
        length=objective.patience * room,
        relief=objective.wait,
        most=most,
    )
    pods = float(most if needed is None else needed)
    missed = f"{objective.wait:g} s are missed" if wait > objective.wait else f"{limit} messages are exceeded"
    words = f"{flow}: if it goes on, {missed} by waiting until a dump is ruled out"
    return _ours(load, Term("surge", pods, words))


def _fill(worker: WorkerPolicy, load: Load) -> Term:
    limit = worker.limits.max_length
    if limit is None:
        return Term("fill", None, "the policy sets no maxLength")
    if not load.queues:
        return Term("fill", None, "no queue has been read yet")
    fullest = max(load.queues, key=lambda queue: queue.ready)
    if load.full >= REFUSING_SECONDS:
        words = f"{fullest.name} holds {fullest.ready} of {limit} and has been full for {load.full:.0f} s"
        words += ": what it refuses can't be seen; all that the limits allow"
        return Term("fill", float(worker.replicas.max), words)
    # Pods that can't start for the time being don't help; where running tasks can't be seen, the rate is the
    # queue's growth already.
    pods = load.pods + load.others - sum(n for seconds, n in load.starting if seconds >= load.lead_time)
    done = 0.0 if load.backlog.busy is None else pods * worker.concurrency / load.service_time
    growth = load.fast_rate - done
    level = FULL_SHARE * limit
    place = f"{fullest.name} holds {fullest.ready} of {limit}"
    # What pods can still prevent can't wait until a flow is told from a dump; what they can't, can. So can a
    # queue that is as good as empty: 42 tasks in 7 s are no sign of 500.
    if fullest.ready >= BEGUN_SHARE * level and (
        level - fullest.ready >= (load.surge_peak - done) * load.lead_time
    ):
        growth = max(growth, load.surge_rate - done)
    if growth <= 0:
        return Term("fill", None, f"{place}; no more arrives than {pods} pods can do")
    left = max(0.0, level - fullest.ready) / growth
    horizon = load.lead_time + FILL_MARGIN_SECONDS
    outlook = f"{place}, grows by {growth:.4g}/s: {FULL_SHARE:.0%} full in {format_duration(round(left, 1))}"
    if left >= horizon:
        return Term("fill", None, f"{outlook}, later than new pods start ({format_duration(horizon)})")
    return Term(
        "fill", float(worker.replicas.max), f"{outlook}, before new pods start: all that the limits allow"
    )


def _floor(worker: WorkerPolicy, load: Load, now: float) -> Term:
    floors = [(float(worker.replicas.min), f"replicas.min {worker.replicas.min}")]
    window = active_window(worker.schedule, now)
    if window is not None:
        reason = f" ({window.reason})" if window.reason else ""
        words = f"schedule {window.cron!r} {window.timezone}{reason}: {window.min_replicas}"
        floors.append((float(window.min_replicas), words))
    plans = [
        (
            told,
            announcement.plan(
                worker,
                told,
                history=load.history,
                pods=load.pods,
                load=offered(load),
                service_time=load.service_time,
                lead_time=load.lead_time,
                now=now,
            ),
        )
        for told in load.announcements
    ]
    announced = announcement.floor(plans, now)
    if announced is not None:
        floors.append((announced.replicas, announced.formula))
    return Term("floor", *max(floors, key=lambda found: found[0]))
