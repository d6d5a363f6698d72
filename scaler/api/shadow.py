"""`/api/v1/shadow`: what the classes in shadow mode would have had, beside what they had."""

from typing import Any

from aiohttp import web

from scaler.core import shadow
from scaler.core.observation import Observation
from scaler.core.shadow import Difference, Ledger
from scaler.core.workload import Workload
from scaler.runtime.board import Board, Key, Snapshot
from scaler.runtime.clock import Clock
from scaler.runtime.shadow import Shadows, shadowed


class ShadowView:
    """Answers from the ledgers and the latest snapshot."""

    def __init__(self, shadows: Shadows, board: Board, clock: Clock) -> None:
        self._shadows = shadows
        self._board = board
        self._clock = clock

    async def show(self, request: web.Request) -> web.Response:
        """All classes in shadow mode, in the order of the names."""
        del request
        snapshot, now = self._board.snapshot, self._clock()
        ledgers = self._shadows.ledgers
        documents = [_document(snapshot, key, ledgers.get(key), now) for key, _ in sorted(shadowed(snapshot))]
        return web.json_response({"now": now, "classes": documents})


def _document(snapshot: Snapshot, key: Key, ledger: Ledger | None, now: float) -> dict[str, Any]:
    workload = snapshot.workloads.get(key, Workload())
    _, source = shadow.actual_replicas(snapshot.observations.get(key, Observation(None)), workload)
    document: dict[str, Any] = {
        "policy": key[0],
        "workerClass": key[1],
        "scaledBy": shadow.scaled_by(workload),
        "actualFrom": source,
        "since": None,
    }
    if ledger is None:
        return document
    known = ledger.above + ledger.below + ledger.equal
    return document | {
        "since": ledger.since,
        "sinceSecondsAgo": max(0.0, round(now - ledger.since, 3)),
        "ours": ledger.last.ours,
        "actual": ledger.last.actual,
        "podMinutes": {"ours": _minutes(ledger.ours), "actual": _minutes(ledger.actual)},
        "minutes": {
            "compared": _minutes(known),
            "oursAbove": _minutes(ledger.above),
            "oursBelow": _minutes(ledger.below),
            "equal": _minutes(ledger.equal),
            "unknown": _minutes(ledger.unknown),
            "actualAtMax": _minutes(ledger.at_max),
            "waitedTooLong": _minutes(ledger.late),
        },
        "largestDifferences": [_difference(one) for one in ledger.largest],
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "began": found.began,
        "minutes": _minutes(found.seconds),
        "ours": found.ours,
        "actual": found.actual,
        "term": found.winner,
        "why": found.why,
        "limit": found.limit,
    }


def _minutes(seconds: float) -> float:
    return round(seconds / 60, 3)
