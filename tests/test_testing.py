"""The tests' own tools."""

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from scaler.testing import wait_until
from scaler.testing.servers import RedisServer, free_port


async def test_waiting_ends_with_the_first_true_value() -> None:
    numbers = count()
    assert await wait_until(lambda: next(numbers) // 3, description="three looks") == 1
    assert next(numbers) == 4


async def test_waiting_takes_coroutines_as_well() -> None:
    async def there() -> str:
        await asyncio.sleep(0)
        return "there"

    assert await wait_until(there, description="it is there") == "there"


async def test_waiting_in_vain_says_for_what_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the moon is full \(last seen: 0\)"):
        await wait_until(lambda: 0, timeout=0.05, description="the moon is full")


async def test_an_error_of_the_condition_ends_the_wait() -> None:
    with pytest.raises(ZeroDivisionError):
        await wait_until(lambda: 1 // 0, description="it can be divided")


@pytest.mark.services
def test_a_server_that_cannot_start_says_why_and_is_gone(redis_binary: str, tmp_path: Path) -> None:
    assert redis_binary
    server = RedisServer(tmp_path / "redis", "--no-such-option", "1", port=free_port())
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="no-such-option"):
        server.start()
    assert time.monotonic() - began < 5
    assert not server.answers()
