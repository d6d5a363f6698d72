"""How many replicas the load needs: one term per reason, each with its arithmetic in words."""

from dataclasses import dataclass

from scaler.core import queueing
from scaler.core.arrivals import Rate
from scaler.core.backlog import Backlog
from scaler.core.decision import Term
from scaler.core.observation import QueueReading
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration
from scaler.core.schedule import active_window

#: The time in which a backlog is to be gone is kept within these bounds: shorter would ask for
#: the whole cluster at every burst, longer would let a backlog stand.
DRAIN_BOUNDS = (30.0, 600.0)
#: A queue is as good as full at this share of its limit (the level of the critical alert).
FULL_SHARE = 0.8
#: Two decisions at the slowest tick are added to the lead time when a fill is foreseen.
FILL_MARGIN_SECONDS = 10.0


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


def terms(worker: WorkerPolicy, load: Load, now: float) -> tuple[Term, ...]:
    """All terms, in the order in which they are shown; the largest decides."""
    return (_steady(worker, load), _drain(worker, load), _fill(worker, load), _floor(worker, now))


def offered(worker: WorkerPolicy, rate: Rate) -> float:
    """Offered load in slots: arrivals per second × service time."""
    return rate.value * worker.service_time


def _steady(worker: WorkerPolicy, load: Load) -> Term:
    slots = offered(worker, load.rate)
    objective = worker.objective
    pods = queueing.least_pods(
        slots,
        slots_per_pod=worker.concurrency,
        utilization=objective.utilization,
        service_time=worker.service_time,
        wait=objective.wait,
        level=objective.service_level,
        most=worker.replicas.max,
    )
    share = slots / objective.utilization / worker.concurrency
    formula = (
        f"{load.rate.value:.4g} tasks/s ({load.rate.view}) × {worker.service_time:g} s"
        f" = {slots:.4g} busy slots"
        f", ÷ {objective.utilization:g} ÷ {worker.concurrency} slots per pod = {share:.2f}"
    )
    if pods > share + 1:
        formula += f", {pods} pods so that {objective.service_level:.4g} start within {objective.wait:g} s"
    if load.backlog.busy is None:
        formula += "; running tasks can't be seen here, so this is a lower bound"
    return Term("steady", float(pods) if pods > share + 1 else share, formula)


def _drain(worker: WorkerPolicy, load: Load) -> Term:
    waiting = load.backlog.waiting[1]
    if waiting == 0:
        return Term("drain", 0.0, "nothing waits")
    low, high = DRAIN_BOUNDS
    within = min(max(worker.objective.wait - worker.startup_time, low), high)
    slots = offered(worker, load.rate)
    missing = max(0.0, slots - load.pods * worker.concurrency)
    parts = (
        slots / worker.objective.utilization,
        missing * worker.startup_time / within,
        waiting * worker.service_time / within,
    )
    pods = sum(parts) / worker.concurrency
    return Term(
        "drain",
        pods,
        f"(load {slots:.4g} ÷ {worker.objective.utilization:g} = {parts[0]:.4g}"
        f" + shortfall while pods start {missing:.4g} × {worker.startup_time:g} s ÷ {within:g} s"
        f" = {parts[1]:.4g}"
        f" + backlog {waiting} × {worker.service_time:g} s ÷ {within:g} s = {parts[2]:.4g}) slots"
        f" ÷ {worker.concurrency} slots per pod = {pods:.2f}",
    )


def _fill(worker: WorkerPolicy, load: Load) -> Term:
    limit = worker.limits.max_length
    if limit is None:
        return Term("fill", None, "the policy sets no maxLength")
    if not load.queues:
        return Term("fill", None, "no queue has been read yet")
    fullest = max(load.queues, key=lambda queue: queue.ready)
    # Where running tasks can't be seen, the rate is the queue's growth already.
    done = 0.0 if load.backlog.busy is None else load.pods * worker.concurrency / worker.service_time
    growth = load.fast_rate - done
    level = FULL_SHARE * limit
    place = f"{fullest.name} holds {fullest.ready} of {limit}"
    if growth <= 0:
        return Term("fill", None, f"{place}; no more arrives than {load.pods} pods can do")
    left = max(0.0, level - fullest.ready) / growth
    horizon = worker.startup_time + FILL_MARGIN_SECONDS
    outlook = f"{place}, grows by {growth:.4g}/s: {FULL_SHARE:.0%} full in {format_duration(round(left, 1))}"
    if left >= horizon:
        return Term("fill", None, f"{outlook}, later than new pods start ({format_duration(horizon)})")
    return Term(
        "fill", float(worker.replicas.max), f"{outlook}, before new pods start: all that the limits allow"
    )


def _floor(worker: WorkerPolicy, now: float) -> Term:
    window = active_window(worker.schedule, now)
    if window is None or window.min_replicas <= worker.replicas.min:
        return Term("floor", float(worker.replicas.min), f"replicas.min {worker.replicas.min}")
    reason = f" ({window.reason})" if window.reason else ""
    return Term(
        "floor",
        float(window.min_replicas),
        f"schedule {window.cron!r} {window.timezone}{reason}: {window.min_replicas}",
    )
