"""The loops of `serve` that write to the cluster: events, replicas that are raised at once, marked pods."""

import asyncio
import os
import socket
from collections.abc import Callable

from scaler.cluster.access import Access
from scaler.cluster.base import ClusterReader
from scaler.cluster.deletion_costs import DeletionCosts
from scaler.cluster.events import EventWriter
from scaler.cluster.scale import Scales
from scaler.core.news import News
from scaler.runtime.board import Board, Key
from scaler.runtime.clock import Clock
from scaler.runtime.draining import Draining
from scaler.runtime.engine import Engine
from scaler.runtime.events import Events
from scaler.runtime.fast_path import FOLLOWING_SECONDS, FastPath
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import StateStore


def writing_loops(
    engine: Engine,
    board: Board,
    metrics: Metrics,
    clock: Clock,
    *,
    access: Access,
    cluster: ClusterReader,
    store: StateStore,
    events: bool,
) -> list[asyncio.Task[None]]:
    """Tasks that run until cancelled; none where no cluster is read."""
    if access.connection is None:
        return []
    loops: list[asyncio.Task[None]] = []
    tell: Callable[[Key, News], None] = _nobody
    if events:
        writer = EventWriter(
            access.connection,
            clock,
            # In a pod its name.
            instance=os.environ.get("HOSTNAME") or socket.gethostname(),
            counted=lambda result, count: metrics.events_total.labels(result).inc(count),
        )
        told = Events(board, writer, cluster, metrics, engine.announced)
        tell = told.tell
        loops.append(asyncio.create_task(told.run(), name="events"))
    # The replicas of a service with a shared store answer KEDA from one decision, each a moment later.
    settle = FOLLOWING_SECONDS if store.shared else 0.0
    fast = FastPath(board, Scales(access.connection), cluster, metrics, clock, settle=settle, tell=tell)
    loops.append(asyncio.create_task(fast.run(), name="fast path"))
    draining = Draining(board, DeletionCosts(access.connection), cluster, metrics, clock, tell=tell)
    loops.append(asyncio.create_task(draining.run(), name="draining"))
    return loops


def _nobody(_: Key, __: News) -> None:
    """Events are off."""
