"""From pydantic's errors to our findings: where to look, what is wrong, and what to write instead.

pydantic's own texts speak of inputs, tuples and extra fields; a policy has keys, lists and
spellings. Values are taken from the file, never from pydantic, so that what came out of a
variable is shown as the `${VAR}` that was written.
"""

from collections.abc import Callable

from pydantic_core import ErrorDetails

from scaler.core.policy.values import Path, shown
from scaler.policyfile.diagnostics import Finding, did_you_mean, word
from scaler.policyfile.examples import line_for
from scaler.policyfile.nodes import Mapping, Node, Scalar, Sequence, find, key_place_of, place_of
from scaler.policyfile.passwords import URL_KEYS
from scaler.policyfile.shape import known_keys, model_at, words_at

#: How pydantic marks that a key of a free mapping is meant, not its value.
KEY = "[key]"

#: Shorter values of variables are words of our sentences too often ("max", "1").
_SHORTEST_SECRET = 4

_NAMES = "write at most 63 lower-case letters, digits and -, with a letter or digit at both ends"

_NUMBERS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
_CONTAINERS = {
    "tuple_type": "a list",
    "dict_type": "a mapping of names",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "less than", "or more"),
    "less_than_equal": ("le", "more than", "or less"),
    "greater_than": ("gt", "not more than", None),
    "less_than": ("lt", "not less than", None),
}


def finding(root: Mapping, error: ErrorDetails, used: dict[str, str]) -> Finding:
    """One error of pydantic about a document, as we say it.

    Args:
        root: the document that was validated.
        error: from `ValidationError.errors()`.
        used: values that came out of variables, with the names of these; none is repeated.
    """
    found = _finding(root, error)
    message = found.message
    for value in sorted(used, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            message = message.replace(value, f"${{{used[value]}}}")
    return Finding(found.place, message)


def _finding(root: Mapping, error: ErrorDetails) -> Finding:
    path, kind = error["loc"], error["type"]
    if "places" in error.get("ctx", {}):
        return _rule(root, error)
    if path and path[-1] == KEY:
        message = f"{label(path[:-2])} can't hold the name {shown(path[-2])}; {_NAMES}"
        return Finding(key_place_of(root, path[:-1]), message)
    if kind == "extra_forbidden":
        return Finding(key_place_of(root, path), _unknown_key(path))
    if kind == "missing":
        return Finding(
            key_place_of(root, path), f"{label(path[:-1])} needs {path[-1]}; write {line_for(path)}"
        )
    return Finding(place_of(root, path), _value(find(root, path), path, error))


def places(error: ErrorDetails) -> list[Path]:
    """The paths that could be changed to mend what an error is about."""
    path = error["loc"]
    candidates: tuple[Path, ...] = error.get("ctx", {}).get("places") or (path,)
    prefix = path[: len(path) - len(candidates[0])] if "places" in error.get("ctx", {}) else ()
    return [(*prefix, *candidate) for candidate in candidates]


def label(path: Path) -> str:
    """A path as people read it: `workers.io.queues[0]`, without the spec that all of it is in."""
    text = ""
    for step in path[1:] if path[:1] == ("spec",) and len(path) > 1 else path:
        text += f"[{step}]" if isinstance(step, int) else f".{word(step)}"
    return text.removeprefix(".") or "the policy"


def _rule(root: Mapping, error: ErrorDetails) -> Finding:
    """A rule between several keys: the overlay that broke it is a better place than the base."""
    candidates = places(error)
    there = [path for path in candidates if find(root, path) is not None] or candidates[:1]
    overlaid = [path for path in there if place_of(root, path).environment]
    relative = error["ctx"]["places"][0]
    owner = label(candidates[0][: len(candidates[0]) - len(relative)])
    prefix = "" if owner == "spec" else f"{owner}: "
    return Finding(place_of(root, (overlaid or there)[0]), f"{prefix}{error['msg']}")


def _unknown_key(path: Path) -> str:
    model = model_at(path[:-1])
    known = known_keys(model) if model else {}
    key = str(path[-1])
    remedy = did_you_mean(key, known) or " remove it;"
    return f"unknown key {shown(key)} in {label(path[:-1])};{remedy} known keys: {', '.join(known)}"


def _value(node: Node | None, path: Path, error: ErrorDetails) -> str:
    kind, what = error["type"], label(path)
    if isinstance(node, Scalar) and node.value is None and kind in {*_NUMBERS, *_CONTAINERS, "string_type"}:
        return f"{what} is empty; write {line_for(path)}, or remove the line"
    if words := words_at(path):
        guess = did_you_mean(str(node.value), words) if isinstance(node, Scalar) else ""
        return f"{what} is {_written(node, path)}, which is unknown;{guess} write one of: {', '.join(words)}"
    if kind in _NUMBERS or kind in _CONTAINERS:
        wanted = _NUMBERS.get(kind) or _CONTAINERS[kind]
        return f"{what} must be {wanted}, not {_written(node, path)}; write {line_for(path)}"
    if kind in _BOUNDS:
        return _bound(_written(node, path), path, error)
    sentence = _TEXTS.get(kind)
    if sentence:
        return f"{what} {sentence(_written(node, path), path)}"
    return f"{what}: {_own_words(node, path, error)}"


def _bound(written: str, path: Path, error: ErrorDetails) -> str:
    key, comparison, open_ended = _BOUNDS[error["type"]]
    bound = error["ctx"][key]
    remedy = f"{word(str(path[-1]))}: {bound:g} {open_ended}" if open_ended else line_for(path)
    return f"{label(path)} is {written}, {comparison} {bound:g}; write {remedy}"


def _own_words(node: Node | None, path: Path, error: ErrorDetails) -> str:
    """A message of the models, which name the remedy; its value is replaced by what was written."""
    message, value = error["msg"], error.get("ctx", {}).get("value")
    if isinstance(value, str) and isinstance(node, Scalar) and node.template is not None:
        message = message.replace(value, _written(node, path))
    return message


_TEXTS: dict[str, Callable[[str, Path], str]] = {
    "string_type": lambda written, path: (
        f"must be text, not {written}; write {line_for(path)}, or put it in quotes"
    ),
    "string_pattern_mismatch": lambda written, _: f"can't be {written}; {_NAMES}",
    "too_short": lambda _, path: f"is empty; write at least one, as in {line_for(path)}",
    "string_too_short": lambda _, path: f"is empty; write {line_for(path)}",
    "string_too_long": lambda _, __: "is longer than 255 characters; write a shorter one",
}


def _written(node: Node | None, path: Path) -> str:
    """A value as it stands in the file; no broker URL, and of variables only the name."""
    if isinstance(node, Scalar):
        if path[-1] in URL_KEYS:
            return "this"
        if node.template is not None:
            return shown(node.template)
        if node.value is None:
            return "nothing"
        return str(node.value).lower() if isinstance(node.value, bool) else shown(node.value)
    return "a list" if isinstance(node, Sequence) else "a mapping"
