"""How many replicas the load needs: one term per reason, each with its arithmetic in words."""

import math
from dataclasses import replace

from scaler.core import announcement, queueing
from scaler.core.arrivals import Rate
from scaler.core.decision import Term
from scaler.core.forecast import at_most, enough, held_back, most_pods, ours
from scaler.core.load import Load
from scaler.core.policy import WorkerPolicy
from scaler.core.resources import resources
from scaler.core.schedule import active_window
from scaler.core.urgent import fill, surge

#: The time in which a backlog is to be gone is kept within these bounds: shorter would ask for
#: the whole cluster at every burst, longer would let a backlog stand.
DRAIN_BOUNDS = (30.0, 600.0)
#: Floats that are this close to a whole number of pods are that number.
WHOLE = 1e-9
#: A rate shows after 20 s. Where less waits than half of them would have left behind the slots, the
#: estimate is wrong (tasks that were put off for their ETA, a reading that came late) and is cut.
GROWN_SECONDS = 10.0


def terms(worker: WorkerPolicy, load: Load, now: float) -> tuple[Term, ...]:
    """All terms, in the order in which they are shown; the largest decides."""
    load = _plausible(worker, load)
    if load.wait >= worker.objective.wait:
        # Whoever the others are, what they do isn't enough; connections that nobody serves don't help.
        load = replace(load, others=0)
    needed = enough(worker, load)
    return (
        ours(load, at_most(needed, _steady(worker, load))),
        ours(load, at_most(needed, _drain(worker, load))),
        surge(worker, load),
        fill(worker, load),
        resources(
            worker,
            load.utilization,
            pods=load.working - load.others,
            waiting=load.backlog.waiting[1],
            now=now,
        ),
        _floor(worker, load, now),
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
        most=most_pods(worker, load),
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
    held = held_back(load)
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
