"""The comparison as JSON: the same bytes for the same policies, traces and controllers."""

import json
from collections.abc import Sequence
from typing import Any

from scaler.policyfile.certificates import Certified
from scaler.simreport.asserts import Verdict
from scaler.simreport.columns import COLUMNS
from scaler.simreport.runs import Run, best, by_trace, harmed

#: As in `Report.to_json`.
DIGITS = 6


def render(
    runs: Sequence[Run], verdicts: Sequence[Verdict] = (), certificates: Sequence[Certified] = ()
) -> str:
    """The whole document, indented, with a newline at its end.

    `runs[].summary` has the figures by the names that assertions use (null where a recording
    doesn't tell them), `runs[].report` everything: points, steps with their reasons, waits.
    """
    top = {id(run) for _, members in by_trace(runs) for run in best(members)}
    document = {
        "apiVersion": "scaler/v1",
        "kind": "SimulationReport",
        "runs": [_run(run, best=id(run) in top) for run in runs],
        "assertions": [
            {
                "assertion": verdict.assertion.text,
                "trace": verdict.run.report.trace,
                "workerClass": verdict.run.report.worker_class,
                "label": verdict.run.label,
                "holds": verdict.holds,
                "measured": verdict.assertion.measured(verdict.run),
            }
            for verdict in verdicts
        ],
        "certificates": [certificate.record() for certificate in certificates],
        "passed": all(verdict.holds for verdict in verdicts),
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _run(run: Run, *, best: bool) -> dict[str, Any]:
    report = run.report
    summary: dict[str, float | None] = {
        column.name: None if column.name in run.unknown else round(column.value(report), DIGITS)
        for column in COLUMNS
    }
    summary["harmed"] = None if run.unknown else harmed(report)
    return {"label": run.label, "best": best, "summary": summary, "report": report.to_json()}
