"""Warnings: policies that are valid and don't do what they seem to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scaler.policyfile.review import Review, review

Edit = Callable[..., str]
EXAMX = Path(__file__).parents[2] / "policies" / "examx.yaml"

IO_REPLICAS = "replicas: {min: 1, max: 5}"
CPU_TIME = "serviceTime: 18s"
BURST = "[{type: Pods, value: 3, periodSeconds: 60}, {type: Percent, value: 100, periodSeconds: 120}]"
OFTEN = "[{type: Pods, value: 4, periodSeconds: 600}, {type: Percent, value: 100, periodSeconds: 60}]"
EARLY = "    ▶cpu:\n      queues: [reports]\n      concurrency: 4"


def scale_up(rules: str) -> str:
    return f"{IO_REPLICAS}\n      behavior: {{scaleUp: {{{rules}}}}}"


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[str], Review]:
    def judge(text: str) -> Review:
        file = tmp_path / "shop.yaml"
        file.write_text(text)
        return review(file, None, {})

    return judge


Judge = Callable[[str], Review]


def test_the_small_policy_has_no_traps(shop: str, judged: Judge) -> None:
    assert judged(shop).warnings == []
    assert judged(shop).errors == []


CASES: list[tuple[str, tuple[str, str], str, str]] = [
    (
        "an overflow that quorum queues don't know",
        (CPU_TIME, f"{CPU_TIME}\n      limits: {{overflow: ▶reject-publish-dlx}}"),
        "a quorum queue takes it for drop-head and silently drops its oldest tasks",
        "use classic queues, or write reject-publish",
    ),
    (
        "a pod that holds half of the limit",
        ("prefetchMultiplier: 1", "prefetchMultiplier: ▶4\n      limits: {maxLength: 1600}"),
        "one pod holds up to 800 messages that maxLength 1600 doesn't count",
        "write prefetchMultiplier: 1, or maxLength: 1601 or more",
    ),
    (
        "slots enough to hold half of the limit",
        ("prefetchMultiplier: 1", "prefetchMultiplier: ▶1\n      limits: {maxLength: 400}"),
        "one pod holds up to 200 messages",
        "write maxLength: 401 or more",
    ),
    (
        "unlimited prefetch",
        ("prefetchMultiplier: 1", "prefetchMultiplier: ▶0"),
        "0 lets one pod take every message",
        "write prefetchMultiplier: 1",
    ),
    (
        "early ack, written",
        ("acksLate: true\n      prefetch", "acksLate: ▶false\n      prefetch"),
        "early ack: a running task is in no count of the broker, and a killed pod loses it",
        "write acksLate: true",
    ),
    (
        "early ack by leaving it out",
        ("    cpu:\n      queues: [reports]\n      concurrency: 4\n      acksLate: true", EARLY),
        "early ack",
        "write acksLate: true",
    ),
    (
        "doubling that never doubles",
        (IO_REPLICAS, scale_up(f"policies: {BURST.replace(', {', ', ▶{')}")),
        "100 % per 120 s never makes a difference from 1 to 5 replicas, beside 3 pods per 60 s",
        "remove it, or raise replicas.max",
    ),
    (
        "expiry before lateness",
        (CPU_TIME, f"{CPU_TIME}\n      objective: {{wait: 10m}}\n      limits: {{messageTtl: ▶5m}}"),
        "tasks expire after 5m, before they are late by the objective of 10m",
        "write a longer messageTtl",
    ),
    (
        "CPU of pods that wait",
        (IO_REPLICAS, f"{IO_REPLICAS}\n      resources: {{cpu: ▶50}}"),
        "a gevent pod whose tasks wait for I/O uses little CPU however full it is",
        "rely on the queues",
    ),
]


@pytest.mark.parametrize(("name", "change", "what", "remedy"), CASES, ids=[case[0] for case in CASES])
def test_a_trap_is_a_warning_at_its_place_and_no_error(
    name: str, change: tuple[str, str], what: str, remedy: str, edited: Edit, judged: Judge
) -> None:
    marked = edited(change)
    index = marked.index("▶")

    found = judged(marked.replace("▶", ""))

    assert found.errors == [], name
    (warning,) = found.warnings
    assert warning.message.startswith("warning: ")
    assert what in warning.message
    assert remedy in warning.message
    assert warning.line == marked.count("\n", 0, index) + 1
    assert warning.column == index - marked.rfind("\n", 0, index)


REDIS = ("amqp://127.0.0.1:5672//", "redis://127.0.0.1:6379/0")


def test_redis_enforces_no_limits(edited: Edit, judged: Judge) -> None:
    limits = "limits: {maxLength: 100, overflow: reject-publish-dlx, messageTtl: 1s}"

    (warning,) = judged(edited(REDIS, (CPU_TIME, f"{CPU_TIME}\n      {limits}"))).warnings

    assert (warning.line, warning.column) == (21, 7)
    assert "Redis enforces none of these" in warning.message
    assert "check the length before publishing, or use RabbitMQ" in warning.message


def test_redis_counts_priorities_the_other_way_round(edited: Edit, judged: Judge) -> None:
    priorities = ("  environments:\n    prod", "  priorities: {critical: 9}\n  environments:\n    prod")

    (warning,) = judged(edited(REDIS, priorities)).warnings

    assert (warning.line, warning.column) == (22, 3)
    assert "on Redis 0 is the highest priority and 9 the lowest" in warning.message
    assert "publish 9 minus these numbers" in warning.message
    assert judged(edited(priorities)).warnings == [], "on RabbitMQ they mean what they say"


@pytest.mark.parametrize(
    ("steps", "select", "maximum"),
    [
        (BURST, "Max", 20),
        (BURST, "Min", 20),
        (OFTEN, "Max", 9),
        ("[{type: Percent, value: 100, periodSeconds: 120}]", "Max", 5),
        (BURST, "Disabled", 5),
    ],
)
def test_policies_that_make_a_difference_somewhere_are_no_traps(
    steps: str, select: str, maximum: int, edited: Edit, judged: Judge
) -> None:
    """Doubling matters from 4 pods on, or where it may be repeated sooner, or where the least counts."""
    behavior = scale_up(f"selectPolicy: {select}, policies: {steps}").replace("max: 5", f"max: {maximum}")
    text = edited((IO_REPLICAS, behavior))
    text = text[: text.index("  environments:")]

    assert judged(text).warnings == []


def test_of_two_equal_policies_only_one_can_be_removed(edited: Edit, judged: Judge) -> None:
    behavior = (
        "      behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60},"
        " {type: Pods, value: 1, periodSeconds: 60}]}}"
    )
    text = edited((IO_REPLICAS, f"{IO_REPLICAS}\n{behavior}"))

    assert len(judged(text).warnings) == 1


def test_the_shipped_policy_has_the_traps_of_the_guide_and_says_so() -> None:
    found = review(EXAMX, None, {})
    lines = EXAMX.read_text(encoding="utf-8").splitlines()

    assert found.errors == []
    assert [
        (warning.message.split(" ", 2)[1], lines[warning.line - 1].split("#")[0].strip())
        for warning in found.warnings
    ] == [
        ("a", "resources: {cpu: 50, memory: 70}"),
        ("100", "- {type: Percent, value: 100, periodSeconds: 120}"),
        ("100", "- {type: Percent, value: 100, periodSeconds: 120}"),
        ("classic", "limits: {maxLength: 1000, overflow: reject-publish-dlx, messageTtl: 2h}"),
        ("100", "- {type: Percent, value: 100, periodSeconds: 120}"),
    ]
    assert not any("environment" in warning.message for warning in found.warnings), "said once is enough"
