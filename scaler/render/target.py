"""What is rendered for whom: the worker classes with their workloads, checked for what Kubernetes allows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scaler.core.policy import ScaleTarget, ScalingPolicy, WorkerPolicy

#: KEDA writes the ScaledObject's name into a label of the HPA, and a label's value has at most 63 characters.
MOST_NAME_LENGTH = 63


class RenderError(ValueError):
    """The policy is valid, and something that Kubernetes or Celery needs isn't in it; the text says what."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where KEDA finds the scaler, as the ScaledObjects say it."""

    #: host:port as KEDA's operator reaches it; with TLS the certificate must be for exactly this host.
    address: str
    #: TriggerAuthentication with KEDA's client certificate; None for a connection without TLS.
    trigger_authentication: str | None = None
    #: Name of the container that runs Celery in the workers' pods.
    worker_container: str = "worker"
    #: Whether the authentication is a ClusterTriggerAuthentication, which all namespaces share.
    cluster_wide: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One worker class and the workload that KEDA scales for it."""

    policy: str
    worker_class: str
    worker: WorkerPolicy
    workload: ScaleTarget
    #: Whether the service listens to the events of this class's workers.
    events: bool

    @property
    def metadata(self) -> dict[str, str]:
        """Name and, where the policy has one, namespace of everything that belongs to the workload."""
        namespace = {"namespace": self.workload.namespace} if self.workload.namespace else {}
        return {"name": self.workload.name, **namespace}


def targets(policies: Mapping[str, ScalingPolicy]) -> list[Target]:
    """All worker classes of the policies that are scaled, sorted by policy and class.

    Those in shadow mode are somebody else's to scale: they get no ScaledObject, and the settings of their
    workers are the policy's all the same.

    Raises:
        RenderError: a class that can't be rendered.
    """
    found = [
        _target(name, worker_class, policies[name])
        for name in sorted(policies)
        for worker_class, worker in sorted(policies[name].spec.workers.items(), key=lambda one: one[0])
        # Without a workload there is nothing to render, which a class in shadow mode may be.
        if worker.mode == "scale" or worker.scale_target is not None
    ]
    _refuse_shared(found)
    return found


def _target(policy: str, worker_class: str, document: ScalingPolicy) -> Target:
    worker = document.spec.workers[worker_class]
    place = f"{policy}: workers.{worker_class}"
    if worker.scale_target is None:
        raise RenderError(
            f"{place} has no scaleTarget, so there is nothing that KEDA could scale;"
            " write scaleTarget: {kind: Deployment, name: the Deployment of its workers}"
        )
    name = worker.scale_target.name
    if len(name) > MOST_NAME_LENGTH:
        raise RenderError(
            f"{place}.scaleTarget.name has {len(name)} characters, and KEDA makes a label of it;"
            f" shorten it to {MOST_NAME_LENGTH}"
        )
    for queue in worker.queues:
        if "," in queue:
            raise RenderError(
                f"{place}.queues has {queue!r}: `celery worker -Q` splits at commas; rename the queue"
            )
    broker = document.spec.brokers[document.spec.broker_of(worker_class)]
    return Target(policy, worker_class, worker, worker.scale_target, events=broker.events)


def _refuse_shared(found: Iterable[Target]) -> None:
    owners: dict[tuple[str, str | None], Target] = {}
    for target in found:
        # KEDA knows a workload by its name alone: ScaledObjects of one name replace each other.
        first = owners.setdefault((target.workload.name, target.workload.namespace), target)
        if first is not target:
            raise RenderError(
                f"{first.policy}: workers.{first.worker_class} and {target.policy}: workers."
                f"{target.worker_class} have the same scaleTarget {target.workload.name};"
                " a workload can be scaled for one worker class only: give each its own"
            )
