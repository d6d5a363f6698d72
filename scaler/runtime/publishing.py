"""What is answered from now on: decisions of this replica, or those that stand in the store."""

from collections.abc import Mapping

from scaler.core.decision import Decision
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Board, Key, Sight, Snapshot
from scaler.runtime.leadership import Known, Leadership
from scaler.runtime.metrics import Metrics
from scaler.runtime.recording import Recorder
from scaler.runtime.turns import Turns


class Publisher:
    """Puts one snapshot after the other on the board."""

    def __init__(self, board: Board, leadership: Leadership, recorder: Recorder, metrics: Metrics) -> None:
        """Publishes nothing yet."""
        self._board = board
        self._leadership = leadership
        self._recorder = recorder
        self._metrics = metrics
        self._followed: Known | None = None

    def own(
        self, sight: Sight, policies: Mapping[str, ScalingPolicy], decisions: Mapping[Key, Decision]
    ) -> None:
        """Answer what was decided here just now."""
        self._publish(sight, policies, decisions, own=True, taken_at=sight.now)

    async def follow(
        self, sight: Sight, policies: Mapping[str, ScalingPolicy], keys: Mapping[Key, object], turns: Turns
    ) -> None:
        """Answer what stands in the store for these classes; what was read here is shown beside it."""
        known = self._leadership.known
        decisions = {key: one for key, one in known.record.decisions.items() if key in keys}
        # A leader that has nothing new to write yet still is the one to carry out what stands there.
        election = self._leadership.election
        own = election.leads() and known.record.writer == election.identity
        if known.record.sequence:
            self._publish(
                sight, policies, decisions, own=own, taken_at=known.record.taken_at, seen_at=known.seen_at
            )
        elif self._leadership.error:
            # Ready all the same: KEDA's fallback needs somebody who answers that nothing is known.
            self._publish(sight, policies, {}, own=False, taken_at=sight.now)
        if known is not self._followed:
            self._followed = known
            for decision in decisions.values():
                await turns.give()
                self._recorder.record(decision, own=False)

    def _publish(
        self,
        sight: Sight,
        policies: Mapping[str, ScalingPolicy],
        decisions: Mapping[Key, Decision],
        *,
        own: bool,
        taken_at: float,
        seen_at: float | None = None,
    ) -> None:
        role = self._leadership
        snapshot = Snapshot(
            taken_at,
            policies,
            decisions,
            sight.observations,
            sight.brokers,
            sight.workloads,
            own=own,
            seen_at=seen_at,
            decider=role.known.record.writer,
            term=role.known.record.term,
            held_because=role.error,
        )
        self._metrics.answer_age_seconds.set(max(0.0, snapshot.moment(sight.now) - taken_at))
        self._board.publish(snapshot)
