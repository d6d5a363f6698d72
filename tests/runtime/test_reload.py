"""Hot reload: every change is seen, a broken file changes nothing and says where it is broken."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import load_directory_or_file
from scaler.runtime.metrics import Metrics
from scaler.runtime.reload import watch_policies
from scaler.testing import wait_until

POLICY = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {{name: examx}}
spec:
  brokers: {{main: {{url: "amqp://127.0.0.1"}}}}
  workers:
    io:
      queues: [email]
      concurrency: 10
      serviceTime: 1s
      replicas: {{min: 1, max: {max}}}
"""


class Applied:
    """What was put into force, in order."""

    def __init__(self) -> None:
        self.maxima: list[int] = []

    def reached(self, most: int) -> bool:
        return self.maxima[-1:] == [most]

    async def __call__(self, policies: Mapping[str, ScalingPolicy]) -> None:
        self.maxima.append(policies["examx"].spec.workers["io"].replicas.max)


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[tuple[Applied, Metrics]]:
    applied, metrics = Applied(), Metrics()
    load: Callable[[], Mapping[str, ScalingPolicy]] = lambda: load_directory_or_file(path, None, {})  # noqa: E731 - one line
    task = asyncio.create_task(watch_policies(path, load, applied, metrics))
    await asyncio.sleep(0.3)  # the watch is set up in a thread of its own and can't be observed
    try:
        yield applied, metrics
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def counted(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("celery_scaler_policy_reload_total", {"result": result}) or 0.0


def mount(folder: Path, generation: int, text: str) -> None:
    """A ConfigMap volume: files are links into ..data, which is swapped as a whole."""
    version = folder / f"..{generation}"
    version.mkdir()
    (version / "examx.yaml").write_text(text)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(folder / "..data")
    link = folder / "examx.yaml"
    if not link.is_symlink():
        link.symlink_to("..data/examx.yaml")


async def test_every_swap_of_a_configmap_is_seen(tmp_path: Path) -> None:
    mount(tmp_path, 1, POLICY.format(max=5))
    async with watching(tmp_path) as (applied, metrics):
        for generation, most in ((2, 6), (3, 7), (4, 8)):
            mount(tmp_path, generation, POLICY.format(max=most))
            await wait_until(partial(applied.reached, most), description=f"max {most}")
    assert applied.maxima == [6, 7, 8]
    assert counted(metrics, "applied") == 3


async def test_a_broken_file_keeps_the_old_policy_and_says_where_and_what(tmp_path: Path) -> None:
    file = tmp_path / "examx.yaml"
    file.write_text(POLICY.format(max=5))
    async with watching(tmp_path) as (applied, metrics):
        with structlog.testing.capture_logs() as logs:
            file.write_text(POLICY.format(max=5).replace("queues", "queus"))
            await wait_until(
                lambda: counted(metrics, "broken") == 1, description="the broken file was noticed"
            )
        assert applied.maxima == []
        assert metrics.registry.get_sample_value("celery_scaler_policy_broken") == 1
        lines = [entry["where"] for entry in logs if "broken" in entry["event"]]
        assert any("examx.yaml:8:7:" in line and "queues" in line for line in lines), lines
        file.write_text(POLICY.format(max=9))
        await wait_until(lambda: applied.maxima == [9], description="mended")
        assert metrics.registry.get_sample_value("celery_scaler_policy_broken") == 0


async def test_a_deleted_file_keeps_the_old_policy(tmp_path: Path) -> None:
    file = tmp_path / "examx.yaml"
    file.write_text(POLICY.format(max=5))
    async with watching(tmp_path) as (applied, metrics):
        file.unlink()
        await wait_until(lambda: counted(metrics, "broken") == 1, description="noticed")
        assert applied.maxima == []


async def test_one_file_may_be_watched_and_touching_it_reloads_nothing(tmp_path: Path) -> None:
    file = tmp_path / "examx.yaml"
    file.write_text(POLICY.format(max=5))
    async with watching(file) as (applied, _):
        file.touch()
        file.write_text(POLICY.format(max=6))
        await wait_until(lambda: applied.maxima == [6], description="the change")


async def test_where_nothing_can_be_watched_it_is_looked_at_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: Any, **kwargs: Any) -> Any:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("scaler.runtime.reload.awatch", exhausted)
    monkeypatch.setattr("scaler.runtime.reload.LOOK_ANYWAY_MS", 50)
    file = tmp_path / "examx.yaml"
    file.write_text(POLICY.format(max=5))
    async with watching(tmp_path) as (applied, _):
        file.write_text(POLICY.format(max=6))
        await wait_until(lambda: applied.maxima == [6], description="the change")


async def test_a_dangling_link_hides_no_change_of_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")
    file = tmp_path / "examx.yaml"
    file.write_text(POLICY.format(max=5))
    async with watching(tmp_path) as (applied, metrics):
        file.write_text(POLICY.format(max=6))
        await wait_until(lambda: counted(metrics, "broken") == 1, description="the link was named as broken")
        (tmp_path / "a.yaml").unlink()
        await wait_until(lambda: applied.maxima == [6], description="the change")
