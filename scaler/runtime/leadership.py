"""One replica's part in deciding: it leads and writes, or it follows and reads.

Nothing is answered that isn't in the store first. So whoever takes over knows all that KEDA was told: the
replicas, the steps that were counted, the moments that forbid one. The leader writes each decision onto
the record that it was made from, by version; a leader that was frozen, cut off or replaced finds another
version there, and what it had decided never comes into force.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from scaler.core.decision import Decision
from scaler.core.handover import taken_over
from scaler.core.state import WorkerState
from scaler.runtime.board import Key
from scaler.runtime.clock import Clock
from scaler.runtime.election import Election
from scaler.runtime.metrics import Metrics
from scaler.runtime.orders import Orders
from scaler.runtime.record import Record, memory_of
from scaler.runtime.store import ChangedError, Document, StateStore, StoreError
from scaler.runtime.store.base import KEEP_SECONDS
from scaler.runtime.turns import Turns

log = structlog.get_logger(__name__)

#: Between two looks at what people ordered.
ORDERS_SECONDS = 2.0
#: How far clocks are taken to be apart where nothing shows it: the periods of the burst policy end so much
#: later for a process that has never seen the one before it alive.
MOST_SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """The newest record that is known here."""

    record: Record
    #: When it was first seen, by this process's clock. One that was there already at the first look is as
    #: old as the wall clocks say.
    seen_at: float


class Leadership:
    """Owns the candidature and the record."""

    def __init__(
        self, store: StateStore, orders: Orders, *, identity: str, clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._orders = orders
        self._clock = clock
        self._metrics = metrics
        self.election = Election(store, identity, clock)
        #: What all replicas answer.
        self.known = Known(Record(), 0.0)
        self._errors = {"read": "", "write": ""}
        self._version: str | None = None
        self._read_once = False
        #: Seconds between the time in a record and this process's at its sight, for those of one writer.
        self._ahead: deque[float] = deque(maxlen=30)
        #: Whether `known` and `_version` are what stands in the store, so that a decision may follow on it.
        self._based = False
        self._written_at = 0.0
        self._orders_at: float | None = None
        self._changes = 0
        self._remembered: tuple[Record, Mapping[Key, WorkerState]] = (Record(), {})

    def remembered(self) -> Mapping[Key, WorkerState]:
        """The memory as the leader wrote it."""
        record = self.known.record
        if self._remembered[0] is not record:
            self._remembered = record, record.states()
        return self._remembered[1]

    async def confer(self) -> None:
        """Renew or look at the lease, read what the leader has written and what people ordered."""
        due = self._orders_at is None or self._clock() - self._orders_at >= ORDERS_SECONDS - 0.1
        led = self.election.leads()
        steps = [self.election.step()] + ([self._refresh_orders()] if due else [])
        steps += [] if led else [self._follow()]
        outcomes = await asyncio.gather(*steps, return_exceptions=True)
        failures = [one for one in outcomes if isinstance(one, BaseException)]
        for failure in failures:
            if not isinstance(failure, StoreError):
                raise failure
        self._note("read", str(failures[0]) if failures else "")
        metrics, election = self._metrics, self.election
        metrics.leader.set(election.leads())
        metrics.leader_changes_total.inc(election.changes - self._changes)
        self._changes = election.changes

    async def _refresh_orders(self) -> None:
        await self._orders.refresh()
        self._orders_at = self._clock()

    async def _follow(self) -> None:
        document = await self._store.read("decisions")
        if self.election.leads():
            return  # elected meanwhile: from now on the deciding loop reads for itself
        await self._see(document, Turns(self._clock))

    async def _see(self, document: Document, turns: Turns) -> None:
        """Take up what stands in the store, unless something later is known."""
        if document.version == self._version:
            self._read_once = True
            return
        now = self._clock()
        record = await turns.through(Record.from_text(document.text))
        first, self._read_once = not self._read_once, True
        # What is being decided at this moment follows on another record; it must not be written onto this.
        self._version, self._based = document.version, False
        self.election.highest = max(self.election.highest, record.term)
        if record.order <= self.known.record.order:
            return
        if record.writer != self.known.record.writer:
            self._ahead.clear()
        if not first:
            self._ahead.append(now - record.taken_at)
        self.known = Known(record, min(now, record.taken_at) if first else now)

    async def take_up(self, turns: Turns) -> dict[Key, WorkerState] | None:
        """What a leader decides from, where it has to begin with it; None where it may simply go on.

        Raises:
            StoreError: it can't be told what stands in the store.
            ChangedError: another one leads.
        """
        if self._based and self._orders.known:
            return None
        document = await self._store.read("decisions")
        if not self._orders.known:
            await self._refresh_orders()
        await self._see(document, turns)
        record = self.known.record
        if record.term > self.election.term:
            self.election.step_down()
            raise ChangedError("another replica leads")
        self._based = True
        return await self._states(record, turns)

    async def _states(self, record: Record, turns: Turns) -> dict[Key, WorkerState]:
        now = self._clock()
        if now - self.known.seen_at > KEEP_SECONDS:
            return {}
        # Each record was seen some time after it was taken; the least of these differences is the clocks'.
        ahead = min(self._ahead, default=MOST_SKEW_SECONDS)
        ours = record.writer == self.election.identity
        states = {}
        for key, state in record.states().items():
            states[key] = state if ours else taken_over(state, ahead, now)
            await turns.give()
        return states

    def is_due(self, decisions: Mapping[Key, Decision], policies: str) -> bool:
        """Whether decisions have to be written now."""
        record = self.known.record
        return (
            self._clock() - self._written_at >= self._store.routine
            or record.writer != self.election.identity
            or record.policies != policies
            or _visible(decisions) != _visible(record.decisions)
        )

    async def write(
        self,
        taken_at: float,
        policies: str,
        decisions: Mapping[Key, Decision],
        states: Mapping[Key, WorkerState],
        turns: Turns,
    ) -> bool:
        """Bring decisions into force, for all replicas at once; False where that didn't come about."""
        if not self._based:
            return False  # somebody else's record was seen while these were made
        before, version = self.known.record, self._version
        # Until the answer is here it can't be told what stands in the store.
        self._based = False
        record = Record(
            self.election.term,
            before.sequence + 1,
            self.election.identity,
            taken_at,
            policies,
            dict(decisions),
            await turns.through(memory_of(states)),
        )
        text = await turns.through(record.to_text())
        if not self.election.leads():
            return False
        try:
            version = await self._store.write("decisions", text, version)
        except ChangedError:
            return False
        except StoreError as error:
            self._note("write", str(error))
            return False
        if not self.election.leads():
            # It came into force, but this process stood still or waited too long to say that it still is.
            return False
        self._note("write", "")
        self._version, self._based = version, True
        self.known = Known(record, taken_at)
        self._written_at = self._clock()
        return True

    def lose_base(self) -> None:
        """This replica doesn't lead: what it decides next, if ever, begins with what stands in the store."""
        self._based = False

    async def resign(self) -> None:
        """Give the lease back, if it is held."""
        try:
            await self.election.resign()
        except StoreError as error:
            log.warning("the lease couldn't be given back; it runs out by itself", reason=str(error))

    def standing(self, policies: str) -> dict[str, object]:
        """Who leads and how old the answers are, as JSON; `policies` is the digest of those in force here."""
        record, lease, now = self.known.record, self.election.lease, self._clock()
        return {
            "identity": self.election.identity,
            "leading": self.election.leads() or not self._store.shared,
            "leader": lease.holder if self._store.shared else self.election.identity,
            "term": lease.term,
            "record": {
                "writer": record.writer,
                "term": record.term,
                "sequence": record.sequence,
                "ageSeconds": round(max(0.0, now - self.known.seen_at), 3) if record.sequence else None,
                "policiesAgree": record.policies == policies if record.sequence else None,
            },
            "store": {"shared": self._store.shared, "up": not self.error, "error": self.error},
        }

    @property
    def error(self) -> str:
        """Why the store can't be used now; empty when it can."""
        return self._errors["read"] or self._errors["write"]

    def _note(self, what: str, error: str) -> None:
        before = self.error
        self._errors[what] = error
        if self.error and not before:
            log.warning("the state store can't be used; the last decisions stand", reason=self.error)
        elif before and not self.error:
            log.info("the state store works again")
        self._metrics.store_up.set(not self.error)


def _visible(decisions: Mapping[Key, Decision]) -> dict[Key, tuple[object, ...]]:
    """What KEDA is told or people look for, and what a later step down would be held by."""
    return {
        key: (one.desired, one.active, one.quality, one.limit, one.recommendation, one.stepping_down_to)
        for key, one in decisions.items()
    }
