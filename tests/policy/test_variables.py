"""`${VAR}`: where it is expanded, what becomes of it, and what is said when it can't be."""

from collections.abc import Callable

import pytest

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import Diagnostic, load_policy

Diagnose = Callable[..., tuple[Diagnostic, ...]]
Edit = Callable[..., str]


def load(text: str, **env: str) -> ScalingPolicy:
    return load_policy(text, file="shop.yaml", environment=None, env=env)


def test_a_plain_variable_becomes_what_yaml_makes_of_its_text(edited: Edit) -> None:
    text = edited(("replicas: {max: 3}\n  env", "replicas:\n        max: ${CPU_MAX:-3}\n  env"))

    assert load(text).spec.workers["cpu"].replicas.max == 3
    assert load(text, CPU_MAX="7").spec.workers["cpu"].replicas.max == 7
    assert load(text, CPU_MAX="").spec.workers["cpu"].replicas.max == 3, "as in a shell, empty is unset"


def test_a_quoted_variable_stays_a_text(edited: Edit, diagnose: Diagnose) -> None:
    text = edited(("replicas: {max: 3}\n  env", 'replicas: {max: "${CPU_MAX:-3}"}\n  env'))

    (fault,) = diagnose(text)

    assert "workers.cpu.replicas.max must be a whole number, not '${CPU_MAX:-3}'" in fault.message


def test_variables_can_be_parts_of_a_text_and_be_escaped(edited: Edit) -> None:
    text = edited(("queues: [reports]", 'queues: ["${TEAM}-reports-${TEAM}", "$${TEAM}", "$5", "a$"]'))

    queues = load(text, TEAM="ops").spec.workers["cpu"].queues

    assert queues == ("ops-reports-ops", "${TEAM}", "$5", "a$")


@pytest.mark.parametrize("word", ["true", "false"])
def test_a_plain_variable_can_be_a_switch(word: str, edited: Edit) -> None:
    text = edited(("acksLate: true\n      prefetch", "acksLate: ${ACKS_LATE}\n      prefetch"))

    assert load(text, ACKS_LATE=word).spec.workers["io"].acks_late is (word == "true")


def test_an_empty_variable_switches_a_key_of_a_broker_off(edited: Edit) -> None:
    text = edited(('5672//"}', '5672//", urlFile: "${URL_FILE:-}", managementUrl: "${MANAGEMENT_URL:-}"}'))

    broker = load(text).spec.brokers["main"]

    assert broker.management_url is None
    assert broker.url_file is None
    assert load(text, MANAGEMENT_URL="http://rabbit:15672").spec.brokers["main"].management_url is not None


def test_the_text_of_a_variable_is_never_read_as_yaml_structure(edited: Edit) -> None:
    text = edited(("queues: [reports]", "queues:\n        - ${QUEUE}"))

    assert load(text, QUEUE="a, b: [c] # d").spec.workers["cpu"].queues == ("a, b: [c] # d",)


def test_a_variable_that_only_another_environment_needs_may_be_unset(
    edited: Edit, diagnose: Diagnose
) -> None:
    text = edited(("production: {}", 'production: {brokers: {main: {url: "${PRODUCTION_BROKER}"}}}'))

    assert diagnose(text) == ()
    assert diagnose(text, environment="uat") == ()
    (fault,) = diagnose(text, environment="production")
    assert str(fault) == (
        "shop.yaml:23:40: variable PRODUCTION_BROKER is not set;"
        " set it, or write ${PRODUCTION_BROKER:-default} (environment production)"
    )


def test_all_unset_variables_are_named_each_at_its_place(edited: Edit, diagnose: Diagnose) -> None:
    text = edited(
        ("queues: [reports]", 'queues: ["${ONE}-${TWO}"]'), ("serviceTime: 18s", "serviceTime: ${THREE}")
    )

    faults = diagnose(text)

    assert [(fault.line, fault.column, fault.message.split(";")[0]) for fault in faults] == [
        (17, 16, "variable ONE is not set"),
        (17, 16, "variable TWO is not set"),
        (20, 20, "variable THREE is not set"),
    ]


@pytest.mark.parametrize("broken", ["${}", "${1A}", "${A B}", "${A:=x}", "${A:-${B}}", "${A"])
def test_what_only_looks_like_a_variable_is_a_fault(broken: str, edited: Edit, diagnose: Diagnose) -> None:
    (fault,) = diagnose(edited(("queues: [reports]", f'queues: ["{broken}"]')), env={"A": "x", "B": "y"})

    assert (fault.line, fault.column) == (17, 16)
    assert "bad variable; write ${VAR} or ${VAR:-default}" in fault.message


@pytest.mark.parametrize("value", ["two\nlines", "bell\x07", "\udcff"])
def test_a_variable_that_is_no_line_of_text_is_a_fault(value: str, edited: Edit, diagnose: Diagnose) -> None:
    (fault,) = diagnose(edited(("queues: [reports]", 'queues: ["${QUEUE}"]')), env={"QUEUE": value})

    assert "variable QUEUE holds control characters or isn't UTF-8" in fault.message


def test_a_number_too_large_to_be_one_is_a_fault(edited: Edit, diagnose: Diagnose) -> None:
    text = edited(("concurrency: 4", "concurrency: ${SLOTS}"))

    (fault,) = diagnose(text, env={"SLOTS": "9" * 5000})

    assert fault.message == "'${SLOTS}' gives no number that can be used; check the variable"
