"""A hundred random scale-ins with and without regard for running tasks: how many are killed, at what cost.

Each run is a class of its own (slots, task length, spread, grace period, scale-down rules, all drawn from a
seed) whose load rises, falls and goes on at a trickle; the same tasks are played with a scaler that reads no
cluster and with one that does. Prints a table; `--write` puts it into docs/draining.md between its marks.
"""

import argparse
import json
import multiprocessing
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaler.core.decide import WorkerClass
from scaler.core.policy import WorkerPolicy
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "draining.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
#: Scale-ins that are played at least, with drain on.
WANTED = 100


@dataclass(frozen=True)
class Outcome:
    """One run of one controller."""

    downs: int
    killed: int
    pod_minutes: float
    late: int


def scene(seed: int) -> tuple[WorkerPolicy, Trace]:
    """A class and what happens to it."""
    dice = random.Random(seed)
    pool, slots = dice.choice([("prefork", 1), ("prefork", 4), ("threads", 16), ("gevent", 50)])
    mean = dice.choice([2, 8, 20, 60])
    cv = dice.choice([0.3, 0.8, 1.0])
    pods = dice.randint(3, 8)
    busy = 0.7 * pods * slots
    high, low = busy / mean, dice.choice([0.0, 0.05, 0.2]) * busy / mean
    step = dice.choice([("Pods", 1, 30), ("Pods", 2, 60), ("Percent", 50, 30)])
    worker = WorkerPolicy.model_validate_json(
        json.dumps(
            {
                "queues": ["work"],
                "pool": pool,
                "concurrency": slots,
                "acksLate": True,
                "prefetchMultiplier": 1,
                "serviceTime": f"{mean}s",
                "serviceTimeCv": cv,
                "startupTime": "15s",
                "objective": {"wait": "30s"},
                "replicas": {"min": 1, "max": pods + 2},
                "behavior": {
                    "scaleUp": {"policies": [{"type": "Percent", "value": 300, "periodSeconds": 15}]},
                    "scaleDown": {
                        "stabilizationWindowSeconds": dice.choice([60, 120]),
                        "policies": [{"type": step[0], "value": step[1], "periodSeconds": step[2]}],
                    },
                },
            }
        )
    )
    trace: dict[str, Any] = {
        "apiVersion": "scaler/v1",
        "kind": "Trace",
        "metadata": {"name": f"draining-{seed}"},
        "spec": {
            "workerClass": "work",
            "duration": "40m",
            "seed": seed,
            "arrivals": [
                {"at": "0s", "rate": high},
                {"at": "10m", "rate": low},
                {"at": "30m", "rate": 0.0},
            ],
            "serviceTime": [{"at": "0s", "mean": f"{mean}s", "cv": cv}],
            "pods": {"gracePeriod": f"{dice.choice([10, 30, 60])}s", "start": pods},
            "readings": {"broker": dice.choice(["rabbitmq", "redis"])},
        },
    }
    return worker, Trace.model_validate_json(json.dumps(trace))


def play(seed: int) -> tuple[Outcome, Outcome]:
    """(without, with) drain."""
    worker, trace = scene(seed)
    found = []
    for name in ("scaler", "scaler-drain"):
        report = simulate(trace, WorkerClass("random", "work", worker), CONTROLLERS[name])
        found.append(Outcome(report.scale_downs, report.killed, report.pod_minutes, report.waits.late))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/draining.md")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    arguments = parser.parse_args()
    without: list[Outcome] = []
    drained: list[Outcome] = []
    seeds = range(arguments.first, arguments.first + 60)
    with multiprocessing.Pool() as workers:
        for number, (before, after) in enumerate(workers.imap(play, seeds)):
            without.append(before)
            drained.append(after)
            print(f"seed {seeds[number]}: without {before}, with {after}", flush=True)
            if sum(one.downs for one in drained) >= WANTED:
                break
        workers.terminate()
    text = table(without, drained)
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        PAGE.write_text(head + BEGIN + "\n\n" + text + "\n" + END + rest.partition(END)[2], encoding="utf-8")


def table(without: list[Outcome], drained: list[Outcome]) -> str:
    lines = [
        "| | scale-ins | tasks killed | pod-minutes | tasks later than the objective |",
        "|---|---|---|---|---|",
    ]
    for title, runs in (("without the cluster", without), ("with it", drained)):
        downs, killed, late = (
            sum(getattr(one, field) for one in runs) for field in ("downs", "killed", "late")
        )
        lines.append(
            f"| {title} | {downs} | {killed} | {sum(one.pod_minutes for one in runs):.0f} | {late} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
