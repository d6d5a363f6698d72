"""Assertions on reports: `late<1%`, `p95<=45s`, `keda-rabbitmq-20: podMinutes<200`.

    [controller:] metric operator value[unit]

Metrics are the columns of the report. Tasks are counted, or given in percent of the offered
ones; waits need a unit (ms, s, m, h) for the same reason as in a policy; pod-minutes and events
are plain numbers. Without a controller an assertion is about the runs of `scaler`, so that
peers can stand beside it and fail; where `scaler` doesn't run, about all runs. `*:` means all.

What can't fail or can't hold, alone or together with another on the same metric, is refused: a test
that can't fail tests nothing.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scaler.policyfile.diagnostics import did_you_mean
from scaler.simreport.columns import BY_NAME, Column, number, percent
from scaler.simreport.runs import RECORDED, Run

#: The controller that unprefixed assertions are about.
OWN = "scaler"

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_SCALES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
#: Compared values are rounded as the JSON is: 0.1 + 0.2 is 0.3.
_DIGITS = 6
_WHOLE = 100.0


class AssertionTextError(Exception):
    """An assertion that can't be checked: which one, which column of it, and what to write."""

    def __init__(self, position: int, text: str, column: int, message: str) -> None:
        """`position` and `column` count from 1."""
        pointer = f"  {text}\n  {' ' * (column - 1)}^"
        super().__init__(f"--assert {position}, column {column}: {message}\n{pointer}")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One claim about every run that it is about."""

    text: str
    #: Controller it is about; "*" for all; None for the default.
    controller: str | None
    column: Column
    sign: str
    #: In the unit of the column: tasks, seconds, pod-minutes, events; or percent of the offered tasks.
    value: float
    percent: bool

    def applies(self, run: Run, controllers: set[str]) -> bool:
        """Whether it is about this run, given the controllers of all runs."""
        mine = run.report.controller
        if self.controller == "*":
            return mine != RECORDED
        if self.controller is not None:
            return mine == self.controller
        return mine == OWN if OWN in controllers else mine != RECORDED

    def measured(self, run: Run) -> float:
        """What the run has, in the unit of `value`."""
        value = float(self.column.value(run.report))
        if self.percent:
            value = _WHOLE * value / run.report.offered if run.report.offered else 0.0
        return round(value, _DIGITS)

    def holds(self, run: Run) -> bool:
        """Whether it is true of this run."""
        return _OPERATORS[self.sign](self.measured(run), round(self.value, _DIGITS))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One assertion on one run."""

    assertion: Assertion
    run: Run
    holds: bool

    @property
    def measured(self) -> str:
        """The measured value as people read it."""
        column, report = self.assertion.column, self.run.report
        value = column.value(report)
        if self.assertion.percent:
            return f"{percent(value, report.offered)} ({value:,.0f} of {report.offered:,} tasks)"
        return f"{value:,.3f} s" if column.unit == "seconds" else number(column, value)

    def sentence(self) -> str:
        """What was claimed, of what, and what was measured."""
        report, word = self.run.report, "holds" if self.holds else "FAILED"
        place = f"trace {report.trace}, class {report.worker_class}, {self.run.label}"
        return f"{word}: {self.assertion.text} ({place}): {self.assertion.column.name} is {self.measured}"


def parse_assertions(texts: Sequence[str], controllers: Sequence[str]) -> list[Assertion]:
    """The assertions in the texts.

    Args:
        texts: as given on the command line.
        controllers: those that run; a prefix must be one of them.

    Raises:
        AssertionTextError: the first text that can't be read, can't fail or can't hold.
    """
    found = [_parse(number, text, controllers) for number, text in enumerate(texts, 1)]
    for later, second in enumerate(found):
        for earlier, first in enumerate(found[:later]):
            if _meant(first, controllers) & _meant(second, controllers) and _contradict(first, second):
                message = f"contradicts --assert {earlier + 1} ({first.text}): no run can pass both"
                raise AssertionTextError(later + 1, second.text, 1, message)
    return found


def check(assertions: Sequence[Assertion], runs: Sequence[Run]) -> list[Verdict]:
    """Every assertion on every run that it is about."""
    controllers = {run.report.controller for run in runs}
    return [
        Verdict(assertion, run, assertion.holds(run))
        for assertion in assertions
        for run in runs
        if assertion.applies(run, controllers)
    ]


