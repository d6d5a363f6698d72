"""`celery-scaler render`: what follows from a policy, and that the manifests have it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from scaler.cli import app
from scaler.policyfile import load_directory_or_file
from scaler.render import HEADER, Service, render
from scaler.testing import kustomization

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
OVERLAYS = ROOT / "manifests" / "overlays"
#: Namespace and whether KEDA comes with a certificate, by environment; docs/kubernetes.md has the commands.
ENVIRONMENTS = {
    "production": ("examx", True),
    "uat": ("examx-uat", True),
    "staging": ("examx-staging", True),
    "development": ("examx-development", False),
}
KEDA_SCHEMA = YAML(typ="safe", pure=True).load(Path(__file__).with_name("keda.schema.yaml"))

Document = dict[str, Any]
Write = Callable[..., Path]


def arguments(environment: str) -> list[str]:
    namespace, tls = ENVIRONMENTS[environment]
    authentication = ["--trigger-authentication", "celery-scaler"] if tls else []
    return [
        *("--policies", str(POLICIES / "examx.yaml"), "--environment", environment),
        *("--scaler-address", f"celery-scaler.{namespace}.svc:9090", *authentication),
    ]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["render", *words])


def documents(text: str) -> list[Document]:
    return [dict(each) for each in YAML(typ="safe", pure=True).load_all(StringIO(text))]


def rendered(text: str | None = None, environment: str | None = None, **service: Any) -> dict[str, Document]:
    """Documents by file name."""
    path = POLICIES / "examx.yaml"
    policies = load_directory_or_file(path, environment, {}) if text is None else load(text)
    files = render(policies, Service("celery-scaler.examx.svc:9090", **service))
    return {name: documents(content)[0] for name, content in files.items()}


def load(text: str) -> Any:
    from scaler.policyfile import load_policy

    policy = load_policy(text, file="policy.yaml", environment=None, env={})
    return {policy.metadata.name: policy}


WORKER = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  brokers: {main: {url: redis://redis:6379/0}}
  workers:
    one:
      scaleTarget: {kind: Deployment, name: worker-one}
      queues: [first, second]
      concurrency: 2
      acksLate: true
      serviceTime: 3s
      replicas: {min: 1, max: 7}
"""


def trigger(found: dict[str, Document], name: str = "worker-one") -> Any:
    return found[f"scaledobject-{name}.yaml"]["spec"]["triggers"][0]


def pod(found: dict[str, Document], name: str = "worker-one") -> Any:
    return found[f"worker-{name}.yaml"]["spec"]["template"]["spec"]


# --- the manifests are in step with the policy ---------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_overlay_holds_what_its_policy_gives(environment: str) -> None:
    result = run(*arguments(environment), "--output", str(OVERLAYS / environment / "rendered"), "--check")

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_in_the_overlay_changes_it_again(
    environment: str, build: Callable[[str], list[Document]]
) -> None:
    """Each part that was rendered stands in what is deployed, word for word."""
    deployed = {(each["kind"], each["metadata"]["name"]): each for each in build(f"overlays/{environment}")}
    parts = documents(run(*arguments(environment)).stdout)

    assert len(parts) == 7
    for part in parts:
        whole = deployed[part["kind"], part["metadata"]["name"]]
        keyed = part["kind"] in kustomization.WORKLOADS
        assert kustomization.merge(whole, part, keyed=keyed) == whole
        if part["kind"] == "ScaledObject":
            assert whole["spec"] == part["spec"]


