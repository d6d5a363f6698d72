"""A trace: what is offered to a worker class, how long it takes, and what goes wrong meanwhile.

Written like a policy (camelCase, durations with units, unknown keys are faults). Everything random
in it is drawn beforehand from its seed, so that every controller meets the same tasks.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scaler.core.policy.behavior import Tolerance
from scaler.core.policy.values import Duration, Model, Name, Path, PositiveDuration, fault, refuse
from scaler.core.policy.worker import Replicas

FaultKind = Literal["broker-dark", "broker-down", "workers-lost", "metrics-stale", "counters-reset"]
#: Tasks in one trace; more would need gigabytes.
MOST_TASKS = 5_000_000
Rate = Annotated[float, Field(ge=0, le=100_000)]
Count = Annotated[int, Field(ge=1, le=MOST_TASKS)]


class Arrival(Model):
    """A rate from then on (Poisson), a ramp, or a burst."""

    at: Duration
    """When it begins, from the trace's start."""
    rate: Rate | None = None
    """Tasks per second from then on."""
    to: Rate | None = None
    """The rate grows (or falls) linearly to this one."""
    until: Duration | None = None
    """When `to` is reached; the rate stays there."""
    burst: Count | None = None
    """So many tasks, evenly spread, besides the rate."""
    over: Duration = 0.0
    """How long the burst takes."""
    countdown: Duration | None = None
    """The burst's tasks are not due before so much later (Celery's countdown)."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        faults: list[PydanticCustomError] = []
        if (self.rate is None) == (self.burst is None):
            faults.append(
                fault("arrival", "an arrival has either rate or burst; write rate: 2 or burst: 500", ("at",))
            )
        if (self.to is None) != (self.until is None):
            faults.append(
                fault(
                    "ramp", "a ramp needs both to and until; write to: 300, until: 60m", ("to",), ("until",)
                )
            )
        if self.until is not None and self.until <= self.at:
            faults.append(fault("ramp", "until must be later than at; write a later until", ("until",)))
        if self.burst is not None and self.to is not None:
            faults.append(fault("ramp", "a burst has no ramp; remove to and until", ("to",)))
        if self.burst is None and (self.over or self.countdown is not None):
            faults.append(
                fault("burst", "over and countdown belong to a burst; remove them", ("over",), ("countdown",))
            )
        refuse(faults)
        return self


class ServiceTime(Model):
    """How long a task occupies a slot from then on (lognormal)."""

    at: Duration = 0.0
    """From when."""
    mean: PositiveDuration
    """Its mean."""
    cv: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Its standard deviation divided by its mean."""


