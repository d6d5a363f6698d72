"""One worker class: what it consumes, how big a pod is, what it promises, how fast it may grow."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from scaler.core.policy.behavior import Behavior, Tolerance
from scaler.core.policy.values import (
    Duration,
    Model,
    Name,
    PositiveDuration,
    fault,
    refuse,
    repetitions,
    shown,
)

Pool = Literal["prefork", "gevent", "eventlet", "threads", "solo"]
QueueName = Annotated[str, Field(min_length=1, max_length=255)]
#: Replicas have an upper bound so that a slip of the finger can't ask for a million pods.
ReplicaCount = Annotated[int, Field(ge=0, le=10_000)]


def _cron(expression: str) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - a fixed date to parse against, not a clock

    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise fault(
            "cron",
            'bad cron expression {value}: {reason}; write five fields such as "50 8 * * 1-5"',
            value=shown(expression),
            reason=str(error),
        ) from error
    return expression


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise fault(
            "timezone",
            "unknown time zone {value}; write an IANA name such as Asia/Kolkata or UTC",
            value=shown(name),
        ) from error
    return name


class ScaleTarget(Model):
    """The workload that KEDA scales."""

    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    """Its kind."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    """Its name in Kubernetes."""
    namespace: str | None = None
    """Its namespace; left out: the one of the scaler."""


class Objective(Model):
    """What is promised: `serviceLevel` of the tasks start within `wait`; `utilization` is the cost dial."""

    wait: PositiveDuration = 30.0
    """How long a task may wait for a slot."""
    service_level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """The share of tasks that start within `wait`."""
    utilization: Annotated[float, Field(gt=0, le=1)] = 0.85
    """The share of slots that may be busy in steady load; lower costs more pods and waits less."""
    patience: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """The share of `wait` that a forecast may use up before pods are added; 0: as soon as the load asks."""


class Replicas(Model):
    """Bounds of the desired replicas, both inclusive."""

    min: ReplicaCount = 1
    """Never fewer; 0 lets KEDA take the last pod away."""
    max: Annotated[int, Field(ge=1, le=10_000)]
    """Never more."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            refuse(
                [
                    fault(
                        "replicas",
                        "min {min} is greater than max {max}; write min: {max} or max: {min}",
                        ("min",),
                        ("max",),
                        min=self.min,
                        max=self.max,
                    )
                ]
            )
        return self


class Resources(Model):
    """Targets in percent of the pods' requests; they may add replicas, never remove any."""

    cpu: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Percent of the CPU request."""
    memory: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Percent of the memory request."""


class Limits(Model):
    """Protection of each queue of the class."""

    max_length: Annotated[int, Field(ge=1)] | None = None
    """Ready messages that a queue may hold; messages that workers hold don't count."""
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] = "drop-head"
    """What happens to a message too many: the oldest is dropped, or the new one is refused."""
    message_ttl: PositiveDuration | None = None
    """A message that has waited longer is dropped, or dead-lettered where that is set up."""


