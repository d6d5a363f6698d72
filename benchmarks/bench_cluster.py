"""How long reading a cluster keeps the event loop from everything else, and what it takes in memory.

A stand-in for the API server in a process of its own holds 500 Deployments with 10 pods each, of 6 kB of
JSON like real ones, with metrics. Meanwhile all 500 workloads are asked for once a second, as a tick does,
and a probe asks for the loop every 5 ms. Stated per phase: the worst delay of the probe by the clock, and
the most CPU time that the loop took between two probes, which other processes on the machine don't change.

    python benchmarks/bench_cluster.py
"""

import asyncio
import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from scaler.cluster.access import Mode, find_access, open_cluster
from scaler.cluster.base import ClusterReader
from scaler.cluster.pace import Pace
from scaler.core.policy.worker import ScaleTarget
from scaler.testing import wait_until
from scaler.testing.kubernetes_api import KubernetesApi, kubeconfig
from scaler.testing.kubernetes_objects import HASH, autoscaler, deployment, pod, scaled_object, usage

DEPLOYMENTS, PODS_EACH = 500, 10
#: Bytes of environment in a pod, so that its JSON has 6 kB.
PADDING = 5000
CHURN_PER_SECOND = 200
SECONDS = 10.0
#: What the design allows.
MOST_MILLISECONDS = 50.0

TARGETS = [ScaleTarget(name=f"worker-{number}") for number in range(DEPLOYMENTS)]


def serve(pipe: Connection) -> None:
    """The child: fill the server, serve, and obey the parent."""
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    api = KubernetesApi(bookmark_seconds=5)
    old = datetime.now(UTC) - timedelta(hours=1)
    requests = {"cpu": "500m", "memory": "1Gi"}

    def put_pod(target: str, number: int) -> None:
        document = pod(target, number, created=old, ready_at=old, requests=requests, padding=PADDING)
        api.store.put(("v1", "pods"), document)

    for target in TARGETS:
        api.store.put(("apps/v1", "deployments"), deployment(target.name, PODS_EACH))
        api.store.put(("keda.sh/v1alpha1", "scaledobjects"), scaled_object(target.name))
        api.store.put(("autoscaling/v2", "horizontalpodautoscalers"), autoscaler(target.name))
        for number in range(PODS_EACH):
            put_pod(target.name, number)
            name = f"{target.name}-{HASH}-{number:05}"
            api.store.put(("metrics.k8s.io/v1beta1", "pods"), usage(name, datetime.now(UTC), "300m", "512Mi"))
    api.store.history.clear()
    async with api.serving() as url:
        pipe.send((url, len(json.dumps(api.store.objects["v1", "pods"]["celery", f"worker-0-{HASH}-00000"]))))
        changes = 0
        while True:
            order = await asyncio.to_thread(pipe.recv)
            if order == "stop":
                return
            if order == "relist":
                api.store.version += 10
                api.compact()
                api.drop_watches()
            if order == "churn":
                until = time.monotonic() + SECONDS
                while time.monotonic() < until:
                    for _ in range(CHURN_PER_SECOND // 10):
                        changes += 1
                        put_pod(TARGETS[changes % DEPLOYMENTS].name, changes % PODS_EACH)
                    await asyncio.sleep(0.1)
                pipe.send("done")


def resident() -> float:
    """MB of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def probed(phase: str, work: Callable[[], Awaitable[object]]) -> float:
    """The most milliseconds of CPU between two probes while something is done."""
    worst = busiest = 0.0
    done = asyncio.ensure_future(work())
    began = time.monotonic()
    while not done.done():
        asked, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.005)
        worst = max(worst, (time.perf_counter() - asked - 0.005) * 1000)
        busiest = max(busiest, (time.thread_time() - cpu) * 1000)
    await done
    took = time.monotonic() - began
    print(f"{phase:<36} {took:5.1f} s  {worst:5.1f} ms late  {busiest:5.1f} ms of CPU  {resident():4.0f} MB")
    return busiest


async def read(pipe: Connection, reader: ClusterReader) -> list[float]:
    def known() -> bool:
        seen = reader.workload(TARGETS[-1], time.time())
        return bool(seen.pods and seen.utilization and seen.autoscaler and seen.scaled_object)

    async def until_known() -> None:
        reader.follow(TARGETS, TARGETS)
        await wait_until(known, timeout=120, description="pods, metrics and HPAs are read")

    async def churn() -> None:
        pipe.send("churn")
        await asyncio.to_thread(pipe.recv)

    async def relist() -> None:
        pipe.send("relist")
        await asyncio.sleep(SECONDS)

    async def tick() -> None:
        while True:
            ask()
            await asyncio.sleep(1.0)

    def ask() -> float:
        began = time.thread_time()
        for target in TARGETS:
            reader.workload(target, time.time())
        return (time.thread_time() - began) * 1000

    delays = [await probed("first lists", until_known)]
    first, again = ask(), ask()
    print(f"asking for {DEPLOYMENTS} workloads: {first:.1f} ms, unchanged {again:.1f} ms")
    ticking = asyncio.create_task(tick())
    delays.append(await probed(f"{CHURN_PER_SECOND} changes of pods per second", churn))
    delays.append(await probed("410 Gone: everything listed anew", relist))
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    await reader.close()
    return [*delays, first]


def main() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url, size = ours.recv()
    before = resident()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text("any", encoding="utf-8")
        os.environ["KUBECONFIG"] = str(kubeconfig(Path(folder) / "config", url, Path(folder) / "token"))
        reader = open_cluster(find_access(Mode.KUBECONFIG), clock=time.time, pace=Pace(poll=2.0))
        print(f"{DEPLOYMENTS} Deployments, {DEPLOYMENTS * PODS_EACH} pods of {size} bytes")
        print(f"before: {before:.0f} MB; with kubernetes-asyncio: {resident():.0f} MB")
        gc.collect()
        gc.freeze()  # as `serve` does
        delays = asyncio.run(read(ours, reader))
    ours.send("stop")
    server.join(5)
    verdict = "within" if max(delays) <= MOST_MILLISECONDS else "ABOVE"
    print(f"worst of all {max(delays):.1f} ms: {verdict} {MOST_MILLISECONDS:.0f} ms")


if __name__ == "__main__":
    main()
