"""Real Celery workers of all pools, heard through their events; what the tasks write down is the truth."""

# kombu and celery have no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from scaler.core.observation import WorkerReport
from scaler.core.policy import Broker
from scaler.sources.events import EventReceiver, open_receiver
from scaler.testing import wait_until
from scaler.testing.rabbitmq import Vhost
from scaler.testing.servers import RedisDatabase

pytestmark = pytest.mark.services

Start = Callable[..., subprocess.Popen[bytes]]

#: Tasks that write down when they run and how long they took.
TASKS = """
import pathlib, time
from celery import Celery

app = Celery("tasks")
app.config_from_object("celeryconfig")

def _hold(path):
    (path / f"run-{time.monotonic_ns()}").touch()
    while not (path / "go").exists():
        time.sleep(0.01)

@app.task
def early(path):
    _hold(pathlib.Path(path))

@app.task(acks_late=True)
def late(path):
    _hold(pathlib.Path(path))

@app.task
def nap(path, seconds):
    began = time.perf_counter()
    time.sleep(seconds)
    (pathlib.Path(path) / f"slept-{time.monotonic_ns()}").write_text(str(time.perf_counter() - began))

@app.task
def fail(path, seconds):
    nap(path, seconds)
    raise ValueError("no")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a worker for a broker; further arguments go to its command line. Killed after the test."""
    workers: list[subprocess.Popen[bytes]] = []
    (tmp_path / "tasks.py").write_text(TASKS)

    def run(url: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        (tmp_path / "celeryconfig.py").write_text(
            # All ETA tasks at once: with a prefetch count RabbitMQ 3 hands them out for half a minute.
            f"broker_url = {url!r}\ntask_ignore_result = True\nworker_prefetch_multiplier = 0\n"
            "broker_connection_retry_on_startup = False\n"
        )
        with (tmp_path / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO"),
                    *("--without-gossip", "--without-mingle", *arguments),
                ],
                cwd=tmp_path,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        workers.append(worker)
        return worker

    yield run
    for worker in workers:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)


