"""How much faster than real time the simulator is, with 200,000 tasks on pods of 200 slots.

The bar is 100 times. Most of the time of our own controller is `decide`, once per simulated second.
"""

import json
import time
from pathlib import Path

from scaler.core.decide import WorkerClass
from scaler.policyfile.loading import load_directory_or_file
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.run import simulate
from scaler.sim.trace import Trace

POLICY = Path(__file__).resolve().parents[1] / "policies" / "examx.yaml"
BAR = 100


def main() -> None:
    """Print speed by controller."""
    trace = Trace.model_validate_json(
        json.dumps(
            {
                "apiVersion": "scaler/v1",
                "kind": "Trace",
                "metadata": {"name": "bench"},
                "spec": {
                    "workerClass": "io",
                    "duration": "60m",
                    "arrivals": [{"at": "0s", "rate": 20, "to": 95, "until": "50m"}],
                    "serviceTime": [{"mean": "6s", "cv": 1.0}],
                },
            }
        )
    )
    policy = load_directory_or_file(POLICY, "production", {})["examx"]
    subject = WorkerClass("examx", "io", policy.spec.workers["io"])
    print(f"{'controller':<22}{'tasks':>9}{'seconds':>9}{'× real time':>13}{'tasks/s':>10}")
    for name in ("scaler", "keda-rabbitmq-slots", "knative-kpa"):
        began = time.process_time()
        report = simulate(trace, subject, CONTROLLERS[name])
        took = time.process_time() - began
        speed = report.duration / took
        print(f"{name:<22}{report.offered:>9,}{took:>9.2f}{speed:>13,.0f}{report.offered / took:>10,.0f}")
        if speed < BAR:
            raise SystemExit(f"slower than {BAR} times real time")


if __name__ == "__main__":
    main()
