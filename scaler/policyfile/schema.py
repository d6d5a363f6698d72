"""The JSON Schema of policy files, for editors: made from the models, so it can't say anything else.

It differs from pydantic's own in three ways: overlays are specs in which nothing is required;
wherever a number or a word may stand, `${VAR}` may stand too; and defaults are shown as they
are written (`30s`, not `30.0`).
"""

import copy
import json
from typing import Any

from scaler.core.policy import ScalingPolicy
from scaler.core.policy.values import DURATION_PATTERN, format_duration

Schema = dict[str, Any]

#: A value that comes out of a variable, or has one in it.
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[A-Za-z_]", "description": "A value from a variable"}
_REFERENCE = "#/$defs/"
_VARIABLE_REFERENCE = f"{_REFERENCE}Variable"
_OVERLAY = "Overlay"


def policy_schema() -> Schema:
    """The schema as a JSON object."""
    schema = ScalingPolicy.model_json_schema(by_alias=True, mode="validation")
    definitions: dict[str, Schema] = schema.pop("$defs")
    for definition in (*definitions.values(), schema):
        _simplify(definition)
    overlays = {f"{name}{_OVERLAY}": _as_overlay(definition) for name, definition in definitions.items()}
    del overlays[f"Spec{_OVERLAY}"]["properties"]["environments"]
    overlays[f"Spec{_OVERLAY}"]["type"] = ["object", "null"]  # `production:` with nothing below
    definitions["Spec"]["properties"]["environments"]["patternProperties"] = {
        pattern: {"$ref": f"{_REFERENCE}Spec{_OVERLAY}"}
        for pattern in definitions["Spec"]["properties"]["environments"]["patternProperties"]
    }
    definitions |= {name: overlays[name] for name in _reachable(f"Spec{_OVERLAY}", overlays)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": {**dict(sorted(definitions.items())), "Variable": _VARIABLE},
    }


def schema_text() -> str:
    """The schema as it is shipped in `policies/`."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _simplify(definition: Schema) -> None:
    definition.pop("title", None)
    for name, field in definition.get("properties", {}).items():
        definition["properties"][name] = _with_variables(field)


def _with_variables(field: Schema) -> Schema:
    """A field that may as well be a variable, without pydantic's decorations."""
    shown = ("description",) if "$ref" in field else ("description", "default")
    described = {key: field[key] for key in shown if field.get(key) is not None}
    rest = {key: value for key, value in field.items() if key not in {"description", "default", "title"}}
    if rest.get("pattern") == DURATION_PATTERN and "default" in described:
        described["default"] = format_duration(described["default"])
    if "$ref" in rest:
        return {**described, **rest}
    if rest.get("type") == "object":
        for free in rest.get("patternProperties", {}):
            rest["patternProperties"][free] = _allowing(rest["patternProperties"][free])
        return {**described, **rest, "additionalProperties": False}
    if rest.get("type") == "array":
        return {**described, **rest, "items": _allowing(rest["items"])}
    return {**described, **_allowing(rest)}


def _allowing(value: Schema) -> Schema:
    """The value or a variable; mappings, lists and free text are left as they are."""
    arms = value.get("anyOf", [value])
    closed = [arm for arm in arms if arm.get("type") in {"integer", "number", "boolean"} or _is_narrow(arm)]
    if not closed:
        return value
    return {"anyOf": [*arms, {"$ref": _VARIABLE_REFERENCE}]}


def _is_narrow(arm: Schema) -> bool:
    return arm.get("type") == "string" and bool({"pattern", "enum", "const"} & arm.keys())


def _as_overlay(definition: Schema) -> Schema:
    """The definition with nothing required, of whose mappings nothing is required either.

    Lists are as before: an overlay replaces them whole.
    """
    overlay = copy.deepcopy(definition)
    overlay.pop("required", None)
    overlay["description"] = (
        "Laid over the spec: what is written here replaces, or is merged into, what stands there."
    )
    for field in overlay.get("properties", {}).values():
        field.pop("default", None)
        field.pop("minProperties", None)
        for holder in (field, *field.get("patternProperties", {}).values(), *field.get("anyOf", ())):
            if holder.get("$ref", _VARIABLE_REFERENCE) != _VARIABLE_REFERENCE:
                holder["$ref"] += _OVERLAY
    return overlay


def _reachable(name: str, definitions: dict[str, Schema]) -> set[str]:
    found, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        todo += [
            other for other in definitions if f'"{_REFERENCE}{other}"' in json.dumps(definitions[current])
        ]
    return found
