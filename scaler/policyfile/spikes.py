"""Declared spikes: a trace file, or one line such as `worker=io,burst=10000,over=20s`.

What of a trace can't be counted beforehand (retries, hanging tasks, priorities) is named, so that
nobody takes the certificate for one about these.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticCustomError

from scaler.core.feasibility.spike import Fault, FaultKind, Flow, Spike, burst, ramp
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import parse_duration, shown
from scaler.policyfile.diagnostics import did_you_mean
from scaler.policyfile.traces import load_trace
from scaler.sim.trace import Trace, TraceSpec

#: How long (seconds) a spike written in one line is watched after its last task.
AFTERWARDS = 900.0
#: What a line may hold, and what for.
KEYS = {
    "worker": "the worker class",
    "base": "tasks/s before, meanwhile and afterwards",
    "rate": "tasks/s during the spike",
    "for": "how long the rate holds",
    "ramp": "how long it takes to reach the rate",
    "burst": "tasks published besides",
    "over": "how long the burst takes",
    "serviceTime": "seconds that a task takes",
    "cv": "standard deviation ÷ mean of the service time",
    "startupTime": "from creating a pod to its first task",
    "deviations": "standard deviations of chance that are allowed for",
}
EXAMPLE = "worker=io,base=5,burst=10000,over=20s or worker=io,rate=67,for=5m,serviceTime=12s"
#: More tasks, or tasks per second, are a slip of the finger.
_MOST = 100_000_000.0
_FAULTS: dict[str, FaultKind] = {
    "broker-down": "broker-down",
    "broker-dark": "blind",
    "metrics-stale": "blind",
    "workers-lost": "workers-lost",
}


class SpikeError(Exception):
    """A spike can't be used; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A spike for one worker class, what a trace changes about the class, and what isn't counted."""

    worker_class: str
    spike: Spike
    trace: Trace | None = None
    uncounted: tuple[str, ...] = ()

    def applied(self, worker: WorkerPolicy) -> WorkerPolicy:
        """The class of the policy as the trace changes it."""
        if self.trace is None:
            return worker
        spec = self.trace.spec
        changes = {
            name: value
            for name in ("concurrency", "prefetch_multiplier", "acks_late", "replicas")
            if (value := getattr(spec.pods, name)) is not None
        }
        if spec.pods.max_length is not None:
            changes["limits"] = worker.limits.model_copy(update={"max_length": spec.pods.max_length})
        if spec.objective is not None:
            changes["objective"] = worker.objective.model_copy(update={"wait": spec.objective.wait})
        return worker.model_copy(update=changes)


def read_spike(text: str) -> Declared:
    """A spike from the path of a trace file, or from a line of key=value pairs.

    Raises:
        TraceError: with all faults of the file and their places.
        SpikeError: the line can't be used.
    """
    if "=" in text and not Path(text).exists():
        return parse_spike(text)
    return from_trace(load_trace(Path(text)))


def from_trace(trace: Trace) -> Declared:
    """The spike that a trace describes, its random draws replaced by their means."""
    spec = trace.spec
    startup = spec.startup_time
    spike = Spike(
        name=trace.metadata.name,
        flows=tuple(_flows(spec)),
        duration=spec.duration,
        service=tuple((step.at, step.mean) for step in spec.service_time),
        startup=startup,
        variation=max((step.cv for step in spec.service_time), default=1.0),
        faults=tuple(_faults(spec)),
        pods=1 if spec.pods.start is None else spec.pods.start,
    )
    uncounted = {
        "hanging tasks (poison)": spec.poison,
        "retries (failures)": spec.failures,
        "priorities": spec.priorities,
        "announcements": spec.announcements,
        "several scaledObjects": spec.scaled_objects > 1,
        "countdown (taken as due at once)": any(item.countdown for item in spec.arrivals),
    }
    return Declared(
        spec.worker_class, spike, trace, tuple(name for name, there in uncounted.items() if there)
    )


def parse_spike(text: str) -> Declared:
    """The spike in a line of key=value pairs.

    Raises:
        SpikeError: an unknown key, or a value that makes no sense.
    """
    given = _pairs(text)
    _consistent(text, given)
    base, rate, tasks = (_number(given, key) for key in ("base", "rate", "burst"))
    climb, holds, over = (_seconds(given, key) for key in ("ramp", "for", "over"))
    if not base and not rate and not tasks:
        raise SpikeError(f"--spike: nothing is published; write for example {EXAMPLE}")
    end = max(climb + holds, over)
    duration = end + AFTERWARDS
    if "rate" in given:
        flows = [*ramp(0.0, climb, base, rate)] if climb else []
        flows += [Flow(climb, climb + holds, rate), Flow(climb + holds, duration, base)]
    else:
        flows = [Flow(0.0, duration, base)]
    if tasks:
        flows.append(burst(0.0, tasks, over))
    spike = Spike(
        name=text,
        flows=tuple(flows),
        duration=duration,
        service=((0.0, _positive(given, "serviceTime")),) if "serviceTime" in given else (),
        startup=_seconds(given, "startupTime") if "startupTime" in given else None,
        variation=_number(given, "cv") if "cv" in given else 1.0,
        deviations=_number(given, "deviations") if "deviations" in given else 2.0,
        before=base,
    )
    return Declared(given["worker"], spike)


def _consistent(text: str, given: dict[str, str]) -> None:
    if "worker" not in given:
        raise SpikeError(f"--spike {shown(text)} names no worker class; write for example {EXAMPLE}")
    for key, needed in (("rate", "for"), ("for", "rate"), ("ramp", "rate"), ("over", "burst")):
        if key in given and needed not in given:
            raise SpikeError(f"--spike: {key} needs {needed}; write for example {EXAMPLE}")
    if "rate" not in given and "burst" not in given:
        raise SpikeError(f"--spike: neither rate nor burst; write for example {EXAMPLE}")


def _flows(spec: TraceSpec) -> list[Flow]:
    flows: list[Flow] = []
    rates = [item for item in spec.arrivals if item.rate is not None]
    ends = [*(item.at for item in rates[1:]), spec.duration]
    for item, end in zip(rates, ends, strict=False):  # a recording has no rates
        since, rate = item.at, item.rate or 0.0
        if item.to is not None and item.until is not None:
            flows += ramp(since, item.until, rate, item.to)
            since, rate = item.until, item.to
        if since < end:
            flows.append(Flow(since, end, rate))
    flows += [burst(item.at, item.burst, item.over) for item in spec.arrivals if item.burst is not None]
    # A row of a recording counts until the next one; the last row as long as the one before.
    moments = [at for at, _ in spec.recorded]
    last = moments[-1] - moments[-2] if len(moments) > 1 else 1.0
    ends = [*moments[1:], *(at + last for at in moments[-1:])]
    for (start, count), end in zip(spec.recorded, ends, strict=True):
        flows += [burst(start, count, end - start)] if count else []
    return flows


def _faults(spec: TraceSpec) -> list[Fault]:
    faults = []
    for item in spec.faults:
        kind = _FAULTS.get(item.kind)
        if kind is None:
            continue
        lost = kind == "workers-lost"
        faults.append(Fault(item.at, item.at + item.duration, kind, share=item.share, restarted=lost))
    return faults


def _pairs(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not value:
            raise SpikeError(f"--spike: {shown(part)} is no key=value; write for example {EXAMPLE}")
        if key not in KEYS:
            guess = did_you_mean(key, KEYS) or ""
            raise SpikeError(f"--spike: unknown key {shown(key)};{guess} known keys: {', '.join(KEYS)}")
        if key in given:
            raise SpikeError(f"--spike: {key} stands twice; remove one")
        given[key] = value
    return given


def _number(given: dict[str, str], key: str) -> float:
    try:
        number = float(given.get(key, "0"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= _MOST:
        raise SpikeError(
            f"--spike: {key} is {shown(given[key])}; write a number from 0 to {_MOST:,.0f} ({KEYS[key]})"
        )
    return number


def _seconds(given: dict[str, str], key: str) -> float:
    try:
        return parse_duration(given[key]) if key in given else 0.0
    except PydanticCustomError as error:
        raise SpikeError(f"--spike: {key}: {error}") from error


def _positive(given: dict[str, str], key: str) -> float:
    seconds = _seconds(given, key)
    if seconds <= 0:
        raise SpikeError(f"--spike: {key} must be more than 0; write for example {key}=1.5s")
    return seconds
