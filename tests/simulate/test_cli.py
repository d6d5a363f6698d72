"""`celery-scaler simulate` as ops and their CI run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def simulate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scaler", "simulate", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


def usual(*options: str) -> list[str]:
    return ["--policy", "policy.yaml", "--trace", "trace.yaml", *options]


def test_controllers_stand_side_by_side_and_assertions_that_hold_give_0(shop: Path) -> None:
    done = simulate(
        shop, *usual("--compare", "scaler,static", "--assert", "lost=0", "--assert", "podMinutes<100")
    )

    assert done.returncode == 0, done.stderr
    assert "static" in done.stdout
    assert "holds: lost=0 (trace campaign, class mail, scaler)" in done.stdout


def test_a_failed_assertion_gives_1_and_its_measured_value(shop: Path) -> None:
    # One pod runs 5 tasks/s; 12/s for 3 minutes can't start in time on it.
    done = simulate(shop, *usual("--controller", "static", "--assert", "late<1%", "--output", "json"))

    assert done.returncode == 1
    assert "FAILED: late<1% (trace campaign, class mail, static): late is" in done.stderr
    assert json.loads(done.stdout)["passed"] is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (usual("--assert", "late<"), "--assert 1, column 6: a number is missing"),
        (usual("--controller", "keda-rabbit"), "unknown controller 'keda-rabbit'; did you mean"),
        (usual("--compare", "nobody"), "is no policy file and no controller"),
        (usual("--compare", "other.yaml"), "other.yaml:1:1: can't be read"),
        (usual("--compare", "policy.yaml"), "compared with itself"),
        (["--policy", "policy.yaml"], "name either traces"),
        (["--trace", "trace.yaml"], "a policy is missing"),
        (["--policy", "policy.yaml", "--trace", "none.yaml"], "none.yaml:1:1: can't be read"),
        (["--policy", "policy.yaml", "--trace", "policy.yaml"], "no trace; write kind: Trace"),
        (["--policy", "policy.yaml", "--replay", "nowhere"], "nowhere can't be read"),
        (["--policy", "policy.yaml", "--replay", "policy.yaml"], "holds no recording"),
        (usual("--out", "no/such/folder.html"), "can't be written"),
    ],
)
def test_bad_input_gives_2_and_says_where(shop: Path, options: list[str], says: str) -> None:
    done = simulate(shop, *options)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_class_that_the_policy_lacks_is_named(shop: Path) -> None:
    trace = (shop / "trace.yaml").read_text().replace("workerClass: mail", "workerClass: video")
    (shop / "trace.yaml").write_text(trace)
    done = simulate(shop, *usual())

    assert done.returncode == 2
    assert "'video', which policy.yaml doesn't have; it has: mail" in done.stderr


def test_the_same_input_gives_the_same_bytes(shop: Path) -> None:
    for output in ("json", "html", "table"):
        first, second = (
            simulate(shop, *usual("--output", output, "--compare", "scaler,keda-rabbitmq-20"))
            for _ in range(2)
        )
        assert first.stdout == second.stdout
        assert first.returncode == 0


def test_html_goes_to_a_file_and_the_table_to_the_terminal(shop: Path) -> None:
    done = simulate(shop, *usual("--output", "html", "--out", "report.html"))

    assert done.returncode == 0
    assert "pod-minutes" in done.stdout
    assert (shop / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert not list(shop.glob(".*.part"))


def test_two_files_of_one_policy_are_told_apart(shop: Path) -> None:
    wider = (shop / "policy.yaml").read_text().replace("max: 4", "max: 2")
    (shop / "narrow.yaml").write_text(wider)
    done = simulate(shop, *usual("--compare", "narrow.yaml", "--output", "json"))

    assert [run["label"] for run in json.loads(done.stdout)["runs"]] == ["policy", "narrow"]


def test_a_folder_of_traces_is_simulated_in_the_order_of_names(shop: Path) -> None:
    (shop / "traces").mkdir()
    text = (shop / "trace.yaml").read_text()
    for name in ("b", "a"):
        (shop / "traces" / f"{name}.yaml").write_text(text.replace("name: campaign", f"name: {name}"))
    done = simulate(shop, "--policy", "policy.yaml", "--trace", "traces", "--output", "json")

    assert [run["report"]["trace"] for run in json.loads(done.stdout)["runs"]] == ["a", "b"]
