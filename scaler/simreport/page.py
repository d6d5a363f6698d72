"""The comparison as one HTML file that fetches nothing: summary, charts, decisions with their reasons.

The same runs give the same bytes: no date, no random identifiers. The page's own policy forbids
every request; without JavaScript it lacks the cursor only, without sight the charts have tables.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from scaler.policyfile.certificates import Certified
from scaler.simreport.asserts import Verdict
from scaler.simreport.charts import LIMITS, Drawing, all_charts, prepare
from scaler.simreport.columns import Column, seconds, shown_columns, text, winners
from scaler.simreport.runs import Run, best, by_trace
from scaler.simreport.svg import LEFT, PLOT, clock
from scaler.simreport.table import STAR

#: Rows of the table of a trace's numbers: enough to follow the run by ear.
_NUMBER_ROWS = 24
#: Decisions that are listed per run; JSON has them all.
_MOST_STEPS = 200
_READ = ("backlog", "wait", "running", "rejected", "desired", "spec", "ready", "limit")
_READ_TITLES = ("backlog", "wait, s", "running", "rejected", "desired", "HPA's spec", "ready", "bound by")
#: The page asks nobody for anything, and says so to the browser.
_CSP = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def render(
    runs: Sequence[Run],
    verdicts: Sequence[Verdict] = (),
    notes: Sequence[str] = (),
    certificates: Sequence[Certified] = (),
) -> str:
    """The whole page.

    Args:
        runs: in the order in which they are shown; those of one trace are compared.
        verdicts: of the assertions, if there were any.
        notes: sentences that stand above everything (what a replay can't know).
        certificates: of each trace and policy.
    """
    return "\n".join(_page(runs, verdicts, notes, certificates)) + "\n"


def _page(
    runs: Sequence[Run],
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
    certificates: Sequence[Certified],
) -> Iterator[str]:
    groups = by_trace(runs)
    policies = list(dict.fromkeys(run.report.policy for run in runs))
    environments = list(dict.fromkeys(run.report.environment for run in runs if run.report.environment))
    title = f"Simulation of {' and '.join(policies)}"
    where = f" in {', '.join(environments)}" if environments else ""
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title + where)}</title>"
    yield f"<style>\n{_asset('page.css')}</style></head><body>"
    yield f"<header><h1>{escape(title)}{escape(where)}</h1>"
    labels = list(dict.fromkeys(run.label for run in runs))
    yield f'<p class="soft">{_count(len(groups), "trace")}; {escape(", ".join(labels))}</p></header><main>'
    yield from (f"<p>{escape(note)}</p>" for note in notes)
    if verdicts:
        yield from _verdicts(verdicts)
    if len(groups) > 1:
        links = " ".join(
            f'<a href="#trace-{number}">{escape(trace)}</a>' for number, (trace, _) in enumerate(groups)
        )
        yield f'<nav aria-label="Traces">{links}</nav>'
        yield from _table(groups, shown_columns(runs))
    if certificates:
        yield "<section><h2>What can be said beforehand</h2>"
        for certificate in certificates:
            text = "\n".join(certificate.text())
            yield f'<p class="certificate">{escape(text)}</p>'
        yield "</section>"
    for number, (trace, members) in enumerate(groups):
        yield from _trace(number, trace, members)
    yield f"</main><script>\n{_asset('page.js')}</script></body></html>"


def _asset(name: str) -> str:
    return files("scaler.simreport").joinpath(name).read_text("utf-8")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    failed = sum(not verdict.holds for verdict in verdicts)
    summary = f"{failed} of {_count(len(verdicts), 'assertion')} failed" if failed else "All assertions hold"
    yield f'<h3 class="{"fail" if failed else "pass"}">{summary}</h3><ul class="verdicts">'
    for verdict in sorted(verdicts, key=lambda verdict: verdict.holds):
        mark = "✓" if verdict.holds else "✗"
        yield f'<li class="{"pass" if verdict.holds else "fail"}">{mark} {escape(verdict.sentence())}</li>'
    yield "</ul>"


def _table(groups: Sequence[tuple[str, Sequence[Run]]], columns: Sequence[Column]) -> Iterator[str]:
    heads = "".join(f'<th scope="col" title="{escape(c.help)}">{escape(c.title)}</th>' for c in columns)
    yield '<div class="wide"><table><thead><tr><th scope="col" class="left">run</th>'
    yield f"{heads}</tr></thead><tbody>"
    for trace, members in groups:
        if len(groups) > 1:
            across = f'scope="rowgroup" colspan="{len(columns) + 1}"'
            yield f'<tr class="trace"><th {across}>{escape(trace)}</th></tr>'
        top = best(members)
        won = [winners(column, members) for column in columns]
        for number, run in enumerate(members):
            cells = "".join(
                f'<td class="best">{escape(text(column, run))}</td>'
                if number in marks
                else f"<td>{escape(text(column, run))}</td>"
                for column, marks in zip(columns, won, strict=True)
            )
            name = f"{STAR} {run.label}" if run in top else run.label
            row = ' class="top"' if run in top else ""
            yield f'<tr{row}><th scope="row">{escape(name)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
    if any(len(members) > 1 for _, members in groups):
        yield (
            f'<p class="soft">• best of its column. {STAR} fewest tasks late, rejected, expired, lost or'
            " unfinished, then fewest pod-minutes.</p>"
        )


def _trace(number: int, trace: str, runs: Sequence[Run]) -> Iterator[str]:
    report = runs[0].report
    limit = (
        "no queue limit" if report.queue_limit is None else f"queue limit {report.queue_limit:,} per queue"
    )
    drawing = prepare(runs)
    yield f'<section class="trace" id="trace-{number}"><h2>{escape(trace)}</h2>'
    yield (
        f'<p class="soft">Class {escape(report.worker_class)}; {seconds(report.duration)};'
        f" {report.offered:,} tasks offered; late means more than {seconds(report.objective)} of waiting;"
        f" {limit}; seed {report.seed}. Time is hours:minutes after the start;"
        f" a point of a line is the highest of {drawing.width:g} s.</p>"
    )
    yield from _table([(trace, runs)], shown_columns(runs))
    label = escape(f"Charts of {trace}: arrow keys move the cursor")
    yield f'<div class="charts" tabindex="0" role="group" aria-label="{label}"><div class="scroll">'
    yield from all_charts(drawing)
    yield "</div>"
    yield from _readout(runs)
    yield "</div>"
    for run in runs:
        yield from _steps(run)
    yield from _numbers(drawing)
    yield f'<script type="application/json">{_data(drawing)}</script></section>'


def _readout(runs: Sequence[Run]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{title}</th>' for title in _READ_TITLES)
    yield '<div class="readout"><p class="soft">Point at a chart to read its values, or use the keys ← →.</p>'
    yield f'<table hidden><caption></caption><thead><tr><th scope="col"></th>{heads}</tr></thead><tbody>'
    for run in runs:
        yield f'<tr><th scope="row">{escape(run.label)}</th>{"<td></td>" * len(_READ)}</tr>'
    yield "</tbody></table></div>"


def _steps(run: Run) -> Iterator[str]:
    steps = run.report.steps
    yield f"<details><summary>{escape(run.label)}: {_count(len(steps), 'decision')} to change</summary>"
    if not steps:
        yield '<p class="soft">The replicas stayed as they were.</p></details>'
        return
    yield '<div class="wide"><table><thead><tr><th scope="col">at</th><th scope="col">pods</th>'
    yield '<th scope="col" class="left">because of</th><th scope="col" class="left">bound by</th>'
    yield '<th scope="col" class="left">reason</th></tr></thead><tbody>'
    for step in steps[:_MOST_STEPS]:
        bound = "–" if step.limit == "none" else LIMITS.get(step.limit, step.limit)
        yield (
            f'<tr data-t="{step.t:g}"><td>{clock(step.t)}</td><td>{step.before} → {step.desired}</td>'
            f'<td class="left">{escape(step.winner)}</td><td class="left">{escape(bound)}</td>'
            f'<td class="why">{escape(step.why)}</td></tr>'
        )
    yield "</tbody></table></div>"
    if len(steps) > _MOST_STEPS:
        yield f'<p class="soft">{len(steps) - _MOST_STEPS} more are in the JSON report.</p>'
    yield "</details>"


def _numbers(drawing: Drawing) -> Iterator[str]:
    """What the charts show, as a table."""
    yield "<details><summary>The charts as numbers</summary>"
    for run, series in zip(drawing.runs, drawing.series, strict=True):
        yield f'<div class="wide"><table><caption class="left">{escape(run.label)}</caption><thead><tr>'
        heads = "".join(f'<th scope="col">{title}</th>' for title in _READ_TITLES)
        yield f'<th scope="col">time</th>{heads}</tr></thead><tbody>'
        stride = max(1, -(-len(series.times) // _NUMBER_ROWS))
        hidden = _hidden(run)
        for k in range(0, len(series.times), stride):
            cells = "".join(
                f"<td>{escape(_shown(getattr(series, name)[k])) if name not in hidden else '–'}</td>"
                for name in _READ
            )
            yield f'<tr><th scope="row">{clock(series.times[k])}</th>{cells}</tr>'
        yield "</tbody></table></div>"
    yield "</details>"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return "–" if value == "none" else LIMITS.get(value, value)
    return f"{value:,.1f}".removesuffix(".0")


def _hidden(run: Run) -> set[str]:
    """Series that a run can't know, by the figure that it doesn't know."""
    named = {"maxWait": "wait", "rejected": "rejected"}
    return {name for column, name in named.items() if column in run.unknown}


def _data(drawing: Drawing) -> str:
    """What the cursor reads. `<` is escaped so that no label can end the script element."""
    document = {
        "left": LEFT,
        "plot": PLOT,
        "duration": drawing.duration,
        "width": drawing.width,
        "count": max(len(series.times) for series in drawing.series),
        "columns": _READ,
        "runs": [
            {name: [None] if name in _hidden(run) else _values(getattr(series, name)) for name in _READ}
            for run, series in zip(drawing.runs, drawing.series, strict=True)
        ],
    }
    made = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return made.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _values(values: Sequence[float | str]) -> list[float | str]:
    """Whole numbers as such: a third of the page's size is this."""
    return [
        ("" if value == "none" else LIMITS.get(value, value))
        if isinstance(value, str)
        else (int(value) if value == int(value) else round(value, 1))
        for value in values
    ]
