"""A YAML document with a position at every key and value, before it is known what it means.

Plain Python objects would have lost the positions, and ruamel's own nodes can't be merged or
expanded without losing which text a value came from.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from scaler.core.policy.values import Path
from scaler.policyfile.diagnostics import Place

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value."""

    #: Not in the repr: it may be a password.
    value: Value = field(repr=False)
    place: Place
    #: Written without quotes, so that its text decides whether it is a number.
    plain: bool
    #: The text with its `${VAR}` as written, for values that came out of variables.
    template: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a key of a mapping leads to, and where the key stands."""

    key_place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in the order of the file."""

    entries: dict[str, Entry]
    place: Place

    def get(self, key: str) -> "Node | None":
        """The value of a key, if it is there."""
        entry = self.entries.get(key)
        return entry.node if entry else None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple["Node", ...]
    place: Place


Node = Scalar | Mapping | Sequence


def children(node: Node | None) -> Iterator[tuple[str | int, Node]]:
    """Keys or indexes of a node, with their values."""
    if isinstance(node, Mapping):
        yield from ((key, entry.node) for key, entry in node.entries.items())
    elif isinstance(node, Sequence):
        yield from enumerate(node.items)


def find(root: Node, path: Path) -> Node | None:
    """The node at a path, or None."""
    node: Node | None = root
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def place_of(root: Node, path: Path) -> Place:
    """Where a value stands, or its key where the value spans lines; else the nearest key above it."""
    node = find(root, path)
    if isinstance(node, Scalar) or (node is not None and path and isinstance(path[-1], int)):
        return node.place
    return key_place_of(root, path)


def key_place_of(root: Node, path: Path) -> Place:
    """Where the key of a value stands; where there is none, the nearest one above it."""
    for length in range(len(path), 0, -1):
        step, parent = path[length - 1], find(root, path[: length - 1])
        if isinstance(parent, Mapping) and isinstance(step, str) and step in parent.entries:
            return parent.entries[step].key_place
        if isinstance(parent, Sequence) and isinstance(step, int) and step < len(parent.items):
            return parent.items[step].place
    return root.place
