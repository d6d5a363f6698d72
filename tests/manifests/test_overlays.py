"""Everything that is deployed, held to what Kubernetes and KEDA accept and to what belongs together."""

import json
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from scaler import __version__
from scaler.cli.serve import serve
from scaler.policyfile import load_directory_or_file

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
ENVIRONMENTS = ["production", "uat", "staging", "development"]
OVERLAYS = [f"overlays/{name}" for name in ENVIRONMENTS]
FOLDERS = [*OVERLAYS, "base", "workers", "cluster"]
#: The newest that the schemas know, and the oldest that the admission policy can run on.
VERSIONS = ["1.37", "1.30"]
#: Whose schemas are elsewhere, or nowhere.
FOREIGN = {
    "Certificate",
    "Issuer",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
    "TriggerAuthentication",
}
KEDA_SCHEMA = YAML(typ="safe", pure=True).load(Path(__file__).with_name("keda.schema.yaml"))

Documents = list[dict[str, Any]]
Build = Callable[[str], Documents]
Pick = Callable[..., dict[str, Any]]


def test_there_is_an_overlay_for_each_environment_of_the_policy() -> None:
    policy = YAML(typ="safe", pure=True).load(ROOT / "policies" / "examx.yaml")

    assert sorted(path.name for path in (MANIFESTS / "overlays").iterdir()) == sorted(ENVIRONMENTS)
    assert sorted(policy["spec"]["environments"]) == sorted(ENVIRONMENTS)


