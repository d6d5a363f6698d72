"""Two peers that set the replicas themselves, without an HPA and its behavior.

Knative's KPA reads tasks in the system as requests in flight; Judoscale's rules step by one on the
age of the oldest waiting task. Both are bounded by the class's min and max alone.
"""

import math
from collections import deque

from scaler.core.policy import Behavior, WorkerPolicy
from scaler.sim.hpa import Metric
from scaler.sim.pod import Phase
from scaler.sim.readings import Meter
from scaler.sim.verdict import Verdict


class KnativeKpa:
    """Knative serving, config-autoscaler defaults.

    Rules: https://github.com/knative/serving/blob/main/pkg/autoscaler/scaling/autoscaler.go: every
    2 s; average concurrency over 60 s and over 6 s, 70 % of the slots per pod as target; panic when
    the short window asks for twice the ready pods, for one whole stable window after the last such
    tick, and in panic never fewer; at most halved per tick on the way down.
    """

    behavior: Behavior | None = None
    tolerance: float | None = None
    _TICK, _STABLE, _PANIC = 2, 60, 6
    _THRESHOLD, _UTILIZATION, _UP, _DOWN = 2.0, 0.7, 1000.0, 2.0

    def __init__(self, worker: WorkerPolicy) -> None:
        self._replicas = worker.replicas
        self._target = self._UTILIZATION * worker.concurrency
        self._seen: deque[int] = deque(maxlen=self._STABLE)
        self._panic_at: float | None = None
        self._most = 0
        self._desired = 0
        self._raw = 0.0

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:  # noqa: ARG002 - as the protocol has it
        """A sample each second, a decision every other one; no data, no decision."""
        if not meter.readable:
            return
        self._seen.append(meter.ready + meter.unacked)
        now = meter.world.now
        if int(now) % self._TICK:
            return
        ready = max(1, sum(pod.phase is Phase.READY for pod in meter.world.fleet(fleet)))
        recent = list(self._seen)[-self._PANIC :]
        stable = math.ceil(sum(self._seen) / len(self._seen) / self._target)
        panic = math.ceil(sum(recent) / len(recent) / self._target)
        self._raw = sum(self._seen) / len(self._seen) / self._target
        if panic / ready >= self._THRESHOLD:
            self._panic_at = now
        elif self._panic_at is not None and now - self._panic_at > self._STABLE:
            self._panic_at, self._most = None, 0
        low, high = math.floor(ready / self._DOWN), math.ceil(self._UP * ready)
        wanted = min(max(stable, low), high)
        if self._panic_at is not None:
            self._most = max(self._most, wanted, min(max(panic, low), high))
            wanted = self._most
        self._desired = min(max(wanted, self._replicas.min, 1), self._replicas.max)

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        """There is no HPA."""

    def verdict(self, spec: int) -> Verdict:
        """What the windows ask for."""
        desired = self._desired or spec
        mode = "panic" if self._panic_at is not None else "stable"
        return Verdict(desired, self._raw, "none", mode, f"{mode}: {self._raw:.2f} pods by the 60 s average")


class QueueTime:
    """Queue-time stepping by Judoscale's documented rules.

    Rules: https://judoscale.com/docs/autoscaling-responsiveness and
    https://judoscale.com/guides/autoscaling-behavior: looked at every 10 s; above the upper bound of
    the queue-time range one more, not again before the new one has started (60 s); below the range
    for 10 min one less, and again after the same time. The range here: a tenth to half of the
    class's objective.
    """

    behavior: Behavior | None = None
    tolerance: float | None = None
    _TICK, _UP_SECONDS, _DOWN_SECONDS = 10, 60.0, 600.0

    def __init__(self, worker: WorkerPolicy) -> None:
        self._replicas = worker.replicas
        self._low, self._high = worker.objective.wait / 10, worker.objective.wait / 2
        self._wait = 0.0
        self._up_at = -math.inf
        self._quiet_since: float | None = None
        self._desired = 0

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:  # noqa: ARG002 - as the protocol has it
        """A step up or down, or none; without a reading the last one counts."""
        now = meter.world.now
        self._desired = self._desired or spec
        if int(now) % self._TICK:
            return
        if meter.readable:
            self._wait = meter.ready_wait
        if self._wait >= self._low:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        if self._wait > self._high and now - self._up_at >= self._UP_SECONDS:
            self._up_at = now
            self._desired = min(self._desired + 1, self._replicas.max)
        elif self._quiet_since is not None and now - self._quiet_since >= self._DOWN_SECONDS:
            self._quiet_since = now
            self._desired = max(self._desired - 1, self._replicas.min, 1)

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        """There is no HPA."""

    def verdict(self, spec: int) -> Verdict:
        """The wait beside its range."""
        desired = self._desired or spec
        text = f"oldest waits {self._wait:.1f} s, range {self._low:g} to {self._high:g} s"
        return Verdict(desired, float(desired), "none", "queue-time", text)
