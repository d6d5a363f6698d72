"""The real service as a process of its own, on real brokers, asked over real gRPC and HTTP."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from kombu import Connection, Exchange, Producer, Queue

from scaler.pb import externalscaler_pb2 as pb
from scaler.pb import externalscaler_pb2_grpc as pb_grpc
from scaler.testing.servers import accepts, free_port

#: The io class of the ExamX policy; a slow mail relay makes its tasks 12 s long.
POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {{name: examx}}
spec:
  brokers: {{main: {{url: "{url}", managementUrl: "{management}"}}}}
  workers:
    io:
      queues: [email, api_calls, file_uploads]
      pool: gevent
      concurrency: 200
      acksLate: true
      prefetchMultiplier: 1
      serviceTime: {service_time}
      startupTime: 45s
      objective: {{wait: 30s, serviceLevel: 0.99, utilization: 0.85}}
      replicas: {{min: 1, max: 5}}
      behavior:
        scaleUp:
          policies:
            - {{type: Pods, value: 3, periodSeconds: {period}}}
            - {{type: Percent, value: 100, periodSeconds: 120}}
        scaleDown:
          stabilizationWindowSeconds: {window}
          policies: [{{type: Pods, value: 1, periodSeconds: {down}}}]
"""


def publish(url: str, queue: str, count: int) -> None:
    """Put `count` messages into a queue of RabbitMQ or Redis, declared as Celery declares it, all at once.

    One after the other takes 20 s and more on a busy machine, and then it is a flow, which gets other pods
    than a dump, and rightly so. Nobody takes them: on Redis they are copies of the first.
    """
    target = Queue(queue, Exchange(queue, type="direct"), routing_key=queue)
    with Connection(url, connect_timeout=5) as connection:
        producer = Producer(connection, exchange=target.exchange, routing_key=queue)
        producer.maybe_declare(target)
        target.maybe_bind(connection.default_channel)
        target.declare(channel=connection.default_channel)
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            producer.publish({"n": 0}, serializer="json")
            if count > 1:
                channel.client.lpush(queue, *[channel.client.lindex(queue, 0)] * (count - 1))
            return
        channel.tx_select()
        for number in range(count):
            producer.publish({"n": number}, serializer="json")
        channel.tx_commit()


def purge(url: str, queue: str) -> None:
    """Empty a queue."""
    with Connection(url, connect_timeout=5) as connection:
        connection.default_channel.queue_purge(queue)


@dataclass
class Service:
    """A running `celery-scaler serve`."""

    folder: Path
    grpc_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def policy(self) -> Path:
        return self.folder / "policies" / "examx.yaml"

    def write(
        self,
        url: str,
        *,
        service_time: str = "12s",
        management: str = "",
        period: int = 60,
        window: int = 900,
        down: int = 600,
    ) -> None:
        self.policy.parent.mkdir(exist_ok=True)
        self.policy.write_text(
            POLICY.format(
                url=url,
                management=management,
                service_time=service_time,
                period=period,
                window=window,
                down=down,
            )
        )

    def start(self, *options: str, **environment: str) -> None:
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "scaler",
                    "serve",
                    "--policies",
                    str(self.policy.parent),
                    "--grpc-address",
                    f"127.0.0.1:{self.grpc_port}",
                    "--http-address",
                    f"127.0.0.1:{self.http_port}",
                    "--drain",
                    "0",
                    *options,
                ],
                env={**{k: v for k, v in os.environ.items() if not k.startswith("SCALER_")}, **environment},
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        code = self.process.wait(20)
        self.process = None
        return code

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text()

    @property
    def ready(self) -> bool:
        return accepts(self.http_port) and self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text) if "json" in answer.headers["content-type"] else text
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def worker(self, name: str = "io") -> dict[str, Any]:
        return next(
            worker for worker in self.get("/api/v1/workers")[1]["workers"] if worker["workerClass"] == name
        )

    def ref(self, **metadata: str) -> pb.ScaledObjectRef:
        fields = {"scalerAddress": "x:9090", "policy": "examx", "workerClass": "io"} | metadata
        return pb.ScaledObjectRef(name="io", namespace="examx", scalerMetadata=fields)

    def call(self, method: str, request: Any) -> Any:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            return getattr(pb_grpc.ExternalScalerStub(channel), method)(request, timeout=5)

    def value(self) -> float:
        """Replicas as KEDA reads them."""
        answer = self.call(
            "GetMetrics", pb.GetMetricsRequest(scaledObjectRef=self.ref(), metricName="desired-replicas")
        )
        return float(answer.metricValues[0].metricValueFloat)

    def active(self) -> bool:
        return bool(self.call("IsActive", self.ref()).result)


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[[], Service]]:
    """Makes services that are stopped after the test."""
    made: list[Service] = []

    def make() -> Service:
        folder = tmp_path / f"service-{len(made)}"
        folder.mkdir()
        made.append(Service(folder))
        return made[-1]

    yield make
    for service in made:
        service.stop(signal.SIGKILL)


@pytest.fixture
def service(make_service: Callable[[], Service]) -> Service:
    """One service, not yet started."""
    return make_service()


@pytest.fixture
def publish_tasks() -> Callable[[str, str, int], None]:
    """`publish`, for tests that can't import it."""
    return publish


@pytest.fixture
def purge_queue() -> Callable[[str, str], None]:
    """`purge`, likewise."""
    return purge


@pytest.fixture(params=["rabbitmq", "rabbitmq without management", "redis"])
def broker(request: pytest.FixtureRequest) -> tuple[str, str]:
    """(url, management url) of each kind of real broker, empty."""
    if request.param == "redis":
        return request.getfixturevalue("redis_server").url, ""
    vhost = request.getfixturevalue("rabbitmq")
    return vhost.url, "" if "without" in request.param else vhost.management_url
