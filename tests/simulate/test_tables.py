"""Table and JSON: the right figures in the right columns, the best marked, the same bytes each time."""

import json
from collections.abc import Callable, Sequence
from io import StringIO

import pytest
from rich.console import Console

from scaler.simreport import document, table
from scaler.simreport.asserts import check, parse_assertions
from scaler.simreport.columns import percent, seconds
from scaler.simreport.runs import Run, best

MakeRun = Callable[..., Run]


def text_of(runs: Sequence[Run]) -> str:
    console = Console(width=table.WIDTH, file=StringIO(), record=True)
    console.print(table.render(runs))
    return console.export_text()


def test_a_row_has_every_figure_of_its_run(make_run: MakeRun) -> None:
    row = next(line for line in text_of([make_run()]).splitlines() if "scaler" in line)

    cells = ["600", "588", "1.00", "%", "12", "s", "61", "s", "12", "0", "0", "140", "20.5", "2", "1"]
    assert row.split()[1:] == cells


def test_alone_nothing_is_best(make_run: MakeRun) -> None:
    assert "★" not in text_of([make_run()])
    assert best([make_run()]) == []


def test_fewer_harmed_tasks_win_over_fewer_pod_minutes(make_run: MakeRun) -> None:
    careful, cheap = make_run("a", late=0, rejected=0, pod_minutes=40.0), make_run("b", pod_minutes=1.0)

    assert best([cheap, careful]) == [careful]


def test_among_equally_good_runs_the_cheaper_wins_and_a_tie_has_no_winner(make_run: MakeRun) -> None:
    dear, cheap, same = (
        make_run("a", pod_minutes=2.0),
        make_run("b", pod_minutes=1.0),
        make_run("c", pod_minutes=1.0),
    )

    assert best([dear, cheap]) == [cheap]
    assert best([dear, cheap, same]) == [cheap, same]
    assert best([cheap, same]) == []


def test_the_best_figure_of_each_column_is_marked(make_run: MakeRun) -> None:
    lines = text_of([make_run("a", pod_minutes=9.0), make_run("b", pod_minutes=8.0)]).splitlines()

    assert "•8.0" in next(line for line in lines if " b " in line)
    assert "•" not in next(line for line in lines if " a " in line)


def test_one_late_task_of_many_is_never_written_as_none() -> None:
    assert percent(1, 100_000) == "<0.01 %"
    assert percent(0, 100_000) == "0 %"
    assert percent(1, 3) == "33.33 %"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 s"), (2.44, "2.4 s"), (95.2, "95 s"), (738, "12.3 min"), (36000, "10.0 h")]
)
def test_waits_are_written_with_their_unit(value: float, text: str) -> None:
    assert seconds(value) == text


def test_json_has_the_figures_under_the_names_of_assertions(make_run: MakeRun) -> None:
    run = make_run()
    verdicts = check(parse_assertions(["late<1%", "p95<13s"], ["scaler"]), [run])
    made = json.loads(document.render([run], verdicts))

    (entry,) = made["runs"]
    assert entry["summary"]["late"] == 6
    assert entry["summary"]["harmed"] == 18
    assert entry["report"]["points"][1]["limit"] == "scale-up-policy"
    assert [(a["assertion"], a["holds"], a["measured"]) for a in made["assertions"]] == [
        ("late<1%", False, 1.0),
        ("p95<13s", True, 12.25),
    ]
    assert made["passed"] is False


def test_json_says_null_for_what_a_recording_does_not_know(make_run: MakeRun) -> None:
    run = make_run()
    made = json.loads(document.render([Run("as recorded", run.report, frozenset({"p95"}))]))

    assert made["runs"][0]["summary"]["p95"] is None
    assert made["runs"][0]["summary"]["harmed"] is None


def test_a_recording_competes_in_no_column(make_run: MakeRun) -> None:
    recorded = Run("as recorded", make_run(pod_minutes=1.0).report, frozenset({"p95"}))
    lines = text_of([recorded, make_run("a"), make_run("b", pod_minutes=30.0)]).splitlines()

    assert "•20.5" in next(line for line in lines if " a " in line)
    assert "•" not in next(line for line in lines if "as recorded" in line)
