"""Certificates with the names of policy and class: does a policy survive a declared spike?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaler.core.feasibility import Certificate, certify, lines, to_record
from scaler.policyfile import PolicyError
from scaler.policyfile.review import ClassView
from scaler.policyfile.spikes import Declared, SpikeError, read_spike


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with the names of what it is about."""

    policy: str
    environment: str | None
    worker_class: str
    certificate: Certificate
    uncounted: tuple[str, ...]

    def text(self) -> list[str]:
        """Lines for people."""
        place = f" ({self.environment})" if self.environment else ""
        said = [
            f"{self.policy}/{self.worker_class}{place}: {line}" for line in [next(lines(self.certificate))]
        ]
        said += list(lines(self.certificate))[1:]
        if self.uncounted:
            said.append(f"  not counted: {', '.join(self.uncounted)}")
        return said

    def brief(self) -> list[str]:
        """The verdict alone, and where it is UNSAFE what would mend it."""
        if self.certificate.safe:
            return self.text()[:1]
        return [line for line in self.text() if not line.startswith(("  lead time", "  bound", "  replicas"))]

    def record(self) -> dict[str, Any]:
        """Values for programs."""
        names = {
            "policy": self.policy,
            "environment": self.environment,
            "workerClass": self.worker_class,
            "notCounted": list(self.uncounted),
        }
        return {**names, **to_record(self.certificate)}


def read_spikes(texts: Sequence[str]) -> tuple[list[Declared], list[str]]:
    """The declared spikes, and what is wrong with those that can't be used."""
    declared, faults = [], []
    for text in texts:
        try:
            declared.append(read_spike(text))
        except PolicyError as error:
            faults += [str(diagnostic) for diagnostic in error.diagnostics]
        except SpikeError as error:
            faults.append(str(error))
    return declared, faults


def certify_all(
    classes: Sequence[ClassView], spikes: Sequence[Declared]
) -> tuple[list[Certified], list[str]]:
    """A certificate for each spike and each class of its name, and what is wrong with the spikes."""
    found, faults = [], []
    for declared in spikes:
        meant = [view for view in classes if view.name == declared.worker_class]
        if not meant:
            known = ", ".join(dict.fromkeys(view.name for view in classes))
            faults.append(
                f"spike {declared.spike.name}: no policy has a worker class {declared.worker_class!r};"
                f" write one of: {known}"
            )
        found += [
            Certified(
                view.policy,
                view.environment,
                view.name,
                certify(declared.applied(view.worker), declared.spike),
                declared.uncounted,
            )
            for view in meant
        ]
    return found, faults
