"""Writes `controller.kubernetes.io/pod-deletion-cost`, by which a ReplicaSet chooses the pods that it ends.

Best effort: what can't be written in time isn't written. Each pod costs the API server a write that all who
watch pods get to see, so the callers write once per pod and scale-in, as Kubernetes asks for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaler.cluster.errors import ClusterError, ConflictError, MissingError, RefusedError, ThrottledError
from scaler.cluster.objects import DELETION_COST, FIELD_MANAGER

if TYPE_CHECKING:
    from scaler.cluster.connection import Connection

#: Requests at once, for all workloads together.
MOST_AT_ONCE = 10


@dataclass(slots=True)
class Outcome:
    """What has become of the pods that were tried."""

    #: Pod → written, gone, conflict, refused, throttled, failed, or late (given up; it may have been done).
    results: dict[str, str] = field(default_factory=dict)
    #: What stopped it, or else the last that failed.
    error: ClusterError | None = None
    stopped: bool = False


class DeletionCosts:
    """Patches one annotation of pods, a few at a time."""

    def __init__(self, connection: "Connection") -> None:
        """The connection is its opener's to close."""
        self._connection = connection
        self._free = asyncio.Semaphore(MOST_AT_ONCE)

    async def write(self, namespace: str, costs: Mapping[str, int], seconds: float) -> Outcome:
        """Write the costs of these pods, the highest first: without them busy pods look idle.

        It stops without the right to (403) and when the API server asks for a pause (429); pods that weren't
        tried then, or within `seconds`, are in no result.
        """
        outcome = Outcome()
        ordered = sorted(costs.items(), key=lambda one: (-one[1], one[0]))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._one(namespace, pod, cost, outcome) for pod, cost in ordered))
        except TimeoutError:
            outcome.error = ClusterError(f"the API server took longer than {seconds:.1f} s")
        return outcome

    async def _one(self, namespace: str, pod: str, cost: int, outcome: Outcome) -> None:
        async with self._free:
            if outcome.stopped:
                return
            outcome.results[pod] = "late"
            try:
                await self._patch(namespace, pod, cost)
            except MissingError:
                outcome.results[pod] = "gone"
            except ConflictError:
                outcome.results[pod] = "conflict"
            except ClusterError as error:
                stops = isinstance(error, RefusedError | ThrottledError)
                outcome.results[pod] = _RESULTS.get(type(error), "failed")
                if stops or not outcome.stopped:
                    outcome.error = error
                outcome.stopped |= stops
            else:
                outcome.results[pod] = "written"

    async def _patch(self, namespace: str, pod: str, cost: int) -> None:
        await self._connection.send(
            "patch",
            f"/api/v1/namespaces/{namespace}/pods/{pod}",
            {"metadata": {"annotations": {DELETION_COST: str(cost)}}},
            place=("pods", f"namespace {namespace}"),
            # By this name the API server notes whose annotation it is.
            query={"fieldManager": FIELD_MANAGER},
        )


_RESULTS = {RefusedError: "refused", ThrottledError: "throttled"}
