"""The rendered documents as files of a kustomize component, byte for byte the same at every run."""

from collections.abc import Mapping
from io import StringIO

from ruamel.yaml import YAML

from scaler.core.policy import ScalingPolicy
from scaler.render.scaledobject import scaled_object
from scaler.render.target import Service, Target, targets
from scaler.render.worker import worker_patch

#: First line of every file: whoever opens one learns where to change it, and a later run knows its own.
HEADER = "# Written by `celery-scaler render`: change the policy and render again.\n"
#: Read by the admission policy in manifests/cluster, in the namespace of the ScaledObject that is checked.
CLASSES_NAME = "celery-scaler-classes"


def render(policies: Mapping[str, ScalingPolicy], service: Service) -> dict[str, str]:
    """Texts by file name, sorted by name; `kustomization.yaml` refers to all others.

    Raises:
        RenderError: a class that can't be rendered.
    """
    found = targets(policies)
    objects = {
        f"scaledobject-{_stem(target)}.yaml": scaled_object(target, service)
        for target in found
        if target.worker.mode == "scale"
    }
    patches = {f"worker-{_stem(target)}.yaml": worker_patch(target, service) for target in found}
    documents = {
        **objects,
        **patches,
        "classes.yaml": _classes(found),
        "kustomization.yaml": {
            "apiVersion": "kustomize.config.k8s.io/v1alpha1",
            "kind": "Component",
            "resources": ["classes.yaml", *objects],
            "patches": [{"path": name} for name in patches],
        },
    }
    return {name: HEADER + _text(documents[name]) for name in sorted(documents)}


def _stem(target: Target) -> str:
    """Unique among the files: a workload's name, and its namespace where the policy has one."""
    namespace = f"{target.workload.namespace}." if target.workload.namespace else ""
    return namespace + target.workload.name


def _classes(found: list[Target]) -> dict[str, object]:
    """Which classes there are and what they scale; keys `policy.class`, since neither has a dot."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CLASSES_NAME},
        "data": {f"{target.policy}.{target.worker_class}": target.workload.name for target in found},
    }


def _text(document: object) -> str:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    # No line is folded: a folded string differs where only its length does.
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