class Watch:
    """A receiver, and questions to it about one worker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.receiver: EventReceiver = open_receiver(Broker.model_validate({"url": url}), time.time)

    def report(self, name: str) -> WorkerReport | None:
        now = time.time()
        named = (report for report in self.receiver.reports(now) if report.hostname.startswith(f"{name}@"))
        return next(named, None)

    async def sees(
        self, name: str, condition: Callable[[WorkerReport], object], description: str
    ) -> WorkerReport:
        def look() -> WorkerReport | None:
            report = self.report(name)
            return report if report is not None and condition(report) else None

        # Generous: 2 CPUs may be busy with 3 brokers and 4 workers.
        found = await wait_until(look, timeout=30, description=description)
        assert found is not None
        return found

    async def send(self, task: str, *arguments: object, times: int = 1, **options: Any) -> None:
        def publish() -> None:
            with Celery("client", broker=self.url, set_as_current=False) as app:
                app.conf.task_send_sent_event = True
                for _ in range(times):
                    app.send_task(f"tasks.{task}", arguments, **options)

        await asyncio.to_thread(publish)


@pytest.fixture(params=["rabbitmq", "redis_server"])
def url(request: pytest.FixtureRequest) -> str:
    """Both brokers, one after the other."""
    broker: Vhost | RedisDatabase = request.getfixturevalue(request.param)
    return broker.url


@pytest.fixture
async def watch(url: str, leaves_nothing_behind: None) -> AsyncIterator[Watch]:
    """A receiver on one of the brokers."""
    watching = Watch(url)
    running = asyncio.create_task(watching.receiver.run())
    yield watching
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def oracle(path: Path, kind: str) -> list[Path]:
    return list(path.glob(f"{kind}-*"))


async def test_workers_are_heard_without_any_option(watch: Watch, start: Start) -> None:
    leaving = start(watch.url, "-P", "solo", "-n", "leaving@%h", TZ="Asia/Tokyo")
    dying = start(watch.url, "-P", "solo", "-n", "dying@%h")
    for name in ("leaving", "dying"):
        report = await watch.sees(name, lambda report: report.active == 0, f"{name} is idle")
        assert report.frequency == 2.0
        assert not report.task_events
        # Tokyo is 9 h ahead, and its timestamps are seconds since the epoch as everybody's.
        assert abs(report.skew) < 1
    os.killpg(dying.pid, signal.SIGKILL)
    leaving.send_signal(signal.SIGTERM)
    await wait_until(lambda: watch.report("leaving") is None, description="a warm shutdown removes it")
    silent = await watch.sees(
        "dying", lambda report: time.time() - report.heard_at > 2.5, "its silence grows"
    )
    assert silent.active == 0


async def test_durations_failures_latency_and_due_times(watch: Watch, start: Start, tmp_path: Path) -> None:
    start(watch.url, "-P", "threads", "-c", "4", "-E", "-n", "w@%h", "--heartbeat-interval", "1")
    await watch.sees("w", lambda report: report.active == 0, "the worker is idle")
    published = time.time()
    await watch.send("nap", str(tmp_path), 0.8, times=6)
    await watch.send("fail", str(tmp_path), 0.8, times=2)
    await watch.send("nap", str(tmp_path), 0.8, times=100, countdown=3600)
    report = await watch.sees("w", lambda report: report.finished == 8, "all have ended")
    ended = time.time()
    slept = sum(float(path.read_text()) for path in oracle(tmp_path, "slept"))
    assert report.runtime == pytest.approx(slept, rel=0.02)
    assert report.failed == 2
    assert report.latencies == 8
    # Four at a time: each took at least its own sleep, and none longer than all of this.
    assert slept <= report.latency <= 8 * (ended - published)
    report = await watch.sees("w", lambda report: sum(n for _, n in report.due) == 100, "100 are due later")
    assert all(published + 3600 <= due <= ended + 3600 + 10 for due, _ in report.due)
    report = await watch.sees("w", lambda report: report.active == report.running == 0, "it is idle again")
    assert report.processed == 8


@pytest.mark.parametrize("url", ["redis_server"], indirect=True)
class TestPools:
    @pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
    async def test_active_is_what_runs_with_either_acknowledgement(
        self, watch: Watch, start: Start, tmp_path: Path, pool: str
    ) -> None:
        start(watch.url, "-P", pool, "-c", "3", "-E", "-n", "w@%h", "--heartbeat-interval", "1")
        await watch.sees("w", lambda report: report.active == 0, "the worker is idle")
        for task in ("early", "late", "early", "late"):
            await watch.send(task, str(tmp_path))
        report = await watch.sees("w", lambda report: report.active == 3, "its slots are full")
        assert len(oracle(tmp_path, "run")) == 3
        report = await watch.sees("w", lambda report: report.running == 3, "its events say the same")
        assert report.running_since[0] > report.since
        assert report.running_age > 0
        # Another task waits in the worker: it is in neither count.
        assert report.processed == 3
        (tmp_path / "go").touch()
        await watch.sees("w", lambda report: (report.active, report.processed) == (0, 4), "all are done")
        await watch.sees("w", lambda report: (report.running, report.finished) == (0, 4), "the events agree")

    async def test_a_solo_worker_is_silent_while_it_works(
        self, watch: Watch, start: Start, tmp_path: Path
    ) -> None:
        start(watch.url, "-P", "solo", "-E", "-n", "w@%h", "--heartbeat-interval", "1")
        await watch.sees("w", lambda report: report.active == 0, "the worker is idle")
        await watch.send("late", str(tmp_path))
        await wait_until(lambda: oracle(tmp_path, "run"), description="it works")
        silent = await watch.sees("w", lambda report: time.time() - report.heard_at > 3, "nothing is heard")
        assert (silent.active, silent.running) == (0, None)
        (tmp_path / "go").touch()
        report = await watch.sees("w", lambda report: report.finished == 1, "the end is told")
        assert report.runtime > 2
        await watch.sees(
            "w", lambda report: (report.active, report.processed) == (0, 1), "heartbeats are back"
        )

    async def test_a_worker_without_heartbeats_is_known_by_its_tasks(
        self, watch: Watch, start: Start, tmp_path: Path
    ) -> None:
        await wait_until(lambda: not watch.receiver.problem, description="the receiver listens")
        start(watch.url, "-P", "solo", "-E", "-n", "w@%h", "--without-heartbeat")
        await watch.send("nap", str(tmp_path), 0.1)
        report = await watch.sees("w", lambda report: report.finished == 1, "its task is told")
        assert (report.frequency, report.active, report.running) == (float("inf"), None, None)
