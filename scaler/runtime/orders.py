"""What people ordered: announcements and overrides, in a text of their own that any replica may change.

The leader's writes never touch it, so nothing that was acknowledged is lost in them, whoever leads.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import structlog
from pydantic import TypeAdapter, ValidationError

from scaler.core import announcement
from scaler.core.announcement import Announcement
from scaler.core.override import Override
from scaler.core.state import WorkerState
from scaler.runtime.board import Key
from scaler.runtime.clock import Clock
from scaler.runtime.store import ChangedError, Document, StateStore, StoreError

log = structlog.get_logger(__name__)

#: Attempts to change the text before it is called busy: each one loses to another person's change only.
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Row:
    policy: str
    worker_class: str
    announcements: tuple[Announcement, ...] = ()
    override: Override | None = None


_rows = TypeAdapter(tuple[_Row, ...])
_NONE = WorkerState()


class Orders:
    """The orders as they were last read or written. States in it hold nothing but orders."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._document = Document()
        self._held: dict[Key, WorkerState] = {}
        #: Whether they have ever been read.
        self.known = not store.shared

    @property
    def held(self) -> Mapping[Key, WorkerState]:
        """By class; those that are over may still be among them."""
        return self._held

    def of(self, key: Key) -> WorkerState:
        """A memory with nothing but the orders for a class."""
        return self._held.get(key, _NONE)

    def merged(self, key: Key, state: WorkerState) -> WorkerState:
        """A memory with the orders in force."""
        orders = self.of(key)
        if (state.announcements, state.override) == (orders.announcements, orders.override):
            return state
        return replace(state, announcements=orders.announcements, override=orders.override)

    def over(self, states: Mapping[Key, WorkerState]) -> Mapping[Key, WorkerState]:
        """Memories with the orders in force, each merged when it is asked for; in the order of the keys."""
        return _Merged(self, states)

    async def refresh(self) -> None:
        """Read what others have changed.

        Raises:
            StoreError: it can't be told.
        """
        self._take(await self._store.read("orders"))

    async def change(self, key: Key, how: Callable[[WorkerState], WorkerState]) -> None:
        """Change the orders for a class; done when this returns.

        Args:
            key: of the class.
            how: is given a state with nothing but orders, and may be called again.

        Raises:
            StoreError: it wasn't done, or that can't be told; the same change may be tried again.
        """
        for _ in range(ATTEMPTS):
            await self.refresh()
            before = self._held.get(key, _NONE)
            after = how(before).orders
            if after == before:
                return
            text = self._text({**self._held, key: after})
            try:
                version = await self._store.write("orders", text, self._document.version)
            except ChangedError:
                continue
            self._take(Document(text, version))
            return
        raise StoreError("others change the orders at this moment; try again")

    def _text(self, held: Mapping[Key, WorkerState]) -> str:
        now = self._clock()
        rows = []
        for (policy, worker_class), state in sorted(held.items()):
            lasting = announcement.current(state.announcements, now)
            override = state.override if state.override and now < state.override.until else None
            if lasting or override:
                rows.append(_Row(policy, worker_class, lasting, override))
        return _rows.dump_json(tuple(rows)).decode()

    def _take(self, document: Document) -> None:
        if self.known and document == self._document:
            return
        try:
            rows = _rows.validate_json(document.text) if document.text else ()
        except ValidationError as error:
            faults = error.error_count()
            log.warning("orders in the state store can't be read; there are none now", faults=faults)
            rows = ()
        self._held = {
            (row.policy, row.worker_class): WorkerState(
                announcements=row.announcements, override=row.override
            )
            for row in rows
        }
        self._document = document
        self.known = True


class _Merged(Mapping[Key, WorkerState]):
    """A view: who asks for one class of 500 doesn't pay for all."""

    def __init__(self, orders: Orders, states: Mapping[Key, WorkerState]) -> None:
        self._orders = orders
        self._states = states

    def __getitem__(self, key: Key) -> WorkerState:
        if key not in self._states and key not in self._orders.held:
            raise KeyError(key)
        return self._orders.merged(key, self._states.get(key, WorkerState()))

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self._states.keys() | self._orders.held.keys()))

    def __len__(self) -> int:
        return len(self._states.keys() | self._orders.held.keys())