class Fault(Model):
    """Something goes wrong for a while."""

    at: Duration
    """When it begins."""
    duration: Duration = 0.0
    """How long it lasts."""
    kind: FaultKind
    """broker-dark: nothing can be read. broker-down: nothing can be published or taken either; producers
    hold what they have and publish it within 5 s afterwards. workers-lost: running pods are killed at once
    and replaced. metrics-stale: the last reading is repeated. counters-reset: the broker counts anew."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """workers-lost: the part of the pods that is killed."""


class Poison(Model):
    """Tasks that hang."""

    at: Duration
    """When they arrive."""
    count: Count
    """How many."""
    seconds: Annotated[float, Field(gt=0)]
    """How long each occupies its slot."""


class Failures(Model):
    """Tasks that fail and are retried with a countdown that doubles."""

    at: Duration
    """From when tasks fail."""
    duration: PositiveDuration
    """For how long."""
    share: Annotated[float, Field(gt=0, le=1)]
    """The part that fails."""
    retries: Annotated[int, Field(ge=1, le=20)] = 3
    """How often one is retried (Celery's max_retries)."""
    backoff: PositiveDuration = 2.0
    """The first countdown; each next one is twice as long."""
    breaker_after: Duration | None = None
    """A circuit breaker opens so long after `at`: tasks then all fail, within 50 ms."""


class PriorityShare(Model):
    """A part of the tasks has this priority; RabbitMQ takes high numbers first, Redis low ones."""

    priority: Annotated[int, Field(ge=0, le=255)]
    """The message's priority (Redis: of kombu's steps 0, 3, 6, 9)."""
    share: Annotated[float, Field(gt=0, le=1)]
    """The part of the tasks."""


class Announced(Model):
    """A spike that somebody declares to this scaler beforehand; the peers know of none."""

    at: Duration
    """When it begins, from the trace's start."""
    duration: PositiveDuration
    """How long its pods are needed."""
    ahead: Duration = 0.0
    """How long before `at` it is declared."""
    replicas: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """So many pods."""
    rate: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """So many tasks per second besides the usual ones."""
    tasks: Count | None = None
    """So many tasks at once."""

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if self.replicas is None and self.rate is None and self.tasks is None:
            refuse([fault("size", "an announcement needs its size; write tasks: 10000", ("at",))])
        return self


class Readings(Model):
    """What the broker and the workers show."""

    broker: Literal["rabbitmq", "redis"] = "rabbitmq"
    """Whose readings the controllers get."""
    heartbeats: bool = True
    """Whether workers send heartbeats that are received."""
    heartbeats_lost: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part of the heartbeats that doesn't arrive."""
    clock_skew: Duration = 0.0
    """How far the producers' clocks are off, alternately ahead and behind (moves countdowns)."""


class TraceObjective(Model):
    """What counts as late in this trace, instead of the policy's objective."""

    wait: PositiveDuration
    """Seconds within which a task is to start."""


class Pods(Model):
    """What differs from the policy's worker class in this trace."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Slots per pod."""
    prefetch_multiplier: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Celery's worker_prefetch_multiplier."""
    acks_late: bool | None = None
    """Celery's task_acks_late."""
    replicas: Replicas | None = None
    """Bounds of the replicas."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Ready messages that a queue may hold."""
    grace_period: Duration | None = None
    """Kubernetes' terminationGracePeriodSeconds, from SIGTERM to SIGKILL; left out: what `render` writes."""
    start: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Pods at the beginning; left out: replicas.min, and one at least."""


class TraceMetadata(Model):
    """Names the trace."""

    name: Name
    """What reports call it."""


class TraceSpec(Model):
    """What happens to one worker class."""

    worker_class: Name
    """Which class of the policy it is for."""
    duration: PositiveDuration
    """How long it runs, the time after the last arrival included."""
    seed: Annotated[int, Field(ge=0)] = 1
    """For arrivals and service times; the same seed, the same tasks."""
    arrivals: tuple[Arrival, ...] = ()
    """Rates and bursts in the order of time."""
    arrivals_file: str | None = None
    """Instead: a CSV beside the trace with the columns t_seconds,count."""
    recorded: tuple[tuple[Annotated[float, Field(ge=0)], Annotated[int, Field(ge=0)]], ...] = ()
    """Instead: [seconds, tasks] pairs, each spread evenly until the next; what arrivalsFile holds."""
    service_time: tuple[ServiceTime, ...] = ()
    """Left out: the policy's, exponential-like (cv 1)."""
    startup_time: Duration | None = None
    """From a pod's creation to its first task; left out: the policy's."""
    objective: TraceObjective | None = None
    """Left out: the policy's."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong."""
    announcements: tuple[Announced, ...] = ()
    """Spikes that are declared beforehand."""
    poison: Poison | None = None
    """Tasks that hang."""
    failures: Failures | None = None
    """Tasks that fail and are retried."""
    priorities: tuple[PriorityShare, ...] = ()
    """Priorities of the tasks; left out: all the same."""
    readings: Readings = Readings()
    """What the controllers get to see."""
    pods: Pods = Pods()
    """What differs from the policy's class."""
    scaled_objects: Annotated[int, Field(ge=1, le=4)] = 1
    """So many deployments, each with its own controller, consume the same queue."""
    hpa_tolerance: Tolerance = 0.0
    """The HPA's deadband: 0.1 on clusters that can't set it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults: list[PydanticCustomError] = []
        if bool(self.arrivals) + (self.arrivals_file is not None) + bool(self.recorded) != 1:
            text = "a trace has either arrivals or arrivalsFile; write arrivals: [{at: 0s, rate: 2}]"
            faults.append(fault("arrivals", text, ("arrivals",), ("arrivalsFile",)))
        faults += [_unordered(path) for path in self._out_of_order()]
        for index, arrival in enumerate(self.arrivals):
            if arrival.at >= self.duration:
                text = "arrivals[{index}] begins after the trace's end; raise duration or remove it"
                faults.append(fault("end", text, ("arrivals", index, "at"), ("duration",), index=index))
        total = sum(share.share for share in self.priorities)
        if self.priorities and abs(total - 1) > 1e-6:  # noqa: PLR2004 - rounding
            text = "the shares of priorities sum to {total}, not 1; adjust them"
            faults.append(fault("shares", text, ("priorities",), total=f"{total:g}"))
        refuse(faults)
        return self

    def _out_of_order(self) -> Iterator[Path]:
        rates = [(index, arrival) for index, arrival in enumerate(self.arrivals) if arrival.rate is not None]
        for (_, one), (index, following) in pairwise(rates):
            if following.at < (one.until or one.at) or following.at == one.at:
                yield "arrivals", index, "at"
        for index, (before, after) in enumerate(pairwise(self.service_time)):
            if after.at < before.at:
                yield "serviceTime", index + 1, "at"
        for index, (row, later) in enumerate(pairwise(self.recorded)):
            if later[0] <= row[0]:
                yield "recorded", index + 1


def _unordered(path: Path) -> PydanticCustomError:
    text = "it begins before what stands above it ends; put the entries in the order of time"
    return fault("order", text, path)


class Trace(Model):
    """A trace document."""

    api_version: Literal["scaler/v1"]
    """The version of this format."""
    kind: Literal["Trace"]
    """Tells it from a policy."""
    metadata: TraceMetadata
    """Its name."""
    spec: TraceSpec
    """What happens."""
