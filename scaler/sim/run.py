"""One closed loop: a trace, a worker class and a controller → a report.

By the clock of the simulation: readings and decisions every second, the broker's statistics every
5 s, the HPA every 15 s. Nothing here reads a clock or throws dice; the same arguments give the same
report, byte for byte.
"""

import math
from collections.abc import Callable

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy
from scaler.sim.controllers import Controller, ControllerSpec, FastScaler
from scaler.sim.hpa import SYNC_SECONDS, Hpa
from scaler.sim.load import draw
from scaler.sim.pod import Phase
from scaler.sim.readings import COLLECT_PHASE, COLLECT_SECONDS, Meter
from scaler.sim.report import Point, Report, Step, Waits
from scaler.sim.trace import Fault, Trace, TraceSpec
from scaler.sim.world import World

#: The HPA's moment within its period: between the best and the worst case for bursts at full minutes.
SYNC_PHASE = 7.0
#: KEDA looks at a class without pods every 30 s (pollingInterval), and takes the last ones away once
#: nothing has been active for 300 s (cooldownPeriod).
POLL_SECONDS = 30.0
COOLDOWN_SECONDS = 300.0
#: Points of a report.
POINT_SECONDS = 5.0


def tailored(subject: WorkerClass, spec: TraceSpec) -> WorkerClass:
    """The worker class with what the trace changes about it: slots, prefetch, bounds, the objective."""
    worker, pods = subject.worker, spec.pods
    update: dict[str, object] = {
        name: value
        for name, value in (
            ("concurrency", pods.concurrency),
            ("prefetch_multiplier", pods.prefetch_multiplier),
            ("acks_late", pods.acks_late),
            ("replicas", pods.replicas),
        )
        if value is not None
    }
    if pods.max_length is not None:
        update["limits"] = worker.limits.model_copy(update={"max_length": pods.max_length})
    if spec.objective is not None:
        update["objective"] = worker.objective.model_copy(update={"wait": spec.objective.wait})
    return WorkerClass(subject.policy, subject.name, worker.model_copy(update=update))


def simulate(
    trace: Trace,
    subject: WorkerClass,
    controller: ControllerSpec,
    *,
    environment: str = "",
    sync_phase: float = SYNC_PHASE,
) -> Report:
    """Play a trace.

    Args:
        trace: what happens.
        subject: the worker class of the policy; what the trace changes about it is changed here.
        controller: one of `scaler.sim.controllers.CONTROLLERS`; it is made anew, once for each
            ScaledObject of the trace.
        environment: whose overlay the policy has; only for the report.
        sync_phase: the HPA's moment within its period of 15 s, whole seconds.

    Raises:
        TraceTooLargeError: more tasks than can be simulated.
    """
    subject = tailored(subject, trace.spec)
    run = _Run(trace, subject, controller.make, sync_phase)
    run.play()
    return run.report(environment, controller.name)


class _Fleet:
    """One deployment with its controller and its HPA."""

    def __init__(self, number: int, controller: Controller, worker: WorkerPolicy, spec: TraceSpec) -> None:
        self.number, self.controller = number, controller
        start = max(1, worker.replicas.min) if spec.pods.start is None else spec.pods.start
        self.replicas = start
        tolerance = spec.hpa_tolerance if controller.tolerance is None else controller.tolerance
        self.hpa = (
            None
            if controller.behavior is None
            else Hpa(controller.behavior, max(1, worker.replicas.min), worker.replicas.max, tolerance)
        )
        self.desired: int | None = None
        self.active_at = 0.0


