"""Who leads, by a lease in the store.

As client-go does it: nobody compares wall clocks. A holder that lives changes the lease every 2 s; whoever
has looked at an unchanged one for 8 s by its own clock takes it. The lease decides who tries to write, and
nothing more: that no two writers' decisions mix is up to the versions of what they write.
"""

import structlog

from scaler.runtime.clock import Clock
from scaler.runtime.store import ChangedError, Lease, StateStore

log = structlog.get_logger(__name__)

#: An unchanged lease is free after this. With what comes on top (the last renewal, two looks, and on
#: Kubernetes 3 s since decisions were last written) answers are about 13 s old when a successor's come.
LEASE_SECONDS = 8.0
#: Between two renewals.
RENEW_SECONDS = 2.0
#: A holder that couldn't renew for so long stops deciding: before others may take over.
VALID_SECONDS = 6.0
#: Most that one look at an unchanged lease adds: after an outage of the store, or if this process stood
#: still, the holder has time to be back before it is taken for dead.
MOST_PER_LOOK = 3.0


class Election:
    """One replica's candidature."""

    def __init__(self, store: StateStore, identity: str, clock: Clock) -> None:
        self._store = store
        self.identity = identity
        self._clock = clock
        self._seen = Lease()
        self._version: str | None = None
        #: Whether the lease was taken or confirmed by this process, as far as it knows.
        self._mine = False
        self._renewed_at = 0.0
        self._looked_at: float | None = None
        self._unchanged_for = 0.0
        #: No lease of a lower term counts: the store lost its newest data.
        self.highest = 0
        #: Times that the holder was seen to be another one than before.
        self.changes = 0

    @property
    def lease(self) -> Lease:
        """As last seen."""
        return self._seen

    @property
    def term(self) -> int:
        """Of the lease that is or was held last."""
        return self._seen.term if self._mine else 0

    def leads(self) -> bool:
        """Whether this replica may decide at this moment."""
        return self._mine and self._clock() - self._renewed_at < VALID_SECONDS

    def step_down(self) -> None:
        """Another one was found to lead."""
        self._mine = False

    async def step(self) -> None:
        """Renew the lease, or look whether it is free.

        Raises:
            StoreError: it can't be told; a lease that is held runs out by itself.
        """
        began = self._clock()
        if self._mine:
            if began - self._renewed_at < RENEW_SECONDS - 0.1:
                return
            try:
                await self._put(self._renewal(began), began)
            except ChangedError:
                await self._look(began)
            return
        await self._look(began)

    async def _look(self, began: float) -> None:
        document = await self._store.read("lease")
        lease = Lease.from_text(document.text)
        if document.version != self._version or self._looked_at is None:
            self._unchanged_for = 0.0
        else:
            self._unchanged_for += min(began - self._looked_at, MOST_PER_LOOK)
        self._looked_at, self._version = began, document.version
        self.highest = max(self.highest, lease.term)
        self._note(lease)
        if lease.holder == self.identity and lease.term == self.highest:
            # An attempt whose answer was lost has been done: nobody else writes this name.
            await self._take(self._renewal(began), began)
            return
        self._mine = False
        if not lease.holder or lease.term < self.highest or self._unchanged_for >= LEASE_SECONDS:
            await self._take(Lease(self.identity, self.highest + 1, began, began), began)

    async def _take(self, lease: Lease, began: float) -> None:
        try:
            await self._put(lease, began)
        except ChangedError:
            self._mine = False  # somebody was faster; the next look shows who

    async def _put(self, lease: Lease, began: float) -> None:
        self._version = await self._store.write("lease", lease.to_text(), self._version)
        before = self._mine
        self._note(lease)
        self._mine, self._renewed_at, self.highest = True, began, lease.term
        self._looked_at, self._unchanged_for = began, 0.0
        if not before:
            log.info("leading", term=lease.term, identity=self.identity)

    def _note(self, lease: Lease) -> None:
        if lease.holder and (lease.holder, lease.term) != (self._seen.holder, self._seen.term):
            self.changes += 1
            if lease.holder != self.identity:
                log.info("following", leader=lease.holder, term=lease.term)
        self._seen = lease

    def _renewal(self, now: float) -> Lease:
        return Lease(self.identity, self._seen.term, self._seen.acquired, now)

    async def resign(self) -> None:
        """Give the lease back, so that a successor needn't wait for it to run out.

        Raises:
            StoreError: that can't be told.
        """
        if not self._mine:
            return
        self._mine = False
        now = self._clock()
        await self._store.write("lease", Lease("", self._seen.term, now, now).to_text(), self._version)
