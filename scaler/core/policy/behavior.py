"""The HPA v2 `behavior` block, field for field, with the HPA's own defaults and bounds.

Source: autoscaling/v2 HorizontalPodAutoscalerBehavior and its API validation
(window 0–3600 s, period 1–1800 s, value ≥ 1, at least one policy).
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from scaler.core.policy.values import Model, fault, shown

SelectPolicy = Literal["Max", "Min", "Disabled"]
Direction = Literal["up", "down"]


def _tolerance(value: object) -> float:
    """A Kubernetes quantity between 0 and 1 (`0`, `"0.1"`, `"100m"`) as a ratio."""
    text = str(value)
    try:
        number = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < 1:
        raise fault(
            "tolerance", 'bad tolerance {value}; write a ratio such as "0" or "0.1"', value=shown(value)
        )
    return number


Tolerance = Annotated[
    float,
    BeforeValidator(_tolerance),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["0", "0.1"]}),
]


class ScalingStep(Model):
    """One policy of a direction: at most `value` pods or percent within any `periodSeconds`."""

    type: Literal["Pods", "Percent"]
    """What `value` counts."""
    value: Annotated[int, Field(ge=1)]
    """Pods, or percent of the replicas at the start of the period."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """The span (seconds) in which no more than that may change."""

    def __str__(self) -> str:
        amount = f"{self.value} %" if self.type == "Percent" else f"{self.value} pods"
        return f"{amount} per {self.period_seconds} s"


class ScalingRules(Model):
    """How fast one direction may go."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """The least (scaling up) or greatest (scaling down) recommendation of this span (seconds) counts."""
    select_policy: SelectPolicy = "Max"
    """Which of the policies counts: the one that allows most, the one that allows least, or no change."""
    policies: Annotated[tuple[ScalingStep, ...], Field(min_length=1)]
    """How much may change within how long."""
    tolerance: Tolerance = 0.0
    """Moves smaller than this share of the current replicas are not made (the HPA's deadband; ours is 0)."""


class ScaleUpRules(ScalingRules):
    """Defaults of the HPA for scaling up: at once, the larger of 4 pods and 100 % per 15 s."""

    policies: Annotated[tuple[ScalingStep, ...], Field(min_length=1)] = (
        ScalingStep(type="Pods", value=4, period_seconds=15),
        ScalingStep(type="Percent", value=100, period_seconds=15),
    )
    """How many replicas may be added within how long."""


class ScaleDownRules(ScalingRules):
    """Defaults of the HPA for scaling down: 5 min of stabilization, then 100 % per 15 s."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """The greatest recommendation of this span (seconds) counts: nothing is removed earlier."""
    policies: Annotated[tuple[ScalingStep, ...], Field(min_length=1)] = (
        ScalingStep(type="Percent", value=100, period_seconds=15),
    )
    """How many replicas may be removed within how long."""


class Behavior(Model):
    """Both directions; what is left out gets the HPA's defaults."""

    scale_up: ScaleUpRules = ScaleUpRules()
    """How fast replicas may be added."""
    scale_down: ScaleDownRules = ScaleDownRules()
    """How fast replicas may be removed."""
