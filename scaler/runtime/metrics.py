"""Every metric of the service, with unit and help. Labels are bounded by the loaded policies.

One object per process with a private registry, so that tests may hold several.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from scaler import __version__

_PREFIX = "celery_scaler_"
_CLASS = ("policy", "worker_class")
#: An answer comes from memory (about 0.2 ms); the upper buckets are there to show a fault.
_RPC_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
#: A sweep takes 1–100 ms; at 2 s it is given up.
_FAST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 15.0)
_SAMPLE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class _Maker:
    """Makes the metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), *, buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(_PREFIX + name, text, labels, buckets=buckets, registry=self._registry)


class Metrics:
    """The service's own instruments, by what they speak of."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Info(f"{_PREFIX}build", "Version of the running service.", registry=registry)
        build.info({"version": __version__})
        make = _Maker(registry)
        self._of_queues(make)
        self._of_tasks(make)
        self._of_decisions(make)
        self._of_replicas_of_the_service(make)
        self._of_configuration(make)
        self._of_scaling_down(make)
        self._of_the_fast_path(make)
        self._of_loops(make)
        self._of_shadow_mode(make)

    def _of_queues(self, make: _Maker) -> None:
        self.queue_messages = make.gauge(
            "queue_messages", "Messages of a queue by state, as last read.", (*_CLASS, "queue", "state")
        )
        self.queue_limit = make.gauge(
            "queue_limit", "Ready messages that the policy allows a queue.", (*_CLASS, "queue")
        )
        self.class_messages = make.gauge(
            "class_messages",
            "Messages of a class by what becomes of them; least and most are equal where it is exact.",
            (*_CLASS, "state", "bound"),
        )
        self.head_of_line_wait_seconds = make.gauge(
            "head_of_line_wait_seconds",
            "Age of the oldest ready and due task of a class; most is +Inf where no bound is known.",
            (*_CLASS, "bound"),
        )
        self.broker_up = make.gauge(
            "broker_up", "1 if the last sweep over the broker succeeded.", ("broker",)
        )
        self.broker_sample_seconds = make.histogram(
            "broker_sample_seconds",
            "Duration of one sweep over a broker.",
            ("broker", "result"),
            buckets=_SAMPLE_BUCKETS,
        )

    def _of_tasks(self, make: _Maker) -> None:
        self.worker_processes = make.gauge(
            "worker_processes", "Celery workers that were heard lately.", _CLASS
        )
        self.service_time_seconds = make.gauge(
            "service_time_seconds",
            "Seconds that a task occupies a slot, as used for sizing.",
            (*_CLASS, "source"),
        )
        self.lead_time_seconds = make.gauge(
            "lead_time_seconds", "Seconds from deciding to a new pod that works, as used for sizing.", _CLASS
        )
        self.tasks_total = make.counter(
            "tasks_total",
            "Tasks that ended, by outcome, as far as workers send task events (-E).",
            (*_CLASS, "state"),
        )
        self.task_runtime_seconds_total = make.counter(
            "task_runtime_seconds_total",
            "Seconds that ended tasks ran; divided by tasks_total it is their mean runtime.",
            _CLASS,
        )
        self.task_latency_seconds_total = make.counter(
            "task_latency_seconds_total",
            "Seconds from publish to done of the tasks in task_latency_tasks_total.",
            _CLASS,
        )
        self.task_latency_tasks_total = make.counter(
            "task_latency_tasks_total",
            "Ended tasks whose publish time is known (task-sent events).",
            _CLASS,
        )

    def _of_decisions(self, make: _Maker) -> None:
        self.desired_replicas = make.gauge("desired_replicas", "Replicas that KEDA is told.", _CLASS)
        self.recommended_replicas = make.gauge(
            "recommended_replicas",
            "Replicas that each term asks for, before rounding and limits.",
            (*_CLASS, "term"),
        )
        self.active = make.gauge("active", "1 while the class must not be scaled to zero.", _CLASS)
        self.decision_state = make.gauge(
            "decision_state",
            "1 for the present quality of the data: fresh, hold or blind.",
            (*_CLASS, "state"),
        )
        self.decision_age_seconds = make.gauge(
            "decision_age_seconds", "Age of the reading behind the last decision.", _CLASS
        )
        self.scaling_events_total = make.counter(
            "scaling_events_total",
            "Changes of the desired replicas, by direction and by the limit that bound the step.",
            (*_CLASS, "direction", "limit"),
        )
        self.rpc_seconds = make.histogram(
            "rpc_seconds",
            "Duration of a gRPC call, streams from open to end.",
            ("method", "code"),
            buckets=_RPC_BUCKETS,
        )

    def _of_replicas_of_the_service(self, make: _Maker) -> None:
        self.leader = make.gauge("leader", "1 while this replica decides.")
        self.leader_changes_total = make.counter(
            "leader_changes_total",
            "Times that this replica saw another one begin to lead, or began itself.",
        )
        self.store_up = make.gauge("store_up", "1 while the state store can be read and written.")
        self.decisions_held_total = make.counter(
            "decisions_held_total",
            "Times that the leader couldn't bring its decisions into force: the last ones stand.",
        )
        self.policies_differ = make.gauge(
            "policies_differ",
            "1 while what this replica answers was decided by other policies than its own.",
        )
        self.answer_age_seconds = make.gauge(
            "answer_age_seconds",
            "Age of the decisions that KEDA is told; above 15 s it is told UNAVAILABLE.",
        )

    def _of_configuration(self, make: _Maker) -> None:
        self.policy_reload_total = make.counter(
            "policy_reload_total", "Policy reloads, by result.", ("result",)
        )
        self.policy_broken = make.gauge(
            "policy_broken",
            "1 while the policy files on disk are broken and the previous policies stay in force.",
        )
        self.tls_certificate_expiry_timestamp_seconds = make.gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "Seconds since the epoch at which the certificate in force expires: the server's, and the CA"
            " certificate for its clients that is valid longest.",
            ("certificate",),
        )
        self.tls_reload_total = make.counter(
            "tls_reload_total", "Reloads of the certificates, by result.", ("result",)
        )
        self.tls_broken = make.gauge(
            "tls_broken",
            "1 while the certificate files can't be used and the previous certificates stay in force.",
        )

    def _of_scaling_down(self, make: _Maker) -> None:
        self.scale_in_waiting_seconds = make.gauge(
            "scale_in_waiting_seconds",
            "For how long a step down has waited for tasks that it would kill; 0 while none waits.",
            _CLASS,
        )
        self.deletion_cost_writes_total = make.counter(
            "deletion_cost_writes_total",
            "Pods that were to be marked before a step down: written, gone, conflict, refused, throttled,"
            " failed or late.",
            (*_CLASS, "result"),
        )
        self.deletion_costs_foreign = make.gauge(
            "deletion_costs_foreign",
            "1 while somebody else sets the deletion costs of a class's pods, so that none are written.",
            _CLASS,
        )

    def _of_the_fast_path(self, make: _Maker) -> None:
        self.fast_path_writes_total = make.counter(
            "fast_path_writes_total",
            "Attempts to raise the replicas at once: raised, conflict, refused or failed.",
            (*_CLASS, "result"),
        )
        self.fast_path_seconds = make.histogram(
            "fast_path_seconds",
            "Seconds from a decision to the replicas that were raised for it.",
            buckets=_FAST_BUCKETS,
        )
        self.fast_path_held = make.gauge(
            "fast_path_held",
            "1 while the replicas may not be raised at once, by reason.",
            (*_CLASS, "reason"),
        )

    def _of_loops(self, make: _Maker) -> None:
        self.loop_failures_total = make.counter(
            "loop_failures_total",
            "Faults of a loop beside the deciding one, which went on: events, fast-path, draining, shadow,"
            " agreement.",
            ("loop",),
        )
        self.events_total = make.counter(
            "events_total",
            "Kubernetes events: written, repeated (a count that grew), dropped or failed.",
            ("result",),
        )

    def _of_shadow_mode(self, make: _Maker) -> None:
        self.shadow_replicas = make.gauge(
            "shadow_replicas",
            "Replicas of a class in shadow mode: ours, which nobody follows, and actual.",
            (*_CLASS, "which"),
        )
        self.shadow_pod_seconds_total = make.counter(
            "shadow_pod_seconds_total",
            "Pod-seconds of a class in shadow mode while both numbers were known.",
            (*_CLASS, "which"),
        )
        self.shadow_seconds_total = make.counter(
            "shadow_seconds_total",
            "Seconds in shadow mode, by how ours compares with the actual: above, below, equal, unknown.",
            (*_CLASS, "state"),
        )
