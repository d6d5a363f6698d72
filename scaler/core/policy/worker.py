"""One worker class: what it consumes, how big a pod is, what it promises, how fast it may grow."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from scaler.core.policy.behavior import Behavior
from scaler.core.policy.values import Duration, Model, Name, PositiveDuration, fault, unique

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
            value=repr(expression),
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
            value=repr(name),
        ) from error
    return name


class ScaleTarget(Model):
    """The workload that KEDA scales."""

    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    namespace: str | None = None


class Objective(Model):
    """What is promised: `serviceLevel` of the tasks start within `wait`; `utilization` is the cost dial."""

    wait: PositiveDuration = 30.0
    service_level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    utilization: Annotated[float, Field(gt=0, le=1)] = 0.85


class Replicas(Model):
    """Bounds of the desired replicas, both inclusive."""

    min: ReplicaCount = 1
    max: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise fault(
                "replicas",
                "min {min} is greater than max {max}; write min: {max} or max: {min}",
                min=self.min,
                max=self.max,
            )
        return self


class Resources(Model):
    """Targets in percent of the pods' requests; they may add replicas, never remove any."""

    cpu: Annotated[int, Field(ge=1, le=1000)] | None = None
    memory: Annotated[int, Field(ge=1, le=1000)] | None = None


class Limits(Model):
    """Protection of each queue of the class."""

    max_length: Annotated[int, Field(ge=1)] | None = None
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] = "drop-head"
    message_ttl: PositiveDuration | None = None


class ScheduleWindow(Model):
    """A recurring floor: from each cron time on, for `duration`, at least `minReplicas`."""

    cron: Annotated[str, AfterValidator(_cron)]
    duration: PositiveDuration
    min_replicas: Annotated[int, Field(ge=1, le=10_000)]
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    reason: str = ""


class WorkerPolicy(Model):
    """One worker class."""

    scale_target: ScaleTarget | None = None
    broker: Name | None = None
    queues: Annotated[tuple[QueueName, ...], Field(min_length=1)]
    pool: Pool = "prefork"
    #: Slots per pod.
    concurrency: Annotated[int, Field(ge=1, le=100_000)]
    #: Celery's own defaults, so that leaving these out means what it means to Celery.
    acks_late: bool = False
    prefetch_multiplier: Annotated[int, Field(ge=0, le=10_000)] = 4
    #: Prior: used until enough has been measured.
    service_time: PositiveDuration
    #: Prior of the lead time: from deciding to the first task on the new pod.
    startup_time: Duration = 45.0
    objective: Objective = Objective()
    replicas: Replicas
    resources: Resources = Resources()
    behavior: Behavior = Behavior()
    limits: Limits = Limits()
    schedule: tuple[ScheduleWindow, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique(self.queues, "queue")
        if self.pool == "solo" and self.concurrency != 1:
            raise fault(
                "solo",
                "pool solo runs one task at a time, but concurrency is {n}; write concurrency: 1 or pool: prefork",
                n=self.concurrency,
            )
        for number, window in enumerate(self.schedule):
            if window.min_replicas > self.replicas.max:
                raise fault(
                    "schedule",
                    "schedule[{number}] asks for minReplicas {wanted}, more than replicas.max {max};"
                    " raise replicas.max or write minReplicas: {max}",
                    number=number,
                    wanted=window.min_replicas,
                    max=self.replicas.max,
                )
        return self
