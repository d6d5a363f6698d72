"""What ops write: the models behind `policies/*.yaml`, with every rule that a policy must keep."""

from scaler.core.policy.behavior import Behavior, Direction, ScalingRules
from scaler.core.policy.document import Broker, Metadata, ScalingPolicy, Spec
from scaler.core.policy.operations import AlertLevel, Alerts, Breakers
from scaler.core.policy.worker import (
    Limits,
    Objective,
    Replicas,
    Resources,
    ScaleTarget,
    ScheduleWindow,
    WorkerPolicy,
)

__all__ = [
    "AlertLevel",
    "Alerts",
    "Behavior",
    "Breakers",
    "Broker",
    "Direction",
    "Limits",
    "Metadata",
    "Objective",
    "Replicas",
    "Resources",
    "ScaleTarget",
    "ScalingPolicy",
    "ScalingRules",
    "ScheduleWindow",
    "Spec",
    "WorkerPolicy",
]
