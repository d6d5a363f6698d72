"""The value types of a policy: durations as ops write them, and the base of all models.

Durations are written `500ms`, `30s`, `15m`, `2h`, `1h30m`; bare numbers are refused because
nobody can tell whether `30` means seconds or minutes when it stands beside `15m`.
"""

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

#: Seconds per unit, in the order in which the units may follow each other.
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PATTERN = r"^(?:\d+d)?(?:\d+h)?(?:\d+m(?!s))?(?:\d+(?:\.\d+)?s)?(?:\d+ms)?$"
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")

#: How deep a name may be: it becomes a metric label and a part of a URL.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `1h30m`.

    Raises:
        PydanticCustomError: the text is no duration; the message says what to write.
    """
    if isinstance(text, str) and text and re.fullmatch(_PATTERN, text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    hint = f"{text}s" if isinstance(text, int) and not isinstance(text, bool) else "30s, 15m, 2h or 1h30m"
    raise PydanticCustomError(
        "duration", "bad duration {value}; write {hint}", {"value": repr(text), "hint": hint}
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
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["30s", "15m", "2h"]}),
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
    )


T = TypeVar("T")


def unique(values: tuple[T, ...], what: str) -> tuple[T, ...]:
    """The values themselves, or an error that names the one that stands twice."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            raise PydanticCustomError(
                "repeated", "{what} {value} stands twice; remove one", {"what": what, "value": repr(value)}
            )
        seen.add(value)
    return values


def fault(kind: str, message: str, **context: Any) -> PydanticCustomError:
    """A rule of ours that was broken; the message names the remedy and is shown as it stands."""
    return PydanticCustomError(kind, message, context)  # type: ignore[arg-type]  # kinds are ours, not literals
