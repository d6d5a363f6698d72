"""Warnings: what a policy may say, and what doesn't do what it seems to say.

Each of them can be decided from the policy alone, was met in practice, and names a remedy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import NamedTuple

from scaler.core.policy import Behavior, ScalingPolicy, WorkerPolicy
from scaler.core.policy.values import Path, format_duration
from scaler.policyfile.diagnostics import Finding
from scaler.policyfile.nodes import Mapping, find, key_place_of, place_of
from scaler.policyfile.timeline import lowest, moves

#: Pools whose pods run every task in one process, most of them waiting.
_GREEN_POOLS = ("gevent", "eventlet")

#: Moves that are compared to find out whether a scaling policy matters, and starts tried.
_COMPARED_MOVES = 40
_COMPARED_STARTS = 20

_UP_POLICIES: Path = ("behavior", "scaleUp", "policies")


@dataclass(frozen=True, slots=True)
class Trap:
    """A warning; the kind tells that the same one was already shown for another environment."""

    kind: str
    finding: Finding


def traps(policy: ScalingPolicy, root: Mapping) -> list[Trap]:
    """All warnings about a valid policy; `root` is the document it came from, for their positions."""
    found: list[Trap] = []
    redis = {name for name in policy.spec.brokers if _is_redis(policy, name)}
    if redis and policy.spec.priorities:
        message = "on Redis 0 is the highest priority and 9 the lowest; publish 9 minus these numbers there"
        found.append(Trap("priorities", Finding(key_place_of(root, ("spec", "priorities")), message)))
    for name, worker in policy.spec.workers.items():
        at: Path = ("spec", "workers", name)
        on_redis = policy.spec.broker_of(name) in redis
        for kind, path, message in (
            *_acknowledgement(worker),
            *(_limits_on_redis(worker) if on_redis else _limits(worker)),
            *_resources(worker),
            *(_idle_policies(worker) if find(root, (*at, *_UP_POLICIES)) else ()),
        ):
            found.append(Trap(kind, Finding(place_of(root, (*at, *path)), message)))
    return found


class _Warning(NamedTuple):
    kind: str
    path: Path
    message: str


def _is_redis(policy: ScalingPolicy, broker: str) -> bool:
    url = policy.spec.brokers[broker].url
    return url is not None and url.get_secret_value().startswith(("redis", "sentinel"))


def _acknowledgement(worker: WorkerPolicy) -> Iterator[_Warning]:
    if not worker.acks_late:
        yield _Warning(
            "acks",
            ("acksLate",),
            "early ack: a running task is in no count of the broker, and a killed pod loses it;"
            " make the tasks idempotent and write acksLate: true",
        )
    if worker.prefetch_multiplier == 0:
        yield _Warning(
            "prefetch",
            ("prefetchMultiplier",),
            "0 lets one pod take every message, and a new pod gets none of them; write prefetchMultiplier: 1",
        )


def _limits_on_redis(worker: WorkerPolicy) -> Iterator[_Warning]:
    limits = worker.limits
    if limits.max_length or limits.message_ttl or limits.overflow != "drop-head":
        yield _Warning(
            "redis-limits",
            ("limits",),
            "Redis enforces none of these: queues grow until its memory is full;"
            " check the length before publishing, or use RabbitMQ",
        )


def _limits(worker: WorkerPolicy) -> Iterator[_Warning]:
    limits, held = worker.limits, worker.prefetch_multiplier * worker.concurrency
    if limits.overflow == "reject-publish-dlx":
        yield _Warning(
            "dlx",
            ("limits", "overflow"),
            "classic queues only: a quorum queue takes it for drop-head and silently drops its oldest tasks;"
            " use classic queues, or write reject-publish",
        )
    if limits.max_length and held >= limits.max_length / 2:
        fewer = "write prefetchMultiplier: 1, or" if worker.prefetch_multiplier > 1 else "write"
        yield _Warning(
            "prefetch",
            ("prefetchMultiplier",),
            f"one pod holds up to {held} messages that maxLength {limits.max_length} doesn't count and other"
            f" pods don't get; {fewer} maxLength: {2 * held + 1} or more",
        )
    if limits.message_ttl and limits.message_ttl <= worker.objective.wait:
        yield _Warning(
            "ttl",
            ("limits", "messageTtl"),
            f"tasks expire after {format_duration(limits.message_ttl)}, before they are late by the objective"
            f" of {format_duration(worker.objective.wait)}; write a longer messageTtl",
        )


def _resources(worker: WorkerPolicy) -> Iterator[_Warning]:
    if worker.resources.cpu and worker.pool in _GREEN_POOLS:
        yield _Warning(
            "green-cpu",
            ("resources", "cpu"),
            f"a {worker.pool} pod whose tasks wait for I/O uses little CPU however full it is, so this adds"
            " pods for computing tasks only; rely on the queues, or remove it",
        )


def _idle_policies(worker: WorkerPolicy) -> Iterator[_Warning]:
    """Scale-up policies without which every way from few replicas to many is the same."""
    rules = worker.behavior.scale_up
    kept = list(enumerate(rules.policies))
    # Of two that do the same, people are surprised by the one in percent.
    for index, step in sorted(kept, key=lambda pair: pair[1].type != "Percent"):
        others = tuple(other for position, other in kept if position != index)
        if not others or rules.select_policy == "Disabled":
            continue
        without = rules.model_copy(update={"policies": others})
        if _same_growth(worker, worker.behavior.model_copy(update={"scale_up": without})):
            kept.remove((index, step))
            yield _Warning(
                "idle-policy",
                (*_UP_POLICIES, index),
                f"{step} never makes a difference from {lowest(worker)} to {worker.replicas.max} replicas,"
                f" beside {' and '.join(map(str, others))}; remove it, or raise replicas.max",
            )


def _same_growth(worker: WorkerPolicy, other: Behavior) -> bool:
    low, high = lowest(worker), worker.replicas.max
    if low == high:
        return False  # nothing ever moves, so nothing can be said about policies
    for start in range(low, high, max(1, (high - low) // _COMPARED_STARTS)):
        one, two = (islice(moves(each, start, high), _COMPARED_MOVES) for each in (worker.behavior, other))
        count = 0
        for mine, theirs in zip_longest(one, two):
            count += 1
            if mine != theirs:
                return False
        if count == _COMPARED_MOVES:
            return False  # too long a way to be sure
    return True
