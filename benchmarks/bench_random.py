"""Traces that nobody has tuned for: random classes, shapes, loads, objectives and starts; all controllers.

`bench_sizing.py` plays the traces that the engine was made with. These come from dice: a class of the ExamX
policy or one of another size, a baseline, a spike of one of six shapes up to 90 % of what all pods can do,
pods that start sooner or later than the policy says. Writes docs/sizing-random.md: the sums, how often which
controller is better in something and worse in nothing, and every run in which that is a peer. Deterministic.
"""

import argparse
import json
import math
import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from bench_seeds import NAMES, summed
from bench_sizing import OURS, ROOT, SLACK_POD_MINUTES, Row, cell, dominating, run_trace

from scaler.sim.controllers import CONTROLLERS
from scaler.sim.trace import Trace

PAGE = ROOT / "docs" / "sizing-random.md"
#: Slots, most pods and objective (s) of the ExamX classes, and service times (s) to choose from.
CLASSES = {
    "io": (200, 5, 60, (0.5, 1.5, 3.0, 12.0)),
    "cpu": (4, 3, 600, (5.0, 18.0, 60.0)),
    "mixed": (16, 2, 120, (1.0, 4.0, 10.0)),
}
#: Longer ones would take minutes each.
MOST_TASKS = 250_000
MOST_BURST = 20_000
Arrivals = list[dict[str, float | int]]


@dataclass(frozen=True)
class Spike:
    """Tasks/s before and in it, and when (s) it begins and how long a plain one lasts."""

    base: float
    peak: float
    at: int
    long: int
    dice: Random


def step(spike: Spike) -> tuple[Arrivals, int]:
    end = spike.at + spike.long
    return [{"at": spike.at, "rate": spike.peak}, {"at": end, "rate": spike.base}], end


def ramp(spike: Spike) -> tuple[Arrivals, int]:
    top = spike.at + spike.long
    up: dict[str, float | int] = {"at": spike.at, "rate": spike.base, "to": spike.peak, "until": top}
    return [up, {"at": top, "rate": spike.peak}, {"at": top + 600, "rate": spike.base}], top + 600


def burst(spike: Spike) -> tuple[Arrivals, int]:
    """As many tasks as the peak would bring in one to ten minutes, within a minute at the most."""
    count = max(5, min(MOST_BURST, int(spike.peak * spike.dice.choice([60, 120, 600]))))
    over = spike.dice.choice([1, 10, 60])
    return [{"at": spike.at, "burst": count, "over": over}], spike.at + spike.long


def flap(spike: Spike) -> tuple[Arrivals, int]:
    """Four spikes of two minutes."""
    found: Arrivals = []
    at = spike.at
    for _ in range(4):
        found += [{"at": at, "rate": spike.peak}, {"at": at + 120, "rate": spike.base}]
        at += spike.dice.choice([300, 600])
    return found, at


def twice(spike: Spike) -> tuple[Arrivals, int]:
    first, end = step(spike)
    second, last = step(replace(spike, peak=0.7 * spike.peak, at=end + 900))
    return [*first, *second], last


def wave(spike: Spike) -> tuple[Arrivals, int]:
    """An hour up and down in steps of five minutes."""
    height, end = spike.peak - spike.base, spike.at + 3600
    found: Arrivals = [
        {
            "at": spike.at + 300 * number,
            "rate": spike.base + height * (0.5 - 0.5 * math.cos(number / 6 * math.pi)),
        }
        for number in range(12)
    ]
    return [*found, {"at": end, "rate": spike.base}], end


SHAPES: dict[str, Callable[[Spike], tuple[Arrivals, int]]] = {
    found.__name__: found for found in (step, ramp, burst, flap, twice, wave)
}


