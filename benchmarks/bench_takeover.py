"""How long until another replica decides when the leader is lost; three real services on one Redis.

    python benchmarks/bench_takeover.py [--rounds 20] [--how kill|freeze|end]

Meanwhile KEDA's question is put to the others every 50 ms: how many answers are missing or lower than before.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import grpc

from scaler.pb import externalscaler_pb2 as pb
from scaler.pb import externalscaler_pb2_grpc as pb_grpc
from scaler.testing.servers import RedisServer, free_port

POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {{name: examx}}
spec:
  brokers: {{main: {{url: "{url}"}}}}
  workers:
    io: {{queues: [email], concurrency: 10, acksLate: true, serviceTime: 10s, replicas: {{min: 2, max: 5}}}}
"""


class Replica:
    """One service."""

    def __init__(self, policy: Path, url: str) -> None:
        self.policy, self.url = policy, url
        self.start()

    def start(self) -> None:
        """A new process on free ports."""
        self.grpc_port, self.http_port = free_port(), free_port()
        command = [
            sys.executable,
            "-m",
            "scaler",
            "serve",
            "--policies",
            str(self.policy),
            "--state",
            self.url,
        ]
        command += ["--grpc-address", f"127.0.0.1:{self.grpc_port}", "--drain", "0", "--grace", "0"]
        command += ["--http-address", f"127.0.0.1:{self.http_port}", "--log-level", "error"]
        self.process = subprocess.Popen(command, start_new_session=True)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")

    def standing(self) -> dict:
        """Who leads, as it sees it; empty where it doesn't answer."""
        try:
            address = f"http://127.0.0.1:{self.http_port}/api/v1/replica"
            with urllib.request.urlopen(address, timeout=1) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def value(self) -> float | None:
        """As KEDA reads it; None: no answer."""
        keys = {"policy": "examx", "workerClass": "io"}
        asked = pb.GetMetricsRequest(
            scaledObjectRef=pb.ScaledObjectRef(name="io", namespace="examx", scalerMetadata=keys),
            metricName="desired-replicas",
        )
        try:
            answer = pb_grpc.ExternalScalerStub(self.channel).GetMetrics(asked, timeout=1)
        except grpc.RpcError:
            return None
        return float(answer.metricValues[0].metricValueFloat)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end if it brings one."""
        os.killpg(self.process.pid, number)
        if number not in {signal.SIGSTOP, signal.SIGCONT}:
            self.process.wait(20)


def settle(replicas: list[Replica]) -> Replica:
    """The leader, once all the others follow it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [replica.standing() for replica in replicas]
        terms = {one["record"]["term"] for one in found if one}
        if len(terms) == sum(bool(one.get("leading")) for one in found) == 1 and all(
            one and one["record"]["sequence"] and replica.value() is not None
            for one, replica in zip(found, replicas, strict=True)
        ):
            return next(r for r, one in zip(replicas, found, strict=True) if one["leading"])
        time.sleep(0.1)
    raise SystemExit("the replicas don't come to rest")


def takeover(replicas: list[Replica], how: str) -> tuple[float, int, int]:
    """(seconds, missing answers, answers below 2)."""
    leader = settle(replicas)
    others = [replica for replica in replicas if replica is not leader]
    before = leader.standing()["record"]["term"]
    began, missing, low = time.monotonic(), 0, 0
    leader.stop({"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "end": signal.SIGTERM}[how])
    while all((one.standing().get("record") or {"term": 0})["term"] == before for one in others):
        for other in others:
            told = other.value()
            missing, low = missing + (told is None), low + (told is not None and told < 2)
        if time.monotonic() - began > 60:
            raise SystemExit("nobody takes over")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    if how == "freeze":
        leader.stop(signal.SIGCONT)
    else:
        leader.start()
    return seconds, missing, low


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--how", choices=["kill", "freeze", "end"], default="kill")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        server.start()
        policy = Path(folder) / "examx.yaml"
        policy.write_text(POLICY.format(url=server.url()))
        replicas = [Replica(policy, server.url()) for _ in range(3)]
        try:
            rounds = [takeover(replicas, asked.how) for _ in range(asked.rounds)]
        finally:
            for replica in replicas:
                replica.stop()
            server.kill()
    seconds = sorted(one[0] for one in rounds)
    print(
        f"{asked.how}, {len(rounds)} rounds: p50 {seconds[len(seconds) // 2]:.1f} s, max {seconds[-1]:.1f} s,"
        f" min {seconds[0]:.1f} s; {sum(one[1] for one in rounds)} answers missing,"
        f" {sum(one[2] for one in rounds)} too low"
    )


if __name__ == "__main__":
    main()
