"""How fast GetMetrics is answered: calls per second and latency, beside a server that only echoes bytes.

Both servers and the client share one event loop, so the absolute figures are those of this
machine and say little; the ratio, measured in alternating rounds of the same run, says what our
part (messages, metadata, guard, metrics) adds to grpc.aio itself.

    python benchmarks/bench_grpc.py
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from scaler.api.grpc_server import GrpcServer
from scaler.core.decision import Decision, Term
from scaler.core.policy import ScalingPolicy
from scaler.pb import externalscaler_pb2 as pb
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.metrics import Metrics

ROUNDS = 5
#: Calls per round and server.
CALLS = 1000
#: One after another, as KEDA asks for one ScaledObject, and as many ScaledObjects at once.
CONCURRENCIES = (1, 64)
#: Calls per second of KEDA and the HPA for one ScaledObject at default settings: 6 times a minute all three.
CALLS_PER_OBJECT = 18 / 60

POLICY = """{"apiVersion": "scaler/v1", "kind": "ScalingPolicy", "metadata": {"name": "examx"}, "spec": {
    "brokers": {"main": {"url": "redis://broker"}},
    "workers": {
        "io": {"queues": ["email"], "concurrency": 200, "serviceTime": "1.5s", "replicas": {"max": 5}}}}}"""

Call = Callable[[], Awaitable[object]]


@dataclass
class Figures:
    """What was measured of one server at one concurrency."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))] * 1000


async def measure(call: Call, concurrency: int, figures: Figures) -> float:
    """Add one round of calls; returns its calls per second."""

    async def caller() -> None:
        for _ in range(CALLS // concurrency):
            began = time.perf_counter()
            await call()
            figures.latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    figures.seconds += seconds
    return CALLS // concurrency * concurrency / seconds


def board_with_a_decision(now: float) -> Board:
    decision = Decision(
        policy="examx",
        worker_class="io",
        decided_at=now,
        desired=4,
        previous=1,
        recommendation=8,
        active=True,
        active_because="4000 wait, 0 run",
        quality="fresh",
        quality_reasons=(),
        terms=(Term("drain", 7.52, "7.52"),),
        winner="drain",
        limit="scale-up-policy",
        limit_detail="3 pods per 60 s",
        next_step_at=now + 60,
        sampled_at=now,
        ready=4000,
        running=(0, 0),
        backlog=(4000, 4000),
    )
    board = Board()
    policies = {"examx": ScalingPolicy.model_validate_json(POLICY)}
    board.publish(Snapshot(now, policies, {("examx", "io"): decision}))
    return board


async def echo_server() -> tuple[grpc.aio.Server, int]:
    """The least that grpc.aio can do: bytes in, the same bytes out."""

    async def echo(request: bytes, context: object) -> bytes:
        del context
        return request

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def main() -> None:
    now = time.time()
    # A clock that stands still, so that the decision doesn't grow stale while the machine is slow.
    service = GrpcServer(board_with_a_decision(now), Metrics(), lambda: now, "127.0.0.1:0")
    port = await service.start()
    echo, echo_port = await echo_server()
    reference = pb.ScaledObjectRef(
        name="celery-io",
        namespace="examx",
        scalerMetadata={"scalerAddress": "celery-scaler:9090", "policy": "examx", "workerClass": "io"},
    )
    request = pb.GetMetricsRequest(scaledObjectRef=reference, metricName="desired-replicas")
    data = request.SerializeToString()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to_service,
        grpc.aio.insecure_channel(f"127.0.0.1:{echo_port}") as to_echo,
    ):
        # Bytes at the client on both sides, so that only the servers differ.
        get_metrics: Any = to_service.unary_unary("/externalscaler.ExternalScaler/GetMetrics")
        say: Any = to_echo.unary_unary("/bench.Echo/Echo")
        answer = pb.GetMetricsResponse.FromString(await get_metrics(data))
        if [value.metricValue for value in answer.metricValues] != [4]:
            raise SystemExit(f"wrong answer: {answer}")
        servers: dict[str, Call] = {"echo": lambda: say(data), "GetMetrics": lambda: get_metrics(data)}
        print(f"{'':24}{'calls/s':>9}{'p50 ms':>9}{'p99 ms':>9}   (client and server in one loop)")
        for concurrency in CONCURRENCIES:
            figures = {name: Figures() for name in servers}
            ratios = []
            for _ in range(ROUNDS):
                rates = {
                    name: await measure(call, concurrency, figures[name]) for name, call in servers.items()
                }
                ratios.append(rates["GetMetrics"] / rates["echo"])
            for name, measured in figures.items():
                print(
                    f"{name + f', {concurrency} at once':24}{measured.rate:9.0f}"
                    f"{measured.quantile(0.5):9.2f}{measured.quantile(0.99):9.2f}"
                )
            spread = f"median of {ROUNDS} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{'  ratio of calls/s':24}{statistics.median(ratios):9.2f}   ({spread})")
        enough_for = figures["GetMetrics"].rate / CALLS_PER_OBJECT
        print(
            f"\nenough for {enough_for:,.0f} ScaledObjects at KEDA's default settings, 18 calls a minute each"
        )
    await service.stop(0, 0)
    await echo.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
