"""Support for tests, benchmarks and load tests; nothing in the service imports it.

It is part of the package because tests run with `--import-mode=importlib` and so can't
import each other, and because whoever embeds the scaler may want the same tools.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar, overload

Value = TypeVar("Value")

#: Seconds between two looks at a condition: far below what a test notices, and 50 looks/s cost nothing.
POLL_INTERVAL = 0.02


# ruff: noqa: ASYNC109 - a bound called timeout, as everywhere
@overload
async def wait_until(
    predicate: Callable[[], Awaitable[Value]], *, timeout: float = ..., description: str
) -> Value: ...


@overload
async def wait_until(predicate: Callable[[], Value], *, timeout: float = ..., description: str) -> Value: ...


async def wait_until(
    predicate: Callable[[], object],
    *,
    timeout: float = 10.0,
    description: str,
) -> object:
    """Wait until `predicate()` (or what it awaits) is true; returns that true value.

    Takes the place of sleeps: it returns at the first look that succeeds and says what it
    waited for when it gives up. An exception of the predicate ends the wait at once.

    Args:
        predicate: A function or coroutine function without arguments.
        timeout: Seconds, for all looks together.
        description: What should come true, for the message of the failure.

    Raises:
        AssertionError: the time is over; the text has the last value seen.
    """
    last: object = "nothing yet"
    try:
        async with asyncio.timeout(timeout):
            while True:
                answer = predicate()
                value = await answer if inspect.isawaitable(answer) else answer
                if value:
                    return value
                last = value
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {description} (last seen: {last!r})") from None


def at_once(steps: Generator[None, None, Value]) -> Value:
    """Go through computing that stops now and then for the event loop's sake; its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Value = end.value
            return result
