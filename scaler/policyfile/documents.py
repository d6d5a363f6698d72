"""One policy file: read once, then seen as each of its environments sees it."""

from collections.abc import Mapping as Lookup
from dataclasses import dataclass, field

from scaler.core.policy import ScalingPolicy
from scaler.policyfile.diagnostics import Diagnostic, Finding, Place, PolicyError, did_you_mean
from scaler.policyfile.nodes import Mapping, Scalar
from scaler.policyfile.overlays import lay_over, misshapen, overlays, unknown_environment
from scaler.policyfile.passwords import literal_passwords
from scaler.policyfile.reader import read
from scaler.policyfile.syntax import MAX_BYTES, Unreadable
from scaler.policyfile.validation import validate
from scaler.policyfile.variables import Expansion, expand

_KIND = "ScalingPolicy"


@dataclass(frozen=True, slots=True)
class View:
    """A document as one environment sees it."""

    file: str
    environment: str | None
    #: None where there are faults.
    policy: ScalingPolicy | None
    findings: tuple[Finding, ...]
    #: The tree behind the policy, for the positions of warnings.
    root: Mapping = field(repr=False)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The faults, in the order of the file."""
        return tuple(sorted({finding.diagnostic(self.file) for finding in self.findings}))


@dataclass(frozen=True, slots=True)
class Document:
    """A file that could be read as YAML."""

    file: str
    root: Mapping = field(repr=False)
    #: Faults that hold in every environment.
    findings: tuple[Finding, ...]

    @classmethod
    def parse(cls, text: str | bytes, file: str) -> "Document":
        """The document in a text.

        Raises:
            PolicyError: it is no YAML, or something else than a policy.
        """
        try:
            root, findings = read(_decoded(text))
            _refuse_other_kinds(root)
        except Unreadable as error:
            finding = error.finding
        else:
            findings += [*misshapen(root), *literal_passwords(root)]
            return cls(file, root, tuple(findings))
        raise PolicyError([finding.diagnostic(file)])

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the overlays, in the order of the file."""
        return tuple(overlays(self.root))

    def view(self, environment: str | None, env: Lookup[str, str]) -> View:
        """What the document says in an environment; None is the spec without any overlay."""
        findings = list(self.findings)
        if environment is not None and (unknown := unknown_environment(self.root, environment)):
            findings.append(unknown)
            environment = None
        expansion = Expansion()
        root = expand(lay_over(self.root, environment), env, expansion)
        policy, faults = validate(root, expansion.unknown, expansion.used)
        findings += [*expansion.findings, *faults]
        return View(self.file, environment, None if findings else policy, tuple(findings), root)


def _decoded(text: str | bytes) -> str:
    if isinstance(text, bytes):
        if len(text) > MAX_BYTES:
            raise Unreadable(Place(1, 1), f"larger than {MAX_BYTES} bytes; this is no policy")
        try:
            return text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise Unreadable(Place(line, column), "not UTF-8 from here on; save the file as UTF-8")
    if len(text) > MAX_BYTES:
        raise Unreadable(Place(1, 1), f"larger than {MAX_BYTES} characters; this is no policy")
    return text


def _refuse_other_kinds(root: Mapping) -> None:
    """One sentence for a document that was never meant to be a policy, instead of thirty."""
    kind = root.get("kind")
    if isinstance(kind, Scalar) and isinstance(kind.value, str) and kind.value != _KIND:
        if not did_you_mean(kind.value, [_KIND]):
            raise Unreadable(
                kind.place, f"this is a {kind.value[:60]!r}, no policy; move it away, or write kind: {_KIND}"
            )
    elif kind is None and "apiVersion" not in root.entries and "spec" not in root.entries:
        raise Unreadable(root.place, f"this is no policy; begin with apiVersion: scaler/v1 and kind: {_KIND}")
