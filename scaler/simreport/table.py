"""The comparison as a table for terminals and logs."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.simreport.asserts import Verdict
from scaler.simreport.columns import seconds, shown_columns, text, winners
from scaler.simreport.runs import Run, best, by_trace

#: Marks the best figure of a column; the best run of a trace has the star.
MARK = "•"
STAR = "★"
#: Least width, also without a terminal: every column in full, so that logs and files don't cut any.
WIDTH = 170


def render(runs: Sequence[Run], verdicts: Sequence[Verdict] = ()) -> RenderableType:
    """One block of rows per trace; with rivals the best figures are marked."""
    columns = shown_columns(runs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trace / run", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for number, (trace, members) in enumerate(by_trace(runs)):
        if number:
            table.add_row()
        table.add_row(Text(trace, "bold"))
        top = best(members)
        won = [winners(column, members) for column in columns]
        for position, run in enumerate(members):
            name = Text(f"  {STAR if run in top else ' '} {run.label}", "bold" if run in top else "")
            cells = [
                _cell(text(column, run), best=position in marks)
                for column, marks in zip(columns, won, strict=True)
            ]
            table.add_row(name, *cells)
    return Group(table, "", *(Text(note, "dim") for note in notes(runs)), *map(_verdict, verdicts))


def notes(runs: Sequence[Run]) -> Iterator[str]:
    """What the figures mean, and what the traces promise."""
    for trace, members in by_trace(runs):
        report = members[0].report
        limit = "no queue limit" if report.queue_limit is None else f"queue limit {report.queue_limit:,}"
        place = f" in {report.environment}" if report.environment else ""
        yield (
            f"{trace}: class {report.worker_class}{place}, {seconds(report.duration)}, seed {report.seed};"
            f" late means more than {seconds(report.objective)} of waiting; {limit}"
        )
    if any(len(members) > 1 for _, members in by_trace(runs)):
        yield (
            f"{MARK} best of its column; {STAR} fewest tasks late, rejected, expired, lost or unfinished,"
            " then fewest pod-minutes"
        )


def _cell(value: str, *, best: bool) -> Text:
    return Text(f"{MARK}{value}", "bold green") if best else Text(value)


def _verdict(verdict: Verdict) -> Text:
    return Text(verdict.sentence(), "green" if verdict.holds else "bold red")
