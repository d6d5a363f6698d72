"""What the tests of the sources share: sources that are closed, nothing left behind, real Celery workers."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import aio_pika
import pytest

from scaler.sources.base import QueueSource
from scaler.testing import wait_until
from scaler.testing.rabbitmq import Vhost

Source = TypeVar("Source", bound=QueueSource)

#: Tasks that a test can hold: they run until a file appears, or at once.
TASKS = """
import pathlib, time
from celery import Celery

app = Celery("tasks")
app.config_from_object("celeryconfig")

@app.task(name="hold", acks_late=True)
def hold(path):
    while not pathlib.Path(path).exists():
        time.sleep(0.01)

@app.task(name="touch")
def touch(path):
    pathlib.Path(path).touch()
"""


def _watched_sockets() -> int:
    """Sockets of the event loop, its own wake-up pipe included; kombu's in the tests aren't among them."""
    loop = asyncio.get_running_loop()
    return len(loop._selector.get_map())  # type: ignore[attr-defined]  # no public way to ask


@pytest.fixture(autouse=True)
async def leaves_nothing_behind() -> AsyncIterator[None]:
    """No task runs on and no socket stays open after a test: a sampler lives for months."""
    sockets = _watched_sockets()
    yield
    await wait_until(lambda: len(asyncio.all_tasks()) == 1, timeout=3, description="all tasks have ended")
    await wait_until(lambda: _watched_sockets() <= sockets, timeout=3, description="all sockets are closed")


@pytest.fixture
async def opened(leaves_nothing_behind: None) -> AsyncIterator[Callable[[Source], Source]]:
    """Takes a source and closes it after the test."""
    sources: list[QueueSource] = []

    def keep(source: Source) -> Source:
        sources.append(source)
        return source

    yield keep
    for source in sources:
        await source.close()


@pytest.fixture
async def channel(
    rabbitmq: Vhost, leaves_nothing_behind: None
) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """What producers and workers use, with confirms."""
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as opened:
        yield opened


@pytest.fixture
def celery_worker(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts a worker for a broker; further arguments go to its command line. Killed after the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(url: str, *arguments: str, options: dict[str, object] | None = None) -> None:
        (tmp_path / "tasks.py").write_text(TASKS)
        (tmp_path / "celeryconfig.py").write_text(
            f"broker_url = {url!r}\nbroker_transport_options = {options or {}!r}\n"
            "worker_prefetch_multiplier = 1\ntask_ignore_result = True\n"
            # A worker that can't reach its broker ends instead of retrying for minutes.
            "broker_connection_retry_on_startup = False\n"
        )
        with (tmp_path / "worker.log").open("ab") as log:
            workers.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO"),
                        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                        *arguments,
                    ],
                    cwd=tmp_path,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    yield start
    for worker in workers:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
