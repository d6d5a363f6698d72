"""What a policy says about running the system: alert thresholds and circuit breakers."""

from typing import Annotated

from pydantic import Field

from scaler.core.policy.values import Model, Name, PositiveDuration

Ratio = Annotated[float, Field(gt=0, le=1)]


class AlertLevel(Model):
    """Thresholds of one severity; what is left out raises no alert."""

    #: Share of maxLength that is ready.
    queue_depth: Ratio | None = None
    worker_cpu: Ratio | None = None
    worker_memory: Ratio | None = None
    #: How long CPU or memory must stay above.
    sustained: PositiveDuration | None = None
    #: Share of finished tasks that failed.
    failure_rate: Ratio | None = None
    #: Per class and direction: counting both together fires on every healthy spike.
    scaling_events_per_hour: Annotated[int, Field(ge=1)] | None = None
    #: Multiple of the usual task latency.
    latency_factor: Annotated[float, Field(gt=1)] | None = None


class Alerts(Model):
    """Two severities."""

    critical: AlertLevel = AlertLevel()
    warning: AlertLevel = AlertLevel()


class BreakerRule(Model):
    """When a circuit breaker opens and when it lets a probe through."""

    failure_threshold: Annotated[int, Field(ge=1)] = 5
    recovery_timeout: PositiveDuration = 30.0


class Breakers(BreakerRule):
    """Defaults of all breakers, and what differs for single databases."""

    #: What an operator may raise the threshold to in an emergency, for a limited time.
    emergency_failure_threshold: Annotated[int, Field(ge=1)] | None = None
    databases: dict[Name, BreakerRule] = Field(default_factory=dict)
