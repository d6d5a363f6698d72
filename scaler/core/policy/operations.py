"""What a policy says about running the system: alert thresholds and circuit breakers."""

from typing import Annotated

from pydantic import Field

from scaler.core.policy.values import Model, Name, PositiveDuration

Ratio = Annotated[float, Field(gt=0, le=1)]


class AlertLevel(Model):
    """Thresholds of one severity; what is left out raises no alert."""

    queue_depth: Ratio | None = None
    """Share of maxLength that is ready, 0 to 1."""
    worker_cpu: Ratio | None = None
    """CPU of the pods as a share of their requests, 0 to 1."""
    worker_memory: Ratio | None = None
    """Memory of the pods as a share of their requests, 0 to 1."""
    sustained: PositiveDuration | None = None
    """How long CPU or memory must stay above."""
    failure_rate: Ratio | None = None
    """Share of finished tasks that failed, 0 to 1."""
    scaling_events_per_hour: Annotated[int, Field(ge=1)] | None = None
    """Per class and direction: counting both together fires on every healthy spike."""
    latency_factor: Annotated[float, Field(gt=1)] | None = None
    """Multiple of the usual task latency."""


class Alerts(Model):
    """Two severities."""

    critical: AlertLevel = AlertLevel()
    """Somebody has to act now."""
    warning: AlertLevel = AlertLevel()
    """Somebody should look today."""


class BreakerRule(Model):
    """When a circuit breaker opens and when it lets a probe through."""

    failure_threshold: Annotated[int, Field(ge=1)] = 5
    """Failures in a row that open it."""
    recovery_timeout: PositiveDuration = 30.0
    """How long it stays open before one probe may pass."""


class Breakers(BreakerRule):
    """Defaults of all breakers, and what differs for single databases."""

    emergency_failure_threshold: Annotated[int, Field(ge=1)] | None = None
    """What an operator may raise the threshold to in an emergency, for a limited time."""
    databases: dict[Name, BreakerRule] = Field(default_factory=dict)
    """Rules of single databases, by name."""
