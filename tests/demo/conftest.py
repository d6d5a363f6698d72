"""Processes that belong to a test are found by a mark in their environment, whoever their parent is now."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def mark() -> dict[str, str]:
    """Environment for a process under test; its children inherit it."""
    return {"DEMO_TEST_MARK": uuid.uuid4().hex}


@pytest.fixture
def alive(mark: dict[str, str]) -> Iterator[Callable[[], list[int]]]:
    """The ids of all running processes that carry the mark (Linux); what a failed test leaves is killed."""
    if sys.platform != "linux":
        pytest.skip("processes are found through /proc")
    needle = mark["DEMO_TEST_MARK"].encode()

    def look() -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                if needle in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # it ended just now, or is a zombie
        return found

    yield look
    for pid in look():
        os.kill(pid, signal.SIGKILL)
