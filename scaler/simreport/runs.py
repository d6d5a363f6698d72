"""One simulated (or recorded) run beside its rivals, and which of them did best."""

from collections.abc import Sequence
from dataclasses import dataclass

from scaler.sim.report import Report

#: Controller name of what really happened, in replays.
RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Run:
    """A report with the name under which it stands in a comparison."""

    #: What tells it from the other runs of its trace: a controller, a policy, or both.
    label: str
    report: Report
    #: Names of columns that this run can't know (a recording doesn't tell each task's wait).
    unknown: frozenset[str] = frozenset()


def harmed(report: Report) -> int:
    """Tasks that the objective, a limit, the TTL or a kill hit, or that were left at the end."""
    return report.waits.late + report.rejected + report.expired + report.lost + report.unfinished


def best(runs: Sequence[Run]) -> list[Run]:
    """The runs with the fewest harmed tasks, among these those with the fewest pod-minutes.

    None where all are equal. Recordings don't compete: they don't know what was late.
    """
    ranks = {
        number: (harmed(run.report), round(run.report.pod_minutes, 6))
        for number, run in enumerate(runs)
        if not run.unknown
    }
    if len(set(ranks.values())) < 2:  # noqa: PLR2004 - one rank is no ranking
        return []
    return [runs[number] for number, rank in ranks.items() if rank == min(ranks.values())]


def by_trace(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """The runs gathered by trace and worker class, in the order in which they came."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.report.trace, run.report.worker_class), []).append(run)
    return [(trace, members) for (trace, _), members in groups.items()]
