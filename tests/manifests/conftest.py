"""What the manifests come to, built once per folder."""

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scaler.testing import kustomization

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"

Documents = list[dict[str, Any]]


@cache
def _built(folder: str) -> Documents:
    return kustomization.build(MANIFESTS / folder)


@pytest.fixture(scope="session")
def build() -> Callable[[str], Documents]:
    """The documents of a folder below manifests/; not to be changed."""
    return _built


@pytest.fixture(scope="session")
def pick(build: Callable[[str], Documents]) -> Callable[[str, str, str], dict[str, Any]]:
    """One document of a folder, by kind and name."""

    def found(folder: str, kind: str, name: str = "celery-scaler") -> dict[str, Any]:
        (document,) = [
            each for each in build(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)
        ]
        return document

    return found


@pytest.fixture(scope="session")
def kubectl_build() -> Callable[[Path], Documents]:
    """The same by kubectl, where it is installed: kustomize 5 is in it from version 1.27 on."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl isn't installed; the tests' own build is used")

    def run(folder: Path) -> Documents:
        done = subprocess.run(
            [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return [dict(each) for each in YAML(typ="safe", pure=True).load_all(StringIO(done.stdout))]

    return run
