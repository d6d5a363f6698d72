"""Nodes → `ScalingPolicy`, or every fault that can be found.

Rules between keys are checked by pydantic only where all keys concerned are in order. So what
is broken is taken out, what is missing is stood in for by its example, and the rest is
validated again, until nothing new comes up: somebody who mistyped a key in one class still
hears at once that it shares a queue with another.
"""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scaler.core.policy import ScalingPolicy
from scaler.core.policy.values import Path
from scaler.policyfile.diagnostics import Finding
from scaler.policyfile.examples import stand_in
from scaler.policyfile.nodes import Mapping, Node, Sequence, children, find
from scaler.policyfile.sentences import KEY, finding, places
from scaler.policyfile.shape import is_needed

#: What nothing can be said without.
_PILLARS: set[Path] = {(), ("spec",), ("spec", "brokers"), ("spec", "workers")}


def validate(
    root: Mapping, unknown: Iterable[Path], used: dict[str, str]
) -> tuple[ScalingPolicy | None, list[Finding]]:
    """The policy that a document describes, or what is wrong with it.

    Args:
        root: the document, laid over and expanded.
        unknown: paths whose values aren't known (reported elsewhere); nothing is said about them.
        used: values that came out of variables, with the names of these.
    """
    removed = set(unknown)
    whole = not removed
    findings: list[Finding] = []
    while True:
        policy, errors = _attempt(root, removed)
        if policy is not None:
            return (policy if whole else None), findings
        whole = False
        findings += [finding(root, error, used) for error in errors if not _follows(root, error, removed)]
        broken = {_place(error) for error in errors} - removed
        if not broken or broken & _PILLARS:
            return None, findings
        removed |= broken


def _attempt(root: Mapping, removed: set[Path]) -> tuple[ScalingPolicy | None, list[ErrorDetails]]:
    try:
        text = json.dumps(_plain(root, removed, ()))
        # Strictness is in the models; JSON is where lists may become tuples all the same.
        return ScalingPolicy.model_validate_json(text, by_alias=True, by_name=False), []
    except ValidationError as error:
        # The error itself goes no further: its text and its context hold the values.
        return None, error.errors(include_url=False, include_input=False)


def _plain(node: Node, removed: set[Path], path: Path) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, Mapping):
        kept = {
            key: _plain(entry.node, removed, (*path, key))
            for key, entry in node.entries.items()
            if (*path, key) not in removed
        }
        gone = (str(other[-1]) for other in removed if other[:-1] == path)
        return kept | {key: stand_in((*path, key)) for key in gone if is_needed((*path, key))}
    if isinstance(node, Sequence):
        return [
            stand_in((*path, index)) if (*path, index) in removed else _plain(item, removed, (*path, index))
            for index, item in enumerate(node.items)
        ]
    return node.value


def _place(error: ErrorDetails) -> Path:
    path = error["loc"]
    return path[:-1] if path[-1:] == (KEY,) else path


def _follows(root: Mapping, error: ErrorDetails, removed: set[Path]) -> bool:
    """Whether an error is about something that was taken out, or about what held it."""
    if error["type"] == "too_short" and any(True for _ in children(find(root, error["loc"]))):
        return True  # pydantic doesn't count items that are broken themselves
    return any(
        path == gone[: len(path)] or gone == path[: len(gone)] for path in places(error) for gone in removed
    )
