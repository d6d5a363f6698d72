"""The Dockerfile, read: what it starts from, copies and installs, and as whom it runs."""

import json
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from scaler import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def instructions() -> Iterator[tuple[str, str]]:
    """(name, rest) in order, continued lines joined, comments left out."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            name, rest = line.split(None, 1)
            yield name, " ".join(rest.split())


FOUND = list(instructions())


def all_of(name: str) -> list[str]:
    return [rest for found, rest in FOUND if found == name]


def test_every_stage_starts_from_the_same_pinned_base() -> None:
    bases = [rest.split()[0] for rest in all_of("FROM")]

    assert len(bases) == 2
    assert len(set(bases)) == 1, "else the environment's python isn't the one it was made with"
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])


def test_it_runs_as_a_number_that_isnt_root() -> None:
    (user,) = all_of("USER")
    uid, gid = map(int, user.split(":"))

    assert uid > 0
    assert gid > 0
    assert FOUND.index(("USER", user)) > FOUND.index(("FROM", all_of("FROM")[-1])), "in the last stage"
    for workload in ("base/deployment.yaml",):
        assert f"runAsUser: {uid}" in (ROOT / "manifests" / workload).read_text()


def test_signals_reach_the_service() -> None:
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["celery-scaler"]
    assert json.loads(all_of("CMD")[0]) == ["serve"]


def test_health_is_asked_where_the_service_answers() -> None:
    (check,) = all_of("HEALTHCHECK")
    command = json.loads(check.split("CMD", 1)[1])

    assert command[0] == "python"
    assert "http://127.0.0.1:8080/healthz" in command[-1]
    compile(command[-1], "HEALTHCHECK", "exec")


def test_all_that_is_copied_exists_and_is_in_the_context() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("#")]
    kept = [line[1:] for line in ignored if line.startswith("!")]
    copied = [source for rest in all_of("COPY") if "--from" not in rest for source in rest.split()[:-1]]

    assert "*" in ignored
    assert sorted(copied) == sorted(kept)
    for source in copied:
        assert (ROOT / source).exists(), source
    assert not any(fnmatch(".git", pattern) for pattern in kept)


@pytest.mark.parametrize("lock", ["runtime", "build"])
def test_what_is_installed_is_locked_with_hashes(lock: str) -> None:
    (install,) = [
        step for rest in all_of("RUN") for step in rest.split("&&") if f"requirements/{lock}.lock" in step
    ]

    assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(shlex.split(install))
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    packages = re.findall(r"^[a-z0-9._-]+(?:\[[^]]*\])?==", text, flags=re.MULTILINE)
    assert len(packages) >= 4
    assert text.count("--hash=sha256:") >= len(packages)


def test_the_build_lock_has_what_the_build_asks_for() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    backend = re.search(r'requires = \["(\w+)', project)

    assert backend is not None
    assert f"{backend[1]}==" in (ROOT / "requirements" / "build.lock").read_text()


def test_the_replay_runs_the_same_steps() -> None:
    """scripts/replay-dockerfile.sh installs as the Dockerfile does, word for word."""
    replay = (ROOT / "scripts" / "replay-dockerfile.sh").read_text()
    steps = [
        step.strip()
        for rest in all_of("RUN")
        for step in rest.split("&&")
        if re.search(r"\bpip (install|wheel|check|uninstall)", step)
    ]

    assert len(steps) == 6
    for step in steps:
        words = [word for word in shlex.split(step)[1:] if word != "--quiet"]
        quiet = [line.replace(" --quiet", "") for line in replay.splitlines()]
        assert any(line.endswith('pip" ' + " ".join(words)) for line in quiet), step


def test_the_tag_in_the_comment_is_this_version() -> None:
    assert f"--tag celery-scaler:{__version__} " in TEXT
