"""A certificate for programs: plain values, camelCase keys, seconds and tasks, rounded to six digits."""

import math
from typing import Any

from scaler.core.feasibility.certificate import Certificate
from scaler.core.feasibility.fixes import Fix
from scaler.core.feasibility.outcome import Outcome
from scaler.core.feasibility.words import NAMES, lines, remedy


def to_record(certificate: Certificate) -> dict[str, Any]:
    """The certificate as JSON has it; null stands for "never" and "not limited"."""
    spike = certificate.spike
    return {
        "spike": spike.name,
        "safe": certificate.safe,
        "verdict": "SAFE" if certificate.safe else "UNSAFE",
        **_outcome(certificate.outcome),
        "windowSeconds": [_number(edge) for edge in spike.window],
        "serviceTimeSeconds": _number(certificate.service),
        "leadTimeSeconds": _number(certificate.lead),
        "deviations": _number(spike.deviations),
        "fixes": [_fix(certificate, fix) for fix in certificate.fixes],
        "text": list(lines(certificate)),
    }


def _outcome(found: Outcome) -> dict[str, Any]:
    return {
        "problems": [
            {"kind": problem.kind, "atSeconds": _number(problem.at), "tasks": _number(problem.tasks)}
            for problem in found.problems
        ],
        "tasks": _number(found.tasks),
        "worstBacklog": _number(found.worst_backlog),
        "worstBacklogAtSeconds": _number(found.worst_backlog_at),
        "backlogAllowance": _number(found.backlog_allowance),
        "worstWaitSeconds": _number(found.worst_wait),
        "worstWaitAtSeconds": _number(found.worst_wait_at),
        "waitAllowanceSeconds": _number(found.wait_allowance),
        "lateShare": _number(found.late_share),
        "rejected": _number(found.rejected),
        "firstRejectedAtSeconds": _number(found.rejected_at),
        "expired": _number(found.expired),
        "firstExpiredAtSeconds": _number(found.expired_at),
        "lastStartAtSeconds": _number(found.started_at),
        "doneAtSeconds": _number(found.done_at),
        "replicas": [
            {
                "decidedAtSeconds": _number(move.decided),
                "replicas": move.replicas,
                "workingAtSeconds": _number(move.working),
            }
            for move in found.moves
        ],
    }


def _fix(certificate: Certificate, fix: Fix) -> dict[str, Any]:
    return {
        "kind": fix.kind,
        "name": NAMES[fix.kind],
        "present": _number(fix.present),
        "needed": _number(fix.needed),
        "raisesMax": fix.raises_max,
        "lossless": _number(fix.lossless),
        "worstBacklog": _number(fix.outcome.worst_backlog),
        "worstWaitSeconds": _number(fix.outcome.worst_wait),
        "text": remedy(certificate, fix),
    }


def _number(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded
