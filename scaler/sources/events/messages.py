"""From the body of a broker message to events; everything in it is taken for possibly hostile."""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: One event, as its sender wrote it: nothing is known of its fields but that they came out of JSON.
Event = Mapping[str, object]

#: Event types that are listened for, and no others: applications may send their own in floods.
EVENT_TYPES = (
    "worker-online",
    "worker-heartbeat",
    "worker-offline",
    "task-sent",
    "task-received",
    "task-started",
    "task-succeeded",
    "task-failed",
    "task-retried",
    "task-rejected",
    "task-revoked",
    "task-cancelled",
    # Not a type but the address of lists of task events.
    "task-multi",
)

#: Celery's exchange for events (setting `event_exchange`), and how each type is addressed there.
EXCHANGE = "celeryev"
ROUTING_KEYS = tuple(name.replace("-", ".") for name in EVENT_TYPES)

#: Bytes of a message. A list of 24 events with tracebacks has 10-200 kB.
BODY_LIMIT = 1_000_000

#: Characters of a host name or task id, for which Celery makes at most some dozens.
NAME_LIMIT = 255


class MessageError(ValueError):
    """A message isn't what Celery sends; its text has nothing of the message."""


def events_in(body: bytes) -> list[Event]:
    """The events of one message: a JSON object, or a list of them.

    Raises:
        MessageError: it is too large, isn't JSON or isn't made of objects.
    """
    content = _json(body)
    events: list[Event] = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise MessageError("not made of JSON objects")
    return events


def body_of(envelope: bytes) -> bytes:
    """The body inside kombu's envelope, which it puts around messages where the broker has none (Redis).

    Raises:
        MessageError: it isn't kombu's.
    """
    match _json(envelope):
        case {"body": str(body), "properties": {"body_encoding": "base64"}}:
            try:
                return base64.b64decode(body)
            except (binascii.Error, ValueError) as error:
                raise MessageError("broken base64") from error
        case {"body": str(body)}:
            return body.encode(errors="replace")
        case _:
            raise MessageError("no envelope of kombu")


def number(event: Event, key: str, most: float) -> float | None:
    """The field as a number between 0 and `most`, or None."""
    value = event.get(key)
    if type(value) is not float and type(value) is not int:
        return None
    # NaN fails every comparison.
    return float(value) if 0 <= value <= most else None


def name(event: Event, key: str) -> str | None:
    """The field as a text that may be a key, or None."""
    value = event.get(key)
    return value if isinstance(value, str) and 0 < len(value) <= NAME_LIMIT else None


def moment(event: Event, key: str) -> float | None:
    """The field as seconds since the epoch where it is an ISO 8601 time, or None."""
    value = event.get(key)
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _json(text: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if len(text) > BODY_LIMIT:
        raise MessageError("too large")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("not JSON") from error
