"""The admission policy: its CEL expressions on ScaledObjects as they are and as they may be mistyped.

Evaluated by an implementation of CEL, not by an API server: what an API server adds is the type
check of the expressions, and the limit on their cost.
"""

import json
from collections.abc import Callable
from typing import Any

import cel
import pytest

Document = dict[str, Any]
Pick = Callable[..., Document]
#: A change of a ScaledObject, in place.
Change = Callable[[Document], object]


@pytest.fixture(scope="session")
def spec(pick: Pick) -> Document:
    found: Document = pick("cluster", "ValidatingAdmissionPolicy", "celery-scaler-triggers")["spec"]
    return found


@pytest.fixture(scope="session")
def classes(pick: Pick) -> Document:
    return pick("overlays/production", "ConfigMap", "celery-scaler-classes")


@pytest.fixture
def scaled_object(pick: Pick) -> Document:
    document: Document = json.loads(
        json.dumps(pick("overlays/production", "ScaledObject", "celery-io-worker"))
    )
    return document


def refusals(
    spec: Document, classes: Document, scaled_object: Document, before: Document | None = None
) -> list[str] | None:
    """What an API server would say; nothing where it lets the object pass, None where it doesn't look."""
    names: dict[str, Any] = {
        "object": scaled_object,
        "oldObject": before,
        "params": classes,
        "variables": {},
    }
    if not all(cel.evaluate(each["expression"], names) for each in spec["matchConditions"]):
        return None
    for each in spec["variables"]:
        names["variables"][each["name"]] = cel.evaluate(each["expression"], names)
    return [
        each.get("message") or cel.evaluate(each["messageExpression"], names)
        for each in spec["validations"]
        if cel.evaluate(each["expression"], names) is not True
    ]


def trigger(document: Document) -> Document:
    found: Document = document["spec"]["triggers"][0]
    return found


def metadata(document: Document) -> dict[str, str]:
    found: dict[str, str] = trigger(document)["metadata"]
    return found


@pytest.mark.parametrize("environment", ["production", "uat", "staging", "development"])
def test_what_is_shipped_passes(
    environment: str, spec: Document, build: Callable[[str], list[Document]], pick: Pick
) -> None:
    folder = f"overlays/{environment}"
    classes = pick(folder, "ConfigMap", "celery-scaler-classes")
    objects = [each for each in build(folder) if each["kind"] == "ScaledObject"]

    assert [refusals(spec, classes, each) for each in objects] == [[], [], []]


def test_a_pause_is_let_pass_also_where_the_class_has_gone(
    spec: Document, classes: Document, scaled_object: Document
) -> None:
    metadata(scaled_object)["workerClass"] = "gone"
    paused = json.loads(json.dumps(scaled_object))
    paused["metadata"].setdefault("annotations", {})["autoscaling.keda.sh/paused"] = "true"
    assert refusals(spec, classes, paused, before=scaled_object) is None
    paused["spec"]["maxReplicaCount"] = 9
    assert refusals(spec, classes, paused, before=scaled_object), "a change of the spec is looked at"


GOOD: dict[str, Change] = {
    "without a policy, as there is one": lambda it: metadata(it).pop("policy"),
    "class from the environment": lambda it: (
        metadata(it).pop("workerClass"),
        metadata(it).update(workerClassFromEnv="CLASS"),
    ),
    "policy from the environment": lambda it: (
        metadata(it).pop("policy"),
        metadata(it).update(policyFromEnv="POLICY"),
    ),
    "any variable": lambda it: metadata(it).update(somethingFromEnv="SOMETHING"),
    "no TLS": lambda it: (metadata(it).pop("enableTLS"), trigger(it).pop("authenticationRef")),
    "push": lambda it: trigger(it).update(type="external-push"),
    "no metric type": lambda it: trigger(it).pop("metricType"),
    "no fallback": lambda it: it["spec"].pop("fallback"),
    "nothing advanced": lambda it: it["spec"].pop("advanced"),
    "answers that aren't cached": lambda it: trigger(it).update(useCachedMetrics=False),
}


@pytest.mark.parametrize("what", GOOD)
def test_what_the_service_understands_passes(
    what: str, spec: Document, classes: Document, scaled_object: Document
) -> None:
    GOOD[what](scaled_object)

    assert refusals(spec, classes, scaled_object) == []


