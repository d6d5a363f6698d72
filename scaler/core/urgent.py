"""Terms that can't wait for certainty: flows that can't be told from a dump yet, and queues that fill up."""

import math
from dataclasses import replace

from scaler.core import patience
from scaler.core.decision import Term
from scaler.core.forecast import most_pods, queue_of
from scaler.core.load import Load
from scaler.core.observation import QueueReading
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration

#: A queue is as good as full at this share of its limit (the level of the critical alert).
FULL_SHARE = 0.8
#: And as filling, so that 6 s of a flow are enough to say so, from this share of that on.
BEGUN_SHARE = 0.2
#: Two decisions at the slowest tick are added to the lead time when a fill is foreseen.
FILL_MARGIN_SECONDS = 10.0
#: A queue that has been full for so long refuses what comes, at a rate that can't be seen, if this share of
#: what is done at least comes after it: a queue is kept full by a flow, a dump that just fits is worked off.
REFUSING_SECONDS = 10.0
REFILLED_SHARE = 0.5


def surge(worker: WorkerPolicy, load: Load) -> Term:
    """All pods at once where six seconds of a flow are more than all of them can do, and it can't wait."""
    most, pods, objective = most_pods(worker, load), load.pods + load.others, worker.objective
    able = most * worker.concurrency / load.service_time
    if load.surge_rate <= able:
        return Term("surge", None, f"no more arrives than {most} pods can do ({able:.4g}/s)")
    wait = patience.worst(queue_of(worker, load, load.surge_rate), pods)[0]
    seen = f"{load.surge_rate:.4g} tasks/s in the last 6 s, {most} pods can do {able:.4g}"
    bound = objective.patience * objective.wait
    if wait <= bound:
        return Term("surge", None, f"{seen}, but if it goes on {pods} pods keep waits below {bound:g} s")
    return Term(
        "surge", float(worker.replicas.max), f"{seen}, so that every second counts: all that the limits allow"
    )


def fill(worker: WorkerPolicy, load: Load) -> Term:
    """All that is allowed where a queue is full, or will be before new pods start."""
    limit = worker.limits.max_length
    if limit is None:
        return Term("fill", None, "the policy sets no maxLength")
    if not load.queues:
        return Term("fill", None, "no queue has been read yet")
    if (refusing := _refusing(load)) is not None:
        words = f"{refusing.name} holds {refusing.ready} of {limit} and has been full for {load.full:.0f} s"
        words += ": what it refuses can't be seen; all that the limits allow"
        return Term("fill", float(worker.replicas.max), words)
    fullest = max(load.queues, key=lambda queue: queue.ready)
    level, place = FULL_SHARE * limit, f"{fullest.name} holds {fullest.ready} of {limit}"
    # Pods that can't start for the time being don't help.
    soon = tuple((seconds, pods) for seconds, pods in load.starting if seconds < load.lead_time)
    unseen = load.backlog.busy is None
    queue = replace(
        queue_of(worker, load, load.fast_rate),
        # Workers hold what falls due soon; it doesn't go back to the queue.
        rate=load.fast_rate,
        waiting=float(fullest.ready),
        # Where running tasks can't be seen, the rate is the queue's growth already.
        working=0 if unseen else load.working,
        starting=() if unseen else soon,
    )
    able = queue.pods * queue.pace
    # What pods can still prevent can't wait until a flow is told from a dump; what they can't, can. So can a
    # queue that is as good as empty: 42 tasks in 7 s are no sign of 500.
    if fullest.ready >= BEGUN_SHARE * level and (
        level - fullest.ready >= (load.surge_peak - able) * load.lead_time
    ):
        queue = replace(queue, rate=max(queue.rate, load.surge_rate))
    left = patience.filled(queue, level)
    if left == math.inf or (queue.rate <= able and patience.standing(queue, queue.pods, 0.0) < level):
        starting = sum(pods for _, pods in queue.starting)
        words = f", {starting} of them start: sooner than new ones would" if starting else ""
        pods = load.working + starting
        return Term("fill", None, f"{place}; no more arrives than {pods} pods can do{words}")
    horizon = load.lead_time + FILL_MARGIN_SECONDS
    seen = f"grows by {queue.rate:.4g}/s" if unseen else f"{queue.rate:.4g}/s arrive"
    outlook = f"{place}, {seen}: {FULL_SHARE:.0%} full in {format_duration(round(left, 1))}"
    if left >= horizon:
        return Term("fill", None, f"{outlook}, later than new pods start ({format_duration(horizon)})")
    return Term(
        "fill", float(worker.replicas.max), f"{outlook}, before new pods start: all that the limits allow"
    )


def _refusing(load: Load) -> QueueReading | None:
    """The queue that refuses tasks at this moment; None: none does for certain.

    A queue that is only worked off falls by what is done; one that is refilled doesn't.
    """
    if load.full < REFUSING_SECONDS or load.untouched:
        return None
    queue = next((queue for queue in load.queues if queue.name == load.full_queue), None)
    busy = load.backlog.busy
    if queue is None or busy == 0:
        return None
    fallen = load.full_ready - queue.ready
    # Where running tasks can't be seen, a queue that hasn't fallen at all is refilled.
    done = 0.0 if busy is None else busy / load.service_time * load.full
    return queue if fallen <= (1 - REFILLED_SHARE) * done else None