def ordered(value: Any) -> Any:
    """Lists of named things sorted by name: merging may put new ones in front or behind."""
    if isinstance(value, dict):
        return {key: ordered(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        items = [ordered(each) for each in value]
        return sorted(items, key=json.dumps) if all(isinstance(each, dict) for each in items) else items
    return value


COMPONENTS = [
    "announcements",
    "cluster-access",
    "drain",
    "fast-path",
    "monitoring",
    "state-kubernetes",
    "tls",
    "tls-cert-manager",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_the_same(
    folder: str, build: Build, kubectl_build: Callable[[Path], Documents]
) -> None:
    assert ordered(build(folder)) == ordered(kubectl_build(MANIFESTS / folder))


def test_every_component_is_tested() -> None:
    assert sorted(path.name for path in (MANIFESTS / "components").iterdir()) == COMPONENTS


def test_the_token_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    from scaler.testing import kustomization

    built = kustomization.build(combined(tmp_path, "announcements"))
    ((_, _, container),) = containers(built)
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "token"]
    environment = {each["name"]: each.get("value", "") for each in container["env"]}

    assert environment["SCALER_TOKEN_FILE"] == f"{mount['mountPath']}/token"


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_builds_on_the_base(
    component: str, tmp_path: Path, kubectl_build: Callable[[Path], Documents]
) -> None:
    from scaler.testing import kustomization

    folder = combined(tmp_path, component)

    assert ordered(kustomization.build(folder)) == ordered(kubectl_build(folder))


def test_images_are_named_in_the_overlay(tmp_path: Path, kubectl_build: Callable[[Path], Documents]) -> None:
    from scaler.testing import kustomization

    folder = combined(tmp_path, "monitoring")
    with (folder / "kustomization.yaml").open("a") as file:
        file.write("images: [{name: celery-scaler, newName: registry.example.com/scaler, newTag: 9.9.9}]\n")

    built = kustomization.build(folder)

    assert [container["image"] for _, _, container in containers(built)] == [
        "registry.example.com/scaler:9.9.9"
    ]
    assert ordered(built) == ordered(kubectl_build(folder))


@pytest.mark.parametrize(
    "line",
    [
        "namePrefix: my-",
        "labels: [{pairs: {a: b}, includeSelectors: true}]",
        "images: [{name: celery-scaler, digest: sha256:0}]",
        "patches: [{patch: '[]', target: {kind: Deployment}}]",
        "resources: [twin.yaml]",
    ],
)
def test_the_tests_own_build_refuses_what_it_doesnt_know(line: str, tmp_path: Path) -> None:
    from scaler.testing import kustomization

    twin = (MANIFESTS / "base" / "service.yaml").read_text()
    (tmp_path / "twin.yaml").write_text(twin)
    folder = combined(tmp_path, "monitoring")
    text = (folder / "kustomization.yaml").read_text()
    if line.startswith("resources"):
        text, line = text.replace("resources: [", "resources: [twin.yaml, "), ""
    (folder / "kustomization.yaml").write_text(text + line + "\n")

    with pytest.raises(kustomization.UnsupportedError):
        kustomization.build(folder)


def combined(folder: Path, component: str) -> Path:
    """A kustomization of the base and one component."""
    import os

    base, part = (os.path.relpath(MANIFESTS / name, folder) for name in ("base", f"components/{component}"))
    text = (
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: somewhere\n"
        f"resources: [{base}]\ncomponents: [{part}]\n"
    )
    (folder / "kustomization.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_knows_every_field(folder: str, version: str, build: Build) -> None:
    checked = 0
    for document in build(folder):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)
            checked += 1
    assert checked >= 2


def test_a_misspelt_field_would_be_found(pick: Pick) -> None:
    deployment = json.loads(json.dumps(pick("base", "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("component", COMPONENTS)
def test_kubernetes_and_keda_know_what_the_components_add(component: str, tmp_path: Path) -> None:
    from scaler.testing import kustomization

    for document in kustomization.build(combined(tmp_path, component)):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, VERSIONS[0], strict=True)
        elif document["kind"] == "TriggerAuthentication":
            jsonschema.validate(document, KEDA_SCHEMA)


def test_cluster_access_is_to_read_and_to_tell(tmp_path: Path) -> None:
    from scaler.testing import kustomization

    built = {each["kind"]: each for each in kustomization.build(combined(tmp_path, "cluster-access"))}
    rules = [(rule["resources"], set(rule["verbs"])) for rule in built["Role"]["rules"]]

    assert [rule for rule in rules if not rule[1] <= {"list", "watch"}] == [(["events"], {"create", "patch"})]
    assert built["RoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "celery-scaler", "namespace": "somewhere"}
    ]
    assert built["Deployment"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
    assert built["ServiceAccount"]["automountServiceAccountToken"] is False, "the pod's word counts"


def test_to_mark_pods_they_may_be_patched_and_nothing_else(tmp_path: Path, pick: Pick) -> None:
    from scaler.testing import kustomization

    built = kustomization.build(combined(tmp_path, "drain"))
    (role,) = [each for each in built if each["kind"] == "Role"]

    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    for overlay in OVERLAYS:
        assert pick(overlay, "Role", "celery-scaler-drain")["rules"] == role["rules"], (
            "drain is on by default"
        )


def test_the_fast_path_may_set_replicas_and_nothing_else(tmp_path: Path) -> None:
    from scaler.testing import kustomization

    built = kustomization.build(combined(tmp_path, "fast-path"))
    (role,) = [each for each in built if each["kind"] == "Role"]
    writes = [rule for rule in role["rules"] if rule["verbs"] != ["get"]]

    assert [(rule["resources"], rule["verbs"]) for rule in writes] == [
        (["deployments/scale", "statefulsets/scale"], ["get", "update"])
    ]


def test_state_in_the_cluster_may_be_written_and_nothing_else(tmp_path: Path) -> None:
    from scaler.runtime.store import kubernetes
    from scaler.testing import kustomization

    built = {each["kind"]: each for each in kustomization.build(combined(tmp_path, "state-kubernetes"))}
    rules = built["Role"]["rules"]
    named = {name for rule in rules for name in rule.get("resourceNames", ())}
    verbs = {verb for rule in rules if "resourceNames" in rule for verb in rule["verbs"]}
    others = {verb for rule in rules if "resourceNames" not in rule for verb in rule["verbs"]}

    assert named == set(kubernetes._OBJECTS.values())
    assert (verbs, others) == ({"get", "patch"}, {"create"})
    pod = built["Deployment"]["spec"]["template"]["spec"]
    (state,) = [each for each in pod["containers"][0]["env"] if each["name"] == "SCALER_STATE"]
    assert state == {"name": "SCALER_STATE", "value": "kubernetes"}
    assert pod["automountServiceAccountToken"] is True


@pytest.mark.parametrize("folder", OVERLAYS)
def test_keda_knows_every_field(folder: str, build: Build) -> None:
    kinds = ["ScaledObject", "TriggerAuthentication"]
    found = [document for document in build(folder) if document["kind"] in kinds]

    for document in found:
        jsonschema.validate(document, KEDA_SCHEMA)
    assert sum(document["kind"] == "ScaledObject" for document in found) == 3


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["spec", "pollingInterval"], "10"),
        (["spec", "pollInterval"], 10),
        (["spec", "fallback", "behavior"], "currentReplicasIfhigher"),
        (["spec", "triggers", 0, "metadata", "enableTLS"], True),
        (["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleUp", "policies"], []),
        (["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"], {}),
    ],
)
def test_keda_s_schema_finds_slips(where: list[str | int], value: object, pick: Pick) -> None:
    document = json.loads(json.dumps(pick("overlays/production", "ScaledObject", "celery-io-worker")))
    jsonschema.validate(document, KEDA_SCHEMA)
    place: Any = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, KEDA_SCHEMA)


def containers(documents: Documents) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(workload, pod, container) of every workload."""
    for document in documents:
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield document["metadata"]["name"], pod, container


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_pod_is_restricted(folder: str, build: Build) -> None:
    found = list(containers(build(folder)))

    assert len(found) == 4
    for name, pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        reads = any(each["name"] == "SCALER_KUBERNETES" for each in container.get("env", ()))
        assert pod["automountServiceAccountToken"] is reads, "a token only for what reads the cluster"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert set(container["resources"]) == {"requests", "limits"}, name
        assert not container["image"].endswith(":latest"), name
        assert ":" in container["image"], name
        assert all("subPath" not in mount for mount in container["volumeMounts"]), name


@pytest.mark.parametrize("folder", OVERLAYS)
def test_workers_request_the_cpu_that_they_can_use(folder: str, build: Build) -> None:
    """Or the policy's target, a share of the requests, asks for pods that nobody needs."""
    policy = load_directory_or_file(ROOT / "policies" / "examx.yaml", None, {"BROKER_URL": "redis://broker"})[
        "examx"
    ]
    targets = {found.scale_target.name: found for found in policy.spec.workers.values() if found.scale_target}
    requests = {
        document["metadata"]["name"]: container["resources"]["requests"]["cpu"]
        for document in build(folder)
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    for name, worker in targets.items():
        assert worker.resources.cpu is not None
        assert float(requests[name]) == (worker.concurrency if worker.pool == "prefork" else 1), name


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_service_has_time_to_end(folder: str, pick: Pick) -> None:
    pod = pick(folder, "Deployment")["spec"]["template"]["spec"]
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}

    seconds = float(environment["SCALER_DRAIN"]) + float(environment["SCALER_GRACE"])
    assert pod["terminationGracePeriodSeconds"] >= seconds + 5


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_setting_is_an_option_of_serve(folder: str, pick: Pick) -> None:
    container = pick(folder, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    known = {
        option.envvar
        for parameter in signature(serve).parameters.values()
        for option in parameter.annotation.__metadata__
    }

    settings = {each["name"] for each in container["env"] if each["name"].startswith("SCALER_")}

    assert container["args"] == ["serve"]
    assert {"SCALER_POLICIES", "SCALER_ENVIRONMENT", "SCALER_STATE"} <= settings <= known


def test_the_version_is_this_one(pick: Pick) -> None:
    container = pick("base", "Deployment")["spec"]["template"]["spec"]["containers"][0]

    assert container["image"] == f"celery-scaler:{__version__}"


@pytest.mark.parametrize("folder", OVERLAYS)
def test_labels_ports_and_volumes_find_each_other(folder: str, pick: Pick, build: Build) -> None:
    deployment, service = pick(folder, "Deployment"), pick(folder, "Service")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    labels = template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    names = {(each["kind"], each["metadata"]["name"]) for each in build(folder)}

    assert service["spec"]["selector"].items() <= labels
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    assert pick(folder, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert pick(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert {each["port"]: ports[each["targetPort"]] for each in service["spec"]["ports"]} == {
        9090: 9090,
        8080: 8080,
    }
    assert ("ConfigMap", "celery-scaler-policies") in names
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in names
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in template["spec"]["volumes"]}
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    assert environment["SCALER_POLICIES"] == mounts["policies"]
    assert environment["SCALER_GRPC_ADDRESS"] == f"0.0.0.0:{ports['grpc']}"
    assert environment["SCALER_HTTP_ADDRESS"] == f"0.0.0.0:{ports['http']}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_mounted_policies_are_the_policies(environment: str, pick: Pick, tmp_path: Path) -> None:
    """As the pod sees them: a folder of the ConfigMap's keys, and the environment from its variable."""
    folder = f"overlays/{environment}"
    data = pick(folder, "ConfigMap", "celery-scaler-policies")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    (container,) = pick(folder, "Deployment")["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value", "") for each in container["env"]}

    assert data.keys() == {path.name for path in (ROOT / "policies").glob("*.yaml")}
    loaded = load_directory_or_file(tmp_path, variables["SCALER_ENVIRONMENT"], {})
    assert loaded == load_directory_or_file(ROOT / "policies", environment, {})


@pytest.mark.parametrize("folder", OVERLAYS)
def test_keda_s_address_is_the_service(folder: str, pick: Pick, build: Build) -> None:
    service = pick(folder, "Service")
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"

    triggers = [
        trigger
        for document in build(folder)
        if document["kind"] == "ScaledObject"
        for trigger in document["spec"]["triggers"]
    ]

    assert [trigger["metadata"]["scalerAddress"] for trigger in triggers] == [f"{host}:9090"] * 3
    for trigger in triggers:
        if folder == "overlays/development":
            assert "authenticationRef" not in trigger
            assert "enableTLS" not in trigger["metadata"]
            continue
        assert trigger["metadata"]["enableTLS"] == "true"
        assert host in pick(folder, "Certificate")["spec"]["dnsNames"], "KEDA compares the host with them"
        assert pick(folder, "TriggerAuthentication", trigger["authenticationRef"]["name"])


@pytest.mark.parametrize("folder", OVERLAYS[:3])
def test_both_sides_of_tls_read_what_is_issued(folder: str, pick: Pick) -> None:
    """The kubelet's gRPC probes speak no TLS, so with it there must be none left."""
    pod = pick(folder, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "tls"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "tls"]
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    issued = {
        pick(folder, "Certificate", name)["spec"]["secretName"]
        for name in ("celery-scaler", "celery-scaler-keda")
    }
    used = {each["name"] for each in pick(folder, "TriggerAuthentication")["spec"]["secretTargetRef"]}

    assert issued == used | {volume["secret"]["secretName"]}
    client = pick(folder, "Certificate", "celery-scaler-keda")["spec"]
    assert environment["SCALER_TLS_CLIENT_NAMES"] == client["commonName"]
    for name, file in (("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")):
        assert environment[f"SCALER_TLS_{name}"] == f"{mount['mountPath']}/{file}"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "grpc" not in container[probe], probe
        assert container[probe]["httpGet"]["port"] == "http", probe


def test_without_tls_the_probes_speak_grpc_too(pick: Pick) -> None:
    (container,) = pick("base", "Deployment")["spec"]["template"]["spec"]["containers"]

    assert container["startupProbe"]["grpc"] == {"port": 9090, "service": "liveness"}
    assert container["livenessProbe"]["grpc"] == {"port": 9090, "service": "liveness"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_replicas_of_workers_are_the_hpas(folder: str, build: Build) -> None:
    """A number in the file would be set at every `kubectl apply`."""
    workers = [
        each
        for each in build(folder)
        if each["kind"] == "Deployment" and each["metadata"]["name"] != "celery-scaler"
    ]

    assert len(workers) == 3
    assert all("replicas" not in each["spec"] for each in workers)


def test_one_replica_or_a_shared_state(pick: Pick) -> None:
    """Two that keep their state to themselves would decide differently."""
    for folder in OVERLAYS:
        deployment = pick(folder, "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (state,) = [each for each in container["env"] if each["name"] == "SCALER_STATE"]
        if deployment["spec"]["replicas"] > 1:
            assert state == {
                "name": "SCALER_STATE",
                "valueFrom": {"secretKeyRef": {"name": "celery-scaler-state", "key": "url"}},
            }
        else:
            assert state == {"name": "SCALER_STATE", "value": "memory"}