class ScheduleWindow(Model):
    """A recurring floor: from each cron time on, for `duration`, at least `minReplicas`."""

    cron: Annotated[str, AfterValidator(_cron)]
    """When it begins: minute, hour, day of month, month, day of week."""
    duration: PositiveDuration
    """How long it lasts."""
    min_replicas: Annotated[int, Field(ge=1, le=10_000)]
    """The floor while it lasts."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """Whose clock `cron` means, as an IANA name."""
    reason: str = ""
    """Shown by explanations."""


class Drain(Model):
    """Which pods go when replicas are taken away, and when it is too early for that."""

    enabled: bool = True
    """Whether pods are marked by the work that they still have, so that idle ones go first."""
    max_wait: PositiveDuration | None = None
    """How long a step down waits for tasks that would be killed; left out: as long as they take."""


class WorkerPolicy(Model):
    """One worker class."""

    scale_target: ScaleTarget | None = None
    """The workload that KEDA scales, where the scaler should read its pods."""
    broker: Name | None = None
    """Which of the brokers holds the queues; may be left out when there is only one."""
    queues: Annotated[tuple[QueueName, ...], Field(min_length=1)]
    """What the workers of this class consume (`celery worker -Q`)."""
    hostnames: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    """Node names of the class's workers (`celery worker -n`), as patterns with * and ?."""
    native_delayed_delivery: bool = False
    """Whether this class's ETA tasks wait in the broker (quorum queues with Celery 5.5 or newer)."""
    pool: Pool = "prefork"
    """The execution pool (`celery worker -P`)."""
    concurrency: Annotated[int, Field(ge=1, le=100_000)]
    """Slots per pod: tasks that one pod can run at once (`celery worker -c`)."""
    # The next two have Celery's own defaults, so that leaving them out means what it means to Celery.
    acks_late: bool = False
    """Whether tasks are acknowledged after they ran (Celery's task_acks_late)."""
    prefetch_multiplier: Annotated[int, Field(ge=0, le=10_000)] = 4
    """Messages that a worker takes ahead per slot (Celery's worker_prefetch_multiplier)."""
    service_time: PositiveDuration
    """Prior of how long a task runs: used until enough has been measured."""
    service_time_cv: Annotated[float, Field(ge=0, le=10)] = 1.0
    """How much that varies: standard deviation ÷ mean; 0: all alike, 1: as exponential ones."""
    startup_time: Duration = 45.0
    """Prior of the lead time: from deciding to the first task on the new pod."""
    objective: Objective = Objective()
    """What is promised to those who publish tasks."""
    replicas: Replicas
    """Bounds of the replicas."""
    resources: Resources = Resources()
    """CPU and memory targets that may add replicas."""
    behavior: Behavior = Behavior()
    """How fast replicas may change: the HPA's block, field for field."""
    hpa_tolerance: Tolerance = 0.0
    """The HPA's own deadband, where it can't be set to 0: steps are widened so that the HPA makes them."""
    drain: Drain = Drain()
    """How replicas are taken away without killing tasks."""
    limits: Limits = Limits()
    """Protection of each queue."""
    schedule: tuple[ScheduleWindow, ...] = ()
    """Recurring floors."""
    fast_path: bool = False
    """Whether the scaler itself raises the target's replicas, instead of waiting for the HPA's next look."""
    mode: Literal["scale", "shadow"] = "scale"
    """`shadow`: decide and compare with what scales the class now; KEDA gets no number."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = repetitions(self.queues, "queue", ("queues",))
        if self.pool == "solo" and self.concurrency != 1:
            faults.append(
                fault(
                    "solo",
                    "pool solo runs one task at a time, but concurrency is {n};"
                    " write concurrency: 1 or pool: prefork",
                    ("concurrency",),
                    ("pool",),
                    n=self.concurrency,
                )
            )
        faults += [
            fault(
                "schedule",
                "schedule[{number}] asks for minReplicas {wanted}, more than replicas.max {max};"
                " raise replicas.max or write minReplicas: {max}",
                ("schedule", number, "minReplicas"),
                ("replicas", "max"),
                number=number,
                wanted=window.min_replicas,
                max=self.replicas.max,
            )
            for number, window in enumerate(self.schedule)
            if window.min_replicas > self.replicas.max
        ]
        if self.fast_path and self.scale_target is None:
            faults.append(
                fault(
                    "fast_path",
                    "fastPath needs the workload whose replicas it raises; write scaleTarget: {hint}",
                    ("fastPath",),
                    hint="{name: the Deployment of the workers}",
                )
            )
        if self.fast_path and self.hpa_tolerance:
            faults.append(
                fault(
                    "fast_path",
                    "fastPath and hpaTolerance don't go together: an HPA with a deadband keeps the pods that"
                    " exist, and takes back what was raised; remove one of them",
                    ("fastPath",),
                    ("hpaTolerance",),
                )
            )
        refuse(faults)
        return self
