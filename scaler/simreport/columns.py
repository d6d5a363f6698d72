"""The figures of a report by name: what tables show, what assertions compare, and how each is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from scaler.sim.report import Report
from scaler.simreport.runs import Run

Unit = Literal["tasks", "seconds", "podMinutes", "events"]


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a run."""

    #: As assertions and JSON call it.
    name: str
    #: As tables head it.
    title: str
    unit: Unit
    value: Callable[[Report], float]
    #: The lesser the better, the other way round (False), or no matter of better (None).
    less_is_better: bool | None = True
    #: What it says, for people who read the report for the first time.
    help: str = ""
    #: Whether tables have it; assertions know all of them.
    shown: bool = True
    #: Tables write it as a share of the offered tasks.
    as_share: bool = False


COLUMNS: tuple[Column, ...] = (
    Column("offered", "offered", "tasks", lambda r: r.offered, None, "tasks that were published"),
    Column("completed", "completed", "tasks", lambda r: r.completed, False, "tasks that ran to their end"),
    Column(
        "late",
        "late",
        "tasks",
        lambda r: r.waits.late,
        help="share of the offered tasks that waited longer than the objective",
        as_share=True,
    ),
    Column("p50", "p50 wait", "seconds", lambda r: r.waits.p50, help="half waited no longer", shown=False),
    Column("p95", "p95 wait", "seconds", lambda r: r.waits.p95, help="95 % waited no longer"),
    Column("p99", "p99 wait", "seconds", lambda r: r.waits.p99, help="99 % waited no longer", shown=False),
    Column("maxWait", "max wait", "seconds", lambda r: r.waits.max, help="the longest wait for a slot"),
    Column("rejected", "rejected", "tasks", lambda r: r.rejected, help="refused or dropped by maxLength"),
    Column("expired", "expired", "tasks", lambda r: r.expired, help="waited longer than messageTtl"),
    Column(
        "killed", "killed", "tasks", lambda r: r.killed, help="executions cut short by the end of their pod"
    ),
    Column("lost", "lost", "tasks", lambda r: r.lost, help="gone with a killed pod", shown=False),
    Column(
        "unfinished",
        "unfinished",
        "tasks",
        lambda r: r.unfinished,
        help="still waiting or running at the end",
        shown=False,
    ),
    Column("maxBacklog", "max backlog", "tasks", lambda r: r.max_backlog, help="most tasks that waited"),
    Column(
        "podMinutes",
        "pod-minutes",
        "podMinutes",
        lambda r: r.pod_minutes,
        help="pods that existed, summed over time: the cost",
    ),
    Column("scaleUps", "ups", "events", lambda r: r.scale_ups, None, "steps up"),
    Column("scaleDowns", "downs", "events", lambda r: r.scale_downs, None, "steps down"),
)
BY_NAME = {column.name: column for column in COLUMNS}


def shown_columns(runs: Sequence[Run]) -> list[Column]:
    """The columns of a table: the usual ones, and the rare ones where a run has something to say."""
    rare = {"lost", "unfinished"}
    return [
        column
        for column in COLUMNS
        if column.shown or (column.name in rare and any(column.value(run.report) for run in runs))
    ]


def text(column: Column, run: Run) -> str:
    """A figure as tables write it; `–` where the run can't know it."""
    if column.name in run.unknown:
        return "–"
    value = column.value(run.report)
    if column.as_share:
        return percent(value, run.report.offered)
    return number(column, value)


def number(column: Column, value: float) -> str:
    """A value with its unit."""
    if column.unit == "seconds":
        return seconds(value)
    if column.unit == "podMinutes":
        return f"{value:,.1f}"
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """`0 s`, `2.4 s`, `95 s`, `12.3 min`, `2.1 h`: three figures are enough to compare."""
    if value < 10:  # noqa: PLR2004 - a limit of writing
        return f"{value:.1f} s" if round(value, 1) else "0 s"
    if value < 600:  # noqa: PLR2004 - the same
        return f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 3 * 3600 else f"{value / 3600:.1f} h"


def percent(count: float, offered: int) -> str:
    """A share that never hides the last task: 1 of 20,000 reads `<0.01 %`, not `0 %`."""
    if not count or not offered:
        return "0 %"
    share = 100 * count / offered
    return "<0.01 %" if share < 0.005 else f"{share:.2f} %"  # noqa: PLR2004 - two digits


def winners(column: Column, runs: Sequence[Run]) -> set[int]:
    """Positions of the best runs of a column; empty where all are equal. Recordings don't compete."""
    known = {n: round(column.value(run.report), 6) for n, run in enumerate(runs) if not run.unknown}
    if column.less_is_better is None or len(set(known.values())) < 2:  # noqa: PLR2004 - all are equal
        return set()
    top = (min if column.less_is_better else max)(known.values())
    return {n for n, value in known.items() if value == top}
