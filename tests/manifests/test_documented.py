"""The documents in README and docs are what the product writes, and what KEDA takes."""

import re
import shlex
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from scaler.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
}
KEDA_SCHEMA = YAML(typ="safe", pure=True).load(Path(__file__).with_name("keda.schema.yaml"))


def read(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(StringIO(text)))


def blocks(text: str) -> list[Any]:
    """Each YAML block of a page."""
    return [
        document for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for document in read(block)
    ]


def test_readme_shows_the_scaled_object_that_render_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the very command that stands above it."""
    monkeypatch.chdir(ROOT)
    (command,) = re.findall(r"`celery-scaler (render --policies .*?)`", README, re.DOTALL)
    written = CliRunner().invoke(app, shlex.split(command))
    assert written.exit_code == 0, written.output

    (shown,) = [each for each in blocks(README) if each.get("kind") == "ScaledObject"]

    assert shown in read(written.stdout)


def test_readme_s_worker_class_is_examx_s() -> None:
    policy = YAML(typ="safe", pure=True).load(ROOT / "policies" / "examx.yaml")

    (shown,) = [each["workers"] for each in blocks(README) if "workers" in each]

    assert part_of(shown, policy["spec"]["workers"])


def part_of(shown: Any, whole: Any) -> bool:
    if isinstance(shown, dict):
        return all(key in whole and part_of(value, whole[key]) for key, value in shown.items())
    return bool(shown == whole)


@pytest.mark.parametrize("page", PAGES)
def test_keda_takes_what_a_page_shows(page: str) -> None:
    for document in blocks(PAGES[page]):
        if str(document.get("apiVersion", "")).startswith("keda.sh/"):
            jsonschema.validate(document, KEDA_SCHEMA)
