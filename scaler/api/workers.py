"""The JSON of a worker class: its decision in camelCase, the bounds, and the reasons in lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel, to_snake

from scaler.api.readings import process_documents, queue_documents
from scaler.api.workloads import cluster_document
from scaler.core import shadow
from scaler.core.decision import Decision
from scaler.core.explain import explain
from scaler.core.workload import Workload
from scaler.runtime.board import Key, Snapshot

_OTHER_POLICIES = "  differs: the leader's policies count, and are not those of this replica"


def worker_document(snapshot: Snapshot, key: Key, now: float, *, foreign: bool = False) -> dict[str, Any]:
    """What is known of one loaded class; `decisionId` is null before its first decision.

    Args:
        snapshot: where `key` comes from.
        key: (policy name, worker class).
        now: seconds since the epoch.
        foreign: it was decided by other policies than those that are loaded here.
    """
    policy, worker_class = key
    worker = snapshot.policies[policy].spec.workers[worker_class]
    replicas = worker.replicas
    decision = snapshot.decisions.get(key)
    document: dict[str, Any] = {
        "policy": policy,
        "workerClass": worker_class,
        "decisionId": decision.id if decision else None,
        "min": replicas.min,
        "max": replicas.max,
        "mode": worker.mode,
    }
    other_policies = [_OTHER_POLICIES] if foreign else []
    if decision is None:
        return document | {"why": [f"{worker_class}: no decision yet", *other_policies]}
    read = {
        "queues": queue_documents(snapshot, key),
        "processes": process_documents(snapshot, key),
        "cluster": cluster_document(snapshot, key),
    }
    now = snapshot.moment(now)
    fields = {to_camel(name): value for name, value in decision.to_dict().items()}
    why = list(explain(decision, now, (replicas.min, replicas.max)))
    if worker.mode == "shadow":
        workload = snapshot.workloads.get(key, Workload())
        why[1:1] = shadow.lines(decision, snapshot.observations.get(key), workload)
    if snapshot.decider:
        why.append(f"  leader:  {snapshot.decider}, term {snapshot.term}")
    why += other_policies
    if snapshot.held_because:
        why.append(f"  store:   {snapshot.held_because}")
    decider = {"decidedBy": snapshot.decider, "term": snapshot.term}
    return document | fields | read | decider | {"why": why}


def all_workers(snapshot: Snapshot, now: float, *, foreign: bool = False) -> Iterator[dict[str, Any]]:
    """Every loaded class, in the order of the names; see `worker_document`."""
    keys = ((policy, name) for policy, loaded in snapshot.policies.items() for name in loaded.spec.workers)
    return (worker_document(snapshot, key, now, foreign=foreign) for key in sorted(keys))


def decision_of(document: Mapping[str, Any]) -> Decision | None:
    """The decision in a `worker_document` that came back as JSON; None where there was none yet."""
    if document["decisionId"] is None:
        return None
    return Decision.from_dict({to_snake(name): value for name, value in document.items()})
