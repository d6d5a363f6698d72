"""KEDA's questions, answered from the latest snapshot.

No handler waits for anything but the next snapshot, so a hung broker can't delay an answer, and
asking never changes a decision. Why each answer is as it is, KEDA's habits say:

- KEDA gives up on everything, its fallback included, where GetMetricSpec fails: it never does, except
  to a namespace that may not ask.
- Unknown is never zero and never inactive: no value at all (UNAVAILABLE) freezes the HPA.
- The int field is all that KEDA before 2.17 reads, and what later ones read when the float is 0.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from scaler.api.authorization import admits, require_namespace, visible
from scaler.api.interceptor import Refused
from scaler.api.metadata import MetadataError, parse_metadata
from scaler.core.decision import Decision
from scaler.pb import externalscaler_pb2 as pb
from scaler.pb.externalscaler_pb2_grpc import ExternalScalerServicer
from scaler.runtime.board import Board, Key, Snapshot, UnknownClassError
from scaler.runtime.clock import Clock

Context = grpc.aio.ServicerContext[Any, Any]

#: The metric's name. KEDA puts `s0-` before it and copies it into the HPA only when it reconciles, so it
#: is the same for every class, replica and version.
METRIC_NAME = "desired-replicas"
#: With AverageValue and a target of 1 the HPA's replicas are the value itself.
TARGET = 1
#: Seconds after which a decision is no answer any more: the decider ticks at least every 5 s, so at 15 s
#: it has missed three ticks and is stuck.
STALE_SECONDS = 15.0
#: Seconds between two `true` on a stream while active. Each one costs KEDA a status patch; it is repeated
#: because KEDA drops a `true` that comes before its HPA is known.
REPEAT_SECONDS = 20.0
#: Seconds after which a stream ends by itself, in good order; see `grpc_server.AGE_GRACE_SECONDS`.
STREAM_SECONDS = 25 * 60.0


class KedaServicer(ExternalScalerServicer):
    """The external scaler's methods over a board."""

    def __init__(
        self,
        board: Board,
        clock: Clock,
        *,
        repeat_seconds: float = REPEAT_SECONDS,
        stream_seconds: float = STREAM_SECONDS,
    ) -> None:
        self._board = board
        self._clock = clock
        self._repeat_seconds = repeat_seconds
        self._stream_seconds = stream_seconds
        self._ending = False
        self._waits: set[asyncio.Timeout] = set()

    async def GetMetricSpec(  # noqa: N802 - KEDA's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.GetMetricSpecResponse:
        """Constant, whatever the metadata: bad metadata is GetMetrics's to say, where KEDA shows the text."""
        del context
        with contextlib.suppress(MetadataError):
            asked = parse_metadata(request.scalerMetadata).policy
            require_namespace(self._board.snapshot, asked, request.namespace)
        spec = pb.MetricSpec(metricName=METRIC_NAME, targetSize=TARGET, targetSizeFloat=float(TARGET))
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(  # noqa: N802 - KEDA's name
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        """The replicas of the latest decision, as exactly one value (the HPA would sum several)."""
        del context
        snapshot = self._board.snapshot
        decision = snapshot.decisions.get(_locate(snapshot, request.scaledObjectRef))
        desired = max(0, _require_current(decision, snapshot, self._clock()).desired)
        value = pb.MetricValue(
            metricName=request.metricName or METRIC_NAME,
            metricValue=desired,
            metricValueFloat=float(desired),
        )
        return pb.GetMetricsResponse(metricValues=[value])

    async def IsActive(  # noqa: N802 - KEDA's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.IsActiveResponse:
        """Whether the class must be kept from zero; what isn't known is active."""
        del context
        snapshot = self._board.snapshot
        decision = snapshot.decisions.get(_locate(snapshot, request))
        known = decision is not None and snapshot.age(decision, self._clock()) <= STALE_SECONDS
        return pb.IsActiveResponse(result=decision.active if decision is not None and known else True)

    async def StreamIsActive(  # noqa: N802 - KEDA's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        """The state at once, every change of it, and `true` again and again while active.

        Before the first decision the stream is silent: a `true` on mere ignorance would start a pod
        of every class at zero whenever this service restarts, and silence can't scale anything down.
        It returns, and so ends with OK, at shutdown, at its age limit, and when a reload takes away the
        class or the namespace's leave to ask. After any other end KEDA waits up to a minute before it
        comes back.
        """
        del context
        snapshot = self._board.snapshot
        key = _locate(snapshot, request)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._stream_seconds
        told: bool | None = None
        repeat_at = ends_at
        while not self._ending and loop.time() < ends_at and _open(snapshot, key, request.namespace):
            decision = snapshot.decisions.get(key)
            active = None if decision is None or _never_read(decision) else decision.active
            if active is not None and (active != told or (active and loop.time() >= repeat_at)):
                told, repeat_at = active, loop.time() + self._repeat_seconds
                yield pb.IsActiveResponse(result=active)
            elif snapshot is self._board.snapshot:
                await self._next_snapshot(min(ends_at, repeat_at) if active else ends_at)
            snapshot = self._board.snapshot

    def StreamMetricSpec(  # noqa: N802 - KEDA's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """Unimplemented, which KEDA takes for "ask GetMetricSpec": name and target are constant."""
        del request, context
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, "name and target are constant; GetMetricSpec has them")

    def end_streams(self) -> None:
        """Let every stream return, those still to be opened included."""
        self._ending = True
        for wait in self._waits:
            wait.reschedule(0.0)

    async def _next_snapshot(self, until: float) -> None:
        """Wait for the next snapshot, but not beyond `until` (loop time) or the end of all streams."""
        try:
            async with asyncio.timeout_at(until) as wait:
                self._waits.add(wait)
                try:
                    await self._board.next()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            return


def _locate(snapshot: Snapshot, reference: pb.ScaledObjectRef) -> Key:
    try:
        target = parse_metadata(reference.scalerMetadata)
        require_namespace(snapshot, target.policy, reference.namespace)
        key = visible(snapshot, reference.namespace).find(target.worker_class, target.policy)
    except (MetadataError, UnknownClassError) as error:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
    if not _scales(snapshot, key):
        # No number and no "active" either: a `true` would start a pod of a class at zero.
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"class {key[1]!r} is in shadow mode: something else scales it. Take this trigger out of the"
            " ScaledObject, or write mode: scale into the policy",
        )
    return key


def _scales(snapshot: Snapshot, key: Key) -> bool:
    return snapshot.policies[key[0]].spec.workers[key[1]].mode == "scale"


def _never_read(decision: Decision) -> bool:
    """Whether nothing at all is known of the class: no reading now, none remembered."""
    return decision.quality == "blind" and decision.sampled_at is None


def _open(snapshot: Snapshot, key: Key, namespace: str) -> bool:
    """Whether the class is loaded and scaled by us, and the namespace may ask for it."""
    policy, worker_class = key
    loaded = snapshot.policies.get(policy)
    known = loaded is not None and worker_class in loaded.spec.workers and admits(loaded, namespace)
    return known and _scales(snapshot, key)


def _require_current(decision: Decision | None, snapshot: Snapshot, now: float) -> Decision:
    """The decision, if it still says anything about the present."""
    if decision is None:
        raise Refused(grpc.StatusCode.UNAVAILABLE, "no decision yet")
    age = snapshot.age(decision, now)
    if age > STALE_SECONDS:
        why = snapshot.held_because or "the decider is stuck"
        raise Refused(grpc.StatusCode.UNAVAILABLE, f"the last decision is {age:.0f} s old: {why}")
    # A person's order is known however dark the broker is.
    if decision.quality == "blind" and decision.limit != "override":
        raise Refused(grpc.StatusCode.UNAVAILABLE, "; ".join(("blind", *decision.quality_reasons)))
    return decision
