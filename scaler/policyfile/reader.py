"""Text → nodes: YAML 1.2 with a position at every key and value.

ruamel.yaml scans, parses and composes; what it composes is walked here instead of being
constructed, because a constructed object no longer knows where its scalars stood, which of
them were quoted, and which key stood twice.
"""

import math
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from scaler.core.policy.values import Path, shown
from scaler.policyfile.diagnostics import Finding, Place
from scaler.policyfile.nodes import Entry, Mapping, Node, Scalar, Sequence, Value
from scaler.policyfile.syntax import (
    FIRST_LINE,
    MAX_DEPTH,
    MAX_NODES,
    TOO_LARGE,
    Unreadable,
    compose,
    place_at,
)

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {
    f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}
#: Resolves and converts single scalars by the rules of YAML 1.2; has no state that calls change.
_CORE = YAML(typ="safe", pure=True)
#: Keys above an overlay's own: spec, environments, its name.
_OVERLAY_DEPTH = 2


def read(text: str) -> tuple[Mapping, list[Finding]]:
    """The root of the one document in a text, and faults that don't keep the rest from being read.

    Raises:
        Unreadable: it can't be read; YAML's first fault hides all that follow it.
    """
    root = compose(text)
    if root is None or (isinstance(root, ScalarNode) and not root.value):
        raise Unreadable(Place(1, 1), f"the file is empty; {FIRST_LINE}")
    builder = _Builder()
    node = builder.build(root, ())
    if not isinstance(node, Mapping):
        kind = "a list" if isinstance(node, Sequence) else "a single value"
        raise Unreadable(node.place, f"a policy is a mapping of keys, not {kind}; {FIRST_LINE}")
    return node, builder.findings


def plain_value(text: str) -> Value:
    """What a text means when it stands in a file without quotes.

    Raises:
        ValueError: it looks like a number that can't be represented.
    """
    return _value(str(_CORE.resolver.resolve(ScalarNode, text, (True, False))), text)


def _value(tag: str, text: str) -> Value:
    kind = tag.removeprefix(_TAG)
    node = ScalarNode(tag, text)
    if kind == "null":
        return None
    if kind == "bool":
        return bool(_CORE.constructor.construct_yaml_bool(node))
    if kind == "int":
        return int(_CORE.constructor.construct_yaml_int(node))
    if kind == "float":
        number = float(_CORE.constructor.construct_yaml_float(node))
        if not math.isfinite(number):
            raise ValueError
        return number
    return text  # also dates: no field of a policy is one


class _Builder:
    """Walks ruamel's nodes once; counts them, because aliases make few of them many."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._count = 0

    def build(self, node: YamlNode, path: Path) -> Node:
        place = self._place(node, path)
        self._step(place, len(path))
        if isinstance(node, ScalarNode) and str(node.tag) in _SCALAR_TAGS:
            return self._scalar(node, place)
        if isinstance(node, SequenceNode) and str(node.tag) == f"{_TAG}seq":
            items = (self.build(item, (*path, index)) for index, item in enumerate(node.value))
            return Sequence(tuple(items), place)
        if isinstance(node, MappingNode) and str(node.tag) == f"{_TAG}map":
            return Mapping(self._entries(node, path), place)
        raise Unreadable(place, "a tag (!) means nothing here; remove it, or quote the text")

    def _scalar(self, node: ScalarNode, place: Place) -> Scalar:
        text = self._text(node, place)
        if node.style or "${" in text:  # a variable's text decides later what its value is
            return Scalar(text, place, plain=not node.style)
        try:
            return Scalar(_value(str(node.tag), text), place, plain=True)
        except (ValueError, KeyError, IndexError):
            message = f"{shown(text)} is no number that can be used; write another, or put it in quotes"
            raise Unreadable(place, message) from None

    def _entries(self, node: MappingNode, path: Path) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[tuple[YamlNode, YamlNode]] = []
        for key, value in node.value:
            if str(key.tag) == f"{_TAG}merge":
                merged += self._merged(value, path, len(path))
                continue
            name = self._key(key, path)
            if name is None:
                self.findings.append(Finding(self._place(key, path), "a key must be text; put it in quotes"))
                continue
            if name in entries:
                first = entries[name].key_place.line
                message = f"the key {shown(name)} stands twice, first on line {first}; remove one of them"
                self.findings.append(Finding(self._place(key, (*path, name)), message))
                continue
            entries[name] = self._entry(key, value, (*path, name))
        for key, value in merged:  # what is written out wins over what is merged in
            name = self._key(key, path)
            if name is not None and name not in entries:
                entries[name] = self._entry(key, value, (*path, name))
        return entries

    def _entry(self, key: YamlNode, value: YamlNode, path: Path) -> Entry:
        place, node = self._place(key, path), self.build(value, path)
        if isinstance(node, Scalar) and node.plain and value.value == "":
            node = Scalar(None, place, plain=True)  # YAML puts what isn't there before whatever comes next
        return Entry(place, node)

    def _merged(self, value: YamlNode, path: Path, depth: int) -> Iterator[tuple[YamlNode, YamlNode]]:
        """Pairs of a `<<:`; of several mappings that have a key, the first one counts."""
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            place = self._place(source, path)
            self._step(place, depth)
            if not isinstance(source, MappingNode):
                raise Unreadable(place, "<<: merges mappings only; write <<: *name of a mapping")
            inherited = [inner for key, inner in source.value if str(key.tag) == f"{_TAG}merge"]
            yield from ((key, inner) for key, inner in source.value if str(key.tag) != f"{_TAG}merge")
            for inner in inherited:
                yield from self._merged(inner, path, depth + 1)

    def _step(self, place: Place, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise Unreadable(place, TOO_LARGE)

    def _key(self, key: YamlNode, path: Path) -> str | None:
        if isinstance(key, ScalarNode) and (key.style or str(key.tag) == f"{_TAG}str"):
            return self._text(key, self._place(key, path))
        return None

    def _text(self, node: ScalarNode, place: Place) -> str:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Unreadable(place, "half of a character (a surrogate escape); write the character itself")
        return text

    @staticmethod
    def _place(node: YamlNode, path: Path) -> Place:
        overlay = path[2] if len(path) > _OVERLAY_DEPTH and path[:2] == ("spec", "environments") else None
        return place_at(node.start_mark, str(overlay) if overlay else None)