def random_trace(number: int, attempt: int = 0) -> tuple[Trace, str]:
    """The trace of that number, and its shape; the same one each time."""
    dice = Random(f"{number}:{attempt}")
    name = dice.choice(list(CLASSES))
    slots, most, wait, seconds = CLASSES[name]
    own_size = dice.random() < 0.4
    if own_size:
        slots, most = dice.choice([4, 8, 16, 50]), dice.choice([6, 10, 20, 30])
    if dice.random() < 0.5:
        wait = dice.choice([30, 60, 120, 300, 600])
    mean = dice.choice(seconds)
    pod = slots / mean
    peak = min(dice.choice([1.1, 1.5, 2, 3, 5]) * pod, 0.9 * most * pod)
    base = min(dice.choice([0.1, 0.3, 0.5, 0.8]) * pod, 0.5 * peak)
    shape = dice.choice(list(SHAPES))
    at, long = 60 * dice.choice([5, 10]), 60 * dice.choice([2, 5, 10, 20, 40])
    arrivals, end = SHAPES[shape](Spike(base, peak, at, long, dice))
    arrivals = [{"at": 0, "rate": base}, *arrivals, {"at": end + 900, "rate": 0}]
    spec = {
        "workerClass": name,
        "duration": f"{end + 3900}s",
        "seed": number,
        "objective": {"wait": f"{wait}s"},
        "arrivals": [
            {key: value if key in {"rate", "to", "burst"} else f"{value}s" for key, value in arrival.items()}
            for arrival in arrivals
        ],
        "serviceTime": [{"at": "0s", "mean": f"{mean}s", "cv": dice.choice([0.3, 0.8, 1.0, 1.3])}],
        "startupTime": f"{dice.choice([10, 25, 45, 90])}s",
        "readings": {"broker": dice.choice(["rabbitmq", "redis"])},
    }
    if own_size:
        start = math.ceil(base / pod / 0.85)
        spec["pods"] = {"concurrency": slots, "replicas": {"min": 1, "max": most}, "start": start}
    if peak * (end - at) > MOST_TASKS:
        return random_trace(number, attempt + 1)
    document = {
        "apiVersion": "scaler/v1",
        "kind": "Trace",
        "metadata": {"name": f"random-{number}"},
        "spec": spec,
    }
    return Trace.model_validate_json(json.dumps(document)), shape


def run(job: tuple[int, str]) -> tuple[int, str, Row]:
    number, controller = job
    trace, shape = random_trace(number)
    return number, shape, run_trace(trace, CONTROLLERS[controller])


def beats(row: Row, other: Row) -> bool:
    """Whether it is better in one of the three (pod-minutes: by more than 1 %) and worse in none."""
    slack = SLACK_POD_MINUTES * other.pod_minutes
    gains = (
        other.late - row.late,
        other.rejected - row.rejected,
        (other.pod_minutes - row.pod_minutes) if abs(other.pod_minutes - row.pod_minutes) > slack else 0.0,
    )
    return min(gains) >= 0 and max(gains) > 0


def page(found: list[tuple[int, str, Row]], count: int) -> str:
    shapes = {number: shape for number, shape, _ in found}
    runs = {(number, row.controller): row for number, _, row in found}
    peers = [name for name in NAMES if name != OURS]
    lines = [
        "# Sizing on random traces",
        "",
        "Made by `make bench-sizing-random` (`python benchmarks/bench_random.py`); don't edit it by hand.",
        f"{count} traces from dice: classes of the ExamX policy and of other sizes, spikes of six",
        "shapes up to 90 % of what all pods can do, objectives of 30 s to 10 min, pods that start in",
        "10 to 90 s while the policy says 45 s, service times that the policy has wrong. Where the",
        "objective is shorter than a pod's start, nothing that reacts can keep it. Controllers and",
        "cells as in [sizing](sizing.md).",
        "",
        "| controller | late / refused / pod-minutes | here `scaler` is better | and here it is |",
        "|---|---|---|---|",
    ]
    for name in NAMES:
        rows = [runs[number, name] for number in range(count)]
        if name == OURS:
            lines.append(f"| `{name}` | {summed(rows)} | | |")
            continue
        pairs = [(runs[number, OURS], runs[number, name]) for number in range(count)]
        won, lost = sum(beats(a, b) for a, b in pairs), sum(beats(b, a) for a, b in pairs)
        lines.append(f"| `{name}` | {summed(rows)} | {won} | {lost} |")
    ahead = {n: dominating([runs[n, name] for name in peers], runs[n, OURS]) for n in range(count)}
    lost_runs = [number for number, rows in ahead.items() if rows]
    kinds = Counter(shapes[number] for number in lost_runs)
    told = ", ".join(f"{shape} {times}" for shape, times in sorted(kinds.items()))
    lines += [
        "",
        "Better: in one of the three (pod-minutes: by more than 1 %), and worse in none. The rest is",
        "even, or one is better in one and the other in another.",
        "",
        f"In {len(lost_runs)} of {count} runs at least one peer is better ({told}):",
        "",
    ]
    for number in lost_runs:
        best = ", ".join(f"`{row.controller}` {cell(row)}" for row in ahead[number])
        lines.append(f"- {number} ({shapes[number]}): {cell(runs[number, OURS])}; {best}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=40, help="traces; fewer print the page and write nothing"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    jobs = [(number, name) for number in range(arguments.count) for name in NAMES]
    with multiprocessing.Pool(arguments.jobs, maxtasksperchild=50) as pool:
        found = list(pool.imap_unordered(run, jobs, chunksize=1))
    text = page(found, arguments.count)
    print(text)
    if arguments.count == parser.get_default("count"):
        PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