@pytest.mark.parametrize(
    ("environment", "most"),
    [("production", (5, 3, 2)), ("uat", (3, 2, 2)), ("staging", (2, 2, 2)), ("development", (1, 1, 1))],
)
def test_each_environment_has_its_bounds(environment: str, most: tuple[int, ...]) -> None:
    found = rendered(environment=environment)

    specs = [found[f"scaledobject-celery-{name}-worker.yaml"]["spec"] for name in ("io", "cpu", "mixed")]
    assert tuple(spec["maxReplicaCount"] for spec in specs) == most
    assert all(spec["minReplicaCount"] == 1 for spec in specs)
    assert all(1 <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"] for spec in specs)


# --- the ScaledObject ----------------------------------------------------------------------------


def test_the_hpa_never_paces() -> None:
    behavior = rendered(WORKER)["scaledobject-worker-one.yaml"]["spec"]["advanced"][
        "horizontalPodAutoscalerConfig"
    ]["behavior"]

    assert behavior == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "tolerance": "0",
            "policies": [{"type": "Pods", "value": 7, "periodSeconds": 15}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "tolerance": "0",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    }


def test_a_cluster_that_cant_set_the_tolerance_gets_none() -> None:
    found = rendered(WORKER + "      hpaTolerance: 0.1\n")

    text = str(found["scaledobject-worker-one.yaml"])
    assert "stabilizationWindowSeconds" in text
    assert "tolerance" not in text


def test_a_class_in_shadow_mode_is_somebody_elses() -> None:
    found = rendered(WORKER + "      mode: shadow\n")

    assert sorted(found) == ["classes.yaml", "kustomization.yaml", "worker-worker-one.yaml"]
    assert list(found["classes.yaml"]["data"].values()) == ["worker-one"], (
        "its ScaledObject may still be there"
    )


def test_the_fast_path_needs_an_hpa_that_agrees() -> None:
    """`scaler.core.fast_path` raises only where the deadband is 0 and nothing stands in between."""
    scaled = rendered(WORKER + "      fastPath: true\n")["scaledobject-worker-one.yaml"]["spec"]

    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert {direction["tolerance"] for direction in behavior.values()} == {"0"}
    assert "scalingModifiers" not in scaled["advanced"]
    assert [trigger["useCachedMetrics"] for trigger in scaled["triggers"]] == [False]


def test_zero_replicas_are_woken_by_a_push_and_put_to_sleep_late() -> None:
    text = (
        WORKER.replace("min: 1", "min: 0")
        + "      behavior: {scaleDown: {stabilizationWindowSeconds: 1200}}\n"
    )

    found = rendered(text)
    spec = found["scaledobject-worker-one.yaml"]["spec"]

    assert trigger(found)["type"] == "external-push"
    assert spec["minReplicaCount"] == 0
    assert spec["cooldownPeriod"] == 1200
    assert spec["fallback"]["replicas"] == 1, "0 would be an order to take all away"
    assert trigger(rendered(WORKER))["type"] == "external"


def test_the_trigger_names_its_class_and_nothing_secret() -> None:
    assert trigger(rendered(WORKER)) == {
        "type": "external",
        "metricType": "AverageValue",
        "useCachedMetrics": False,
        "metadata": {
            "scalerAddress": "celery-scaler.examx.svc:9090",
            "policy": "shop",
            "workerClass": "one",
        },
    }


def test_tls_comes_with_the_authentication() -> None:
    found = trigger(rendered(WORKER, trigger_authentication="mine"))

    assert found["metadata"]["enableTLS"] == "true", "metadata are texts"
    assert found["authenticationRef"] == {"kind": "TriggerAuthentication", "name": "mine"}


def test_one_authentication_serves_all_namespaces() -> None:
    words = ["--policies", str(POLICIES / "examx.yaml"), "--scaler-address", "celery-scaler.keda.svc:9090"]

    result = run(*words, "--cluster-trigger-authentication", "celery-scaler")

    objects = [each for each in documents(result.stdout) if each["kind"] == "ScaledObject"]
    assert len(objects) == 3
    for each in objects:
        jsonschema.validate(each, KEDA_SCHEMA)
        (found,) = each["spec"]["triggers"]
        assert found["authenticationRef"] == {"kind": "ClusterTriggerAuthentication", "name": "celery-scaler"}
        assert found["metadata"]["enableTLS"] == "true"


# --- the workers ---------------------------------------------------------------------------------


def options(found: dict[str, Document]) -> list[str]:
    (container,) = pod(found)["containers"]
    return list(container["args"])


def test_a_worker_does_what_the_policy_says_of_it() -> None:
    assert options(rendered(WORKER)) == [
        *("worker", "--loglevel=INFO", "--pool=prefork", "--concurrency=2", "--queues=first,second"),
        *("--task-events", "--without-mingle", "--without-gossip", "--"),
        *("worker.prefetch_multiplier=4", "task.acks_late=true", "worker.soft_shutdown_timeout=30"),
    ]


def test_no_task_events_where_nobody_listens() -> None:
    text = WORKER.replace("url: redis", "events: false, url: redis")

    assert "--task-events" not in options(rendered(text))


def test_a_worker_gives_back_what_it_cant_finish() -> None:
    found = pod(rendered(WORKER))

    assert found["containers"][0]["env"] == [{"name": "REMAP_SIGTERM", "value": "SIGQUIT"}]
    assert found["terminationGracePeriodSeconds"] == 45


@pytest.mark.parametrize("pool", ["gevent", "eventlet", "threads"])
def test_pools_without_a_soft_shutdown_are_waited_for(pool: str) -> None:
    """In Celery 5.7 both raise in the signal's handler, and the worker stays until it is killed."""
    found = rendered(WORKER + f"      pool: {pool}\n")

    assert "env" not in pod(found)["containers"][0]
    assert not any("soft_shutdown" in option for option in options(found))
    assert pod(found)["terminationGracePeriodSeconds"] == 75


def test_early_acknowledged_tasks_cant_be_given_back_so_they_are_waited_for() -> None:
    found = rendered(WORKER.replace("acksLate: true", "acksLate: false"))

    assert "env" not in pod(found)["containers"][0]
    assert "task.acks_late=false" in options(found)
    assert not any("soft_shutdown" in option for option in options(found))
    assert pod(found)["terminationGracePeriodSeconds"] == 75


@pytest.mark.parametrize(
    ("mean", "cv", "seconds"),
    [
        ("3s", 1, 30),  # as many means as below: 28 s, so the least
        # Two tasks, of which 0.0025 each outlast it: E[(T - t)+] / E[T], as in tests/core/test_drain.py.
        ("60s", 1, 580),
        ("60s", 0, 60),  # all alike
        ("60s", 0.5, 190),
    ],
)
def test_the_grace_period_follows_the_service_time(mean: str, cv: float, seconds: int) -> None:
    text = WORKER.replace("serviceTime: 3s", f"serviceTime: {mean}\n      serviceTimeCv: {cv}")

    found = rendered(text)

    assert f"worker.soft_shutdown_timeout={seconds}" in options(found)
    assert pod(found)["terminationGracePeriodSeconds"] == seconds + 15


def test_celery_understands_the_arguments() -> None:
    """Each class's, by Celery's own command line, up to the point where the worker would start."""
    code = """
import sys
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker
import click
application = Celery("examx", broker="memory://")
parent = click.Context(click.Command("celery"), obj=CLIContext(app=application, no_color=True, workdir=None))
context = worker.make_context("worker", sys.argv[2:], parent=parent)
application.config_from_cmdline(context.args, namespace="worker")
given, conf = context.params, application.conf
print(given["concurrency"], given["queues"], given["task_events"], conf.task_acks_late)
print(conf.worker_prefetch_multiplier, conf.worker_soft_shutdown_timeout)
print(conf.worker_enable_prefetch_count_reduction)
"""
    found = rendered()
    said = {}
    for name in ("cpu", "io", "mixed"):
        (container,) = pod(found, f"celery-{name}-worker")["containers"]
        command = [sys.executable, "-W", "ignore", "-c", code, *container["args"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout.splitlines()

    assert said == {
        "cpu": ["4 ['ai_generation', 'bulk_uploads', 'enrichment'] True True", "1 210.0", "True"],
        "io": ["200 ['email', 'api_calls', 'file_uploads'] True True", "1 0.0", "False"],
        "mixed": ["16 ['general', 'maintenance'] True True", "1 0.0", "True"],
    }


# --- the command ---------------------------------------------------------------------------------


def test_the_same_policy_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert run(*arguments("uat"), "--output", str(tmp_path / name)).exit_code == 0
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )

    assert first == second
    assert len(first) == 8
    assert all(text.decode().startswith(HEADER) for text in first.values())


def test_a_dash_prints_all_documents_but_the_kustomization() -> None:
    result = run(*arguments("uat"), "--output", "-")

    assert result.exit_code == 0
    kinds = sorted(each["kind"] for each in documents(result.stdout))
    assert kinds == ["ConfigMap", *["Deployment"] * 3, *["ScaledObject"] * 3]


def test_a_class_that_is_gone_takes_its_files_along(tmp_path: Path) -> None:
    folder = tmp_path / "rendered"
    assert run(*arguments("uat"), "--output", str(folder)).exit_code == 0
    (folder / "scaledobject-old.yaml").write_text(f"{HEADER}kind: ScaledObject\n")
    (folder / "mine.yaml").write_text("kind: ConfigMap\n")

    checked = run(*arguments("uat"), "--output", str(folder), "--check")
    written = run(*arguments("uat"), "--output", str(folder))

    assert checked.exit_code == 1
    assert "scaledobject-old.yaml belongs to no class any more" in checked.stderr
    assert written.exit_code == 0
    assert not (folder / "scaledobject-old.yaml").exists()
    assert (folder / "mine.yaml").exists(), "not written by us"


def test_check_names_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "rendered"
    shutil.copytree(OVERLAYS / "uat" / "rendered", folder)
    (folder / "classes.yaml").unlink()

    result = run(*arguments("production"), "--output", str(folder), "--check")

    assert result.exit_code == 1
    assert "classes.yaml is missing" in result.stderr
    assert "scaledobject-celery-io-worker.yaml differs" in result.stderr
    assert not (folder / "classes.yaml").exists()


def test_a_namespace_of_the_policy_is_kept_and_two_workloads_of_one_name_apart() -> None:
    second = WORKER[WORKER.index("    one:") :].replace("one:", "two:").replace("first, second", "third")
    second = second.replace("name: worker-one", "name: worker-one, namespace: other")

    found = rendered(WORKER + second)

    assert found["scaledobject-other.worker-one.yaml"]["metadata"]["namespace"] == "other"
    assert found["worker-other.worker-one.yaml"]["metadata"]["namespace"] == "other"
    assert "namespace" not in found["scaledobject-worker-one.yaml"]["metadata"]


ZERO = "{queues: [z], concurrency: 1, serviceTime: 1s, replicas: {max: 2}, scaleTarget: {name: worker-one}}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("      scaleTarget: {kind: Deployment, name: worker-one}\n", ""),
            "shop: workers.one has no scaleTarget, so there is nothing that KEDA could scale;",
        ),
        (("worker-one", "w" * 64), "has 64 characters, and KEDA makes a label of it; shorten it to 63"),
        (("[first, second]", '["first,second"]'), "'first,second': `celery worker -Q` splits at commas"),
        (
            (
                "    one:",
                f"    zero: {ZERO}\n    one:",
            ),
            "shop: workers.one and shop: workers.zero have the same scaleTarget worker-one",
        ),
        (("concurrency: 2", "concurrency: two"), "policy.yaml:10:20: "),
    ],
)
def test_what_cant_be_rendered_is_said(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(WORKER.replace(*change))

    result = run(
        "--policies", str(policy), "--scaler-address", "scaler:9090", "--output", str(tmp_path / "out")
    )

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scaler-address", "celery-scaler"], "isn't host:port; write for example celery-scaler."),
        (["--scaler-address", "a:1", "--check"], "--check compares with a folder; name it with --output"),
        (["--scaler-address", "a:1", "--environment", "prod"], "unknown environment 'prod'"),
        (
            [
                *("--scaler-address", "a:1", "--trigger-authentication", "a"),
                *("--cluster-trigger-authentication", "b"),
            ],
            "--trigger-authentication and --cluster-trigger-authentication exclude each other",
        ),
        (["--scaler-address", "a:1", "--output", "/proc/nothing"], "/proc/nothing: "),
    ],
)
def test_wrong_usage_is_said(words: list[str], message: str) -> None:
    result = run("--policies", str(POLICIES / "examx.yaml"), *words)

    assert result.exit_code == 2
    assert message in result.stderr