class _Run:
    def __init__(
        self,
        trace: Trace,
        subject: WorkerClass,
        make: Callable[[WorkerClass], Controller],
        sync_phase: float,
    ) -> None:
        self.trace, self.spec, self.subject = trace, trace.spec, subject
        self.sync_phase = sync_phase
        worker = subject.worker
        self.world = World(self.spec, worker, draw(self.spec, worker.service_time))
        self.meter = Meter(self.world)
        self.fleets = [
            _Fleet(number, make(subject), worker, self.spec) for number in range(self.spec.scaled_objects)
        ]
        self.points: list[Point] = []
        self.steps: list[Step] = []
        self.ups = self.downs = 0
        self._beating: set[int] = set()

    def play(self) -> None:
        """From the start to the trace's end."""
        world = self.world
        for fleet in self.fleets:
            for _ in range(fleet.replicas):
                world.create(fleet.number, 0.0)
        self._every(COLLECT_SECONDS, COLLECT_PHASE, self.meter.collect)
        for fault in self.spec.faults:
            self._plan(fault)
        second = 0.0
        while second <= self.spec.duration:
            world.run(second)
            self._tick(second)
            second += 1.0
        world.run(self.spec.duration)
        world.finish()

    def _every(self, period: float, at: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.world.at(self.world.now + period, again)

        self.world.at(at, again)

    def _plan(self, fault: Fault) -> None:
        world = self.world
        if fault.kind == "broker-down":
            world.at(fault.at, lambda: world.set_down(down=True))
            world.at(fault.at + fault.duration, lambda: world.set_down(down=False))
        elif fault.kind == "workers-lost":
            world.at(fault.at, lambda: self._lose(fault.share))

    def _lose(self, share: float) -> None:
        """Pods die without a goodbye; their deployment replaces them."""
        for fleet in self.fleets:
            pods = [pod for pod in self.world.fleet(fleet.number) if pod.phase is Phase.READY]
            for pod in pods[: math.ceil(share * len(pods))]:
                self.meter.remember(pod)
                self.world.kill(pod)
            self.world.scale(fleet.number, fleet.replicas)

    def _tick(self, now: float) -> None:
        world, meter = self.world, self.meter
        for pod in world.pods:
            if pod.phase is Phase.READY and pod.number not in self._beating:
                self._beating.add(pod.number)
                meter.beat(pod)
        world.expire()
        meter.sweep()
        backlog = world.backlog
        world.max_backlog = max(world.max_backlog, backlog)
        for fleet in self.fleets:
            fleet.controller.tick(meter, fleet.number, fleet.replicas)
            self._decided(fleet, now)
            if isinstance(fleet.controller, FastScaler) and fleet.hpa is not None:
                wanted = fleet.controller.raised(fleet.replicas, fleet.hpa.tolerance, now)
                self._scale(fleet, fleet.replicas if wanted is None else wanted)
        if now % SYNC_SECONDS == self.sync_phase:
            for fleet in self.fleets:
                self._sync(fleet, now)
        if now % POINT_SECONDS == 0:
            self._point(now, backlog)

    def _sync(self, fleet: _Fleet, now: float) -> None:
        if fleet.hpa is None:
            return
        metric = fleet.controller.metric(self.meter, fleet.number)
        if metric is not None and metric.total > 0:
            fleet.active_at = now
        low = self.subject.worker.replicas.min
        if fleet.replicas == 0:
            wanted = (
                1 if metric is not None and metric.total > 0 and now % POLL_SECONDS == self.sync_phase else 0
            )
        elif low == 0 and metric is not None and now - fleet.active_at > COOLDOWN_SECONDS:
            wanted = 0
        else:
            status = len(self.world.fleet(fleet.number))
            wanted = fleet.hpa.sync(fleet.replicas, status, metric, now)
        self._scale(fleet, wanted)
        self._decided(fleet, now)

    def _scale(self, fleet: _Fleet, wanted: int) -> None:
        if wanted == fleet.replicas:
            return
        if wanted > fleet.replicas:
            self.ups += 1
        else:
            self.downs += 1
        fleet.replicas = wanted
        self.world.scale(fleet.number, wanted)

    def _decided(self, fleet: _Fleet, now: float) -> None:
        """Note a change of what the controller wants; those without an HPA get it at once."""
        verdict = fleet.controller.verdict(fleet.replicas)
        before = fleet.desired
        fleet.desired = verdict.desired
        if before is not None and before != verdict.desired:
            self.steps.append(Step(now, before, verdict.desired, verdict.limit, verdict.winner, verdict.why))
        if fleet.hpa is None:
            self._scale(fleet, verdict.desired)

    def _point(self, now: float, backlog: int) -> None:
        world = self.world
        verdicts = [fleet.controller.verdict(fleet.replicas) for fleet in self.fleets]
        limits = [verdict.limit for verdict in verdicts if verdict.limit != "none"]
        self.points.append(
            Point(
                t=now,
                backlog=backlog,
                running=world.busy,
                wait=world.wait,
                rejected=world.outcomes["rejected"],
                desired=sum(verdict.desired for verdict in verdicts),
                spec=sum(fleet.replicas for fleet in self.fleets),
                ready=sum(pod.phase is Phase.READY for pod in world.pods),
                recommendation=sum(verdict.recommendation for verdict in verdicts),
                limit=limits[0] if limits else "none",
            )
        )

    def report(self, environment: str, name: str) -> Report:
        """What the run showed."""
        world, worker = self.world, self.subject.worker
        totals = world.totals()
        return Report(
            trace=self.trace.metadata.name,
            policy=self.subject.policy,
            environment=environment,
            worker_class=self.subject.name,
            controller=name,
            seed=self.spec.seed,
            duration=float(self.spec.duration),
            objective=float(worker.objective.wait),
            offered=totals["offered"],
            completed=totals.get("completed", 0),
            rejected=totals.get("rejected", 0),
            expired=totals.get("expired", 0),
            killed=world.killed,
            lost=totals.get("lost", 0),
            unfinished=totals["unfinished"],
            waits=self._waits(float(worker.objective.wait)),
            pod_minutes=world.pod_seconds / 60,
            scale_ups=self.ups,
            scale_downs=self.downs,
            max_backlog=world.max_backlog,
            points=tuple(self.points),
            steps=tuple(self.steps),
            queue_limit=world.limits.max_length,
        )

    def _waits(self, objective: float) -> Waits:
        world = self.world
        never = set(world.unstarted())
        waits = sorted(wait for wait in world.waited if wait >= 0)
        late = sum(
            wait > objective or (task in never and world.now - world.due[task] > objective)
            for task, wait in enumerate(world.waited)
        )

        def quantile(share: float) -> float:
            return waits[min(len(waits) - 1, math.ceil(share * len(waits)) - 1)] if waits else 0.0

        return Waits(
            p50=quantile(0.5),
            p95=quantile(0.95),
            p99=quantile(0.99),
            max=waits[-1] if waits else 0.0,
            mean=math.fsum(waits) / len(waits) if waits else 0.0,
            late=late,
            objective=objective,
        )