BAD: dict[str, tuple[Change, str]] = {
    "a key in other letters": (
        lambda it: (metadata(it).pop("workerClass"), metadata(it).update(workerclass="io")),
        "unknown metadata key; known keys: enableTLS, policy, scalerAddress, unsafeSsl, workerClass",
    ),
    "a key of another scaler": (lambda it: metadata(it).update(queueLength="20"), "unknown metadata key"),
    "no class": (lambda it: metadata(it).pop("workerClass"), "workerClass is missing"),
    "an empty class": (lambda it: metadata(it).update(workerClass=""), "workerClass is missing"),
    "an unknown class": (
        lambda it: metadata(it).update(workerClass="oi"),
        'worker class "oi" of policy "examx" is unknown, or in several policies; ConfigMap',
    ),
    "an unknown class without a policy": (
        lambda it: (metadata(it).pop("policy"), metadata(it).update(workerClass="x.io")),
        'worker class "x.io" is unknown',
    ),
    "the end of a class's name": (
        lambda it: (metadata(it).pop("policy"), metadata(it).update(workerClass="o")),
        'worker class "o" is unknown',
    ),
    "an unknown policy": (
        lambda it: metadata(it).update(policy="exam"),
        'worker class "io" of policy "exam" is unknown',
    ),
    "the class of another workload": (
        lambda it: metadata(it).update(workerClass="cpu"),
        'worker class "cpu" scales celery-cpu-worker, not celery-io-worker;',
    ),
    "another workload, without a policy's name": (
        lambda it: (metadata(it).pop("policy"), it["spec"]["scaleTargetRef"].update(name="other")),
        'worker class "io" scales celery-io-worker, not other;',
    ),
    "KEDA's own fallback": (
        lambda it: it["spec"].update(fallback={"failureThreshold": 3, "replicas": 2}),
        "fallback.behavior must be currentReplicasIfHigher",
    ),
    "a static fallback": (
        lambda it: it["spec"]["fallback"].update(behavior="static"),
        "fallback.behavior must be currentReplicasIfHigher",
    ),
    "cached answers": (
        lambda it: trigger(it).update(useCachedMetrics=True),
        "useCachedMetrics must not be true",
    ),
    "idle replicas": (lambda it: it["spec"].update(idleReplicaCount=0), "idleReplicaCount can't be used"),
    "a class given twice": (
        lambda it: metadata(it).update(workerClassFromEnv="CLASS"),
        "policy or workerClass is given twice",
    ),
    "yes for true": (
        lambda it: metadata(it).update(enableTLS="yes"),
        'enableTLS and unsafeSsl are "true" or "false"',
    ),
    "Value": (lambda it: trigger(it).update(metricType="Value"), "metricType must be AverageValue"),
    "fallback to nothing": (lambda it: it["spec"]["fallback"].update(replicas=0), "fallback.replicas is 0"),
    "a formula": (
        lambda it: it["spec"]["advanced"].update(scalingModifiers={"formula": "a + b", "target": "1"}),
        "scalingModifiers can't be used",
    ),
    "a second trigger": (
        lambda it: it["spec"]["triggers"].append({"type": "cron", "metadata": {}}),
        "a ScaledObject of celery-scaler has one trigger",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_refused_in_its_own_words(
    what: str, spec: Document, classes: Document, scaled_object: Document
) -> None:
    change, message = BAD[what]
    change(scaled_object)

    said = refusals(spec, classes, scaled_object)

    assert said, "refused"
    assert any(message in each for each in said), said


def test_a_class_of_two_policies_needs_the_policys_name(
    spec: Document, classes: Document, scaled_object: Document
) -> None:
    both = {**classes, "data": {**classes["data"], "other.io": "celery-io-worker"}}
    assert refusals(spec, both, scaled_object) == []

    metadata(scaled_object).pop("policy")

    (said,) = refusals(spec, both, scaled_object) or []
    assert said.startswith('worker class "io" is unknown, or in several policies; ConfigMap celery-scaler-cl')


NOT_OURS: dict[str, Change] = {
    "another scaler": lambda it: trigger(it).update(
        type="external", metadata={"scalerAddress": "other.default:80", "queue": "x"}
    ),
    "no external scaler": lambda it: trigger(it).update(type="cron", metadata={"timezone": "UTC"}),
    "on its way out": lambda it: (
        it["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
        metadata(it).pop("workerClass"),
    ),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_what_isnt_ours_isnt_looked_at(
    what: str, spec: Document, classes: Document, scaled_object: Document
) -> None:
    NOT_OURS[what](scaled_object)

    assert refusals(spec, classes, scaled_object) is None


def test_a_slip_in_the_address_is_still_ours(
    spec: Document, classes: Document, scaled_object: Document
) -> None:
    metadata(scaled_object)["scaleraddress"] = metadata(scaled_object).pop("scalerAddress")

    said = refusals(spec, classes, scaled_object)

    assert said is not None
    assert "unknown metadata key" in said[0]


def test_the_binding_reads_the_classes_beside_the_object(pick: Pick, classes: Document) -> None:
    binding = pick("cluster", "ValidatingAdmissionPolicyBinding", "celery-scaler-triggers")["spec"]

    assert binding["policyName"] == "celery-scaler-triggers"
    assert binding["validationActions"] == ["Deny"]
    assert binding["paramRef"] == {
        "name": classes["metadata"]["name"],
        "parameterNotFoundAction": "Allow",
    }, "no namespace: that of the object"


def test_the_known_keys_are_those_of_the_service(spec: Document) -> None:
    from scaler.api.metadata import KEDA_KEYS, OUR_KEYS

    (message,) = [each["message"] for each in spec["validations"] if "unknown" in each.get("message", "")]

    assert all(key in message for key in (*OUR_KEYS, *KEDA_KEYS))


def pod_refusals(spec: Document, before: Document, after: Document, user: str) -> list[str] | None:
    """As `refusals`, for the change of a pod."""
    request = {"userInfo": {"username": user}}
    names: dict[str, Any] = {"object": after, "oldObject": before, "request": request, "variables": {}}
    if not all(cel.evaluate(each["expression"], names) for each in spec["matchConditions"]):
        return None
    for each in spec["variables"]:
        names["variables"][each["name"]] = cel.evaluate(each["expression"], names)
    return [
        each["message"] for each in spec["validations"] if cel.evaluate(each["expression"], names) is not True
    ]


COST = "controller.kubernetes.io/pod-deletion-cost"
SCALER = "system:serviceaccount:examx:celery-scaler"
OTHER_CHANGES: dict[str, tuple[Change, str]] = {
    "an image": (lambda it: it["spec"]["containers"][0].update(image="evil"), "nothing of a pod but"),
    "another annotation": (lambda it: it["metadata"]["annotations"].update(team="b"), "no annotation"),
    "a new annotation": (lambda it: it["metadata"]["annotations"].update(x="y"), "no annotation"),
    "an annotation less": (lambda it: it["metadata"]["annotations"].pop("team"), "no annotation"),
    "a label": (lambda it: it["metadata"]["labels"].update(app="other"), "no label"),
    "no labels": (lambda it: it["metadata"].pop("labels"), "no label"),
    "a finalizer": (lambda it: it["metadata"].update(finalizers=["stay"]), "no label, owner or finalizer"),
    "no owner": (lambda it: it["metadata"].pop("ownerReferences"), "no label, owner"),
}


@pytest.fixture
def worker_pod() -> Document:
    return {
        "metadata": {
            "name": "io-a",
            "labels": {"app": "io"},
            "annotations": {"team": "a"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "io"}],
        },
        "spec": {"containers": [{"name": "worker", "image": "good"}]},
    }


@pytest.fixture(scope="session")
def pods_spec(pick: Pick) -> Document:
    binding = pick("cluster", "ValidatingAdmissionPolicyBinding", "celery-scaler-pods")["spec"]
    assert (binding["policyName"], binding["validationActions"]) == ("celery-scaler-pods", ["Deny"])
    found: Document = pick("cluster", "ValidatingAdmissionPolicy", "celery-scaler-pods")["spec"]
    return found


def changed(document: Document, change: Change) -> Document:
    after: Document = json.loads(json.dumps(document))
    change(after)
    return after


def test_the_service_may_mark_pods(pods_spec: Document, worker_pod: Document) -> None:
    marked = changed(worker_pod, lambda it: it["metadata"]["annotations"].update({COST: "12"}))
    again = changed(marked, lambda it: it["metadata"]["annotations"].update({COST: "0"}))
    assert pod_refusals(pods_spec, worker_pod, marked, SCALER) == []
    assert pod_refusals(pods_spec, marked, again, SCALER) == []
    bare = changed(worker_pod, lambda it: it["metadata"].pop("annotations"))
    first = changed(bare, lambda it: it["metadata"].update(annotations={COST: "12"}))
    assert pod_refusals(pods_spec, bare, first, SCALER) == []


@pytest.mark.parametrize("what", OTHER_CHANGES)
def test_and_nothing_else_of_them(what: str, pods_spec: Document, worker_pod: Document) -> None:
    change, message = OTHER_CHANGES[what]
    said = pod_refusals(pods_spec, worker_pod, changed(worker_pod, change), SCALER)
    assert said, "refused"
    assert any(message in each for each in said), said


@pytest.mark.parametrize(
    "user", ["kubernetes-admin", "system:serviceaccount:examx:default", "system:node:celery-scaler"]
)
def test_who_else_changes_pods_isnt_looked_at(user: str, pods_spec: Document, worker_pod: Document) -> None:
    change, _ = OTHER_CHANGES["an image"]
    assert pod_refusals(pods_spec, worker_pod, changed(worker_pod, change), user) is None
