"""Asking never changes anything: the seventh promise, over random stories of ticks and KEDA's calls."""

import asyncio
import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.api.interceptor import Refused
from scaler.api.keda import KedaServicer
from scaler.core.policy import ScalingPolicy
from scaler.pb import externalscaler_pb2 as pb
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore
from scaler.sources.memory import MemorySource

POLICY = ScalingPolicy.model_validate_json(
    json.dumps(
        {
            "apiVersion": "scaler/v1",
            "kind": "ScalingPolicy",
            "metadata": {"name": "examx"},
            "spec": {
                "brokers": {"main": {"url": "amqp://memory"}},
                "workers": {
                    "io": {
                        "queues": ["email"],
                        "concurrency": 10,
                        "acksLate": True,
                        "serviceTime": "10s",
                        "replicas": {"min": 0, "max": 9},
                    }
                },
            },
        }
    )
)

calls = st.sampled_from(["GetMetricSpec", "GetMetrics", "IsActive", "GetMetrics of nobody"])
ticks = st.tuples(st.sampled_from([0.0, 1.0, 20.0, 61.0, 400.0]), st.integers(0, 400), st.booleans())
stories = st.lists(st.tuples(ticks, st.lists(calls, max_size=6)), min_size=1, max_size=12)


async def play(story: list[Any], *, asking: bool) -> list[str]:
    """The decisions of a story, as bytes, with KEDA's calls between the ticks or without."""
    now, board, source = 1_800_000_000.0, Board(), MemorySource()
    engine = Engine(
        board=board,
        clock=lambda: now,
        metrics=Metrics(),
        store=MemoryStore(),
        open_source=lambda broker: source,
        interval=3600,
    )
    await engine.apply({"examx": POLICY})
    sampler = engine.sampler_of(("examx", "io"))
    servicer = KedaServicer(board, lambda: now)
    decisions = []
    for (wait, level, lit), asked in story:
        now += wait
        source.delete("email")
        source.publish("email", level)
        if lit:
            await sampler.sweep()
        await engine.turn()
        decisions.append(board.snapshot.decisions["examx", "io"].to_json())
        for call in asked if asking else []:
            await ask(servicer, call)
    await engine.close()
    return decisions


async def ask(servicer: KedaServicer, call: str) -> None:
    name = "nobody" if call.endswith("nobody") else "io"
    reference = pb.ScaledObjectRef(name="so", namespace="ns", scalerMetadata={"workerClass": name})
    context: Any = None
    with contextlib.suppress(Refused):
        if call.startswith("GetMetrics"):
            await servicer.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=reference), context)
        elif call == "GetMetricSpec":
            await servicer.GetMetricSpec(reference, context)
        else:
            await servicer.IsActive(reference, context)


@settings(max_examples=100, deadline=None)
@given(stories)
def test_any_number_of_calls_in_any_order_leaves_the_decisions_as_they_are(story: list[Any]) -> None:
    quiet = asyncio.run(play(story, asking=False))
    busy = asyncio.run(play(story, asking=True))
    assert busy == quiet
