"""Can a policy survive a declared spike? Deterministic bounds, and the smallest change that helps.

`certify(worker, spike)` answers, `lines` says it, `to_record` writes it down. `spike` holds what is
declared, `growth` the replicas, `fluid` the queue, `waits` who waits how long, `outcome` the verdict,
`fixes` the search.
"""

from scaler.core.feasibility.certificate import Certificate, certify
from scaler.core.feasibility.fixes import Fix, fixes
from scaler.core.feasibility.outcome import Outcome, Problem, outcome
from scaler.core.feasibility.records import to_record
from scaler.core.feasibility.spike import Fault, Flow, Spike, burst, ramp, spread
from scaler.core.feasibility.words import lines

__all__ = [
    "Certificate",
    "Fault",
    "Fix",
    "Flow",
    "Outcome",
    "Problem",
    "Spike",
    "burst",
    "certify",
    "fixes",
    "lines",
    "outcome",
    "ramp",
    "spread",
    "to_record",
]
