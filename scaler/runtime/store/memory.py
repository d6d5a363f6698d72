"""The store of a process that shares nothing: it lives as long as the process."""

from itertools import count

from scaler.runtime.store.base import ChangedError, Document, Name


class MemoryStore:
    """Texts in memory. History is lost with the process."""

    routine = 0.0
    poll = 1.0

    def __init__(self, *, shared: bool = False) -> None:
        """`shared`: for several engines in one process, in tests."""
        self.shared = shared
        self._documents: dict[Name, Document] = {}
        self._versions = count(1)

    async def read(self, name: Name) -> Document:
        """The text last written."""
        return self._documents.get(name, Document())

    async def write(self, name: Name, text: str, version: str | None) -> str:
        """Replace a text.

        Raises:
            ChangedError: it has another version.
        """
        if self._documents.get(name, Document()).version != version:
            raise ChangedError(f"the {name} in memory have changed")
        written = str(next(self._versions))
        self._documents[name] = Document(text, written)
        return written

    async def close(self) -> None:
        """Nothing to give back."""
