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
    #: Seconds that a task occupies a slot, and from deciding to a pod that works.
    service_time: float
    lead_time: float
    #: Age of the oldest waiting task, as far as it is known.
    wait: float = 0.0
    #: Slots are idle in front of what is ready, so that more of them wouldn't help.
    untouched: bool = False


def terms(worker: WorkerPolicy, load: Load, now: float) -> tuple[Term, ...]:
    """All terms, in the order in which they are shown; the largest decides."""
    return (_steady(worker, load), _drain(worker, load), _fill(worker, load), _floor(worker, now))


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
        most=worker.replicas.max,
    )
    stuck = load.backlog.stuck / worker.concurrency
    share = slots / objective.utilization / worker.concurrency
    formula = (
        f"{load.rate.value:.4g} tasks/s ({load.rate.view}) × {load.service_time:.4g} s"
        f" = {slots:.4g} busy slots"
        f", ÷ {objective.utilization:g} ÷ {worker.concurrency} slots per pod = {share:.2f}"
    )
    if pods > share + 1:
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
    work = waiting + backlog.due_soon
    if work == 0:
        return Term(
            "drain", 0.0, "idle slots don't take what is ready" if load.untouched else "nothing waits"
        )
    low, high = DRAIN_BOUNDS
    within = min(max(worker.objective.wait - load.wait - load.lead_time, low), high)
    slots = offered(load)
    missing = max(0.0, slots - load.pods * worker.concurrency)
    parts = (
        slots / worker.objective.utilization,
        missing * load.lead_time / within,
        work * load.service_time / within,
    )
    pods = (sum(parts) + backlog.stuck) / worker.concurrency
    soon = f" ({backlog.due_soon} of it due within {load.lead_time:.3g} s)" if backlog.due_soon else ""
    return Term(
        "drain",
        pods,
        f"(load {slots:.4g} ÷ {worker.objective.utilization:g} = {parts[0]:.4g}"
        f" + shortfall while pods start {missing:.4g} × {load.lead_time:.4g} s ÷ {within:.4g} s"
        f" = {parts[1]:.4g}"
        f" + backlog {work}{soon} × {load.service_time:.4g} s ÷ {within:.4g} s = {parts[2]:.4g}"
        f"{f' + {backlog.stuck} stuck' if backlog.stuck else ''}) slots"
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
    done = 0.0 if load.backlog.busy is None else load.pods * worker.concurrency / load.service_time
    growth = load.fast_rate - done
    level = FULL_SHARE * limit
    place = f"{fullest.name} holds {fullest.ready} of {limit}"
    if growth <= 0:
        return Term("fill", None, f"{place}; no more arrives than {load.pods} pods can do")
    left = max(0.0, level - fullest.ready) / growth
    horizon = load.lead_time + FILL_MARGIN_SECONDS
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
