"""Traces as files: what ships can be read, and what is wrong is named with its place and remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scaler.core.decide import WorkerClass
from scaler.policyfile import PolicyError
from scaler.policyfile.traces import TraceError, TracePathError, load_trace

HEAD = "apiVersion: scaler/v1\nkind: Trace\nmetadata: {name: t}\nspec:\n  workerClass: io\n"
GOOD = HEAD + "  duration: 10m\n  arrivals: [{at: 0s, rate: 2}]\n"
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "loadtest" / "traces").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_trace_that_ships_can_be_read_and_says_where_it_comes_from(
    path: Path, examx: Callable[[str], WorkerClass]
) -> None:
    trace = load_trace(path)
    assert trace.metadata.name == path.stem
    assert examx(trace.spec.worker_class).name == trace.spec.worker_class
    assert path.read_text("utf-8").startswith("# ")


def test_all_the_traces_of_the_page_ship() -> None:
    names = {path.stem for path in SHIPPED}
    wanted = "a1 a2 a3 b c1 c2 c3 d1 d2 d3 e f g h priority-flood eta-bomb retry-storm prefetch-hoard"
    wanted += " heartbeats-lost clock-skew counters-reset two-scaledobjects hpa-tolerance"
    assert set(wanted.split()) <= names


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        (GOOD + "  durations: 3m\n", 8, 3, "unknown key 'durations' in spec; did you mean 'duration'?"),
        (GOOD + "  serviceTime: [{mean: 3}]\n", 8, 24, "write 3s"),
        (GOOD + "  seed: x\n", 8, 9, "seed must be a whole number, not 'x'"),
        (GOOD + "  seed: 1\n  seed: 2\n", 9, 3, "stands twice"),
        (GOOD + "  faults: [{at: 1m, kind: broker-drak}]\n", 8, 27, "broker-dark"),
        (GOOD + "  arrivalsFile: a.csv\n", 7, 3, "either arrivals or arrivalsFile"),
        (HEAD + "  duration: 10m\n", 4, 1, "either arrivals or arrivalsFile"),
        (HEAD + "  arrivals: [{at: 0s, rate: 2}]\n", 4, 1, "spec needs duration"),
        (HEAD + "  duration: 10m\n  arrivals: [{at: 0s}]\n", 7, 19, "either rate or burst"),
        (HEAD + "  duration: 10m\n  arrivals: [{at: 0s, rate: -1}]\n", 7, 29, "0 or more"),
        (
            HEAD + "  duration: 10m\n  arrivals: [{at: 0s, rate: 1, to: 3}]\n",
            7,
            36,
            "needs both to and until",
        ),
        (HEAD + "  duration: 10m\n  arrivals: [{at: 11m, rate: 1}]\n", 7, 19, "after the trace's end"),
        (
            HEAD + "  duration: 10m\n  arrivals:\n    - {at: 2m, rate: 1}\n    - {at: 1m, rate: 1}\n",
            9,
            12,
            "in the order of time",
        ),
        (GOOD + "  priorities: [{priority: 1, share: 0.4}]\n", 8, 3, "sum to 0.4"),
        (GOOD.replace("name: t", "name: T T"), 3, 18, "lower-case"),
        (GOOD.replace("kind: Trace", "kind: ScalingPolicy"), 2, 7, "write kind: Trace"),
        ("- 1\n", 1, 1, "mapping"),
        (GOOD + "  seed: [\n", 9, 1, ""),
        ("", 1, 1, "empty"),
    ],
)
def test_faults_are_named_with_line_column_and_remedy(
    text: str, line: int, column: int, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(TraceError) as caught:
        load_trace(file)
    first = caught.value.diagnostics[0]
    assert (first.line, first.column) == (line, column)
    assert words in first.message
    assert str(first).startswith(f"{file}:{line}:{column}: ")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(GOOD + "  seed: x\n  startupTime: 5\n  foo: 1\n", "utf-8")
    with pytest.raises(TraceError) as caught:
        load_trace(file)
    assert [diagnostic.line for diagnostic in caught.value.diagnostics] == [8, 9, 10]


def test_a_missing_file_is_a_path_error_of_the_policy_files_kind(tmp_path: Path) -> None:
    with pytest.raises(TracePathError, match="no such file"):
        load_trace(tmp_path / "none.yaml")
    assert issubclass(TraceError, PolicyError)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], Path]:
    def write(rows: str) -> Path:
        (tmp_path / "a.csv").write_text(rows, "utf-8")
        file = tmp_path / "t.yaml"
        file.write_text(HEAD + "  duration: 10m\n  arrivalsFile: a.csv\n", "utf-8")
        return file

    return write


def test_recorded_arrivals_are_read_beside_the_trace(recorded: Callable[[str], Path]) -> None:
    trace = load_trace(recorded("t_seconds,count\n0,3\n5,0\n\n10.5,7\n"))
    assert trace.spec.recorded == ((0.0, 3), (5.0, 0), (10.5, 7))


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("time,count\n0,1\n", 1, "t_seconds,count"),
        ("", 1, "t_seconds,count"),
        ("t_seconds,count\n", 1, "no row"),
        ("t_seconds,count\n0,1\nx,2\n", 3, "60,12"),
        ("t_seconds,count\n0,1,2\n", 2, "3 columns"),
        ("t_seconds,count\n0,1\n5,-1\n", 3, "negative"),
        ("t_seconds,count\n5,1\n5,1\n", 3, "sort the rows"),
        ("t_seconds,count\nnan,1\n", 2, "infinite"),
        ("t_seconds,count\n0,9000000\n", 1, "5,000,000"),
    ],
)
def test_bad_rows_are_named_with_their_line(
    rows: str, line: int, words: str, recorded: Callable[[str], Path]
) -> None:
    with pytest.raises(TraceError) as caught:
        load_trace(recorded(rows))
    first = caught.value.diagnostics[0]
    assert first.line == line
    assert first.file.endswith("a.csv")
    assert words in first.message


def test_a_file_full_of_bad_rows_names_a_few(recorded: Callable[[str], Path]) -> None:
    with pytest.raises(TraceError) as caught:
        load_trace(recorded("t_seconds,count\n" + "x,y\n" * 100))
    assert len(caught.value.diagnostics) == 6
    assert "95 more" in caught.value.diagnostics[-1].message


def test_a_missing_csv_names_the_trace_that_wants_it(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(HEAD + "  duration: 10m\n  arrivalsFile: none.csv\n", "utf-8")
    with pytest.raises(TracePathError, match=r"none\.csv.*t\.yaml:7"):
        load_trace(file)
