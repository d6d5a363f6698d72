"""What the ExamX spike guide promises, as spikes. What it leaves open is declared here, and said so."""

from dataclasses import dataclass

from scaler.core.feasibility import Fault, Flow, Spike, burst

#: Seconds of quiet before and after each spike.
QUIET = 300.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise for one worker class, taken as precisely as it can be."""

    section: str
    quote: str
    worker_class: str
    #: What the guide doesn't say and was taken for this certificate.
    taken: str
    spike: Spike
    #: The promised seconds from the spike's beginning until all is done; None: no such promise.
    done_within: float | None = None


def _level(name: str, base: float, peak: float, seconds: float, **more: object) -> Spike:
    flows = (
        Flow(0.0, QUIET, base),
        Flow(QUIET, QUIET + seconds, peak),
        Flow(QUIET + seconds, seconds + 2 * QUIET, base),
    )
    return Spike(name, flows, seconds + 2 * QUIET, **more)  # type: ignore[arg-type]  # passed through


def _dump(name: str, base: float, tasks: int, seconds: float, **more: object) -> Spike:
    flows = (Flow(0.0, 4 * QUIET, base), burst(QUIET, tasks, seconds))
    return Spike(name, flows, 4 * QUIET, **more)  # type: ignore[arg-type]  # passed through


EMAIL = ("Email Campaign Spike", "10,000 emails in 5 minutes … I/O workers scale 1→5 … sent within 3 minutes")
BULK = ("Bulk AI Generation", "500 questions at once … CPU workers scale 1→3 … completes in 15 minutes")
SURGE = ("Mixed Traffic Surge", "5x normal student activity … No performance degradation")
TENFOLD = ("Sudden 10x Traffic Increase", "3-5 minutes: normal operation, spike handled")
COMPLETION = ("Result", "10x traffic spikes with 60-second response time and 99.9% task completion rate")
SLOW = (("12 s per mail (a slow SMTP server)", 12.0), ("1.5 s per mail", 1.5))

OUTAGE = (Fault(QUIET + 120, QUIET + 300, "broker-down"),)

CLAIMS = (
    *(
        Claim(
            *EMAIL,
            "io",
            f"5 mails/s beside, {words}",
            _level(f"email-{seconds:g}s", 5, 5 + 10_000 / 300, 300, service=((0.0, seconds),)),
            180,
        )
        for words, seconds in reversed(SLOW)
    ),
    Claim(
        *EMAIL,
        "io",
        "published as a dump within 20 s, 5 mails/s beside, 1.5 s per mail",
        _dump("email-dump", 5, 10_000, 20),
        180,
    ),
    Claim(
        *COMPLETION,
        "io",
        "12 s per mail, 5 mails/s beside, and the broker is away from 2 to 5 min after the beginning",
        _level("email-outage", 5, 5 + 10_000 / 300, 300, service=((0.0, 12.0),), faults=OUTAGE),
    ),
    *(
        Claim(
            *BULK,
            "cpu",
            f"{seconds:g} s per question, one other task every 20 s",
            _dump(f"bulk-{seconds:g}s", 0.05, 500, 5, service=((0.0, seconds),), variation=0.6),
            900,
        )
        for seconds in (16.0, 18.0, 20.0, 22.0)
    ),
    Claim(*SURGE, "io", "12 → 60 tasks/s for 20 min, 1.5 s each", _level("surge-io", 12, 60, 1200)),
    Claim(*SURGE, "cpu", "0.05 → 0.25 tasks/s for 20 min, 18 s each", _level("surge-cpu", 0.05, 0.25, 1200)),
    Claim(*SURGE, "mixed", "1.2 → 6 tasks/s for 20 min, 4 s each", _level("surge-mixed", 1.2, 6, 1200)),
    Claim(*TENFOLD, "io", "12 → 120 tasks/s for 10 min, 1.5 s each", _level("tenfold-io", 12, 120, 600)),
    Claim(*TENFOLD, "cpu", "0.05 → 0.5 tasks/s for 10 min, 18 s each", _level("tenfold-cpu", 0.05, 0.5, 600)),
    Claim(*TENFOLD, "mixed", "1.2 → 12 tasks/s for 10 min, 4 s each", _level("tenfold-mixed", 1.2, 12, 600)),
)
