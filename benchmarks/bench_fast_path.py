"""What the fast path wins: the same traces at five of the HPA's phases, with and without it.

When the HPA looks within its period is chance, and decides how long a spike waits for its pods.
Deterministic. Traces as arguments; without them those of the ExamX guide's two mail spikes.
"""

import sys
from pathlib import Path
from statistics import fmean

from scaler.core.decide import WorkerClass
from scaler.policyfile.loading import load_directory_or_file
from scaler.policyfile.traces import load_trace
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.hpa import SYNC_SECONDS
from scaler.sim.run import simulate

ROOT = Path(__file__).resolve().parents[1]
#: Seconds within the period.
PHASES = range(0, int(SYNC_SECONDS), 3)
NAMES = ("scaler", "scaler-fast-path")


def main() -> None:
    policy = load_directory_or_file(ROOT / "policies" / "examx.yaml", "production", {})["examx"]
    for stem in sys.argv[1:] or ["a2", "a3"]:
        trace = load_trace(ROOT / "loadtest" / "traces" / f"{stem}.yaml")
        name = trace.spec.worker_class
        subject = WorkerClass("examx", name, policy.spec.workers[name])
        for controller in NAMES:
            runs = [
                simulate(trace, subject, CONTROLLERS[controller], sync_phase=float(phase)) for phase in PHASES
            ]
            columns = {
                "late": [float(run.waits.late) for run in runs],
                "refused": [float(run.rejected) for run in runs],
                "p95 wait": [run.waits.p95 for run in runs],
                "max wait": [run.waits.max for run in runs],
                "mean wait": [run.waits.mean for run in runs],
                "pod-minutes": [run.pod_minutes for run in runs],
            }
            told = "  ".join(
                f"{title} {min(found):,.1f}/{fmean(found):,.1f}/{max(found):,.1f}"
                for title, found in columns.items()
            )
            print(f"{stem:<5}{controller:<18}best/mean/worst phase: {told}", flush=True)


if __name__ == "__main__":
    main()
