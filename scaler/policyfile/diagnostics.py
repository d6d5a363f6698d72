"""What is wrong with a policy file, and where: the one error of this package, for people to read.

A message says what is wrong and what to write instead, in one line. It never repeats what came
out of a variable or what stands where a password could be; `masked` is the second line of
defence behind that rule.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from scaler.core.policy.values import shown

_CREDENTIALS = re.compile(r"://[^\s'\"]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file, both counted from 1, and the environment whose overlay it is part of."""

    line: int
    column: int
    environment: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One fault of a file; `str()` is what editors and terminals can jump to."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or a warning before it is known which file and environment it is reported for."""

    place: Place
    message: str

    def diagnostic(self, file: str, environment: str | None = None) -> Diagnostic:
        """The finding as it is shown; `environment` is named where the place doesn't name one itself."""
        environment = self.place.environment or environment
        suffix = f" (environment {word(environment)})" if environment else ""
        return Diagnostic(file, self.place.line, self.place.column, masked(self.message) + suffix)


class PolicyError(Exception):
    """A policy can't be used. Holds every fault that was found, in the order of the file."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(map(str, self.diagnostics)))


class PolicyPathError(PolicyError):
    """There is nothing to read: no such file, no permission, no policy in the folder."""


def masked(text: str) -> str:
    """The text without the user and password of any URL in it."""
    return _CREDENTIALS.sub("://…@", text)


def word(key: str) -> str:
    """A key as messages repeat it: plain where it could be one, else quoted, escaped and cut."""
    return key if re.fullmatch(r"[\w-]{1,63}", key) else shown(key)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` did you mean 'x'?`, or nothing where no known word resembles this one."""
    folded = {_fold(candidate): candidate for candidate in known}
    matches = get_close_matches(_fold(word[:100]), folded, n=1, cutoff=0.6)
    return f" did you mean {folded[matches[0]]!r}?" if matches else ""


def _fold(word: str) -> str:
    """Celery writes acks_late, Kubernetes acksLate, and people Acks-Late."""
    return word.lower().replace("_", "").replace("-", "")
