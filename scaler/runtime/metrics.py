"""Every metric of the service, with unit and help. Labels are bounded by the loaded policies.

One object per process with a private registry, so that tests may hold several.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from scaler import __version__

_CLASS = ("policy", "worker_class")
#: An answer comes from memory (about 0.2 ms); the upper buckets are there to show a fault.
_RPC_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
#: A sweep takes 1–100 ms; at 2 s it is given up.
_FAST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 15.0)
_SAMPLE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """The service's own instruments."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        prefix = "celery_scaler_"

        def gauge(name: str, text: str, labels: tuple[str, ...] = _CLASS) -> Gauge:
            return Gauge(prefix + name, text, labels, registry=registry)

        self.queue_messages = gauge(
            "queue_messages", "Messages of a queue by state, as last read.", (*_CLASS, "queue", "state")
        )
        self.queue_limit = gauge(
            "queue_limit", "Ready messages that the policy allows a queue.", (*_CLASS, "queue")
        )
        self.class_messages = gauge(
            "class_messages",
            "Messages of a class by what becomes of them; least and most are equal where it is exact.",
            (*_CLASS, "state", "bound"),
        )
        self.head_of_line_wait_seconds = gauge(
            "head_of_line_wait_seconds",
            "Age of the oldest ready and due task of a class; most is +Inf where no bound is known.",
            (*_CLASS, "bound"),
        )
        self.service_time_seconds = gauge(
            "service_time_seconds",
            "Seconds that a task occupies a slot, as used for sizing.",
            (*_CLASS, "source"),
        )
        self.lead_time_seconds = gauge(
            "lead_time_seconds", "Seconds from deciding to a new pod that works, as used for sizing."
        )
        self.worker_processes = gauge("worker_processes", "Celery workers that were heard lately.")
        self.desired_replicas = gauge("desired_replicas", "Replicas that KEDA is told.")
        self.recommended_replicas = gauge(
            "recommended_replicas",
            "Replicas that each term asks for, before rounding and limits.",
            (*_CLASS, "term"),
        )
        self.active = gauge("active", "1 while the class must not be scaled to zero.")
        self.decision_state = gauge(
            "decision_state",
            "1 for the present quality of the data: fresh, hold or blind.",
            (*_CLASS, "state"),
        )
        self.decision_age_seconds = gauge(
            "decision_age_seconds", "Age of the reading behind the last decision."
        )
        self.broker_up = gauge("broker_up", "1 if the last sweep over the broker succeeded.", ("broker",))
        self.scaling_events_total = Counter(
            prefix + "scaling_events_total",
            "Changes of the desired replicas, by direction and by the limit that bound the step.",
            (*_CLASS, "direction", "limit"),
            registry=registry,
        )
        self.tasks_total = Counter(
            prefix + "tasks_total",
            "Tasks that ended, by outcome, as far as workers send task events (-E).",
            (*_CLASS, "state"),
            registry=registry,
        )
        self.task_runtime_seconds_total = Counter(
            prefix + "task_runtime_seconds_total",
            "Seconds that ended tasks ran; divided by tasks_total it is their mean runtime.",
            _CLASS,
            registry=registry,
        )
        self.task_latency_seconds_total = Counter(
            prefix + "task_latency_seconds_total",
            "Seconds from publish to done of the tasks in task_latency_tasks_total.",
            _CLASS,
            registry=registry,
        )
        self.task_latency_tasks_total = Counter(
            prefix + "task_latency_tasks_total",
            "Ended tasks whose publish time is known (task-sent events).",
            _CLASS,
            registry=registry,
        )
        self.broker_sample_seconds = Histogram(
            prefix + "broker_sample_seconds",
            "Duration of one sweep over a broker.",
            ("broker", "result"),
            buckets=_SAMPLE_BUCKETS,
            registry=registry,
        )
        self.rpc_seconds = Histogram(
            prefix + "rpc_seconds",
            "Duration of a gRPC call, streams from open to end.",
            ("method", "code"),
            buckets=_RPC_BUCKETS,
            registry=registry,
        )
        self.leader = Gauge(prefix + "leader", "1 while this replica decides.", registry=registry)
        self.leader_changes_total = Counter(
            prefix + "leader_changes_total",
            "Times that this replica saw another one begin to lead, or began itself.",
            registry=registry,
        )
        self.store_up = Gauge(
            prefix + "store_up", "1 while the state store can be read and written.", registry=registry
        )
        self.decisions_held_total = Counter(
            prefix + "decisions_held_total",
            "Times that the leader couldn't bring its decisions into force: the last ones stand.",
            registry=registry,
        )
        self.policies_differ = Gauge(
            prefix + "policies_differ",
            "1 while what this replica answers was decided by other policies than its own.",
            registry=registry,
        )
        self.answer_age_seconds = Gauge(
            prefix + "answer_age_seconds",
            "Age of the decisions that KEDA is told; above 15 s it is told UNAVAILABLE.",
            registry=registry,
        )
        self.policy_reload_total = Counter(
            prefix + "policy_reload_total", "Policy reloads, by result.", ("result",), registry=registry
        )
        self.policy_broken = Gauge(
            prefix + "policy_broken",
            "1 while the policy files on disk are broken and the previous policies stay in force.",
            registry=registry,
        )
        self.tls_certificate_expiry_timestamp_seconds = gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "Seconds since the epoch at which the certificate in force expires: the server's, and the CA"
            " certificate for its clients that is valid longest.",
            ("certificate",),
        )
        self.tls_reload_total = Counter(
            prefix + "tls_reload_total",
            "Reloads of the certificates, by result.",
            ("result",),
            registry=registry,
        )
        self.tls_broken = Gauge(
            prefix + "tls_broken",
            "1 while the certificate files can't be used and the previous certificates stay in force.",
            registry=registry,
        )
        self.loop_failures_total = Counter(
            prefix + "loop_failures_total",
            "Faults of a loop beside the deciding one, which went on: events, fast-path, draining, shadow,"
            " agreement.",
            ("loop",),
            registry=registry,
        )
        self.fast_path_writes_total = Counter(
            prefix + "fast_path_writes_total",
            "Attempts to raise the replicas at once: raised, conflict, refused or failed.",
            (*_CLASS, "result"),
            registry=registry,
        )
        self.fast_path_seconds = Histogram(
            prefix + "fast_path_seconds",
            "Seconds from a decision to the replicas that were raised for it.",
            buckets=_FAST_BUCKETS,
            registry=registry,
        )
        self.fast_path_held = gauge(
            "fast_path_held",
            "1 while the replicas may not be raised at once, by reason.",
            (*_CLASS, "reason"),
        )
        self.scale_in_waiting_seconds = gauge(
            "scale_in_waiting_seconds",
            "For how long a step down has waited for tasks that it would kill; 0 while none waits.",
        )
        self.deletion_cost_writes_total = Counter(
            prefix + "deletion_cost_writes_total",
            "Pods that were to be marked before a step down: written, gone, conflict, refused, throttled,"
            " failed or late.",
            (*_CLASS, "result"),
            registry=registry,
        )
        self.deletion_costs_foreign = gauge(
            "deletion_costs_foreign",
            "1 while somebody else sets the deletion costs of a class's pods, so that none are written.",
        )
        self.events_total = Counter(
            prefix + "events_total",
            "Kubernetes events: written, repeated (a count that grew), dropped or failed.",
            ("result",),
            registry=registry,
        )
        self.shadow_replicas = gauge(
            "shadow_replicas",
            "Replicas of a class in shadow mode: ours, which nobody follows, and actual.",
            (*_CLASS, "which"),
        )
        self.shadow_pod_seconds_total = Counter(
            prefix + "shadow_pod_seconds_total",
            "Pod-seconds of a class in shadow mode while both numbers were known.",
            (*_CLASS, "which"),
            registry=registry,
        )
        self.shadow_seconds_total = Counter(
            prefix + "shadow_seconds_total",
            "Seconds in shadow mode, by how ours compares with the actual: above, below, equal, unknown.",
            (*_CLASS, "state"),
            registry=registry,
        )
        Info(prefix + "build", "Version of the running service.", registry=registry).info(
            {"version": __version__}
        )
