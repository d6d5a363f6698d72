"""The shipped policy says what the ExamX spike guide says, number by number, on any machine."""

from pathlib import Path

import pytest

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import load_policy

EXAMX = Path(__file__).parents[2] / "policies" / "examx.yaml"


def examx(environment: str | None = None) -> ScalingPolicy:
    """The policy on a machine where no variable is set."""
    return load_policy(EXAMX.read_bytes(), file=str(EXAMX), environment=environment, env={})


@pytest.mark.parametrize(
    ("environment", "io", "cpu", "mixed"),
    [
        ("production", 5, 3, 2),
        ("uat", 3, 2, 2),
        ("staging", 2, 2, 2),
        ("development", 1, 1, 1),
        (None, 5, 3, 2),
    ],
)
def test_environments_have_the_pods_of_the_guides_table(
    environment: str | None, io: int, cpu: int, mixed: int
) -> None:
    workers = examx(environment).spec.workers

    assert {name: (worker.replicas.min, worker.replicas.max) for name, worker in workers.items()} == {
        "io": (1, io),
        "cpu": (1, cpu),
        "mixed": (1, mixed),
    }


def test_slots_per_pod_and_in_all_are_the_guides() -> None:
    workers = examx().spec.workers

    assert {name: (worker.pool, worker.concurrency) for name, worker in workers.items()} == {
        "io": ("gevent", 200),
        "cpu": ("prefork", 4),
        "mixed": ("threads", 16),
    }
    assert [worker.concurrency * worker.replicas.max for worker in workers.values()] == [1000, 12, 32]


def test_queues_are_the_guides_examples_and_their_limits_its_table() -> None:
    workers = examx().spec.workers

    assert {name: worker.queues for name, worker in workers.items()} == {
        "io": ("email", "api_calls", "file_uploads"),
        "cpu": ("ai_generation", "bulk_uploads", "enrichment"),
        "mixed": ("general", "maintenance"),
    }
    limits = {name: worker.limits for name, worker in workers.items()}
    assert {name: (each.max_length, each.overflow, each.message_ttl) for name, each in limits.items()} == {
        "io": (5000, "reject-publish", 30 * 60),
        "cpu": (1000, "reject-publish-dlx", 2 * 3600),
        "mixed": (2000, "reject-publish", 3600),
    }


def test_bursts_are_the_guides_and_scaling_down_waits_15_minutes() -> None:
    for name, pods, period in (("io", 3, 60), ("cpu", 2, 120), ("mixed", 2, 90)):
        behavior = examx().spec.workers[name].behavior
        up, down = behavior.scale_up, behavior.scale_down
        assert (up.stabilization_window_seconds, up.select_policy) == (0, "Max")
        assert [(step.type, step.value, step.period_seconds) for step in up.policies] == [
            ("Pods", pods, period),
            ("Percent", 100, 120),
        ]
        assert down.stabilization_window_seconds == 15 * 60
        assert [(step.type, step.value, step.period_seconds) for step in down.policies] == [("Pods", 1, 600)]


def test_resource_targets_are_the_guides_triggers() -> None:
    resources = {name: worker.resources for name, worker in examx().spec.workers.items()}

    assert {name: (each.cpu, each.memory) for name, each in resources.items()} == {
        "io": (50, 70),
        "cpu": (70, None),
        "mixed": (60, None),
    }


def test_priors_and_objectives_are_the_documented_ones() -> None:
    for name, service_time, wait, utilization in (
        ("io", 1.5, 30, 0.85),
        ("cpu", 18, 600, 0.75),
        ("mixed", 4, 120, 0.8),
    ):
        worker = examx().spec.workers[name]
        assert (worker.service_time, worker.startup_time) == (service_time, 45)
        assert (worker.objective.wait, worker.objective.utilization) == (wait, utilization)
        assert worker.objective.service_level == 0.99


def test_no_task_is_lost_with_a_pod_and_none_is_hoarded() -> None:
    for worker in examx().spec.workers.values():
        assert worker.acks_late
        assert worker.prefetch_multiplier == 1


def test_deployments_have_the_names_that_the_guide_scales_by_hand() -> None:
    targets = [worker.scale_target for worker in examx().spec.workers.values()]

    assert [(target.kind, target.name) for target in targets if target] == [
        ("Deployment", "celery-io-worker"),
        ("Deployment", "celery-cpu-worker"),
        ("Deployment", "celery-mixed-worker"),
    ]


def test_priorities_run_from_9_to_1() -> None:
    assert list(examx().spec.priorities.items()) == [
        ("critical", 9),
        ("auth", 8),
        ("payment", 7),
        ("email", 6),
        ("evaluation", 5),
        ("bulk", 4),
        ("cleanup", 3),
        ("stats", 2),
        ("maintenance", 1),
    ]


def test_alerts_and_breakers_have_the_guides_thresholds() -> None:
    spec = examx().spec
    critical, warning = spec.alerts.critical, spec.alerts.warning

    assert (critical.queue_depth, critical.worker_cpu, critical.sustained) == (0.8, 0.9, 120)
    assert (critical.failure_rate, critical.scaling_events_per_hour) == (0.1, 5)
    assert (warning.queue_depth, warning.worker_memory, warning.latency_factor) == (0.5, 0.85, 2.0)
    assert (spec.breakers.failure_threshold, spec.breakers.emergency_failure_threshold) == (5, 20)


def test_the_broker_is_the_local_one_without_credentials_unless_a_variable_says_otherwise() -> None:
    broker = examx().spec.brokers["main"]
    assert broker.url is not None
    assert broker.url.get_secret_value() == "amqp://127.0.0.1:5672//"
    assert broker.management_url is None

    env = {"BROKER_URL": "redis://redis:6379/0", "RABBITMQ_MANAGEMENT_URL": "http://rabbit:15672"}
    broker = load_policy(EXAMX.read_bytes(), file="x", environment="uat", env=env).spec.brokers["main"]
    assert broker.url is not None
    assert broker.url.get_secret_value() == "redis://redis:6379/0"
    assert broker.management_url is not None


def test_editors_find_the_schema() -> None:
    first_line = EXAMX.read_text(encoding="utf-8").splitlines()[0]

    assert first_line == "# yaml-language-server: $schema=./scaling-policy.schema.json"
    assert (EXAMX.parent / "scaling-policy.schema.json").is_file()
