"""How long a network step may take, and how its failure is worded.

The texts go to logs, metrics and KEDA, so they are made here from parts that are known to be
harmless: the server's own words may repeat a user name, and a URL has the password.
"""

from scaler.sources.base import SourceDeniedError, SourceUnavailableError

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
