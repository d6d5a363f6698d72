"""How long a network step may take, and how its failure is worded.

The texts go to logs, metrics and KEDA, so they are made here from parts that are known to be
harmless: the server's own words may repeat a user name, and a URL has the password.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scaler.sources.base import SourceDeniedError, SourceError, SourceUnavailableError

#: Seconds for name lookup, TCP, TLS and login together. A healthy login takes 10-50 ms; a node
#: that went away without a word costs this much once per attempt.
CONNECT_TIMEOUT = 3.0

#: Seconds without any answer to a call before the broker counts as hung. Worst answer measured
#: on a broker whose CPUs were saturated: 60 ms.
CALL_TIMEOUT = 2.0

#: Seconds for saying goodbye; the socket is closed afterwards whatever the broker does.
CLOSE_TIMEOUT = 0.5

#: Characters of an error's text.
TEXT_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """What an exception of a client library means to the person who reads about it."""

    #: The exception, or one of its causes, is one of these …
    types: tuple[type[BaseException], ...]
    #: `unavailable` or `denied`.
    kind: Callable[[str], SourceError]
    #: Template of the text, filled from the keyword arguments of `explained`.
    text: str
    #: … and its own text has one of these words, unless there are none.
    words: tuple[str, ...] = ()

    def fits(self, error: BaseException) -> bool:
        """Whether this rule speaks of that exception."""
        said = str(error)
        return isinstance(error, self.types) and (not self.words or any(word in said for word in self.words))


def explained(error: BaseException, rules: Iterable[Rule], **values: object) -> SourceError:
    """The text of the first rule that fits the exception or one of its causes.

    The last rule has to fit everything.
    """
    chain = _chain(error)
    rule = next(rule for rule in rules if any(rule.fits(cause) for cause in chain))
    return rule.kind(rule.text.format(**values))


def unavailable(text: str) -> SourceUnavailableError:
    """The error for "try again", its text capped."""
    return SourceUnavailableError(capped(text))


def denied(text: str) -> SourceDeniedError:
    """The error for "a person has to act", its text capped."""
    return SourceDeniedError(capped(text))


def capped(text: str) -> str:
    """At most `TEXT_LIMIT` characters on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LIMIT else line[: TEXT_LIMIT - 1] + "…"


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what caused it; libraries do make circles of causes."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is known for known in chain):
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain
