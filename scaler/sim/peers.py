"""Peers behind an HPA that carries the worker class's own behavior, and no scaling at all."""

import math
from collections.abc import Callable

from scaler.core.policy import Behavior, WorkerPolicy
from scaler.sim.hpa import TOLERANCE, Metric
from scaler.sim.pod import Phase
from scaler.sim.readings import Meter
from scaler.sim.verdict import Verdict

#: CPU seconds that an I/O task costs beside its waiting: 5 ms, so that one core starts 200 a second.
IO_TASK_CPU_SECONDS = 0.005
#: CPU as metrics-server has it: over its last scrape.
CPU_SECONDS = 15.0


class Keda:
    """A KEDA trigger of type AverageValue behind an HPA with the class's own behavior."""

    def __init__(self, worker: WorkerPolicy, read: Callable[[Meter], int], value: float, label: str) -> None:
        self.behavior: Behavior | None = worker.behavior
        self.tolerance: float | None = TOLERANCE
        self._read, self._value, self._label = read, value, label
        self._seen = 0

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Nothing between two syncs."""

    def metric(self, meter: Meter, fleet: int) -> Metric | None:  # noqa: ARG002 - as the protocol has it
        """What the scaler reads when the HPA asks; an error freezes the HPA."""
        if not meter.readable:
            return None
        self._seen = self._read(meter)
        return Metric(float(self._seen), self._value)

    def verdict(self, spec: int) -> Verdict:
        """The metric divided by the value."""
        raw = self._seen / self._value
        text = f"{self._label} {self._seen} ÷ {self._value:g} per pod = {raw:.2f}"
        return Verdict(spec, raw, "none" if math.ceil(raw) == spec else "hpa", "metric", text)


class CpuHpa:
    """An HPA on CPU utilization, with the class's target and behavior."""

    def __init__(self, worker: WorkerPolicy) -> None:
        self.behavior: Behavior | None = worker.behavior
        self.tolerance: float | None = TOLERANCE
        self._worker = worker
        self._target = float(worker.resources.cpu or 80)
        self._started: dict[int, int] = {}
        self._sum = 0.0
        self._pods = 0

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Nothing between two syncs."""

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        """Percent of the pods' requests, all pods together; the cluster's metrics don't need the broker."""
        pods = [pod for pod in meter.world.pods if pod.fleet == fleet and pod.phase is Phase.READY]
        self._pods, self._sum = len(pods), 0.0
        started = {pod.number: pod.started for pod in pods}
        for pod in pods:
            if self._worker.pool in {"gevent", "eventlet"}:
                rate = (pod.started - self._started.get(pod.number, 0)) / CPU_SECONDS
                self._sum += min(100.0, 100.0 * rate * IO_TASK_CPU_SECONDS)
            else:
                self._sum += 100.0 * len(pod.running) / self._worker.concurrency
        self._started = started
        return Metric(self._sum, self._target, measured=self._pods)

    def verdict(self, spec: int) -> Verdict:
        """Utilization divided by its target."""
        raw = self._sum / self._target
        text = f"CPU {self._sum:.0f} % over {self._pods} pods ÷ {self._target:g} % = {raw:.2f}"
        return Verdict(spec, raw, "none" if math.ceil(raw) == spec else "hpa", "cpu", text)


class Static:
    """The pods at the start, for ever: what no scaling costs and loses."""

    behavior: Behavior | None = None
    tolerance: float | None = None

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Nothing."""

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        """None."""

    def verdict(self, spec: int) -> Verdict:
        """As it is."""
        return Verdict(spec, float(spec), "none", "static", "never changes")
