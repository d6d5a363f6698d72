"""What a person's order makes of a decision: it wins over everything, and the rest stays readable."""

from dataclasses import replace

from scaler.core import behavior
from scaler.core.decision import Decision
from scaler.core.drain import Memory
from scaler.core.override import Override
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState


def obey(
    worker: WorkerPolicy, order: Override, before: WorkerState, after: WorkerState, decision: Decision
) -> tuple[WorkerState, Decision]:
    """The decision with the replicas that a person ordered; what the load would have had stays readable."""
    now = decision.decided_at
    # The step that the behavior would have taken didn't happen, so it isn't counted against later ones.
    events = replace(
        after.history,
        added=tuple(stamp for stamp in before.history.added if stamp[0] <= now),
        removed=tuple(stamp for stamp in before.history.removed if stamp[0] <= now),
    )
    history = behavior.record(events, worker.behavior, decision.previous, order.replicas, now)
    active, because = decision.active, decision.active_because
    if order.replicas > worker.replicas.min:
        active, because = True, f"{order.replicas} are ordered, more than min {worker.replicas.min}"
    decision = replace(
        decision,
        desired=order.replicas,
        active=active,
        active_because=because,
        limit="override",
        limit_detail=str(order),
        next_step_at=order.until,
        stepping_down_to=None,
        costs=(),
        waiting_since=None,
    )
    after = replace(after, drain=Memory())
    return replace(after, desired=order.replicas, active=active, decided_at=now, history=history), decision
