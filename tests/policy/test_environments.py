"""Overlays: what an environment changes, and where its faults are reported."""

from collections.abc import Callable

import pytest

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import Diagnostic, load_policy

Diagnose = Callable[..., tuple[Diagnostic, ...]]
Edit = Callable[..., str]


def seen_by(environment: str | None, text: str) -> ScalingPolicy:
    return load_policy(text, file="shop.yaml", environment=environment, env={})


def test_mappings_merge_key_by_key(shop: str) -> None:
    base, uat = seen_by(None, shop), seen_by("uat", shop)

    assert base.spec.workers["io"].replicas.max == 5
    assert uat.spec.workers["io"].replicas.max == 3
    assert uat.spec.workers["io"].replicas.min == 1, "beside max, nothing of replicas changed"
    assert uat.spec.workers["io"].queues == ("email", "api")
    assert uat.spec.workers["cpu"] == base.spec.workers["cpu"]


def test_an_empty_overlay_changes_nothing(shop: str) -> None:
    nothing_below = shop.replace("production: {}", "production:")

    assert seen_by("production", shop) == seen_by(None, shop)
    assert seen_by("production", nothing_below) == seen_by(None, shop)


def test_lists_are_replaced_not_joined(edited: Edit) -> None:
    text = edited(("production: {}", "production: {workers: {io: {queues: [sms]}}}"))

    assert seen_by("production", text).spec.workers["io"].queues == ("sms",)


def test_an_overlay_may_bring_a_class_and_a_broker_of_its_own(edited: Edit) -> None:
    overlay = (
        'production: {brokers: {audit: {url: "redis://127.0.0.1/2"}}, workers: {io: {broker: main},'
        " cpu: {broker: main}, audit: {broker: audit, queues: [audit], concurrency: 1, serviceTime: 1s,"
        " replicas: {max: 1}}}}"
    )
    text = edited(("production: {}", overlay))

    assert set(seen_by("production", text).spec.workers) == {"io", "cpu", "audit"}
    assert set(seen_by(None, text).spec.workers) == {"io", "cpu"}


def test_a_loaded_policy_keeps_the_names_of_its_environments_but_not_what_is_in_them(shop: str) -> None:
    assert seen_by("uat", shop).spec.environments == {"production": {}, "uat": {}}


def test_an_unknown_environment_is_reported_at_the_environments(shop: str, diagnose: Diagnose) -> None:
    (fault,) = diagnose(shop, environment="prodution")

    assert str(fault) == (
        "shop.yaml:22:3: unknown environment 'prodution'; did you mean 'production'? known: production, uat"
    )


def test_asking_for_an_environment_of_a_policy_without_any_is_a_fault(shop: str, diagnose: Diagnose) -> None:
    (fault,) = diagnose(shop[: shop.index("  environments:")], environment="uat")

    assert (fault.line, fault.column) == (4, 1)
    assert "no environments here, so 'uat' is unknown" in fault.message


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("{workers: {io: {replicas: {max: ▶none}}}}", "workers.io.replicas.max must be a whole number"),
        ("{workers: {io: {▶polo: gevent}}}", "unknown key 'polo' in workers.io"),
        ("{workers: {io: {serviceTime: ▶30}}}", "workers.io.serviceTime: bad duration 30; write 30s"),
        ("{workers: {cpu: {queues: [reports, ▶api]}}}", "workers.cpu and workers.io share the queue 'api'"),
        ("{workers: {▶mail: {queues: [mail], concurrency: 1, replicas: {max: 1}}}}", "needs serviceTime"),
        ("{workers: {io: ▶null}}", "workers.io is empty"),
        ("{workers: {io: {replicas: ▶5}}}", "workers.io.replicas must be a mapping of keys, not 5"),
        ("{▶worker: {}}", "unknown key 'worker' in spec; did you mean 'workers'?"),
    ],
)
def test_a_fault_in_an_overlay_is_reported_there_with_its_environment(
    overlay: str, expected: str, edited: Edit, diagnose: Diagnose
) -> None:
    marked = edited(("production: {}", f"production: {overlay}"))
    text = marked.replace("▶", "")

    (fault,) = diagnose(text, environment="production")

    assert expected in fault.message
    assert fault.message.endswith("(environment production)")
    assert fault.line == 23
    assert fault.column == marked.splitlines()[22].index("▶") + 1
    assert diagnose(text, environment="uat") == (), "another environment doesn't see it"


def test_an_overlay_that_contradicts_the_base_is_to_blame(edited: Edit, diagnose: Diagnose) -> None:
    """min stands in the base, max in the overlay: the base alone was right, so the overlay is shown."""
    text = edited(("{min: 1, max: 5}", "{min: 4, max: 5}"))

    (fault,) = diagnose(text, environment="uat")

    assert str(fault) == (
        "shop.yaml:26:30: workers.io.replicas: min 4 is greater than max 3; write min: 3 or max: 4"
        " (environment uat)"
    )


def test_an_overlay_can_mend_what_the_base_leaves_out(edited: Edit, diagnose: Diagnose) -> None:
    text = edited(
        ("      serviceTime: 18s\n", ""),
        ("production: {}", "production: {workers: {cpu: {serviceTime: 18s}}}"),
    )

    assert diagnose(text, environment="production") == ()
    (fault,) = diagnose(text)
    assert "workers.cpu needs serviceTime" in fault.message
