"""`celery-scaler check`: exit status, what goes where, and what a policy comes to."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from scaler.cli.check import check
from scaler.policyfile.schema import schema_text

Edit = Callable[..., str]
EXAMX = str(Path(__file__).parents[2] / "policies" / "examx.yaml")


class Result:
    """Exit status, standard output and standard error of one run, by lines."""

    def __init__(self, *arguments: str, **env: str) -> None:
        app = typer.Typer()
        app.command()(check)
        # None takes a variable away, so that the machine's own environment doesn't matter.
        clean: dict[str, str | None] = {"SCALER_ENVIRONMENT": None, "BROKER_URL": None}
        ran = CliRunner().invoke(app, arguments, env=clean | env)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        self.status = ran.exit_code
        self.stdout = ran.stdout
        self.out = ran.stdout.splitlines()
        self.err = ran.stderr.splitlines()


@pytest.fixture
def file(tmp_path: Path, shop: str) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(shop)
    return path


def test_a_fine_policy_is_one_line_per_class_and_exit_status_0(file: Path) -> None:
    result = Result(str(file), "--environment", "production")

    assert result.status == 0
    assert result.err == []
    assert [line.split(":")[0] for line in result.out] == ["shop/io (production)", "shop/cpu (production)"]


def test_the_summary_is_the_arithmetic_of_the_guide() -> None:
    """1 → 4 at once, 5 a minute later; after the spike 15 minutes of rest, then one pod per 10 minutes."""
    lines = {line.split(":")[0]: line for line in Result(EXAMX).out}

    assert lines["examx/io"] == (
        "examx/io: queues email, api_calls, file_uploads; gevent, 1 to 5 pods of 200 slots,"
        " 1000 slots at max; 667 tasks/s at 1.5s each; up 4 at once, 5 after 1m;"
        " down 4 after 15m, 3 after 25m, 2 after 35m, 1 after 45m"
    )
    assert "12 slots at max; 40 tasks/min at 18s each; up 3 at once;" in lines["examx/cpu"]
    assert "32 slots at max; 8 tasks/s at 4s each; up 2 at once; down 1 after 15m" in lines["examx/mixed"]


def test_without_an_environment_all_are_checked_and_only_differences_are_shown() -> None:
    result = Result(EXAMX)

    assert result.status == 0
    assert [line.split(":")[0].removeprefix("examx/") for line in result.out] == [
        *("io", "cpu", "mixed"),
        *("io (uat)", "cpu (uat)", "io (staging)", "cpu (staging)"),
        *("io (development)", "cpu (development)", "mixed (development)"),
    ]
    assert "always 1 pod of 200 slots" in result.out[7]
    assert result.err[-1] == "5 warnings"
    assert all(": warning: " in line for line in result.err[:-1])


@pytest.mark.parametrize("environment", ["production", "uat", "staging", "development"])
def test_the_shipped_policy_is_fine_in_every_environment(environment: str) -> None:
    assert Result(EXAMX, "--environment", environment).status == 0
    assert Result(EXAMX, SCALER_ENVIRONMENT=environment).status == 0


def test_the_option_wins_over_the_variable_and_an_empty_variable_is_none(file: Path) -> None:
    assert "(uat)" in Result(str(file), "--environment", "uat", SCALER_ENVIRONMENT="nowhere").out[0]
    assert Result(str(file), SCALER_ENVIRONMENT="nowhere").status == 1
    assert Result(str(file), SCALER_ENVIRONMENT="").status == 0


def test_a_broken_policy_is_exit_status_1_with_a_line_per_fault_and_their_number(
    file: Path, edited: Edit
) -> None:
    file.write_text(edited(("pool: gevent", "pool: green"), ("concurrency: 4", "concurrency: 0")))

    result = Result(str(file))

    assert result.status == 1
    assert result.out == []
    assert [line.removeprefix(f"{file}:").split(" ")[0] for line in result.err[:-1]] == ["10:13:", "18:20:"]
    assert result.err[-1] == "2 errors"


def test_a_fault_of_an_overlay_is_found_without_asking_for_its_environment(file: Path, edited: Edit) -> None:
    file.write_text(
        edited(
            ("{min: 1, max: 5}", "{min: 4, max: 5}"),
            ("production: {}", "production: {workers: {cpu: {pool: green}}}"),
        )
    )

    result = Result(str(file))

    assert result.status == 1
    production, uat, count = (line.removeprefix(f"{file}:") for line in result.err)
    assert production.startswith("23:40: workers.cpu.pool is 'green', which is unknown;")
    assert production.endswith("(environment production)")
    assert uat.startswith("26:30: workers.io.replicas: min 4 is greater than max 3;")
    assert uat.endswith("(environment uat)")
    assert count == "2 errors"


def test_a_fault_of_the_base_is_said_once_not_for_every_environment(file: Path, edited: Edit) -> None:
    file.write_text(edited(("pool: gevent", "pool: green")))

    assert len(Result(str(file)).err) == 2


def test_what_is_broken_in_one_environment_does_not_hide_the_others(file: Path, edited: Edit) -> None:
    file.write_text(edited(("production: {}", "production: {workers: {cpu: {pool: green}}}")))

    assert [line.split(":")[0] for line in Result(str(file)).out] == ["shop/io", "shop/cpu", "shop/io (uat)"]


def test_several_paths_files_and_folders_are_checked_in_one_run(
    file: Path, tmp_path: Path, shop: str
) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    (folder / "b.yaml").write_text(shop.replace("{name: shop}", "{name: b}").replace("gevent", "green"))
    (folder / "a.yaml").write_text(shop.replace("{name: shop}", "{name: a}"))

    result = Result(str(file), str(folder))

    assert result.status == 1
    assert [line.split("/io")[0] for line in result.out if "/io:" in line] == ["shop", "a"]
    assert result.err[0].startswith(f"{folder}/b.yaml:10:13: ")


def test_policies_of_a_folder_are_checked_against_each_other(tmp_path: Path, shop: str) -> None:
    (tmp_path / "1.yaml").write_text(shop)
    (tmp_path / "2.yaml").write_text(shop.replace("[email, api]", "[sms]").replace("[reports]", "[pdf]"))

    result = Result(str(tmp_path))

    assert result.status == 1
    fault, count = result.err
    assert fault.startswith(f"{tmp_path}/2.yaml:3:18: the name 'shop' is taken by {tmp_path}/1.yaml;")
    assert count == "1 error"


@pytest.mark.parametrize("output", ["text", "json"])
def test_nothing_to_check_is_exit_status_2(output: str, tmp_path: Path, file: Path) -> None:
    missing, empty = tmp_path / "missing.yaml", tmp_path / "empty"
    empty.mkdir()

    assert Result("--output", output).status == 2
    assert Result(str(missing), "--output", output).status == 2
    assert Result(str(empty), "--output", output).status == 2
    assert Result(str(file), str(missing), "--output", output).status == 2
    assert Result(str(file), "--output", "xml").status == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = Result(str(tmp_path / "missing.yaml"))

    assert result.err == [
        f"{tmp_path}/missing.yaml:1:1: can't be read: no such file or directory; check path and permissions",
        "1 error",
    ]


def test_json_is_for_programs(file: Path, edited: Edit) -> None:
    file.write_text(
        edited(("production: {}", "production: {workers: {cpu: {concurrency: 0, acksLate: false}}}"))
    )

    result = Result(str(file), "--output", "json")
    document = json.loads(result.stdout)

    assert result.status == 1
    assert result.err == []
    assert document["errors"] == [
        {
            "file": str(file),
            "line": 23,
            "column": 47,
            "message": "workers.cpu.concurrency is 0, less than 1; write concurrency: 1 or more"
            " (environment production)",
        }
    ]
    assert document["warnings"] == []
    assert [(line["workerClass"], line["environment"]) for line in document["workerClasses"]] == [
        ("io", None),
        ("cpu", None),
        ("io", "uat"),
    ]
    io = document["workerClasses"][0]
    assert (io["policy"], io["queues"], io["pool"]) == ("shop", ["email", "api"], "gevent")
    assert (io["minReplicas"], io["maxReplicas"], io["slotsAtMax"]) == (1, 5, 1000)
    assert (io["serviceTimeSeconds"], io["tasksPerSecondAtMax"]) == (1.5, 666.667)
    # The HPA's defaults: 4 pods or double at once, 5 minutes of rest, then all the way down.
    assert io["scaleUp"] == [{"afterSeconds": 0.0, "replicas": 5}]
    assert io["scaleDown"] == [{"afterSeconds": 300.0, "replicas": 1}]


def test_the_schema_is_printed_for_editors() -> None:
    result = Result("--print-schema")

    assert result.status == 0
    assert result.stdout == schema_text()


def test_a_class_that_grows_long_is_shown_with_its_first_steps_and_its_last(file: Path, edited: Edit) -> None:
    behavior = "behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}"
    file.write_text(
        edited(("replicas: {min: 1, max: 5}", f"replicas: {{min: 0, max: 10}}\n      {behavior}"))
    )

    line = Result(str(file), "--environment", "production").out[0]

    assert "0 to 10 pods" in line
    assert "up 2 at once, 3 after 1m, 4 after 2m, 5 after 3m, ..., 10 after 8m;" in line


def test_a_class_that_takes_hundreds_of_steps_is_not_played_to_the_end(file: Path, edited: Edit) -> None:
    behavior = "behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}"
    file.write_text(edited(("replicas: {min: 1, max: 5}", f"replicas: {{max: 1000}}\n      {behavior}")))

    line = Result(str(file), "--environment", "production").out[0]

    assert "up 2 at once, 3 after 1m, 4 after 2m, 5 after 3m, ..., 201 after 3h19m, ...;" in line


def test_a_direction_that_is_disabled_is_said_never_to_move(file: Path, edited: Edit) -> None:
    behavior = "behavior: {scaleDown: {selectPolicy: Disabled}}"
    file.write_text(edited(("replicas: {min: 1, max: 5}", f"replicas: {{max: 5}}\n      {behavior}")))

    assert Result(str(file), "--environment", "production").out[0].endswith("; down never")


def test_a_slow_class_is_counted_by_the_hour(file: Path, edited: Edit) -> None:
    file.write_text(edited(("concurrency: 4", "concurrency: 1"), ("serviceTime: 18s", "serviceTime: 1h")))

    assert "3 tasks/h at 1h each" in Result(str(file), "--environment", "production").out[1]


def test_no_password_is_in_the_output(file: Path, edited: Edit) -> None:
    file.write_text(
        edited(('"amqp://127.0.0.1:5672//"', '"${BROKER_URL}"'), ("pool: gevent", "pool: ${BROKER_URL}"))
    )

    for output in ("text", "json"):
        result = Result(str(file), "--output", output, BROKER_URL="amqp://shop:s3cr3t-Pa55@rabbit")
        assert result.status == 1
        assert "s3cr3t-Pa55" not in result.stdout + "\n".join(result.err)
