"""The page is whole, fetches nothing, says everything twice, and lets no name break out of its place."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from scaler.sim.report import Point, Step
from scaler.simreport.asserts import check, parse_assertions
from scaler.simreport.page import render
from scaler.simreport.runs import Run
from scaler.simreport.series import bucket_width, thin
from scaler.simreport.svg import clock, nice_ticks, spread

MakeRun = Callable[..., Run]
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Checker(HTMLParser):
    """Keeps a stack of open elements, and what was seen."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.texts.setdefault(self.stack[-1], []).append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.stack == []
    return checker


@pytest.fixture
def runs(make_run: MakeRun) -> list[Run]:
    return [
        make_run("scaler"),
        make_run("cpu-hpa", rejected=40, pod_minutes=19.0),
        make_run("scaler", trace="night", rejected=0),
        make_run("cpu-hpa", trace="night", rejected=0, points=(), steps=()),
    ]


def test_the_page_is_well_formed_and_fetches_nothing(runs: list[Run]) -> None:
    page = render(runs)
    seen = parsed(page)

    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    assert not {"link", "img", "iframe", "object", "base"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name in {"src", "srcset", "action"}]
    assert [value for name, value in seen.attributes if name == "href"] == ["#trace-0", "#trace-1"]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'") in (
        seen.attributes
    )


def test_identifiers_are_unique_and_the_same_in_every_rendering(runs: list[Run]) -> None:
    identifiers = [value for name, value in parsed(render(runs)).attributes if name == "id"]

    assert len(set(identifiers)) == len(identifiers) == 2
    assert render(runs) == render(runs)


def test_every_chart_has_a_title_and_a_description(runs: list[Run]) -> None:
    seen = parsed(render(runs))

    charts = seen.tags.count("svg")
    # Backlog, wait and the pods of two runs for each of two traces; rejected only where there are any.
    assert charts == 9
    assert seen.tags.count("desc") == charts
    assert any("highest 140" in text for text in seen.texts["desc"])


def test_names_and_reasons_cannot_break_out_of_their_place(make_run: MakeRun) -> None:
    evil = "</script><script>alert(1)</script>\"'&<b>"
    run = make_run(
        evil,
        trace=evil,
        policy=evil,
        environment=evil,
        worker_class=evil,
        points=(Point(0.0, 1, 1, 0.0, 0, 1, 1, 1, 1.0, evil),),
        steps=(Step(0.0, 1, 2, evil, evil, evil),),
    )
    verdicts = check(parse_assertions(["*:late<1%"], ()), [run])
    page = render([run], verdicts, [evil])

    assert "<script>alert" not in page
    assert "<b>&" not in page
    assert page.count("<script") == 2
    assert parsed(page).tags.count("script") == 2


def test_the_cursor_reads_what_the_report_says(make_run: MakeRun) -> None:
    page = render([make_run()])
    text = re.search(r'<script type="application/json">(.*?)</script>', page)
    assert text
    data = json.loads(text[1])

    assert data["width"] == 5
    assert data["runs"][0]["backlog"] == [10, 140, 0]
    assert data["runs"][0]["limit"] == ["", "scale-up policy", "scale-down window"]


def test_decisions_stand_there_with_their_reasons(make_run: MakeRun) -> None:
    page = render([make_run()])

    assert "1 → 3" in page
    assert "drain: 140 tasks ÷ 30 s" in page


def test_failed_assertions_come_first(make_run: MakeRun) -> None:
    run = make_run()
    page = render([run], check(parse_assertions(["lost=0", "late<1%"], ["scaler"]), [run]))

    assert "1 of 2 assertions failed" in page
    assert page.index("FAILED: late&lt;1%") < page.index("holds: lost=0")


def test_a_recording_shows_no_wait_that_it_does_not_know(make_run: MakeRun) -> None:
    run = make_run("recorded")
    unknown = Run("as recorded", run.report, frozenset({"late", "p95", "maxWait", "rejected"}))
    page = render([unknown, make_run()])

    row = re.search(r"<tr><th scope=\"row\">as recorded</th>(.*?)</tr>", page)
    assert row
    assert row[1].count("<td>–</td>") == 4


def test_thinning_keeps_every_peak(make_run: MakeRun) -> None:
    points = tuple(
        Point(5.0 * k, 900 if k == 777 else 3, 1, 0.5, 0, 1, 1, 1, 1.0, "none") for k in range(2000)
    )
    report = make_run(points=points, duration=10_000.0).report
    series = thin(report, bucket_width(report.duration))

    assert len(series.times) <= 480
    assert max(series.backlog) == 900
    assert series.times[series.backlog.index(900)] <= 777 * 5 < series.times[series.backlog.index(900) + 1]


def test_a_gap_in_the_points_is_a_level_not_a_shift(make_run: MakeRun) -> None:
    points = tuple(Point(t, 1, 1, 0.0, 0, 2, 2, 2, 1.0, "none") for t in (0.0, 5.0, 40.0))

    assert len(thin(make_run(points=points).report, 5.0).times) == 9


@pytest.mark.parametrize(
    ("most", "ticks"),
    [(0, [0, 1]), (5, [0, 2, 4, 6]), (140, [0, 50, 100, 150]), (5000, [0, 2000, 4000, 6000])],
)
def test_axes_have_round_marks(most: float, ticks: list[float]) -> None:
    assert nice_ticks(most) == ticks


def test_labels_beside_the_plot_never_overlap() -> None:
    places = spread([10.0, 11.0, 12.0, 100.0], 20.0, 0.0, 110.0)

    assert places == [10.0, 30.0, 50.0, 100.0]
    assert spread([100.0, 105.0], 20.0, 0.0, 110.0) == [90.0, 110.0]


def test_times_read_as_hours_and_minutes() -> None:
    assert [clock(0), clock(600), clock(3605)] == ["0:00", "0:10", "1:00:05"]
