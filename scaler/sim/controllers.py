"""Who decides the replicas: this scaler, and the peers, each by the rules of its own source.

Every controller of the HPA kind ends in the same HPA model; the peers there carry the worker
class's own `behavior`, so that they scale down exactly as slowly as the policy says and differ
only in what they measure. This scaler paces itself, and its HPA is wide open.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from scaler.core import fast_path
from scaler.core.announcement import Announcement
from scaler.core.decide import WorkerClass, decide
from scaler.core.decision import Decision
from scaler.core.fast_path import Watch
from scaler.core.observation import Observation
from scaler.core.policy import Behavior
from scaler.core.policy.behavior import ScaleDownRules, ScaleUpRules, ScalingStep
from scaler.core.state import WorkerState
from scaler.core.workload import Autoscaler, Condition, KedaObject, Workload
from scaler.sim.hpa import TOLERANCE, Metric
from scaler.sim.peers import CpuHpa, Keda, Static
from scaler.sim.readings import EPOCH, Meter
from scaler.sim.stepping import KnativeKpa, QueueTime
from scaler.sim.verdict import Verdict

#: As with several replicas of the service a number stands for a second before it is written, which here is
#: from one look to the next.
SETTLE_SECONDS = 0.9
#: Ours paces; the HPA follows within one sync.
WIDE_OPEN = Behavior(
    scale_up=ScaleUpRules(policies=(ScalingStep(type="Pods", value=10_000, period_seconds=15),)),
    scale_down=ScaleDownRules(
        stabilization_window_seconds=0,
        policies=(ScalingStep(type="Percent", value=100, period_seconds=15),),
    ),
)


class Controller(Protocol):
    """Ticks once a second; the HPA kind shows a metric at each sync, the others set replicas themselves."""

    @property
    def behavior(self) -> Behavior | None:
        """Of its HPA; None: it sets the replicas itself, by `desired` of its verdict."""

    @property
    def tolerance(self) -> float | None:
        """Of its HPA; None: as the trace has it."""

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Once a second of simulated time."""

    def metric(self, meter: Meter, fleet: int) -> Metric | None:
        """At an HPA sync; None: it can't be read."""

    def verdict(self, spec: int) -> Verdict:
        """For the report, given the HPA's spec.replicas."""


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """A controller by its name, with the place where its rules can be read."""

    name: str
    title: str
    cite: str
    make: Callable[[WorkerClass], Controller]
    #: Whether it is bound by the class's scale-down behavior, so that pods can be compared.
    same_scale_down: bool = True
    #: Not what somebody runs instead, but a yardstick or ourselves.
    peer: bool = True


class Scaler:
    """The very code that serves: `decide` once a second, on readings as the sources make them."""

    def __init__(self, subject: WorkerClass, *, deadband: bool = False) -> None:
        worker = subject.worker
        self.behavior: Behavior | None = WIDE_OPEN
        self.tolerance: float | None = TOLERANCE if deadband else None
        if deadband:
            worker = worker.model_copy(update={"hpa_tolerance": TOLERANCE})
        self.subject = WorkerClass(subject.policy, subject.name, worker)
        self.state = WorkerState()
        self.decision: Decision | None = None
        self._told = 0

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Decide. Without history it adopts what runs, as after a restart; here it knows its replicas."""
        if self.decision is None:
            self.state = WorkerState(desired=spec, decided_at=EPOCH + meter.world.now)
        now = EPOCH + meter.world.now
        self._hear(meter)
        self.state, self.decision = decide(self.subject, self.state, self._observe(meter, fleet), now)

    def _observe(self, meter: Meter, fleet: int) -> Observation:
        return meter.observe(fleet)

    def _hear(self, meter: Meter) -> None:
        """Take in what is declared by now, as the service does over HTTP."""
        declared = sorted(meter.world.spec.announcements, key=lambda told: told.at - told.ahead)
        for told in declared[self._told :]:
            if told.at - told.ahead > meter.world.now:
                break
            begins = EPOCH + told.at
            announcement = Announcement(
                begins,
                begins + told.duration,
                "the trace",
                "declared spike",
                min_replicas=told.replicas,
                rate=told.rate,
                tasks=told.tasks,
            )
            self._told += 1
            self.state = replace(self.state, announcements=(*self.state.announcements, announcement))

    def metric(self, meter: Meter, fleet: int) -> Metric | None:  # noqa: ARG002 - as the protocol has it
        """The decision, or nothing while blind (KEDA is told UNAVAILABLE)."""
        decision = self.decision
        if decision is None or decision.quality == "blind":
            return None
        return Metric(float(decision.desired), 1.0)

    def verdict(self, spec: int) -> Verdict:
        """The decision in the words of a report."""
        decision = self.decision
        if decision is None:
            return Verdict(spec, float(spec), "none", "start", "as it was")
        term = next(term for term in decision.terms if term.name == decision.winner)
        raw = term.replicas if term.replicas is not None else float(decision.recommendation)
        limited = f"; {decision.limit_detail}" if decision.limit_detail else ""
        return Verdict(
            decision.desired, raw, decision.limit, decision.winner, f"{term.name}: {term.formula}{limited}"
        )


class DrainScaler(Scaler):
    """The same where the cluster is read: it knows the pods, marks them, and waits for their tasks."""

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Decide, and mark the pods where a step down is announced."""
        super().tick(meter, fleet, spec)
        if self.decision is not None and self.decision.costs:
            meter.mark(fleet, self.decision.costs)

    def _observe(self, meter: Meter, fleet: int) -> Observation:
        return replace(meter.observe(fleet), named=meter.pods(fleet))


