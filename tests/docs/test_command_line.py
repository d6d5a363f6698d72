"""docs/command-line.md against the commands: every option with its variable and default, and no other."""

import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

from scaler.cli import app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
#: What a switch that isn't given comes to, and how it stands in the table.
SWITCHES = {True: "on", False: "off"}

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def rows(command: str) -> list[tuple[str, str, str]]:
    """Option, default and variable of each line in a command's table."""
    section = TEXT[TEXT.index(f"\n## {command}\n") + 4 :].split("\n## ", 1)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    assert all(len(line) == 4 for line in cells)
    assert all(line[3] or line[0] == "`--output`" for line in cells), "what it is for"
    return [(option, default.strip("`"), variable.strip("`")) for option, default, variable, _ in cells]


def options(command: str) -> list[tuple[str, str, str]]:
    found = []
    for option in COMMANDS[command].params:
        if option.param_type_name == "argument":
            continue
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        found.append((names, default(option), option.envvar or ""))
    return found


def default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default.value if isinstance(option.default, Enum) else option.default
    return SWITCHES[value] if isinstance(value, bool) else str(value or "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_and_no_other(command: str) -> None:
    assert rows(command) == options(command), "in the order of --help"


def test_every_command_has_its_section() -> None:
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_no_page_names_an_option_that_isnt_there(page: str) -> None:
    """Of the commands that a page shows; what follows a pipe or another command is somebody else's."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    for command, rest in re.findall(r"celery-scaler ([a-z]+)\b([^\n`|#;&]*)", text):
        if command in COMMANDS:
            known = {name for each in COMMANDS[command].params for name in (*each.opts, *each.secondary_opts)}
            assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known, f"celery-scaler {command}{rest}"
