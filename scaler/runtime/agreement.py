"""Whether a replica that follows has the policies by which the leader decides.

While a changed ConfigMap is on its way to the pods they differ, and the leader's count: two replicas that
answer by two policies would make the HPA go up and down between them. A replica whose policies stay
different (broken files, an overlay of its own) would lead by them after a takeover, so it says so.
"""

from collections.abc import Mapping

import structlog

from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.clock import cancelled
from scaler.runtime.deciding import subjects_of
from scaler.runtime.leadership import Leadership
from scaler.runtime.metrics import Metrics
from scaler.runtime.record import digest

log = structlog.get_logger(__name__)


class Agreement:
    """The loop, and what it has seen last."""

    def __init__(self, board: Board, leadership: Leadership, metrics: Metrics) -> None:
        self._board = board
        self._leadership = leadership
        self._metrics = metrics
        #: Of this replica's policies, kept as long as these are the same.
        self._own: tuple[Mapping[str, ScalingPolicy], str] = ({}, digest(()))
        #: Both digests, as they were said; None where all was well.
        self._said: tuple[str, str] | None = None

    @property
    def differs(self) -> bool:
        """Whether what this replica answers was decided by other policies than its own."""
        return self._said is not None

    async def run(self) -> None:
        """Compare until cancelled."""
        while not cancelled():
            snapshot = await self._board.next()
            try:
                self.look(snapshot)
            except Exception:  # a remark must never end the service
                log.exception("comparing policies failed")
                self._metrics.loop_failures_total.labels("agreement").inc()

    def look(self, snapshot: Snapshot) -> None:
        """Compare once, and say what has changed."""
        record = self._leadership.known.record
        if snapshot.policies is not self._own[0]:
            self._own = snapshot.policies, digest(subjects_of(snapshot.policies).values())
        # A leader's record has its own policies with the next decision.
        follows = record.sequence > 0 and not self._leadership.election.leads()
        found = (self._own[1], record.policies) if follows and record.policies != self._own[1] else None
        self._metrics.policies_differ.set(found is not None)
        if found == self._said:
            return
        self._said = found
        if found is None:
            log.info("this replica's policies are the ones that are decided by")
            return
        here = {"/".join(key) for key in subjects_of(snapshot.policies)}
        there = {"/".join(key) for key in record.decisions}
        log.warning(
            "this replica's policies differ from those that the leader decides by; the leader's count until"
            " it has these too, or another one leads",
            leader=record.writer,
            only_here=sorted(here - there),
            only_there=sorted(there - here),
        )
