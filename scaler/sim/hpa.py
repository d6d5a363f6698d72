"""The HorizontalPodAutoscaler as Kubernetes runs it, written down a second time, step by step.

Source: pkg/controller/podautoscaler/horizontal.go and replica_calculator.go of Kubernetes 1.34
(https://github.com/kubernetes/kubernetes/tree/v1.34.0/pkg/controller/podautoscaler): proposal from
the metric, tolerance around status.replicas, then stabilisation, rate limit and clamp. It shares no
line with `scaler.core.behavior`, so that each checks the other. Lists only grow within a run.
"""

import math
from dataclasses import dataclass, field

from scaler.core.policy.behavior import Behavior, ScalingRules

#: kube-controller-manager --horizontal-pod-autoscaler-sync-period.
SYNC_SECONDS = 15.0
#: kube-controller-manager --horizontal-pod-autoscaler-tolerance.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Metric:
    """What a controller shows the HPA: an AverageValue metric, or a utilization over ready pods."""

    total: float
    #: Per pod.
    target: float
    #: Pods that the metric comes from, for utilization; None: the replicas of the scale's status.
    measured: int | None = None


@dataclass(slots=True)
class Hpa:
    """One HPA with its memory."""

    behavior: Behavior
    low: int
    high: int
    tolerance: float = TOLERANCE
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _ups: list[tuple[float, int]] = field(default_factory=list)
    _downs: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, spec: int, status: int, metric: Metric | None, now: float) -> int:
        """The new spec.replicas; without a metric nothing changes, except back into the bounds."""
        if spec == 0:
            return 0  # switched off; KEDA activates
        if spec > self.high:
            return self.high
        if spec < self.low:
            return self.low
        if metric is None:
            return spec
        return self.normalise(spec, self.proposal(metric, status), now)

    def proposal(self, metric: Metric, status: int) -> int:
        """GetExternalPerPodMetricReplicas, or GetResourceReplicas: replicas that the metric asks for."""
        base = status if metric.measured is None else metric.measured
        if base == 0:
            return status
        ratio = metric.total / (metric.target * base)
        if self._within(ratio):
            return status
        if metric.measured is not None and ratio > 1 and status > metric.measured:
            # Pods that aren't ready count as idle on the way up; if that reverses the verdict, nothing moves.
            ratio = metric.total / (metric.target * status)
            if ratio < 1 or self._within(ratio):
                return status
        return math.ceil(metric.total / metric.target - 1e-9)

    def _within(self, ratio: float) -> bool:
        return 1.0 - self.tolerance <= ratio <= 1.0 + self.tolerance

    def normalise(self, spec: int, wanted: int, now: float) -> int:
        """normalizeDesiredReplicasWithBehaviors, and the events and recommendations that it stores."""
        up, down = self.behavior.scale_up, self.behavior.scale_down
        lowest = highest = wanted
        for at, value in reversed(self._recommendations):
            if at > now - up.stabilization_window_seconds:
                lowest = min(lowest, value)
            if at > now - down.stabilization_window_seconds:
                highest = max(highest, value)
        self._recommendations.append((now, wanted))
        target = spec
        target = max(target, lowest)
        target = min(target, highest)
        if target > spec:
            limit = max(spec, self._up_limit(spec, up, now))
            target = min(target, limit, self.high)
        elif target < spec:
            limit = min(spec, self._down_limit(spec, down, now))
            target = max(target, limit, self.low)
        if target > spec:
            self._ups.append((now, target - spec))
        elif target < spec:
            self._downs.append((now, spec - target))
        return target

    def _start(self, spec: int, period: int, now: float) -> int:
        added = sum(change for at, change in self._ups if at > now - period)
        removed = sum(change for at, change in self._downs if at > now - period)
        return spec - added + removed

    def _up_limit(self, spec: int, rules: ScalingRules, now: float) -> int:
        if rules.select_policy == "Disabled":
            return spec
        result = -1 if rules.select_policy == "Max" else 2**31
        for policy in rules.policies:
            start = self._start(spec, policy.period_seconds, now)
            if policy.type == "Pods":
                proposed = start + policy.value
            else:
                proposed = math.ceil(start * (1 + policy.value / 100))
            result = max(result, proposed) if rules.select_policy == "Max" else min(result, proposed)
        return result

    def _down_limit(self, spec: int, rules: ScalingRules, now: float) -> int:
        if rules.select_policy == "Disabled":
            return spec
        result = 2**31 if rules.select_policy == "Max" else -(2**31)
        for policy in rules.policies:
            start = self._start(spec, policy.period_seconds, now)
            if policy.type == "Pods":
                proposed = start - policy.value
            else:
                proposed = int(start * (1 - policy.value / 100))
            result = min(result, proposed) if rules.select_policy == "Max" else max(result, proposed)
        return result
