"""What replicas of the service share: three small texts, each changed only by who knows its present version.

Everything else (who leads, what may be answered, whose order counts) is built on that one condition, so
it holds in every store alike, whatever is delayed, repeated or lost on the way: a write that comes late
names an old version and is refused.
"""

import json
from dataclasses import dataclass
from typing import Literal, Protocol

Name = Literal["lease", "decisions", "orders"]
"""Who leads; what was decided last, and the memory behind it; what people ordered."""

#: Memory this old says nothing about the present; it also keeps abandoned keys from piling up.
KEEP_SECONDS = 24 * 3600.0


class StoreError(Exception):
    """The store can't be used; the text is safe to show. A write that ends so may have been done."""


class ChangedError(StoreError):
    """Somebody else has changed the text: this write wasn't done and won't be."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text and the version that a change of it must name; None: there is none yet."""

    text: str = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads. Whether that one still lives is judged by whether the version of this text changes."""

    #: Empty: nobody, it was given back.
    holder: str = ""
    #: Grows each time somebody takes it.
    term: int = 0
    #: Seconds since the epoch by the holder's clock, for people.
    acquired: float = 0.0
    renewed: float = 0.0

    def to_text(self) -> str:
        """JSON."""
        document = {
            "holder": self.holder,
            "term": self.term,
            "acquired": self.acquired,
            "renewed": self.renewed,
        }
        return json.dumps(document)

    @staticmethod
    def from_text(text: str) -> "Lease":
        """The inverse; what can't be read is nobody's."""
        try:
            document = json.loads(text)
            return Lease(
                str(document["holder"]),
                int(document["term"]),
                float(document["acquired"]),
                float(document["renewed"]),
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return Lease()


class StateStore(Protocol):
    """Reads and changes the three texts."""

    #: Whether other processes may use it. Where none can, this one leads without asking.
    shared: bool
    #: Seconds between two writes of decisions in which nothing changed that anybody sees.
    routine: float
    #: Seconds between two looks of a follower.
    poll: float

    async def read(self, name: Name) -> Document:
        """A text as it stands.

        Raises:
            StoreError: it can't be told.
        """
        ...

    async def write(self, name: Name, text: str, version: str | None) -> str:
        """Replace a text whose version is `version` (None: there is none yet); returns the new version.

        Raises:
            ChangedError: it has another version.
            StoreError: it may have been done or not.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
