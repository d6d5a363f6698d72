"""What a message that waits in a list tells about itself: when it was published, when it is due.

A bare Celery message carries no publish time. Applications and other autoscalers' adapters add
one: Judoscale `properties.published_at` (seconds), HireFire `headers.run_at` (ISO 8601: the ETA,
or else the time of publishing), others `headers.published_at` or the AMQP property `timestamp`.
Where one is there it beats what can be derived from outside.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: A number above this can't be seconds (the year 5138), so it is milliseconds (from 1973 on).
MILLISECONDS_FROM = 1e11

#: Where a publish time may be, best first: (part of the message, name).
PUBLISH_TIMES = (
    ("properties", "published_at"),
    ("headers", "published_at"),
    ("headers", "run_at"),
    ("properties", "timestamp"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a list."""

    #: kombu's delivery tag: it stays the same when the message is put back.
    tag: bytes = b""
    published: float | None = None
    #: Seconds since the epoch before which a worker won't start it; None: at once.
    eta: float | None = None
    #: A worker had it before and gave it back, or died.
    redelivered: bool = False


def parse_message(element: bytes) -> Message:
    """Read one element of a list; what isn't a message of kombu tells nothing."""
    try:
        message = json.loads(element)
    except ValueError:
        return Message()
    if not isinstance(message, dict):
        return Message()
    headers, properties = _part(message, "headers"), _part(message, "properties")
    parts = {"headers": headers, "properties": properties}
    times = (moment(parts[part].get(name)) for part, name in PUBLISH_TIMES)
    return Message(
        tag=str(properties.get("delivery_tag", "")).encode(errors="replace"),
        published=next((time for time in times if time is not None), None),
        eta=eta_of(message),
        redelivered=bool(headers.get("redelivered") or _part(properties, "delivery_info").get("redelivered")),
    )


def eta_of(message: dict[str, Any]) -> float | None:
    """The ETA of a task, from its headers, or with task protocol 1 (no headers) from its body."""
    headers = _part(message, "headers")
    eta = headers.get("eta")
    if eta is None and "task" not in headers:
        eta = _body(message).get("eta")
    # Celery rejects a task with a nonsensical ETA as soon as it sees it, so it isn't held.
    return _iso(eta) if isinstance(eta, str) else None


def moment(value: object) -> float | None:
    """Seconds since the epoch from a number (seconds or milliseconds), a number in text, or ISO 8601."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(str(value))
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value < MILLISECONDS_FROM * 1e3
    ):
        return None
    return value / 1e3 if value > MILLISECONDS_FROM else float(value)


def _iso(text: str) -> float | None:
    try:
        time = datetime.fromisoformat(text)
        # Without an offset Celery, too, takes it for UTC.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _part(message: dict[str, Any], name: str) -> dict[str, Any]:
    part = message.get(name)
    return part if isinstance(part, dict) else {}


def _body(message: dict[str, Any]) -> dict[str, Any]:
    body = message.get("body")
    if not isinstance(body, str) or message.get("content-type") != "application/json":
        return {}
    try:
        if _part(message, "properties").get("body_encoding") == "base64":
            body = base64.b64decode(body)
        task = json.loads(body)
    except (ValueError, binascii.Error):
        return {}
    return task if isinstance(task, dict) else {}
