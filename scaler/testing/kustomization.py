"""`kustomize build`, as far as manifests/ use it: for tests where there is no kubectl.

Known: resources, components, namespace, labels on metadata, images, patches by path (strategic
merge), configMapGenerator with files and a constant name. Anything else is an error, so that a manifest
can't use what would silently be left out here. Where kubectl is installed, a test compares the two.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Document = dict[str, Any]

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
#: What a kustomization may say here.
KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "namespace",
    "labels",
    "patches",
    "configMapGenerator",
    "images",
}
#: Kinds of these manifests that belong to no namespace.
CLUSTER_KINDS = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
#: Kinds whose lists Kubernetes merges by a key; lists of other kinds are replaced as a whole.
WORKLOADS = {"Deployment", "StatefulSet"}
#: Keys of such lists, by the list's name.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


class UnsupportedError(Exception):
    """The kustomization uses something that isn't known here."""


def read_documents(path: Path) -> list[Document]:
    """The YAML documents of a file, as YAML 1.2 reads them."""
    return [
        dict(document)
        for document in YAML(typ="safe", pure=True).load_all(path.read_text("utf-8"))
        if document
    ]


def build(folder: Path) -> list[Document]:
    """The documents that a kustomization comes to, in no particular order.

    Raises:
        UnsupportedError: it uses a feature that isn't known here.
    """
    return _apply(folder, [])


def _apply(folder: Path, found: list[Document]) -> list[Document]:
    """What a kustomization makes of what was found before it (nothing, but for components)."""
    said = _read(folder)
    for name in said.get("resources", ()):
        path = folder / name
        found += build(path.resolve()) if path.is_dir() else read_documents(path)
    found += [_config_map(folder, entry) for entry in said.get("configMapGenerator", ())]
    for name in said.get("components", ()):
        found = _apply((folder / name).resolve(), found)
    for entry in said.get("patches", ()):
        if set(entry) != {"path"}:
            raise UnsupportedError(f"{folder}: a patch with {sorted(set(entry) - {'path'})}")
        for patch in read_documents(folder / entry["path"]):
            _patch(found, patch, folder)
    _transform(found, said)
    _refuse_twins(found, folder)
    return found


def _read(folder: Path) -> Document:
    (file,) = [folder / name for name in FILES if (folder / name).exists()]
    (said,) = read_documents(file)
    if unknown := said.keys() - KNOWN:
        raise UnsupportedError(f"{file}: {sorted(unknown)}")
    return said


def _config_map(folder: Path, entry: Mapping[str, Any]) -> Document:
    if set(entry) != {"name", "files", "options"} or entry["options"] != {"disableNameSuffixHash": True}:
        raise UnsupportedError(f"{folder}: configMapGenerator {entry}")
    data = {name: (folder / name).read_text("utf-8") for name in entry["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data}


def _identity(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _patch(found: list[Document], patch: Document, folder: Path) -> None:
    targets = [document for document in found if _identity(document) == _identity(patch)]
    if len(targets) != 1:
        raise UnsupportedError(f"{folder}: {len(targets)} documents for the patch of {_identity(patch)}")
    keyed = patch["kind"] in WORKLOADS
    targets[0].update(merge(targets[0], patch, keyed=keyed))


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], *, keyed: bool) -> Document:
    """A strategic merge: mappings are merged, null removes, lists are replaced or merged by their key."""
    merged = dict(base)
    for name, value in patch.items():
        old = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge(old if isinstance(old, dict) else {}, value, keyed=keyed)
        elif isinstance(value, list) and isinstance(old, list) and keyed and name in MERGE_KEYS:
            merged[name] = _merge_lists(old, value, MERGE_KEYS[name])
        else:
            merged[name] = value
    return merged


def _merge_lists(base: list[Document], patch: list[Document], key: str) -> list[Document]:
    patches = {item[key]: item for item in patch}
    known = {item[key] for item in base}
    new = [merge({}, item, keyed=True) for item in patch if item[key] not in known]
    return new + [merge(item, patches.get(item[key], {}), keyed=True) for item in base]


def _transform(found: list[Document], said: Mapping[str, Any]) -> None:
    for document in found:
        metadata = document["metadata"]
        if "namespace" in said and document["kind"] not in CLUSTER_KINDS:
            metadata["namespace"] = said["namespace"]
            if document["kind"] == "RoleBinding":
                for subject in document["subjects"]:
                    subject["namespace"] = said["namespace"]
        for entry in said.get("labels", ()):
            if set(entry) != {"pairs"}:
                raise UnsupportedError(f"labels with {sorted(entry)}")
            metadata["labels"] = {**metadata.get("labels", {}), **entry["pairs"]}
        if document["kind"] in WORKLOADS:
            for container in document["spec"]["template"]["spec"]["containers"]:
                for entry in said.get("images", ()):
                    container["image"] = _image(container["image"], entry)


def _image(image: str, entry: Mapping[str, str]) -> str:
    if set(entry) - {"name", "newName", "newTag"}:
        raise UnsupportedError(f"images with {sorted(entry)}")
    name, _, tag = image.partition(":")
    if name != entry["name"]:
        return image
    return f"{entry.get('newName', name)}:{entry.get('newTag', tag)}"


def _refuse_twins(found: list[Document], folder: Path) -> None:
    identities = [_identity(document) for document in found]
    if len(set(identities)) != len(identities):
        raise UnsupportedError(f"{folder}: a document stands there twice")
