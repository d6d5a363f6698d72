"""The charts of one trace on a shared time axis: backlog, wait, rejected, and the pods of each run.

Runs are told apart by colour and by dashes, and are labelled at the line; a chart's numbers also
stand in tables, so that nothing depends on seeing colours, or on seeing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from scaler.simreport.columns import seconds
from scaler.simreport.runs import Run
from scaler.simreport.series import Series, bucket_width, thin
from scaler.simreport.svg import (
    BOTTOM,
    LEFT,
    PLOT,
    TOP,
    WIDTH,
    Frame,
    axes,
    clock,
    line_path,
    n,
    nice_ticks,
    runs_of,
    spread,
    step_path,
    whole_ticks,
)

#: Colours and dashes that the style sheet has; further runs begin anew with other dashes.
COLOURS = 6
_DASHES = ("", "7 4", "2 3")
#: Height of a plot, and of one label beside it.
_HEIGHT = 130
_LABEL = 27
#: A limit is drawn to scale once the values reach this share of it; below, a note names it.
_WORTH_DRAWING = 0.3
#: What bounded the decisions, in words. The order is that of the legend.
LIMITS = {
    "max": "at replicas.max",
    "min": "at replicas.min",
    "scale-up-policy": "scale-up policy",
    "scale-up-window": "scale-up window",
    "scale-down-policy": "scale-down policy",
    "scale-down-window": "scale-down window",
    "deadband": "deadband",
    "data": "data not fresh",
    "recovery": "recovery",
    "running": "tasks still run there",
    "load": "too much arrives",
    "override": "override",
    "hpa": "the HPA's behavior",
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything that the charts of one trace share."""

    runs: Sequence[Run]
    series: Sequence[Series]
    duration: float

    @property
    def width(self) -> float:
        """Seconds per drawn point."""
        return self.series[0].width


def prepare(runs: Sequence[Run]) -> Drawing:
    """Thin out the points of all runs alike."""
    duration = max([1.0, *(run.report.duration for run in runs)])
    width = bucket_width(duration)
    return Drawing(runs, [thin(run.report, width) for run in runs], duration)


