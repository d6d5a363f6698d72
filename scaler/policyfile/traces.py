"""A trace file → `Trace`, or every fault with line, column and remedy.

Read by the same YAML reader as policies, so that positions, duplicate keys and broken YAML are
reported in the same words. A trace has no variables and no overlays.
"""

import csv
import json
import math
from pathlib import Path as FilePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scaler.core.policy.values import Model, Path, shown
from scaler.policyfile.diagnostics import Diagnostic, Finding, PolicyError, PolicyPathError, did_you_mean
from scaler.policyfile.nodes import Mapping, Node, Scalar, Sequence, find, key_place_of, place_of
from scaler.policyfile.reader import read
from scaler.policyfile.syntax import MAX_BYTES, Unreadable
from scaler.sim.trace import MOST_TASKS, Trace

#: The first line of an arrivalsFile.
COLUMNS = ("t_seconds", "count")
#: Recorded arrivals may be longer than a policy: a week by the second is 10 MB.
MAX_CSV_BYTES = 32 * 1024 * 1024
#: Faults of a CSV that are told; a file of another kind has one per row.
MOST_ROWS_TOLD = 5

_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
}
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}


class TraceError(PolicyError):
    """A trace can't be used. Holds every fault that was found, in the order of the file."""


class TracePathError(TraceError, PolicyPathError):
    """There is nothing to read: no such file, no permission."""


def load_trace(path: FilePath) -> Trace:
    """The trace in a file, with the arrivals of the CSV that it names.

    Raises:
        TracePathError: the file can't be read.
        TraceError: with all its faults (or those of its CSV).
    """
    file = str(path)
    text = _text(path, MAX_BYTES, file)
    try:
        root, findings = read(text)
    except Unreadable as error:
        raise TraceError([error.finding.diagnostic(file)]) from error
    kind = root.get("kind")
    if isinstance(kind, Scalar) and kind.value != "Trace":
        message = f"this is a {shown(kind.value)}, no trace; write kind: Trace"
        raise TraceError([Diagnostic(file, kind.place.line, kind.place.column, message)])
    try:
        trace = Trace.model_validate_json(json.dumps(_plain(root)), by_alias=True, by_name=False)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        findings += [_finding(root, detail) for detail in errors]
        raise TraceError([finding.diagnostic(file) for finding in findings]) from None
    if findings:
        raise TraceError([finding.diagnostic(file) for finding in findings])
    if trace.spec.arrivals_file is None:
        return trace
    place = place_of(root, ("spec", "arrivalsFile"))
    rows = _recorded(path.parent / trace.spec.arrivals_file, f"{file}:{place.line}:{place.column}")
    spec = trace.spec.model_copy(update={"arrivals_file": None, "recorded": rows})
    return trace.model_copy(update={"spec": spec})


def _text(path: FilePath, most: int, place: str) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        where = f" (named in {place})" if place != str(path) else ""
        message = f"can't be read: {reason}; check path and permissions{where}"
        raise TracePathError([Diagnostic(str(path), 1, 1, message)]) from error
    if len(data) > most:
        raise TraceError([Diagnostic(str(path), 1, 1, f"larger than {most} bytes; cut it into several")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = "not UTF-8 from here on; save the file as UTF-8"
        raise TraceError([Diagnostic(str(path), line, 1, message)]) from error


def _plain(node: Node) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, Mapping):
        return {key: _plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    return node.value


def _finding(root: Mapping, error: ErrorDetails) -> Finding:
    path, kind, context = error["loc"], error["type"], error.get("ctx", {})
    label = _label(path)
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        remedy = did_you_mean(str(path[-1]), known) or " remove it;"
        message = (
            f"unknown key {shown(path[-1])} in {_label(path[:-1])};{remedy} known keys: {', '.join(known)}"
        )
        return Finding(key_place_of(root, path), message)
    if kind == "missing":
        message = f"{_label(path[:-1])} needs {path[-1]}; add {path[-1]}: …"
        return Finding(key_place_of(root, path), message)
    place = place_of(root, path)
    if "places" in context:
        return Finding(place, f"{label}: {error['msg']}" if label else str(error["msg"]))
    return Finding(place, f"{label}{_value(_written(find(root, path)), error)}")


def _value(written: str, error: ErrorDetails) -> str:
    """What is wrong with a value, after its name."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return f" is {written}; write one of: {context['expected']}"
    if kind in _BOUNDS:
        return f" is {written}; write {_BOUNDS[kind].format(**context)}"
    if kind in _KINDS:
        return f" must be {_KINDS[kind]}, not {written}; change it"
    if kind == "string_pattern_mismatch":
        return f" can't be {written}; write at most 63 lower-case letters, digits and -"
    return f": {error['msg']}"


def _label(path: Path) -> str:
    steps = path[1:] if path[:1] == ("spec",) and len(path) > 1 else path
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".") or "the trace"


def _written(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return "nothing" if node.value is None else shown(node.value)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _keys_at(path: Path) -> tuple[str, ...]:
    """The keys that a mapping at a path may have."""
    found: Any = Trace
    for step in path:
        if isinstance(found, type) and issubclass(found, Model):
            fields = {info.alias or name: info for name, info in found.model_fields.items()}
            found = _bare(fields[str(step)].annotation)
        else:
            found = _bare(get_args(found)[0])
    return tuple(info.alias or name for name, info in found.model_fields.items())


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - annotations are classes and special forms
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(arm for arm in get_args(annotation) if arm is not type(None)))
    return annotation


def _recorded(path: FilePath, place: str) -> tuple[tuple[float, int], ...]:
    """The rows of a CSV of arrivals.

    Raises:
        TraceError: with the faults of its rows.
    """
    lines = csv.reader(_text(path, MAX_CSV_BYTES, place).splitlines())
    header = tuple(cell.strip() for cell in next(lines, []))
    if header != COLUMNS:
        message = f"the first line must be {','.join(COLUMNS)}, not {shown(','.join(header))}; write it above"
        raise TraceError([Diagnostic(str(path), 1, 1, message)])
    rows: list[tuple[float, int]] = []
    faults: list[Diagnostic] = []
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        row = _row(cells, rows[-1][0] if rows else -math.inf)
        if isinstance(row, str):
            faults.append(Diagnostic(str(path), number, 1, row))
        else:
            rows.append(row)
    if len(faults) > MOST_ROWS_TOLD:
        more = len(faults) - MOST_ROWS_TOLD
        last = faults[MOST_ROWS_TOLD]
        faults = [
            *faults[:MOST_ROWS_TOLD],
            Diagnostic(last.file, last.line, 1, f"and {more} more rows like these"),
        ]
    if not rows and not faults:
        faults = [Diagnostic(str(path), 1, 1, "no row below the header; write one such as 0,12")]
    if sum(count for _, count in rows) > MOST_TASKS:
        faults.append(Diagnostic(str(path), 1, 1, f"more than {MOST_TASKS:,} tasks; cut it into several"))
    if faults:
        raise TraceError(faults)
    return tuple(rows)


def _row(cells: list[str], before: float) -> tuple[float, int] | str:
    """The row, or what is wrong with it."""
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} columns, not {len(COLUMNS)}; write t_seconds,count such as 60,12"
    try:
        at, count = float(cells[0]), int(cells[1])
    except ValueError:
        return f"{shown(','.join(cells))} aren't seconds and a whole number; write such as 60,12"
    if not math.isfinite(at) or at < 0 or count < 0:
        return f"{shown(','.join(cells))}: seconds and count can't be negative or infinite; correct them"
    if at <= before:
        return f"{at:g} s isn't later than the row above ({before:g} s); sort the rows by time"
    return at, count
