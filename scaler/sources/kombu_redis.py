"""How kombu lays out queues, unacknowledged messages and bindings in Redis; pure, no connection.

A queue is one list per priority step. A delivered message moves to the hash `unacked` of the
whole database, as JSON [message, exchange, routing key]; which queue it came from isn't written
there and has to be derived the way kombu derives it when it puts the message back.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scaler.sources.redis_message import eta_of

#: Hash of all delivered and unacknowledged messages of a database, by delivery tag.
UNACKED_KEY = "unacked"

#: Sorted set of the same tags by the time of their delivery, on the clock of the worker.
UNACKED_INDEX_KEY = "unacked_index"

#: Lock that workers take to look for lost messages. It is read here only to learn what we may read.
UNACKED_MUTEX_KEY = "unacked_mutex"

#: Parts of a binding: routing key, pattern (empty for direct exchanges), queue.
Binding = tuple[str, str, str]
BINDING_PARTS = 3


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the `unacked` entry of a message tells."""

    exchange: str
    routing_key: str
    #: Seconds since the epoch before which the worker won't start it; None: at once.
    eta: float | None


def queue_keys(queue: str, steps: Sequence[int], separator: str, prefix: str) -> tuple[tuple[int, str], ...]:
    """(priority, key) of each list of a queue, lowest number (on Redis: most urgent) first."""
    return tuple(
        (step, f"{prefix}{queue}{separator}{step}" if step else f"{prefix}{queue}") for step in sorted(steps)
    )


def binding_key(exchange: str, prefix: str) -> str:
    """Key of the set that holds an exchange's bindings."""
    return f"{prefix}_kombu.binding.{exchange}"


def parse_bindings(members: Iterable[bytes], separator: str) -> tuple[Binding, ...]:
    """The bindings in a set's members; what isn't one is left out, as kombu couldn't use it either."""
    split = (member.decode(errors="replace").split(separator) for member in members)
    return tuple((parts[0], parts[1], parts[2]) for parts in split if len(parts) == BINDING_PARTS)


def route(envelope: Envelope, bindings: Iterable[Binding]) -> tuple[str, ...]:
    """The queues that a message was put into, sorted.

    The default exchange routes to the queue that has the routing key's name. So does a named
    exchange without a fitting binding, which is Celery's layout: exchange, routing key and
    queue have one name. More than one queue: the message was copied into each of them, and
    kombu keeps one entry for all the copies.
    """
    if not envelope.exchange:
        return (envelope.routing_key,)
    found = {queue for key, pattern, queue in bindings if _matches(envelope.routing_key, key, pattern)}
    return tuple(sorted(found)) or (envelope.routing_key,)


def _matches(routing_key: str, key: str, pattern: str) -> bool:
    if not pattern:
        return key == routing_key
    try:
        return re.match(pattern, routing_key) is not None
    except re.error:
        return False


def parse_envelope(entry: bytes) -> Envelope:
    """Read one value of the `unacked` hash.

    Raises:
        ValueError: it isn't what kombu writes.
    """
    match json.loads(entry):
        case [dict(message), str(exchange), str(routing_key)]:
            return Envelope(exchange, routing_key, eta_of(message))
        case _:
            raise ValueError("no kombu envelope")