def style(number: int) -> str:
    """The look of a run's line: class and dashes."""
    dashes = _DASHES[(number // COLOURS + number) % len(_DASHES)]
    return f'class="line v{number % COLOURS}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def all_charts(drawing: Drawing) -> Iterable[str]:
    """The figures from top to bottom."""
    report = drawing.runs[0].report
    limits = [run.report.queue_limit for run in drawing.runs if run.report.queue_limit is not None]
    yield _lines(
        drawing,
        title="Backlog",
        unit="tasks that are due and wait",
        pick=lambda series: series.backlog,
        rule=(float(min(limits)), "queue limit") if limits else None,
    )
    # A recording doesn't tell the age of the oldest task of every moment: no line is better than a flat one.
    yield _lines(
        drawing,
        title="Wait",
        unit="age of the oldest task that waits",
        pick=lambda series: series.wait,
        rule=(report.objective, "objective"),
        label=seconds,
        hidden="maxWait",
    )
    if any(run.report.rejected for run in drawing.runs):
        yield _lines(
            drawing,
            title="Rejected",
            unit="tasks, since the start",
            pick=lambda series: series.rejected,
            hidden="rejected",
        )
    most = max(max((*series.desired, *series.spec, *series.ready, 1.0)) for series in drawing.series)
    for number in range(len(drawing.runs)):
        yield _pods(drawing, number, most)


def _lines(
    drawing: Drawing,
    *,
    title: str,
    unit: str,
    pick: Callable[[Series], Sequence[float]],
    rule: tuple[float, str] | None = None,
    label: Callable[[float], str] = lambda value: f"{value:,.0f}",
    hidden: str = "",
) -> str:
    """One chart with a line per run, and a rule where the policy draws one."""
    shown = [number for number, run in enumerate(drawing.runs) if hidden not in run.unknown]
    peaks = {number: max(pick(drawing.series[number]), default=0.0) for number in shown}
    peak = max(peaks.values(), default=0.0)
    drawn = rule is not None and peak >= _WORTH_DRAWING * rule[0]
    ticks = nice_ticks(max(peak, rule[0] if rule and drawn else 0.0))
    frame = Frame(drawing.duration, ticks[-1], max(_HEIGHT, _LABEL * len(shown)))
    body = [*axes(frame, ticks, [label(value) for value in ticks])]
    note = ""
    if rule and drawn:
        y = n(frame.y(rule[0]))
        body.append(f'<line class="rule" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y}" y2="{y}"/>')
        body.append(
            f'<text class="rulelabel" x="{LEFT + 6}" y="{y}" dy="-4">{rule[1]} {label(rule[0])}</text>'
        )
    elif rule:
        note = f"; {rule[1]} {label(rule[0])} is far above"
    for number in shown:
        path = line_path(frame, drawing.series[number].times, pick(drawing.series[number]))
        body.append(f'<path {style(number)} d="{path}"/>')
    places = spread([frame.y(peaks[number]) for number in shown], _LABEL, TOP + 4, frame.floor - 14)
    for number, place in zip(shown, places, strict=True):
        body += _label(number, place, drawing.runs[number].label, f"highest {label(peaks[number])}")
    described = "; ".join(f"{drawing.runs[number].label}: highest {label(peaks[number])}" for number in shown)
    return _figure(drawing, (title, unit + note, described), frame, body)


def _pods(drawing: Drawing, number: int, most: float) -> str:
    """Desired, the HPA's spec and the ready pods of one run, and below them what bound the decisions."""
    run, series = drawing.runs[number], drawing.series[number]
    ticks = whole_ticks(most)
    frame = Frame(drawing.duration, ticks[-1], 92)
    ready = step_path(frame, series.times, series.ready)
    body = [*axes(frame, ticks, [f"{value:,.0f}" for value in ticks])]
    if ready:
        area = f"{ready}V{n(frame.floor)}H{LEFT}Z"
        body.append(f'<path class="area v{number % COLOURS}" d="{area}"/>')
        body.append(f'<path class="line v{number % COLOURS}" d="{ready}"/>')
        body.append(f'<path class="line spec" d="{step_path(frame, series.times, series.spec)}"/>')
        body.append(f'<path class="line desired" d="{step_path(frame, series.times, series.desired)}"/>')
    x = LEFT + PLOT + 12
    keys = (
        (f"line v{number % COLOURS}", "ready", series.ready),
        ("line spec", "HPA's spec", series.spec),
        ("line desired", "desired", series.desired),
    )
    for k, (look, name, values) in enumerate(keys):
        y = TOP + 10 + 20 * k
        body.append(f'<line class="{look}" x1="{x}" x2="{x + 22}" y1="{y}" y2="{y}"/>')
        highest = max(values, default=0.0)
        body.append(f'<text class="key" x="{x + 28}" y="{y}" dy=".32em">{name}, highest {highest:.0f}</text>')
    body += _bands(series, frame)
    title = f"Pods: {run.label}"
    report = run.report
    described = (
        f"{run.label}: at most {max(series.ready, default=0):.0f} pods ready,"
        f" {report.pod_minutes:,.1f} pod-minutes, {report.scale_ups} steps up, {report.scale_downs} down"
    )
    unit = "pods; the strip shows what bound the decision"
    return _figure(drawing, (title, unit, described), frame, body, below=24)


def _bands(series: Series, frame: Frame) -> Iterable[str]:
    """The strip of limits; wide bands carry their name."""
    top = frame.floor + BOTTOM + 2
    x = LEFT + PLOT + 12
    yield f'<rect class="strip" x="{LEFT}" y="{n(top)}" width="{PLOT}" height="14"/>'
    yield f'<text class="key" x="{x}" y="{n(top + 7)}" dy=".32em">bound by</text>'
    for begin, end, limit in runs_of(series.limit, series.width, frame.duration):
        if limit == "none" or end <= begin:
            continue
        left, width = frame.x(begin), frame.x(end) - frame.x(begin)
        words = escape(LIMITS.get(limit, limit))
        kind = limit if limit in LIMITS else "other"
        yield (
            f'<rect class="band b-{kind}" x="{n(left)}" y="{n(top)}" width="{n(width)}" height="14">'
            f"<title>{words}, {clock(begin)} to {clock(end)}</title></rect>"
        )
        if width > 6.2 * len(words):
            yield (
                f'<text class="bandlabel" x="{n(left + width / 2)}" y="{n(top + 7)}" dy=".34em"'
                f' text-anchor="middle">{words}</text>'
            )


def _label(number: int, y: float, name: str, value: str) -> Iterable[str]:
    x = LEFT + PLOT + 12
    short = name if len(name) <= 23 else f"{name[:22]}…"  # noqa: PLR2004 - what fits beside the plot
    yield f'<line {style(number)} x1="{x - 8}" x2="{x + 6}" y1="{n(y)}" y2="{n(y)}"/>'
    yield f'<text class="name" x="{x + 10}" y="{n(y)}" dy=".32em">{escape(short)}</text>'
    yield f'<text class="key" x="{x + 10}" y="{n(y + 12)}" dy=".32em">{escape(value)}</text>'


def _figure(
    drawing: Drawing,
    words: tuple[str, str, str],
    frame: Frame,
    body: Iterable[str],
    *,
    below: float = 0,
) -> str:
    """The SVG in its figure; `words` are title, unit and a description for those who don't see it."""
    title, unit, described = words
    height = n(frame.floor + BOTTOM + below)
    hit = f'<rect class="hit" x="{LEFT}" y="{TOP}" width="{PLOT}" height="{n(frame.height)}"/>'
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{n(frame.floor + below)}"/>'
    heading = f"{title} over time ({unit})"
    return (
        f'<figure><figcaption><b>{escape(title)}</b> <span class="unit">{escape(unit)}</span></figcaption>'
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height}" data-duration="{drawing.duration:g}">'
        f"<title>{escape(heading)}</title><desc>{escape(described)}</desc>"
        f"{''.join(body)}{cursor}{hit}</svg></figure>"
    )
