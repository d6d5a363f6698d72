"""One run of `check` has to be enough: what is broken in one place hides nothing in another."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from scaler.core.policy import AlertLevel
from scaler.policyfile import Diagnostic, load_policy

Diagnose = Callable[..., tuple[Diagnostic, ...]]

BROKEN = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: Shop}
spec:
  brokers:
    main: {url: "${SHOP_BROKER}", mangementUrl: "http://127.0.0.1:15672"}
  workers:
    io:
      queues: [email, api]
      pool: green
      concurrency: many
      serviceTime: 30
      replicas: {min: 5, max: 3}
    cpu:
      queues: [reports, email, reports]
      acks_late: true
      concurrency: 0
      replicas: {min: 2}
      schedule: [{cron: "never", duration: 2h, minReplicas: 3}]
    mixed: {queues: [api], pool: solo, concurrency: 2, serviceTime: 4s, replicas: {max: 2}}
"""


def test_every_fault_of_a_file_is_reported_in_the_order_of_the_file(diagnose: Diagnose) -> None:
    found = [(fault.line, fault.column, fault.message.split(";")[0]) for fault in diagnose(BROKEN)]

    assert found == [
        (3, 18, "metadata.name can't be 'Shop'"),
        (6, 17, "variable SHOP_BROKER is not set"),
        (6, 35, "unknown key 'mangementUrl' in brokers.main"),
        (10, 13, "workers.io.pool is 'green', which is unknown"),
        (11, 20, "workers.io.concurrency must be a whole number, not 'many'"),
        (12, 20, "workers.io.serviceTime: bad duration 30"),
        (13, 23, "workers.io.replicas: min 5 is greater than max 3"),
        (14, 5, "workers.cpu needs serviceTime"),
        (15, 25, "workers.cpu and workers.io share the queue 'email'"),
        (15, 32, "workers.cpu: queue 'reports' stands twice"),
        (16, 7, "unknown key 'acks_late' in workers.cpu"),
        (17, 20, "workers.cpu.concurrency is 0, less than 1"),
        (18, 7, "workers.cpu.replicas needs max"),
        (19, 25, "workers.cpu.schedule[0].cron: bad cron expression 'never': Wrong number of fields"),
        (20, 22, "workers.mixed and workers.io share the queue 'api'"),
        (20, 53, "workers.mixed: pool solo runs one task at a time, but concurrency is 2"),
    ]


def test_the_snake_case_names_of_the_models_are_no_keys_of_a_policy(
    edited: Callable[..., str], diagnose: Diagnose
) -> None:
    text = edited(("prefetchMultiplier: 1", "prefetch_multiplier: 1"))

    (fault,) = diagnose(text)

    assert "did you mean 'prefetchMultiplier'?" in fault.message


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN"])
def test_no_number_of_a_policy_is_infinite(number: str) -> None:
    """YAML's `.inf` is refused by the reader already; the models hold for whoever else builds one."""
    with pytest.raises(ValidationError, match="latencyFactor"):
        AlertLevel.model_validate_json(f'{{"latencyFactor": {number}}}')


def test_a_document_of_another_kind_is_one_fault_not_thirty(diagnose: Diagnose) -> None:
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\ndata: {shop.yaml: ''}\n"
    trace = "apiVersion: scaler/v1\nkind: Trace\nmetadata: {name: spike}\nspec: {duration: 80m}\n"

    assert [str(fault) for text in (config_map, trace) for fault in diagnose(text)] == [
        "shop.yaml:2:7: this is a 'ConfigMap', no policy; move it away, or write kind: ScalingPolicy",
        "shop.yaml:2:7: this is a 'Trace', no policy; move it away, or write kind: ScalingPolicy",
    ]


def test_a_misspelt_kind_is_taken_for_a_policy_with_a_fault(
    edited: Callable[..., str], diagnose: Diagnose
) -> None:
    (fault,) = diagnose(edited(("kind: ScalingPolicy", "kind: ScalingPolcy")))

    assert (fault.line, fault.column) == (2, 7)
    assert "did you mean 'ScalingPolicy'?" in fault.message


def test_texts_that_are_no_policy_at_all_get_a_sentence(diagnose: Diagnose) -> None:
    header = "apiVersion: scaler/v1\nkind: ScalingPolicy\n"
    bomb = "a: &a [x, x]\n" + "".join(
        f"{letter}: &{letter} [*{before}, *{before}, *{before}, *{before}]\n"
        for before, letter in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    texts: dict[str, tuple[str | bytes, str]] = {
        "nothing": ("", "1:1: the file is empty; begin with apiVersion: scaler/v1"),
        "only a comment": ("# later\n", "1:1: the file is empty"),
        "a list": ("- io\n- cpu\n", "1:1: a policy is a mapping of keys, not a list"),
        "a word": ("policy\n", "1:1: a policy is a mapping of keys, not a single value"),
        "two documents": (f"{header}---\n{header}", "3:1: a second document begins here"),
        "no UTF-8": ("apiVersion: caf\xe9".encode("latin-1"), "1:16: not UTF-8 from here on"),
        "UTF-16": (header.encode("utf-16"), "1:1: not UTF-8 from here on"),
        "control characters": (f"{header}metadata: \x07", "3:11: a control character"),
        "more than 1 MiB": ("#" * (1024 * 1024 + 1), "1:1: larger than 1048576 characters"),
        "more than 1 MiB of bytes": (b"#" * (1024 * 1024 + 1), "1:1: larger than 1048576 bytes"),
        "a quote never closed": (f"{header}metadata: {{name: 'shop}}\n", "4:1: a quote is never closed"),
        "brackets without end": (f"{header}spec: {'[' * 100_000}", "3:46: nested deeper than 40 levels"),
        "an alias of itself": (f"{header}spec: &spec {{brokers: *spec}}", "3:7: more than 20000 keys"),
        "aliases of aliases": (header + bomb, "3:8: more than 20000 keys"),
        "a long list": (f"{header}spec: [{'a, ' * 30_000}a]", "more than 20000 keys and values"),
    }

    for name, (text, expected) in texts.items():
        (fault,) = diagnose(text)
        assert expected in str(fault), name
        assert len(str(fault)) < 200, name


def test_anchors_aliases_and_merge_keys_mean_what_they_mean_in_yaml(
    edited: Callable[..., str], diagnose: Diagnose
) -> None:
    text = edited(
        ("    io:\n", "    io: &io\n"),
        ("      replicas: {min: 1, max: 5}", "      replicas: &few {min: 1, max: 5}"),
        (
            "  environments:\n",
            "    other:\n      <<: *io\n      queues: [other]\n      replicas: *few\n  environments:\n",
        ),
    )

    policy = load_policy(text, file="shop.yaml", environment=None, env={})

    assert policy.spec.workers["other"].pool == "gevent"
    assert policy.spec.workers["other"].queues == ("other",)
    assert policy.spec.workers["other"].replicas == policy.spec.workers["io"].replicas
    in_both = diagnose(text.replace("gevent", "green"))
    assert [(fault.line, fault.column, fault.message.partition(" is")[0]) for fault in in_both] == [
        (10, 13, "workers.io.pool"),
        (10, 13, "workers.other.pool"),
    ]
