"""Text → nodes: YAML 1.2 with positions, and a sentence for everything that YAML can get wrong.

ruamel.yaml scans, parses and composes; what it composes is walked here instead of being
constructed, because a constructed object no longer knows where its scalars stood, which of
them were quoted, and which key stood twice.
"""

import math
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

from scaler.core.policy.values import Path, shown
from scaler.policyfile.diagnostics import Finding, Place
from scaler.policyfile.nodes import Entry, Mapping, Node, Scalar, Sequence, Value

#: A policy is a page or two; 1 MiB is also the most that a ConfigMap holds.
MAX_BYTES = 1024 * 1024
#: A policy is 9 levels deep.
MAX_DEPTH = 40
#: Aliases can make a short text large: ten levels of ten aliases each are 10¹⁰ nodes.
MAX_NODES = 50_000

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {
    f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}
#: Resolves and converts single scalars by the rules of YAML 1.2; has no state that calls change.
_CORE = YAML(typ="safe", pure=True)
#: Keys above an overlay's own: spec, environments, its name.
_OVERLAY_DEPTH = 2
_FIRST_LINE = "begin with apiVersion: scaler/v1"

#: What ruamel says (a part of it), and what a policy's author can do about it.
_PROBLEMS = (
    ("'\\t'", "a tab can't be used here; indent with spaces"),
    ("single document", "a second document begins here; keep one policy per file"),
    ("maximum depth", f"nested deeper than {MAX_DEPTH} levels; a policy needs 9"),
    ("undefined alias", "this alias has no anchor above it; write &name at the value meant, or quote the *"),
    ("mapping values are not allowed", "a colon can't stand here; check the indentation, or quote the text"),
    ("could not find expected ':'", "a key without a colon; write key: value"),
    ("unexpected end of stream", "a quote is never closed; close it"),
    ("did not find expected key", "the indentation doesn't fit the lines above; line it up"),
    (
        "expected <block end>",
        "the indentation doesn't fit the lines above, or a bracket is too many; line it up",
    ),
    ("expected ',' or", "a comma or a closing bracket is missing; add it"),
    ("cannot start any token", "a character that can't begin a value; put the text in quotes"),
    ("escape", 'a backslash that is no escape; write \\\\, or single quotes instead of "'),
)


class Unreadable(Exception):  # noqa: N818 - not an error of its own: callers turn it into a PolicyError
    """The text is no tree of keys and values."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(place, message)


def read(text: str) -> Mapping:
    """The root of the one document in a text.

    Raises:
        Unreadable: it can't be read; YAML's first fault hides all that follow it.
    """
    root = _compose(text)
    if root is None or (isinstance(root, ScalarNode) and not root.value):
        raise Unreadable(Place(1, 1), f"the file is empty; {_FIRST_LINE}")
    node = _Builder().build(root, ())
    if not isinstance(node, Mapping):
        kind = "a list" if isinstance(node, Sequence) else "a single value"
        raise Unreadable(node.place, f"a policy is a mapping of keys, not {kind}; {_FIRST_LINE}")
    return node


def plain_value(text: str) -> Value:
    """What a text means when it stands in a file without quotes.

    Raises:
        ValueError: it looks like a number that can't be represented.
    """
    return _value(str(_CORE.resolver.resolve(ScalarNode, text, (True, False))), text)


def _compose(text: str) -> YamlNode | None:
    """The node tree of ruamel.

    Raises:
        Unreadable: with our words; ruamel's own quote the file.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False  # YAML allows to define an anchor again
    try:
        node: YamlNode | None = yaml.compose(text)
    except MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, f"{error.context} {error.problem}"
        finding = (_place(mark) if mark else Place(1, 1)), _sentence(problem, mark, text)
    except ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line = before.count("\n")
        place = Place(line + 1, len(before) - before.rfind("\n"))
        finding = place, "a control character that YAML doesn't allow; remove it"
    except (YAMLError, ValueError, OverflowError, AttributeError, AssertionError, IndexError, TypeError):
        # The last four are how the parser stumbles over directives and escapes that make no sense.
        finding = Place(1, 1), f"not valid YAML; {_FIRST_LINE} and check quotes and escapes"
    else:
        return node
    raise Unreadable(*finding)


def _sentence(problem: str, mark: StringMark | None, text: str) -> str:
    sentence = next((words for part, words in _PROBLEMS if part in problem), None)
    if sentence is None:
        sentence = "not valid YAML here; check the indentation, and quote texts with special characters"
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "${" in line and '"${' not in line:
        sentence += '; inside of { } and [ ] a variable needs quotes: "${VAR}"'
    return sentence


def _place(mark: StringMark, environment: str | None = None) -> Place:
    return Place(mark.line + 1, mark.column + 1, environment)


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
            raise Unreadable(place, f"{shown(text)} is no number that can be used") from None

    def _entries(self, node: MappingNode, path: Path) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[tuple[YamlNode, YamlNode]] = []
        for key, value in node.value:
            if str(key.tag) == f"{_TAG}merge":
                merged += self._merged(value, path, len(path))
                continue
            name = self._key(key, path)
            if name in entries:
                first = entries[name].key_place.line
                raise Unreadable(
                    self._place(key, path),
                    f"the key {shown(name)} stands twice, first on line {first}; remove one of them",
                )
            entries[name] = Entry(self._place(key, (*path, name)), self.build(value, (*path, name)))
        for key, value in merged:  # what is written out wins over what is merged in
            name = self._key(key, path)
            if name not in entries:
                entries[name] = Entry(self._place(key, (*path, name)), self.build(value, (*path, name)))
        return entries

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
            raise Unreadable(place, "aliases make this file too large; write the values themselves")

    def _key(self, key: YamlNode, path: Path) -> str:
        if isinstance(key, ScalarNode) and (key.style or str(key.tag) == f"{_TAG}str"):
            return self._text(key, self._place(key, path))
        raise Unreadable(self._place(key, path), "a key must be text; put it in quotes")

    def _text(self, node: ScalarNode, place: Place) -> str:
        text = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Unreadable(place, "half of a character (a surrogate escape); write the character itself")
        return text

    @staticmethod
    def _place(node: YamlNode, path: Path) -> Place:
        overlay = path[2] if len(path) > _OVERLAY_DEPTH and path[:2] == ("spec", "environments") else None
        return _place(node.start_mark, str(overlay) if overlay else None)
