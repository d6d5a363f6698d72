"""Durations: what ops write, the seconds it means, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from scaler.core.policy.values import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("30s", 30),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d12h", 129_600),
        ("2m500ms", 120.5),
        ("90s", 90),
        ("0s", 0),
    ],
)
def test_a_duration_means_so_many_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "30", "30 s", "-5s", "+5s", "5S", "1.5m", "30s1m", "1h 30m", "5min", "1e3s", "٣s", "1s\n"),
        *(".5s", "5.s", "9" * 400 + "s", "PT30S", "00:00:30", 30, 1.5, True, None, ["30s"]),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: object) -> None:
    with pytest.raises(PydanticCustomError, match=r"bad duration .*; write ") as caught:
        parse_duration(text)
    assert len(caught.value.message()) < 130, "however long the text was"


@pytest.mark.parametrize(("number", "hint"), [(30, "30s"), (1.5, "1.5s"), ("15", "15s")])
def test_a_bare_number_is_answered_with_itself_in_seconds(number: object, hint: str) -> None:
    with pytest.raises(PydanticCustomError, match=f"write {hint}$"):
        parse_duration(number)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5400, "1h30m"),
        (1.5, "1.5s"),
        (0.5, "0.5s"),
        (0, "0s"),
        (59.9996, "1m"),
        (86_400, "1d"),
        (-90, "-1m30s"),
    ],
)
def test_seconds_are_written_in_the_shortest_way(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_every_number_of_milliseconds_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=0.0005)


@given(
    st.tuples(*(st.integers(min_value=0, max_value=999) for _ in range(5))).filter(any),
)
def test_the_parts_of_a_duration_add_up(parts: tuple[int, int, int, int, int]) -> None:
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    text = "".join(f"{part}{unit}" for part, unit in zip(parts, units, strict=True) if part)

    total = sum(part * size for part, size in zip(parts, units.values(), strict=True))
    assert parse_duration(text) == pytest.approx(total)
