"""YAML's own rules: text → ruamel's node tree, or our sentence for what it says is wrong.

ruamel's messages quote the file, speak of tokens and block mappings, and name no remedy.
"""

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

from scaler.policyfile.diagnostics import Finding, Place

#: A policy is a page or two; 1 MiB is also the most that a ConfigMap holds.
MAX_BYTES = 1024 * 1024
#: A policy is 9 levels deep.
MAX_DEPTH = 40
#: A hundred classes are 6,000 keys and values. More take seconds to parse (1 MiB: ten), and aliases
#: make a short text large: ten levels of ten aliases each are 10¹⁰ values.
MAX_NODES = 20_000

FIRST_LINE = "begin with apiVersion: scaler/v1"

TOO_LARGE = (
    f"more than {MAX_NODES} keys and values, counting aliases as what they stand for; this is no policy"
)

#: What ruamel says (a part of it), and what a policy's author can do about it.
_PROBLEMS = (
    ("'\\t'", "a tab can't be used here; indent with spaces"),
    ("single document", "a second document begins here; keep one policy per file"),
    ("maximum depth", f"nested deeper than {MAX_DEPTH} levels; a policy needs 9"),
    ("too many", TOO_LARGE),
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


def compose(text: str) -> YamlNode | None:
    """The node tree of ruamel.

    Raises:
        Unreadable: with our words; ruamel's own quote the file.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    yaml.Composer = _BoundedComposer  # type: ignore[assignment]  # inferred there from one class only
    yaml.composer.warn_double_anchors = False  # YAML allows to define an anchor again
    try:
        node: YamlNode | None = yaml.compose(text)
    except MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, f"{error.context} {error.problem}"
        finding = (place_at(mark) if mark else Place(1, 1)), _sentence(problem, mark, text)
    except ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line = before.count("\n")
        place = Place(line + 1, len(before) - before.rfind("\n"))
        finding = place, "a control character that YAML doesn't allow; remove it"
    except (YAMLError, ValueError, OverflowError, AttributeError, AssertionError, IndexError, TypeError):
        # The last four are how the parser stumbles over directives and escapes that make no sense.
        finding = Place(1, 1), f"not valid YAML; {FIRST_LINE} and check quotes and escapes"
    else:
        return node
    raise Unreadable(*finding)


def place_at(mark: StringMark, environment: str | None = None) -> Place:
    """Where ruamel points, counted from 1."""
    return Place(mark.line + 1, mark.column + 1, environment)


def _sentence(problem: str, mark: StringMark | None, text: str) -> str:
    sentence = next((words for part, words in _PROBLEMS if part in problem), None)
    if sentence is None:
        sentence = "not valid YAML here; check the indentation, and quote texts with special characters"
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "${" in line and '"${' not in line:
        sentence += '; inside of { } and [ ] a variable needs quotes: "${VAR}"'
    return sentence


class _BoundedComposer(Composer):
    """Stops early in a text that has too many values."""

    def __init__(self, loader: YAML) -> None:
        super().__init__(loader=loader)
        self._count = 0

    def compose_node(self, parent: YamlNode | None, index: YamlNode | int | None) -> YamlNode:
        """One node with all below it."""
        self._count += 1
        if self._count > MAX_NODES:
            raise ComposerError(None, None, "too many", self.parser.peek_event().start_mark)
        node: YamlNode = super().compose_node(parent, index)
        return node
