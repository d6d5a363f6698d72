"""What `serve --record` wrote, played again with another policy."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaler.testing import wait_until

pytestmark = pytest.mark.services


async def test_a_recorded_spike_is_played_again(
    service: Any, redis_server: Any, publish_tasks: Any, tmp_path: Path
) -> None:
    recording = tmp_path / "recording"
    service.write(redis_server.url)
    service.start("--record", str(recording))
    await wait_until(
        lambda: service.ready and service.worker()["quality"] == "fresh", timeout=20, description="ready"
    )
    publish_tasks(redis_server.url, "email", 4000)
    await wait_until(lambda: service.value() == 4, timeout=5, description="4 replicas")
    await asyncio.sleep(12)  # the recording is of real seconds; a line is due every 5
    assert service.stop() == 0

    text = "".join(file.read_text() for file in recording.glob("*.jsonl"))
    assert '"desired":4' in text.replace(" ", "")
    assert "redis:" not in text, "no address of a broker"
    played = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "scaler", "simulate", "--replay", str(recording), "--assert", "rejected=0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert played.returncode == 0, played.stderr
    assert "as recorded" in played.stdout


async def test_a_folder_that_cant_be_written_is_a_clear_error(service: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    service.write("${BROKER_URL}")
    service.start("--record", str(tmp_path / "file" / "recording"), BROKER_URL="amqp://127.0.0.1:1//")
    assert service.process.wait(20) == 2
    assert "can't record into" in service.log
