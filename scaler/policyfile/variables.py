"""`${VAR}` and `${VAR:-default}` in values, as a shell reads them; `$${` is a literal `${`.

Expansion comes after the environment's overlay was laid over the spec, so that a variable
which only another environment needs may be unset. What came out of a variable is a secret
until proven otherwise: the nodes keep the text with its `${VAR}`, and messages show that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from scaler.core.policy.values import Path, shown
from scaler.policyfile import nodes
from scaler.policyfile.diagnostics import Finding
from scaler.policyfile.nodes import Entry, Node, Scalar, Sequence, Value
from scaler.policyfile.reader import plain_value

_REFERENCE = re.compile(
    r"(?P<escape>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^{}]*))?\}"
    r"|(?P<malformed>\$\{[^}]*\}?)"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: either literal, or a variable with its default."""

    literal: str
    name: str | None = None
    default: str | None = None


@dataclass(slots=True)
class Expansion:
    """What came of expanding a tree."""

    #: Faults, and the paths whose values can't be known for that reason.
    findings: list[Finding] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)
    #: Values of variables that were used, with their names: never to be shown.
    used: dict[str, str] = field(default_factory=dict, repr=False)


def pieces(text: str) -> Iterator[Piece]:
    """A text, taken apart at its variables.

    Raises:
        ValueError: a `${` that is no variable; the message names the remedy.
    """
    end = 0
    for match in _REFERENCE.finditer(text):
        yield Piece(text[end : match.start()])
        end = match.end()
        if match["malformed"]:
            raise ValueError(
                "bad variable; write ${VAR} or ${VAR:-default} (no braces in the default),"
                " or $${ where ${ itself is meant"
            )
        yield Piece("${") if match["escape"] else Piece("", match["name"], match["default"])
    yield Piece(text[end:])


def expand(root: nodes.Mapping, env: Mapping[str, str], result: Expansion, path: Path = ()) -> nodes.Mapping:
    """The tree with its variables replaced; faults are added to `result`."""
    entries = {
        key: Entry(entry.key_place, _node(entry.node, env, result, (*path, key)))
        for key, entry in root.entries.items()
    }
    return nodes.Mapping(entries, root.place)


def _node(node: Node, env: Mapping[str, str], result: Expansion, path: Path) -> Node:
    if isinstance(node, nodes.Mapping):
        return expand(node, env, result, path)
    if isinstance(node, Sequence):
        items = (_node(item, env, result, (*path, index)) for index, item in enumerate(node.items))
        return Sequence(tuple(items), node.place)
    if isinstance(node.value, str) and "${" in node.value:
        return _expanded(node, node.value, env, result, path)
    return node


def _expanded(node: Scalar, template: str, env: Mapping[str, str], result: Expansion, path: Path) -> Scalar:
    faults: list[str] = []
    text = ""
    try:
        for piece in pieces(template):
            text += (
                piece.literal
                if piece.name is None
                else _lookup(piece.name, piece.default, env, faults, result)
            )
    except ValueError as error:
        faults.append(str(error))
    value: Value = text
    if node.plain and not faults:
        try:
            value = plain_value(text)
        except (ValueError, KeyError, IndexError):  # whose texts repeat the value
            faults.append(f"{shown(template)} gives no number that can be used; check the variable")
    if faults:
        result.findings += [Finding(node.place, fault) for fault in faults]
        result.unknown.append(path)
        return node
    return replace(node, value=value, template=template)


def _lookup(
    name: str, default: str | None, env: Mapping[str, str], faults: list[str], result: Expansion
) -> str:
    value = env.get(name)
    if default is not None and not value:
        return default  # as in a shell, `:-` is also for variables that are set but empty
    if value is None:
        faults.append(f"variable {name} is not set; set it, or write ${{{name}:-default}}")
        return ""
    if not value.isprintable():
        # Also what isn't UTF-8 in the environment, which Python reads as halves of characters.
        faults.append(f"variable {name} holds control characters or isn't UTF-8; set it to one line of text")
        return ""
    result.used[value] = name
    return value
