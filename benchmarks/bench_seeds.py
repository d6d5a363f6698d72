"""The traces of the spike guide with other dice and other numbers: does the lead hold out of sample?

Each trace is played with seeds 2 to 6, and with seed 1 while one number is changed for all of it:
rates, service times, the pods' start. Writes docs/sizing-robustness.md: the sums of each variation, and
every run in which a peer with the same scale-down behavior is better in something and worse in nothing.
Deterministic, like `bench_sizing.py`, whose rules of comparison it uses.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench_sizing import ORDER, OURS, ROOT, TRACES, Row, cell, dominating, run_trace

from scaler.policyfile.traces import load_trace
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.trace import ServiceTime, Trace, TraceSpec

PAGE = ROOT / "docs" / "sizing-robustness.md"
#: What a variation changes about a trace.
Change = Callable[[TraceSpec], dict[str, object]]


def seeded(seed: int) -> Change:
    return lambda _: {"seed": seed}


def busier(factor: float) -> Change:
    """Rates and bursts, all of them."""

    def change(spec: TraceSpec) -> dict[str, object]:
        arrivals = tuple(
            arrival.model_copy(
                update={
                    "rate": None if arrival.rate is None else arrival.rate * factor,
                    "to": None if arrival.to is None else arrival.to * factor,
                    "burst": None if arrival.burst is None else max(1, round(arrival.burst * factor)),
                }
            )
            for arrival in spec.arrivals
        )
        return {"arrivals": arrivals}

    return change


def longer(factor: float) -> Change:
    """Service times; every trace here has its own."""

    def change(spec: TraceSpec) -> dict[str, object]:
        rules: tuple[ServiceTime, ...] = spec.service_time
        return {"service_time": tuple(rule.model_copy(update={"mean": rule.mean * factor}) for rule in rules)}

    return change


def starting(seconds: float) -> Change:
    return lambda _: {"startup_time": seconds}


VARIATIONS: dict[str, Change] = {
    **{f"seed {seed}": seeded(seed) for seed in range(2, 7)},
    "rates × 0.7": busier(0.7),
    "rates × 1.3": busier(1.3),
    "service time × 0.7": longer(0.7),
    "service time × 1.5": longer(1.5),
    "pods start in 20 s": starting(20.0),
    "pods start in 90 s": starting(90.0),
}
NAMES = [name for name, spec in CONTROLLERS.items() if name == OURS or (spec.peer and spec.same_scale_down)]


def varied(name: str, variation: str) -> Trace:
    trace = load_trace(TRACES / f"{name}.yaml")
    update = VARIATIONS[variation](trace.spec)
    return trace.model_copy(update={"spec": trace.spec.model_copy(update=update)})


def run(job: tuple[str, str, str]) -> tuple[str, Row]:
    name, variation, controller = job
    return variation, replace(run_trace(varied(name, variation), CONTROLLERS[controller]), trace=name)


def page(rows: list[tuple[str, Row]], traces: list[str]) -> str:
    lines = [
        "# Sizing with other dice and other numbers",
        "",
        "Made by `make bench-sizing-seeds` (`python benchmarks/bench_seeds.py`); don't edit it by hand.",
        f"The traces {', '.join(f'`{name}`' for name in traces)} of [sizing](sizing.md),",
        "which have seed 1, played with seeds 2 to 6, and with seed 1 and one number changed. The engine and",
        "its defaults are the same everywhere. Controllers and cells as there: late / refused, expired or",
        "lost / pod-minutes, summed over the traces.",
        "",
        "| variation | " + " | ".join(NAMES) + " |",
        "|---" * (len(NAMES) + 1) + "|",
    ]
    total: dict[str, list[Row]] = {name: [] for name in NAMES}
    for variation in VARIATIONS:
        cells = []
        for name in NAMES:
            found = [row for told, row in rows if told == variation and row.controller == name]
            total[name] += found
            cells.append(summed(found))
        lines.append(f"| {variation} | {' | '.join(cells)} |")
    lines.append(f"| **sum** | {' | '.join(summed(found) for found in total.values())} |")
    lines += ["", "## Where a peer is better", ""]
    worse: list[str] = []
    for variation in VARIATIONS:
        for trace in traces:
            here = [row for told, row in rows if told == variation and row.trace == trace]
            ours = next(row for row in here if row.controller == OURS)
            ahead = dominating(here, ours)
            if ahead:
                peers = ", ".join(f"`{row.controller}` {cell(row)}" for row in ahead)
                worse.append(f"- {trace}, {variation}: {cell(ours)}; {peers}.")
    runs = len(VARIATIONS) * len(traces)
    lines.append(
        f"In {len(worse)} of {runs} runs a peer is better in one of the three (pod-minutes: by more than 1 %)"
        " and worse in none:"
        if worse
        else f"In none of {runs} runs."
    )
    return "\n".join([*lines, "", *worse]).rstrip() + "\n"


def summed(found: list[Row]) -> str:
    late, refused = sum(row.late for row in found), sum(row.rejected for row in found)
    return f"{late:,} / {refused:,} / {sum(row.pod_minutes for row in found):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", help="only these; prints the page and writes nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    traces = arguments.traces or list(ORDER)
    jobs = [(trace, variation, name) for variation in VARIATIONS for trace in traces for name in NAMES]
    with multiprocessing.Pool(arguments.jobs) as pool:
        rows = pool.map(run, jobs, chunksize=1)
    text = page(rows, traces)
    print(text)
    if not arguments.traces:
        Path(PAGE).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
