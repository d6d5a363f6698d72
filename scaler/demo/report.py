"""What the demo came to: the numbers, whether they are good, and the table that shows them."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.core.policy import WorkerPolicy

#: Columns of the report, whatever the terminal: it ends up in issues and logs.
WIDTH = 80
#: Where the text of the explanation's lines begins: behind a label, and behind a term with its number.
LINE_INDENT = 11
TERM_INDENT = 21


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was counted. Times in seconds; None for what never happened."""

    worker: WorkerPolicy
    sent: int
    done: int
    done_twice: int
    #: Pods that didn't end within their grace, so that their tasks were cut off.
    killed: int
    #: Seconds from publish to start of every task that was done.
    waits: tuple[float, ...]
    #: From the burst to the service's first higher number, and to the first extra pod's process.
    first_decision: float | None
    first_pod: float | None
    peak: int
    #: Replicas wanted at the end.
    final: int
    duration: float
    pod_seconds: float
    #: The time limit if it ended the demo.
    time_limit: float | None = None
    #: The service's explanation when it first asked for the most pods, and when that was.
    peak_why: tuple[str, ...] = ()
    peak_at: float = 0.0

    @property
    def lost(self) -> int:
        """Tasks that the broker took and no worker completed."""
        return self.sent - self.done

    @property
    def always_max(self) -> float:
        """Pod-seconds of a fleet that always has as many pods as the policy allows."""
        return self.duration * self.worker.replicas.max

    @property
    def in_time(self) -> float:
        """Share of the sent tasks that started within the objective, 0–1."""
        limit = self.worker.objective.wait
        return sum(wait <= limit for wait in self.waits) / self.sent if self.sent else 0.0

    def problems(self) -> list[str]:
        """Why the demo has failed; empty when all went well."""
        found = []
        if self.lost:
            found.append(f"{self.lost} of {self.sent} tasks were not done")
        if self.killed:
            found.append(f"{self.killed} workers didn't stop within their grace and were killed")
        if self.peak <= self.worker.replicas.min:
            found.append("it never scaled up")
        if self.final != self.worker.replicas.min:
            found.append(f"it ended with {self.final} pods instead of {self.worker.replicas.min}")
        if self.time_limit is not None:
            found.append(f"the time limit of {self.time_limit:.0f} s was reached")
        return found


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values don't exceed (nearest rank); NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def summary(outcome: Outcome) -> RenderableType:
    """The table, and the explanation of the peak."""
    objective = outcome.worker.objective
    waits = [f"{quantile(outcome.waits, share):.1f}" for share in (0.5, 0.95, 1.0)]
    met = outcome.in_time >= objective.service_level
    table = Table(
        title="What happened", title_justify="left", title_style="bold", show_header=False, width=WIDTH
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("tasks", f"sent {outcome.sent}, done {outcome.done}")
    table.add_row(
        "", Text(f"lost {outcome.lost}, done twice {outcome.done_twice}", _colour(not outcome.lost))
    )
    table.add_row("burst to decision", _seconds(outcome.first_decision, "desired rose"))
    table.add_row("burst to extra pod", _seconds(outcome.first_pod, "its process was started"))
    table.add_row("wait p50 / p95 / max", f"{' / '.join(waits)} s from publish to start")
    table.add_row(
        "objective",
        Text.assemble(
            f"{objective.service_level:.4g} within {objective.wait:g} s: ",
            (f"{outcome.in_time:.4f} {'met' if met else 'missed'}", _colour(met)),
        ),
    )
    table.add_row("peak", f"{outcome.peak} pods of {outcome.worker.replicas.max}, {outcome.final} at the end")
    table.add_row(
        "pod-seconds",
        f"{outcome.pod_seconds:.0f}; always {outcome.worker.replicas.max} pods: {outcome.always_max:.0f} "
        f"({1 - outcome.pod_seconds / outcome.always_max:.0%} saved)",
    )
    if not outcome.peak_why:
        return table
    title = f"Why at the peak, {outcome.peak_at:.0f} s in (celery-scaler explain)"
    return Group(table, "", Text(title, "bold"), *map(_explanation_line, outcome.peak_why))


def _explanation_line(line: str) -> Text:
    """A line of the explanation, wrapped under itself; the sum that decided stands out."""
    is_term = line[2:4] in ("\N{RIGHTWARDS ARROW} ", "  ")
    indent = " " * (TERM_INDENT if is_term else LINE_INDENT)
    wrapped = textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return Text(wrapped, "bold" if "\N{RIGHTWARDS ARROW}" in line else "")


def _seconds(value: float | None, what: str) -> str:
    return "never" if value is None else f"{value:.1f} s ({what})"


def _colour(good: bool) -> str:  # noqa: FBT001 - one meaning, two callers
    return "green" if good else "bold red"
