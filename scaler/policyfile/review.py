"""All that can be said about the policies of a file or folder: faults, traps, and what they come to.

Asked about no environment in particular, it looks at the spec as it stands and at every
environment, and says of each only what the spec alone doesn't already say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scaler.core.policy import WorkerPolicy
from scaler.policyfile.conflicts import conflicts
from scaler.policyfile.diagnostics import Diagnostic, Finding
from scaler.policyfile.documents import Document, View
from scaler.policyfile.loading import read_documents
from scaler.policyfile.traps import traps


@dataclass(frozen=True, slots=True)
class ClassView:
    """A worker class as one environment sees it; None is the spec as it stands."""

    policy: str
    environment: str | None
    name: str
    worker: WorkerPolicy


@dataclass(slots=True)
class Review:
    """What was found, in the order of the files."""

    errors: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)
    classes: list[ClassView] = field(default_factory=list)


def review(path: Path, environment: str | None, env: Mapping[str, str]) -> Review:
    """Everything about the policies at a path.

    Args:
        path: a file or a folder.
        environment: the only one to look at; None for all of them and the spec itself.
        env: variables for `${VAR}`.

    Raises:
        PolicyPathError: there is nothing to read.
    """
    documents, faults = read_documents(path)
    found = Review(errors=sorted(faults))
    said = _Said()
    for each in [environment] if environment else [None, *_environments(documents)]:
        seen = [
            document.view(each, env)
            for document in documents
            if environment or each is None or each in document.environments
        ]
        _add(found, said, seen, each)
    return found


def _environments(documents: Sequence[Document]) -> list[str]:
    return list(dict.fromkeys(name for document in documents for name in document.environments))


@dataclass(slots=True)
class _Said:
    """What needn't be said again for the next environment."""

    findings: set[tuple[str, Finding]] = field(default_factory=set)
    traps: set[tuple[str, int, int, str]] = field(default_factory=set)
    classes: dict[tuple[str, str], WorkerPolicy] = field(default_factory=dict)


def _add(found: Review, said: _Said, views: Sequence[View], environment: str | None) -> None:
    faults = [(view, finding) for view in views for finding in view.findings]
    fresh: set[Diagnostic] = set()
    for view, finding in (*faults, *conflicts(views)):
        if (view.file, finding) not in said.findings:
            said.findings.add((view.file, finding))
            fresh.add(finding.diagnostic(view.file, environment))
    found.errors += sorted(fresh)
    for view in views:
        if view.policy is None:
            continue
        for trap in traps(view.policy, view.root):
            place = trap.finding.place
            if (key := (view.file, place.line, place.column, trap.kind)) not in said.traps:
                said.traps.add(key)
                finding = Finding(place, f"warning: {trap.finding.message}")
                found.warnings.append(finding.diagnostic(view.file, environment))
        for name, worker in view.policy.spec.workers.items():
            if said.classes.get((view.file, name)) != worker:
                said.classes.setdefault((view.file, name), worker)
                found.classes.append(ClassView(view.policy.metadata.name, environment, name, worker))
    found.warnings.sort()