class FastScaler(Scaler):
    """The same with `fastPath: true`: replicas are raised between the HPA's looks by the serving rules."""

    def __init__(self, subject: WorkerClass) -> None:
        super().__init__(subject)
        self._watch = Watch()

    def raised(self, spec: int, tolerance: float, now: float) -> int | None:
        """The replicas to write now, if any.

        Args:
            spec: spec.replicas.
            tolerance: of the HPA.
            now: seconds of simulated time.
        """
        if self.decision is None:
            return None
        worker, now = self.subject.worker, EPOCH + now
        # Nobody else scales here, so the HPA's number explains every change.
        workload = Workload(
            replicas=spec,
            scaled_object=KedaObject("", max=worker.replicas.max, conditions=(Condition("Ready", "True"),)),
            autoscaler=Autoscaler(
                "", worker.replicas.min, worker.replicas.max, spec, spec, tolerance=tolerance
            ),
        )
        self._watch = fast_path.saw(fast_path.told(self._watch, self.decision, now), spec, workload, now)
        wanted = fast_path.judge(
            self._watch, worker, self.decision, workload, now, settle=SETTLE_SECONDS
        ).replicas
        if wanted is not None:
            self._watch = fast_path.wrote(self._watch, wanted, now)
        return wanted


def _slots(subject: WorkerClass) -> float:
    return float(subject.worker.concurrency)


def _keda_rabbitmq(
    read: Callable[[Meter], int], label: str, value: float | None
) -> Callable[[WorkerClass], Controller]:
    def make(subject: WorkerClass) -> Controller:
        return Keda(subject.worker, read, _slots(subject) if value is None else value, label)

    return make


def _statistics(meter: Meter) -> int:
    """`messages` of the management API: ready and unacknowledged as last collected."""
    return meter.collected_ready + meter.collected_unacked


def _base_list(meter: Meter) -> int:
    """LLEN of one key; kombu's lists for priorities 3, 6 and 9 have other names."""
    if meter.world.tasks.priority is None:
        return meter.ready
    return sum(count for level, count in meter.world.queue.by_priority() if level < 3)  # noqa: PLR2004 - step


_RABBITMQ = "https://github.com/kedacore/keda/blob/v2.20.1/pkg/scalers/rabbitmq_scaler.go"

CONTROLLERS: dict[str, ControllerSpec] = {
    spec.name: spec
    for spec in (
        ControllerSpec("scaler", "celery-scaler", "scaler/core/decide.py", Scaler, peer=False),
        ControllerSpec(
            "scaler-fast-path",
            "celery-scaler with fastPath: true",
            "scaler/core/fast_path.py",
            FastScaler,
            peer=False,
        ),
        ControllerSpec(
            "scaler-drain",
            "celery-scaler that reads the cluster: no step down that would kill tasks",
            "scaler/core/drain.py",
            DrainScaler,
            peer=False,
        ),
        ControllerSpec(
            "scaler-mode-c",
            "celery-scaler behind the HPA's 10 % deadband",
            "scaler/core/decide.py",
            lambda subject: Scaler(subject, deadband=True),
            peer=False,
        ),
        ControllerSpec(
            "keda-rabbitmq-ready",
            "KEDA rabbitmq over AMQP: ready messages, value = slots",
            _RABBITMQ,
            _keda_rabbitmq(lambda meter: meter.ready, "ready", None),
        ),
        ControllerSpec(
            "keda-rabbitmq-20",
            "KEDA rabbitmq over HTTP: ready + unacked, value 20 (its default)",
            _RABBITMQ,
            _keda_rabbitmq(_statistics, "ready + unacked", 20.0),
        ),
        ControllerSpec(
            "keda-rabbitmq-slots",
            "KEDA rabbitmq over HTTP: ready + unacked, value = slots",
            _RABBITMQ,
            _keda_rabbitmq(_statistics, "ready + unacked", None),
        ),
        ControllerSpec(
            "keda-redis",
            "KEDA redis: LLEN of one list, value = slots",
            "https://github.com/kedacore/keda/blob/v2.20.1/pkg/scalers/redis_scaler.go",
            lambda subject: Keda(subject.worker, _base_list, _slots(subject), "LLEN"),
        ),
        ControllerSpec(
            "cpu-hpa",
            "HPA on CPU with the class's target and behavior",
            "https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/controller/podautoscaler/replica_calculator.go",
            lambda subject: CpuHpa(subject.worker),
        ),
        ControllerSpec(
            "knative-kpa",
            "Knative KPA: concurrency over 60 s, panic over 6 s",
            "https://github.com/knative/serving/blob/main/pkg/autoscaler/scaling/autoscaler.go",
            lambda subject: KnativeKpa(subject.worker),
            same_scale_down=False,
        ),
        ControllerSpec(
            "queue-time",
            "Queue-time stepping by Judoscale's rules",
            "https://judoscale.com/docs/autoscaling-responsiveness",
            lambda subject: QueueTime(subject.worker),
            same_scale_down=False,
        ),
        ControllerSpec(
            "static",
            "No scaling",
            "the pods at the start",
            lambda _: Static(),
            same_scale_down=False,
            peer=False,
        ),
    )
}
