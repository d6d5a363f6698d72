"""The value types of a policy: durations as ops write them, and the base of all models.

Durations are written `500ms`, `30s`, `15m`, `2h`, `1h30m`; bare numbers are refused because
nobody can tell whether `30` means seconds or minutes when it stands beside `15m`.
"""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

#: Seconds per unit, in the order in which the units may follow each other.
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
#: Also the pattern of the JSON Schema, which tells an editor what a duration is.
DURATION_PATTERN = r"^(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+(?:\.[0-9]+)?s)?(?:[0-9]+ms)?$"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|d|h|m|s)")

#: How deep a name may be: it becomes a metric label and a part of a URL.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]

#: Longest text of a value that a message repeats.
_SHOWN = 60


def shown(value: object) -> str:
    """A value as messages repeat it: one line, and cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `1h30m`.

    Raises:
        PydanticCustomError: the text is no duration; the message says what to write.
    """
    if isinstance(text, str) and text and re.fullmatch(DURATION_PATTERN, text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        if math.isfinite(seconds):
            return seconds
    bare = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", str(text)) and not isinstance(text, bool)
    hint = f"{text}s" if bare else "30s, 15m, 2h or 1h30m"
    raise PydanticCustomError(
        "duration", "bad duration {value}; write {hint}", {"value": shown(text), "hint": hint}
    )


def format_duration(seconds: float) -> str:
    """The shortest policy notation of a number of seconds: 5400 → `1h30m`, 1.5 → `1.5s`."""
    rest = round(seconds, 3)
    if rest < 0:
        return f"-{format_duration(-rest)}"
    parts = []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{int(count)}{unit}")
    if rest or not parts:
        parts.append(f"{round(rest, 3):g}s")
    return "".join(parts)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "15m", "2h"]}),
]
PositiveDuration = Annotated[Duration, Field(gt=0)]


class Model(BaseModel):
    """Base of all policy models: camelCase outside, frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=False,
        allow_inf_nan=False,
        # A broker URL is an input, and pydantic's own text would repeat it.
        hide_input_in_errors=True,
        # What stands under a field is its description in the JSON Schema, shown by editors.
        use_attribute_docstrings=True,
    )


T = TypeVar("T")

#: Keys (as in the file) and list indexes, from the model that raises down to a value.
Path = tuple[str | int, ...]


def repetitions(values: Sequence[Any], what: str, at: Path) -> list[PydanticCustomError]:
    """One fault per value that stands in the list `at` a second time; it points at that second one."""
    first: dict[Any, int] = {}
    return [
        fault(
            "repeated",
            "{what} {value} stands twice; remove one",
            (*at, index),
            (*at, first[value]),
            what=what,
            value=shown(value),
        )
        for index, value in enumerate(values)
        if first.setdefault(value, index) != index
    ]


def fault(kind: str, message: str, *places: Path, **context: object) -> PydanticCustomError:
    """A rule of ours that was broken; the message names the remedy and is shown as it stands.

    Args:
        kind: a word for programs.
        message: a sentence with `{name}` for each entry of the context.
        places: the keys that could be changed to mend it, the likeliest first; none for a
            rule about one value.
        context: what the sentence names.
    """
    return PydanticCustomError(kind, message, {"places": places, **context} if places else context)


def refuse(faults: Sequence[PydanticCustomError]) -> None:
    """Raises all faults of a model at once, each at its first place; does nothing without faults.

    Raises:
        ValidationError: pydantic joins its entries to those of the document that holds the model.
    """
    entries = [
        InitErrorDetails(type=error, loc=(error.context or {})["places"][0], input=None) for error in faults
    ]
    if entries:
        raise ValidationError.from_exception_data("policy", entries, hide_input=True)
