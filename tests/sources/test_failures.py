"""Errors that can be shown to anybody."""

from scaler.sources.failures import TEXT_LIMIT, Rule, denied, explained, unavailable

RULES = (
    Rule((KeyError,), denied, "a key is missing at {place}"),
    Rule((ValueError,), unavailable, "full at {place}", words=("limit",)),
    Rule((Exception,), unavailable, "lost {place}"),
)


def test_a_text_is_one_line_of_bounded_length() -> None:
    text = str(unavailable("first\n  second " + "x" * 500))
    assert text.startswith("first second xxx")
    assert len(text) == TEXT_LIMIT


def test_the_first_rule_that_fits_the_error_or_one_of_its_causes_speaks() -> None:
    inner = KeyError("secret")
    outer = OSError("secret")
    outer.__cause__ = inner
    assert str(explained(outer, RULES, place="here")) == "a key is missing at here"
    assert str(explained(ValueError("a limit"), RULES, place="here")) == "full at here"
    assert str(explained(ValueError("other"), RULES, place="here")) == "lost here"


def test_causes_that_go_in_a_circle_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert str(explained(first, RULES, place="here")) == "lost here"
