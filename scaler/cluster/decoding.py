"""JSON of the API server, a piece at a time.

json.loads of a whole list holds the interpreter for its whole length, in a thread as well: C code that
makes objects doesn't let go of it. So a list is decoded object by object, each is cut down to what is
needed at once, and in between the event loop gets its turn.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import StreamReader

from scaler.cluster.errors import ClusterError

Document = dict[str, Any]

#: Characters that are decoded before the event loop gets its turn: 1 to 2 ms.
TURN = 128 * 1024
#: An object in etcd has 1.5 MiB at most, and grows in JSON.
MOST_EVENT_BYTES = 8 << 20

_DECODER = json.JSONDecoder()


async def decode_list(text: str, take: Callable[[Document], None]) -> Document:
    """Hand over each element of a list object's `items`; returns the object without them.

    Raises:
        ClusterError: the text is no such JSON.
    """
    head: Document = {}
    try:
        at = _mark(text, 0, "{")
        while True:
            key, at = _DECODER.raw_decode(text, _space(text, at))
            at = _mark(text, at, ":")
            if key == "items" and text[_space(text, at)] == "[":
                at = await _items(text, _mark(text, at, "["), take)
            else:
                head[key], at = _DECODER.raw_decode(text, _space(text, at))
            at = _space(text, at)
            if text[at] == "}":
                return head
            at = _mark(text, at, ",")
    except (ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
        raise ClusterError("the API server answers with something that is no list of objects") from error


async def _items(text: str, at: int, take: Callable[[Document], None]) -> int:
    at, turn = _space(text, at), at
    if text[at] == "]":
        return at + 1
    while True:
        element, at = _DECODER.raw_decode(text, at)
        take(element)
        at = _space(text, at)
        if text[at] == "]":
            return at + 1
        at = _space(text, _mark(text, at, ","))
        if at - turn > TURN:
            turn = at
            await asyncio.sleep(0)


async def events(stream: StreamReader) -> AsyncIterator[Document]:
    """The events of a watch, one JSON object a line, until the server ends it.

    Raises:
        ClusterError: a line is too long or no JSON object.
    """
    waiting, turn = bytearray(), 0
    async for piece in stream.iter_any():
        waiting += piece
        *lines, rest = waiting.split(b"\n")
        waiting = bytearray(rest)
        if len(waiting) > MOST_EVENT_BYTES:
            raise ClusterError(f"the API server sends an event of more than {MOST_EVENT_BYTES >> 20} MiB")
        for line in lines:
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except ValueError as error:
                raise ClusterError("the API server sends something that is no event") from error
            if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                raise ClusterError("the API server sends something that is no event")
            yield event
            turn += len(line)
            if turn > TURN:
                turn = 0
                await asyncio.sleep(0)


def _space(text: str, at: int) -> int:
    while text[at] in " \n\r\t":
        at += 1
    return at


def _mark(text: str, at: int, mark: str) -> int:
    """The place behind the mark, which has to come next."""
    at = _space(text, at)
    if text[at] != mark:
        raise ValueError(mark)
    return at + 1
