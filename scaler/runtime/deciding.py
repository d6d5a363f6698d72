"""One tick of all classes: the pure `decide` for each, and what becomes of a class in which it fails."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.policy import ScalingPolicy
from scaler.core.state import WorkerState
from scaler.runtime.board import Key, Sight
from scaler.runtime.orders import Orders
from scaler.runtime.turns import Turns

log = structlog.get_logger(__name__)


def subjects_of(policies: Mapping[str, ScalingPolicy]) -> dict[Key, WorkerClass]:
    """Every worker class of the policies."""
    return {
        (name, worker_class): WorkerClass(name, worker_class, worker)
        for name, policy in policies.items()
        for worker_class, worker in policy.spec.workers.items()
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Memory and last decision of each class that has one."""

    states: Mapping[Key, WorkerState] = field(default_factory=dict)
    decisions: Mapping[Key, Decision] = field(default_factory=dict)

    def of(self, keys: Mapping[Key, object]) -> "Outcome":
        """What there is of these classes only."""
        return Outcome(
            {key: state for key, state in self.states.items() if key in keys},
            {key: decision for key, decision in self.decisions.items() if key in keys},
        )


async def decide_each(
    subjects: Mapping[Key, WorkerClass],
    before: Outcome,
    sight: Sight,
    *,
    orders: Orders,
    leave_out: Callable[[Key, Sight], bool],
    turns: Turns,
) -> Outcome:
    """The next memory and decision of each class.

    Args:
        subjects: the classes.
        before: of the last tick.
        sight: what is known now.
        orders: what people want.
        leave_out: whether a class isn't to be decided yet.
        turns: for the event loop, between classes.
    """
    states, decisions = dict(before.states), dict(before.decisions)
    for key, observation in sight.observations.items():
        await turns.give()
        if leave_out(key, sight):
            continue
        state = orders.merged(key, states.get(key, WorkerState()))
        try:
            states[key], decisions[key] = decide(subjects[key], state, observation, sight.now)
        except Exception:  # one class's fault must not stop the others; its decision ages and KEDA is told
            log.exception("deciding failed", policy=key[0], worker_class=key[1])
            # A state that can't be decided from must not come back. The replicas and what people ordered
            # stay; without a time of decision nothing steps down for a window.
            states[key] = replace(state.orders, desired=state.desired, active=state.active)
    return Outcome(states, decisions)
