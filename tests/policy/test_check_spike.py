"""`celery-scaler check --spike`: the verdict as exit status, files and lines, and clear refusals."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from scaler.cli.check import check
from scaler.policyfile.spikes import SpikeError, parse_spike

EXAMX = str(Path(__file__).parents[2] / "policies" / "examx.yaml")
DUMP = "worker=io,base=5,burst=10000,over=20s"

TRACE = """\
apiVersion: scaler/v1
kind: Trace
metadata: {name: dump}
spec:
  workerClass: io
  duration: 20m
  arrivals:
    - {at: 0s, rate: 5}
    - {at: 5m, burst: 10000, over: 20s}
  serviceTime: [{mean: 1.5s, cv: 1.0}]
"""


class Result:
    """Exit status, standard output and standard error of one run."""

    def __init__(self, *arguments: str) -> None:
        app = typer.Typer()
        app.command()(check)
        ran = CliRunner().invoke(app, arguments, env={"SCALER_ENVIRONMENT": None, "BROKER_URL": None})
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        self.status, self.out, self.err = ran.exit_code, ran.stdout, ran.stderr


def run(*spikes: str, environment: str = "production", output: str = "text") -> Result:
    options = [part for spike in spikes for part in ("--spike", spike)]
    return Result(EXAMX, "--environment", environment, *options, "--output", output)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "dump.yaml"
    path.write_text(TRACE)
    return path


def test_a_spike_that_the_policy_survives_is_exit_status_0() -> None:
    result = run("worker=io,base=5,rate=38.3,for=5m")

    assert result.status == 0
    assert result.out.startswith("examx/io (production): SAFE: ")
    assert result.err == ""


def test_a_spike_that_it_does_not_survive_is_exit_status_1_with_the_fixes() -> None:
    result = run(DUMP)

    assert result.status == 1
    assert result.out.startswith("examx/io (production): UNSAFE: ")
    for words in ("rejected: 2,2", "max replicas: none helps", "warm replicas: 2 pods instead of 1"):
        assert words in result.out


def test_a_trace_file_is_certified_as_the_line_that_says_the_same(trace: Path) -> None:
    (one,) = json.loads(run(str(trace), output="json").out)["certificates"]
    (other,) = json.loads(run(DUMP, output="json").out)["certificates"]

    assert one["rejected"] == pytest.approx(other["rejected"])
    assert one["firstRejectedAtSeconds"] == pytest.approx(other["firstRejectedAtSeconds"] + 300)
    assert [fix["needed"] for fix in one["fixes"]] == [fix["needed"] for fix in other["fixes"]]


def test_json_has_the_verdict_and_never_a_number_that_json_has_not(trace: Path) -> None:
    result = run(str(trace), output="json")
    (found,) = json.loads(result.out, parse_constant=pytest.fail)["certificates"]

    assert result.status == 1
    assert (found["verdict"], found["safe"], found["workerClass"]) == ("UNSAFE", False, "io")
    assert [fix["kind"] for fix in found["fixes"]] == ["max", "warm", "maxLength", "spread", "serviceTime"]


def test_environments_differ() -> None:
    """12/s × 12 s are 144 slots beside a start of 1 pod; 40/s × 20 s are 800: 5 pods, but not 2."""
    spike = "worker=io,rate=40,for=30m,serviceTime=20s,ramp=20m"

    assert run(spike).status == 0
    assert run(spike, environment="staging").status == 1


def test_several_spikes_are_safe_only_together() -> None:
    safe = "worker=io,base=5,rate=38.3,for=5m"

    assert run(safe, safe).status == 0
    assert run(safe, DUMP).status == 1


def test_a_trace_changes_the_class_that_it_is_played_against(trace: Path) -> None:
    trace.write_text(TRACE + "  pods: {replicas: {min: 3, max: 5}, start: 3}\n")

    assert run(str(trace)).status == 0


def test_a_recording_is_certified_by_its_rows(trace: Path) -> None:
    trace.with_name("rows.csv").write_text("t_seconds,count\n0,100\n20,10000\n40,100\n")
    rates = TRACE[TRACE.index("  arrivals:") : TRACE.index("  serviceTime:")]
    trace.write_text(TRACE.replace(rates, "  arrivalsFile: rows.csv\n"))
    (found,) = json.loads(run(str(trace), output="json").out)["certificates"]

    # 500/s for 20 s against 133/s, 192 idle slots and 5,000 places; slots that fill do a little less.
    assert found["rejected"] == pytest.approx(20 * (500 - 400 / 3) - 192 - 5000, abs=40)


def test_what_a_certificate_does_not_count_is_said(trace: Path) -> None:
    trace.write_text(TRACE + "  poison: {at: 10m, count: 3, seconds: 600}\n")

    assert "not counted: hanging tasks (poison)" in run(str(trace)).out


def test_a_broken_trace_is_exit_status_2_with_its_place(trace: Path) -> None:
    trace.write_text(TRACE.replace("rate: 5", "rat: 5"))
    result = run(str(trace))

    assert result.status == 2
    assert f"{trace}:8:" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("burst=10,over=2s", "names no worker class"),
        ("worker=io,brust=10", "did you mean 'burst'?"),
        ("worker=io,burst=ten", "burst is 'ten'; write a number"),
        ("worker=io,burst=-1", "burst is '-1'; write a number"),
        ("worker=io,burst=nan", "burst is 'nan'; write a number"),
        ("worker=io,burst=1e999", "write a number"),
        ("worker=io,burst=10,over=20", "over: bad duration '20'; write 20s"),
        ("worker=io,rate=10", "rate needs for"),
        ("worker=io,rate=10,for=5m,rate=11", "rate stands twice"),
        ("worker=io,base=10", "neither rate nor burst"),
        ("worker=io,burst=0", "nothing is published"),
        ("worker=io,burst=10,serviceTime=0s", "serviceTime must be more than 0"),
        ("worker=io,,burst=10", "no key=value"),
    ],
)
def test_a_line_that_makes_no_sense_is_exit_status_2_with_the_remedy(line: str, words: str) -> None:
    result = run(line)

    assert result.status == 2
    assert words in result.err
    assert result.out == ""


def test_an_unknown_class_and_a_missing_file_are_exit_status_2() -> None:
    unknown, missing = run("worker=oi,burst=10"), run("no-such-trace.yaml")

    assert (unknown.status, missing.status) == (2, 2)
    assert "write one of: io, cpu, mixed" in unknown.err
    assert "no-such-trace.yaml:1:1: can't be read" in missing.err


def test_a_broken_policy_is_told_before_any_spike(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(Path(EXAMX).read_text().replace("pool: gevent", "pool: green", 1))
    result = Result(str(path), "--environment", "production", "--spike", DUMP)

    assert result.status == 1
    assert "pool is 'green'" in result.err
    assert "SAFE" not in result.out


def test_a_ramp_climbs_from_the_base_and_holds() -> None:
    spike = parse_spike("worker=io,base=10,rate=110,ramp=100s,for=60s").spike
    tasks = sum(piece.rate * (piece.end - piece.start) for piece in spike.pieces if piece.start < 160)

    assert tasks == pytest.approx(60 * 100 + 110 * 60)
    assert spike.window == (0.0, 160.0)


def test_parsing_refuses_with_its_own_error() -> None:
    with pytest.raises(SpikeError, match="unknown key"):
        parse_spike("worker=io,colour=red")
