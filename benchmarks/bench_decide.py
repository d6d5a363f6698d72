"""Decisions per second of the pure core, beside what a tick of a large installation needs.

Prints the time of one decision for a quiet class, a class in a burst, and the same burst without
the history of a 15 min window; ratios within this run are what to compare, not absolute times.
"""

import json
import time

from scaler.core.decide import WorkerClass, decide
from scaler.core.observation import Observation, QueueReading
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState

ROUNDS, TICKS = 5, 1500
WORKER = WorkerPolicy.model_validate_json(
    json.dumps(
        {
            "queues": ["email"],
            "concurrency": 200,
            "acksLate": True,
            "serviceTime": "12s",
            "replicas": {"min": 1, "max": 50},
            "behavior": {
                "scaleUp": {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}]},
                "scaleDown": {
                    "stabilizationWindowSeconds": 900,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}],
                },
            },
        }
    )
)


def play(levels: list[int]) -> float:
    """Seconds per decision over a story of one reading a second."""
    subject, state = WorkerClass("bench", "io", WORKER), WorkerState()
    began = time.perf_counter()
    for second, level in enumerate(levels):
        now = 1_800_000_000.0 + second
        queue = QueueReading("email", level, min(level, 200), 0, 1)
        state, _ = decide(subject, state, Observation(now, (queue,)), now)
    return (time.perf_counter() - began) / len(levels)


def main() -> None:
    """Print medians of several rounds, the stories taking turns."""
    stories = {
        "quiet": [0] * TICKS,
        "burst, then falling": [max(0, 9000 - 6 * second) for second in range(TICKS)],
        "noisy": [(second * 7919) % 500 for second in range(TICKS)],
    }
    times: dict[str, list[float]] = {name: [] for name in stories}
    for _ in range(ROUNDS):
        for name, levels in stories.items():
            times[name].append(play(levels))
    quiet = sorted(times["quiet"])[ROUNDS // 2]
    print(f"{'story':<22}{'µs per decision':>16}{'to quiet':>10}{'classes per second and core':>30}")
    for name, found in times.items():
        median = sorted(found)[ROUNDS // 2]
        print(f"{name:<22}{median * 1e6:>16.0f}{median / quiet:>10.2f}{1 / median:>30.0f}")


if __name__ == "__main__":
    main()
