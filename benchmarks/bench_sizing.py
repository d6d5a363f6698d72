"""All traces × all controllers: who starts tasks late, who refuses them, and what it costs.

Writes docs/sizing.md and says plainly where this scaler isn't ahead. Deterministic: the same code
gives the same page. `--check` fails if the page isn't what the code gives; trace names as arguments
print their rows alone.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaler.core.decide import WorkerClass
from scaler.policyfile.loading import load_directory_or_file
from scaler.policyfile.traces import load_trace
from scaler.sim.controllers import CONTROLLERS, ControllerSpec, Scaler
from scaler.sim.readings import Meter
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

ROOT = Path(__file__).resolve().parents[1]
TRACES = ROOT / "loadtest" / "traces"
PAGE = ROOT / "docs" / "sizing.md"
POLICY = ROOT / "policies" / "examx.yaml"
#: The traces of the ExamX spike guide's claims first, then those where readings or the cluster misbehave.
ORDER = ("a1", "a2", "a3", "b", "c1", "c2", "c3", "d1", "d2", "d3", "e", "f", "g", "h")
OURS = "scaler"
#: What the fast path wins is chance in one phase of the HPA: bench_fast_path.py plays five.
SHOWN = tuple(name for name in CONTROLLERS if name != "scaler-fast-path")
#: A pod-minute more or less in a hundred is the HPA's phase, not a decision.
SLACK_POD_MINUTES = 0.01


@dataclass(frozen=True)
class Row:
    """What one run comes to."""

    trace: str
    controller: str
    offered: int
    late: int
    rejected: int
    killed: int
    p95: float
    pod_minutes: float
    objective: float

    @property
    def missed(self) -> int:
        """Tasks that somebody is angry about."""
        return self.late + self.rejected


class Trusting(Scaler):
    """This scaler, if it stepped down on the first good readings after a blind spell.

    What the window without a step down costs in a trace is the difference to it.
    """

    def tick(self, meter: Meter, fleet: int, spec: int) -> None:
        """Decide, and forget what forbids a step down."""
        super().tick(meter, fleet, spec)
        self.state = replace(self.state, no_down_until=0.0, no_down_because="")


TRUSTING = ControllerSpec("trusting", "celery-scaler without the window after a blind spell", "", Trusting)


def run(job: tuple[Path, str]) -> Row:
    path, name = job
    return run_trace(load_trace(path), CONTROLLERS[name])


def run_trace(trace: Trace, controller: ControllerSpec) -> Row:
    policy = load_directory_or_file(POLICY, "production", {})["examx"]
    worker_class = trace.spec.worker_class
    subject = WorkerClass("examx", worker_class, policy.spec.workers[worker_class])
    report = simulate(trace, subject, controller, environment="production")
    refused = report.rejected + report.expired + report.lost
    return Row(
        report.trace,
        controller.name,
        report.offered,
        report.waits.late,
        refused,
        report.killed,
        report.waits.p95,
        report.pod_minutes,
        report.objective,
    )


def trace_files(wanted: Sequence[str]) -> list[Path]:
    found = {path.stem: path for path in sorted(TRACES.glob("*.yaml"))}
    ordered = [name for name in ORDER if name in found] + [name for name in found if name not in ORDER]
    unknown = set(wanted) - found.keys()
    if unknown := unknown - {path.stem for path in (TRACES / "fixed").glob("*.yaml")}:
        sys.exit(f"no such trace: {', '.join(sorted(unknown))}; there are {', '.join(ordered)}")
    fixed = [path for path in sorted((TRACES / "fixed").glob("*.yaml")) if path.stem in wanted]
    return [found[name] for name in ordered if not wanted or name in wanted] + fixed


def dominating(rows: Iterable[Row], ours: Row) -> list[Row]:
    """Peers with the same scale-down behavior that are better in something and worse in nothing."""
    found = []
    for row in rows:
        spec = CONTROLLERS[row.controller]
        if not (spec.peer and spec.same_scale_down):
            continue
        pods = ours.pod_minutes * SLACK_POD_MINUTES
        no_worse = (
            row.late <= ours.late
            and row.rejected <= ours.rejected
            and row.pod_minutes <= ours.pod_minutes + pods
        )
        better = (
            row.late < ours.late or row.rejected < ours.rejected or row.pod_minutes < ours.pod_minutes - pods
        )
        if no_worse and better:
            found.append(row)
    return found


def cell(row: Row) -> str:
    return f"{row.late:,} / {row.rejected:,} / {row.pod_minutes:.0f}"


def freed(rows: list[Row]) -> dict[str, Row]:
    """By trace where a peer is better: our row without the window after a blind spell."""
    found = {}
    for path in trace_files([]):
        here = [row for row in rows if row.trace == path.stem]
        if dominating(here, next(row for row in here if row.controller == OURS)):
            found[path.stem] = run_trace(load_trace(path), TRUSTING)
    return found


def page(rows: list[Row], mended: list[Row], free: dict[str, Row]) -> str:
    traces = list(dict.fromkeys(row.trace for row in rows))
    by_key = {(row.trace, row.controller): row for row in rows}
    names = list(SHOWN)
    lines = [
        "# Sizing: every trace, every controller",
        "",
        "Made by `make bench-sizing` (`python benchmarks/bench_sizing.py`); don't edit it by hand.",
        "The traces are in `loadtest/traces/`, each with where its numbers come from; the policy is",
        "`policies/examx.yaml`, production. Every controller meets the same tasks (arrivals and service",
        "times), and the peers' HPA carries the class's own `behavior`; `knative-kpa` and `queue-time` have",
        "scale-down rules of their own and are shown, not compared. `scaler` is the service without a view",
        "of the cluster, `scaler-drain` what `manifests/` run: a step down that would kill tasks waits.",
        "Pods have the grace period that `render` writes, with every controller.",
        "",
        "Cells: tasks that started later than the objective / tasks refused, expired or lost / pod-minutes.",
        "",
        "| trace | tasks | objective | " + " | ".join(names) + " |",
        "|---" * (len(names) + 3) + "|",
    ]
    for trace in traces:
        ours = by_key[trace, OURS]
        cells = [cell(by_key[trace, name]) for name in names]
        lines.append(f"| {trace} | {ours.offered:,} | {ours.objective:g} s | " + " | ".join(cells) + " |")
    sums = {name: [row for row in rows if row.controller == name] for name in names}
    totals = [
        f"{sum(r.late for r in found):,} / {sum(r.rejected for r in found):,} /"
        f" {sum(r.pod_minutes for r in found):.0f}"
        for found in sums.values()
    ]
    lines += [f"| **sum** | | | {' | '.join(totals)} |", ""]
    lines += verdicts(rows, traces, by_key, sums, free)
    lines += ["", "## Where no reaction can help, and the smallest change that does", ""]
    lines.append("From `loadtest/traces/fixed/`, with this scaler; cells as above.")
    lines.append("")
    lines += [f"- {row.trace}: {cell(row)}" for row in mended]
    lines += ["", "## The controllers", ""]
    shown = [CONTROLLERS[name] for name in SHOWN]
    lines += [f"- `{spec.name}`: {spec.title}. Rules: {spec.cite}" for spec in shown]
    return "\n".join(lines) + "\n"


def verdicts(
    rows: list[Row],
    traces: list[str],
    by_key: dict[tuple[str, str], Row],
    sums: dict[str, list[Row]],
    free: dict[str, Row],
) -> list[str]:
    """Where we are ahead and where not, in plain words."""
    lines = ["## What holds and what doesn't", ""]
    lines += ["Why a peer is better: [the sizing engine](sizing-engine.md#where-a-peer-is-better).", ""]
    for trace in traces:
        ours = by_key[trace, OURS]
        here = [row for row in rows if row.trace == trace]
        ahead = dominating(here, ours)
        lines += [
            f"- {trace}: `{row.controller}` is better ({cell(row)} against {cell(ours)})." for row in ahead
        ]
        if ahead and not dominating(here, free[trace]):
            lines.append(
                f"- {trace}: it is the price of the rule that nothing steps down for one stabilization window"
                f" after a blind spell. Played without the rule: {cell(free[trace])}, and no peer is better."
            )
    if len(lines) == 2:
        lines.append("- On no trace is a peer better in one of the three without being worse in another.")
    peers = {
        name: found
        for name, found in sums.items()
        if CONTROLLERS[name].peer and CONTROLLERS[name].same_scale_down
    }
    best = min(peers, key=lambda name: (*_total(peers[name]), name))
    ours_missed, ours_pods = _total(sums[OURS])
    best_missed, best_pods = _total(peers[best])
    goal = 0.9
    lines.append(
        f"- Sum over all traces: {ours_missed:,} tasks late or refused, {ours_pods:.0f} pod-minutes."
        f" The peer with the fewest late or refused tasks (then pod-minutes) is `{best}`: {best_missed:,} and"
        f" {best_pods:.0f}; that is {ours_pods / best_pods:.2f} of its pod-minutes (the goal is {goal:.2f})."
    )
    lines.append(
        f"- Late + refused no more than that peer: {'yes' if ours_missed <= best_missed else 'no'}."
        f" Pod-minutes at most {goal:g} of its: {'yes' if ours_pods <= goal * best_pods else 'no'}."
    )
    return lines


def _total(rows: list[Row]) -> tuple[int, float]:
    return sum(row.missed for row in rows), sum(row.pod_minutes for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", help="only these; prints rows and writes nothing")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is out of date"
    )
    parser.add_argument(
        "--controllers", default="", help="only these, separated by commas; needs trace names"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    names = [name for name in arguments.controllers.split(",") if name] or list(SHOWN)
    jobs = [(path, name) for path in trace_files(arguments.traces) for name in names]
    rows: list[Row] = []
    with multiprocessing.Pool(arguments.jobs) as pool:
        for row in pool.imap(run, jobs):
            rows.append(row)
            print(
                f"{row.trace:<22}{row.controller:<22}{row.late:>8,} late{row.rejected:>9,} refused"
                f"{row.p95:>9.1f} s p95{row.pod_minutes:>8.1f} pod-min{row.killed:>5} killed",
                flush=True,
            )
    if arguments.traces:
        return
    mended = [run((path, OURS)) for path in sorted((TRACES / "fixed").glob("*.yaml"))]
    text = page(rows, mended, freed(rows))
    print(text[text.index("## What holds") : text.index("## The controllers")])
    if arguments.check:
        sys.exit(0 if PAGE.exists() and PAGE.read_text("utf-8") == text else "docs/sizing.md is out of date")
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
