"""From what was asked for to the list of simulations: policies × traces (or recordings) × controllers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaler.core.decide import WorkerClass
from scaler.core.feasibility import certify
from scaler.policyfile import load_directory_or_file
from scaler.policyfile.certificates import Certified
from scaler.policyfile.diagnostics import did_you_mean
from scaler.policyfile.spikes import from_trace
from scaler.policyfile.traces import load_trace
from scaler.sim.controllers import CONTROLLERS
from scaler.sim.load import TraceTooLargeError
from scaler.sim.run import simulate
from scaler.sim.trace import Trace
from scaler.simreport.recording import RecordingError, Track, read_recording
from scaler.simreport.replay import recorded_run, trace_of
from scaler.simreport.runs import Run

#: Who decides where nobody is named.
DEFAULT = "scaler"
_YAML = (".yaml", ".yml")


class PlanError(Exception):
    """What was asked for can't be simulated; the text says what to ask for."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `simulate`."""

    policy: Path | None
    environment: str | None
    traces: Sequence[Path]
    replays: Sequence[Path]
    controllers: Sequence[str]
    compare: Sequence[str]


@dataclass(frozen=True, slots=True)
class Planned:
    """One simulation that is still to be made."""

    title: str
    run: Callable[[], Run]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be simulated, in the order of the report."""

    steps: tuple[Planned, ...]
    controllers: tuple[str, ...]
    #: What the reader should know about all of it.
    notes: tuple[str, ...] = ()
    #: For each trace and policy, what can be said without a simulation.
    certificates: tuple[Certified, ...] = ()


@dataclass(frozen=True, slots=True)
class _Variant:
    """A set of worker classes under a name that tells it from the other policies."""

    label: str
    classes: Mapping[str, WorkerClass]
    source: str


def make_plan(request: Request, env: Mapping[str, str]) -> Plan:
    """Read everything that is named, so that faults show before the first simulation.

    Raises:
        PlanError: an option names what doesn't exist, or the options don't go together.
        PolicyError: with the faults of a policy or a trace.
    """
    names, files = _compared(request)
    controllers = tuple(dict.fromkeys([*request.controllers, *names])) or (DEFAULT,)
    unknown = [name for name in controllers if name not in CONTROLLERS]
    if unknown:
        hint = did_you_mean(unknown[0], CONTROLLERS)
        raise PlanError(f"unknown controller {unknown[0]!r};{hint} known: {', '.join(CONTROLLERS)}")
    if bool(request.traces) == bool(request.replays):
        raise PlanError("name either traces (--trace FILE) or recordings (--replay FILE|FOLDER)")
    paths = [*([request.policy] if request.policy else []), *files]
    if not paths and not request.replays:
        raise PlanError("a policy is missing; name one: --policy policies/examx.yaml")
    variants = _named([_variant(path, request.environment, env) for path in paths])
    if request.replays:
        return _replays(request, variants, controllers)
    traces = [(load_trace(path), str(path)) for path in _trace_files(request.traces)]
    steps = [
        step
        for trace, source in traces
        for step in _simulations(trace, source, variants, controllers, request.environment)
    ]
    certificates = [
        _certified(trace, variant, request.environment) for trace, _ in traces for variant in variants
    ]
    return Plan(tuple(steps), controllers, certificates=tuple(certificates))


def _compared(request: Request) -> tuple[list[str], list[Path]]:
    """The controllers and the policy files among what `--compare` names."""
    names: list[str] = []
    files: list[Path] = []
    for word in (part.strip() for text in request.compare for part in text.split(",")):
        path = Path(word)
        if word in CONTROLLERS or not word:
            names += [word] if word else []
        elif path.suffix in _YAML or path.exists():
            files.append(path)
        else:
            hint = did_you_mean(word, CONTROLLERS)
            known = ", ".join(CONTROLLERS)
            raise PlanError(f"--compare {word!r} is no policy file and no controller;{hint} known: {known}")
    return names, files


def _variant(path: Path, environment: str | None, env: Mapping[str, str]) -> _Variant:
    policies = load_directory_or_file(path, environment, env)
    if len(policies) != 1:
        raise PlanError(f"{path} holds {len(policies)} policies; name the file of one")
    ((name, policy),) = policies.items()
    classes = {key: WorkerClass(name, key, worker) for key, worker in policy.spec.workers.items()}
    return _Variant(name, classes, str(path))


def _named(variants: Sequence[_Variant]) -> list[_Variant]:
    """With labels that differ: two files of one policy are told apart by their paths."""
    labels = [variant.label for variant in variants]
    if len(set(labels)) == len(labels):
        return list(variants)
    paths = [variant.source for variant in variants]
    if len(set(paths)) < len(paths):
        raise PlanError("a policy is compared with itself; name another file")
    stems = [Path(path).stem for path in paths]
    chosen = stems if len(set(stems)) == len(stems) else paths
    return [replace(variant, label=label) for variant, label in zip(variants, chosen, strict=True)]


def _trace_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        members = sorted(file for file in path.iterdir() if file.suffix in _YAML and file.is_file())
        if not members:
            raise PlanError(f"no trace in {path}; traces end in .yaml")
        found += members
    return list(dict.fromkeys(found))


def _simulations(
    trace: Trace,
    source: str,
    variants: Sequence[_Variant],
    controllers: Sequence[str],
    environment: str | None,
) -> Iterator[Planned]:
    for variant in variants:
        subject = variant.classes.get(trace.spec.worker_class)
        if subject is None:
            known = ", ".join(variant.classes)
            raise PlanError(
                f"{source} is for the worker class {trace.spec.worker_class!r},"
                f" which {variant.source} doesn't have; it has: {known}"
            )
        for controller in controllers:
            parts = [variant.label] if len(variants) > 1 else []
            parts += [controller] if len(controllers) > 1 or not parts else []
            yield _planned(trace, subject, controller, " · ".join(parts), environment)


def _certified(trace: Trace, variant: _Variant, environment: str | None) -> Certified:
    declared = from_trace(trace)
    worker = declared.applied(variant.classes[declared.worker_class].worker)
    certificate = certify(worker, declared.spike)
    return Certified(variant.label, environment, declared.worker_class, certificate, declared.uncounted)


def _planned(
    trace: Trace, subject: WorkerClass, controller: str, label: str, environment: str | None
) -> Planned:
    def run() -> Run:
        try:
            report = simulate(trace, subject, CONTROLLERS[controller], environment=environment or "")
        except TraceTooLargeError as error:
            raise PlanError(f"trace {trace.metadata.name}: {error}") from error
        return Run(label, report)

    return Planned(f"{trace.metadata.name}, {label}", run)


def _replays(request: Request, variants: Sequence[_Variant], controllers: Sequence[str]) -> Plan:
    steps: list[Planned] = []
    notes: list[str] = []
    for path in request.replays:
        try:
            tracks = read_recording(path)
        except RecordingError as error:
            raise PlanError(str(error)) from error
        wanted = [t for t in tracks if not variants or any(t.worker_class in v.classes for v in variants)]
        if not wanted:
            known = ", ".join(sorted({track.worker_class for track in tracks}))
            raise PlanError(f"no policy has a worker class of the recording {path}; it has: {known}")
        for track in wanted:
            made = _replay(track, variants, controllers, request.environment)
            steps += made.steps
            notes += made.notes
    return Plan(tuple(steps), tuple(controllers), tuple(dict.fromkeys(notes)))


def _replay(
    track: Track, variants: Sequence[_Variant], controllers: Sequence[str], environment: str | None
) -> Plan:
    """What happened, what the recorded policy makes of it in the simulator, and what the others would."""
    subjects = [(v.label, v.classes[track.worker_class]) for v in variants if track.worker_class in v.classes]
    if track.worker is not None:
        own = WorkerClass(track.policy, track.worker_class, track.worker)
        if not any(subject.worker == track.worker for _, subject in subjects):
            subjects.insert(0, ("recorded policy", own))
    if not subjects:
        raise PlanError(
            f"the recording of {track.worker_class} doesn't hold its policy; name one: --policy FILE"
        )
    trace, notes = trace_of(track)
    reference = subjects[0][1].worker
    run = recorded_run(track, trace, reference, environment or "")
    steps = [Planned(f"{trace.metadata.name}, as recorded", lambda: run)]
    for label, subject in subjects:
        for controller in controllers:
            name = f"{label} · {controller}"
            steps.append(_planned(trace, subject, controller, name, environment))
    return Plan(tuple(steps), tuple(controllers), tuple(notes))