def _parse(position: int, text: str, controllers: Sequence[str]) -> Assertion:
    def fail(column: int, message: str) -> AssertionTextError:
        return AssertionTextError(position, text, column + 1, message)

    scope, rest = None, 0
    prefix = re.match(r"\s*([^:<>=!]*?)\s*:\s*", text)
    if prefix:
        scope, rest = prefix[1], prefix.end()
        if scope != "*" and scope not in controllers:
            known = ", ".join(controllers)
            raise fail(
                prefix.start(1),
                f"no run has the controller {scope!r};{did_you_mean(scope, controllers)} simulated: {known}",
            )
    match = re.compile(r"\s*([^\s<>=!]*)\s*").match(text, rest)
    metric, at = (match[1], match.end()) if match else ("", rest)
    column = BY_NAME.get(metric)
    if column is None:
        known = ", ".join(BY_NAME)
        what = (
            f"unknown metric {metric!r};{did_you_mean(metric, BY_NAME)}" if metric else "a metric is missing;"
        )
        raise fail(match.start(1) if match else rest, f"{what} write one of {known}")
    sign = next((sign for sign in _OPERATORS if text.startswith(sign, at)), None)
    if sign is None:
        raise fail(at, f"an operator is missing after {metric}; write one of {' '.join(_OPERATORS)}")
    at += len(sign)
    at += len(text[at:]) - len(text[at:].lstrip())
    if re.compile(r"[-\u2212]\s*[0-9.]").match(text, at):
        raise fail(at, f"{metric} is never negative; write a number from 0 on")
    digits = _NUMBER.match(text, at)
    if digits is None:
        example = {"seconds": "30s", "tasks": "1%"}.get(column.unit, "200")
        raise fail(at, f"a number is missing after {sign}; write {metric}{sign}{example}")
    unit = text[digits.end() :].strip()
    value, is_percent = _value(column, float(digits[0]), unit, lambda message: fail(digits.end(), message))
    made = Assertion(text, scope, column, sign, value, is_percent)
    why = _pointless(made)
    if why:
        raise fail(at, why)
    return made


def _value(
    column: Column, value: float, unit: str, fail: Callable[[str], AssertionTextError]
) -> tuple[float, bool]:
    """The value in the column's unit, and whether it is in percent."""
    if column.unit == "seconds":
        if unit not in _SCALES:
            hint = f"{value:g}s" if not unit else "30s"
            problem = f"unknown unit {unit!r}" if unit else "a wait needs a unit"
            raise fail(f"{problem}; write ms, s, m or h, such as {hint}")
        return value * _SCALES[unit], False
    if column.unit == "tasks" and column.name not in {"offered", "maxBacklog"}:
        if unit not in {"", "%"}:
            raise fail(f"unknown unit {unit!r}; write a number of tasks, or % of the offered ones")
        if unit and value > _WHOLE:
            raise fail(f"{value:g} % is more than all tasks; write at most 100%")
        return value, bool(unit)
    if unit:
        raise fail(f"{column.name} is a plain number; remove {unit!r}")
    return value, False


def _pointless(made: Assertion) -> str:
    """Why it can't fail or can't hold; empty if it can do both."""
    never, always = "can never hold", "always holds, so it tests nothing"
    name = made.column.name
    if made.value == 0 and made.sign in {"<", ">="}:
        hint = f"{name}=0" if made.sign == "<" else f"{name}>0"
        return f"{name} is never less than 0, so this {never if made.sign == '<' else always}; write {hint}"
    if made.percent and made.value == _WHOLE and made.sign in {">", "<="}:
        return f"no more than 100 % can be {name}, so this {never if made.sign == '>' else always}"
    counts = made.column.unit in {"tasks", "events"} and not made.percent
    if counts and made.value % 1 and made.sign in {"=", "==", "!="}:
        result = always if made.sign == "!=" else never
        return f"{name} is a whole number, so this {result}; write a whole number"
    return ""


def _meant(made: Assertion, controllers: Sequence[str]) -> set[str]:
    """The controllers that it is about."""
    everyone = {name for name in controllers if name != RECORDED}
    if made.controller in {None, "*"}:
        return {OWN} if made.controller is None and OWN in everyone else everyone
    return {str(made.controller)}


def _contradict(first: Assertion, second: Assertion) -> bool:
    """Whether no value satisfies both; a share and a count are compared as far as the one is 0."""
    if first.column != second.column:
        return False
    if first.percent != second.percent:
        return (_is_zero(first) and _not_zero(second)) or (_not_zero(first) and _is_zero(second))
    return not any(
        _OPERATORS[first.sign](value, first.value) and _OPERATORS[second.sign](value, second.value)
        for value in _candidates(first, second)
    )


def _candidates(first: Assertion, second: Assertion) -> list[float]:
    """A value of each kind that the two can tell apart."""
    whole = first.column.unit in {"tasks", "events"} and not first.percent
    step = 1.0 if whole else 10.0**-_DIGITS
    values = {value + shift for value in (first.value, second.value) for shift in (-step, 0.0, step)}
    values |= {(first.value + second.value) / 2, 0.0, 2 * max(first.value, second.value) + 1}
    if whole:
        values = {float(rounded(value)) for value in values for rounded in (math.floor, math.ceil)}
    return [value for value in values if value >= 0 and not (first.percent and value > _WHOLE)]


def _is_zero(made: Assertion) -> bool:
    """Whether it holds for 0 alone."""
    return (made.sign in {"=", "==", "<="} and made.value == 0) or (
        made.sign in {"<", "<="}
        and (made.value < 1 or (made.value == 1 and made.sign == "<"))
        and made.column.unit == "tasks"
        and not made.percent
    )


def _not_zero(made: Assertion) -> bool:
    """Whether it fails for 0."""
    return not _OPERATORS[made.sign](0.0, made.value)
