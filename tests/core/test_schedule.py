"""Cron windows as floors: time zones, clocks that are put forward and back, windows that overlap."""

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scaler.core.policy import ScheduleWindow
from scaler.core.schedule import active_window

BERLIN = ZoneInfo("Europe/Berlin")


def window(cron: str, duration: str = "2h", replicas: int = 3, **fields: Any) -> ScheduleWindow:
    document = {"cron": cron, "duration": duration, "minReplicas": replicas, "timezone": "Europe/Berlin"}
    return ScheduleWindow.model_validate_json(json.dumps(document | fields))


def opened(*windows: ScheduleWindow, at: str, fold: int = 0) -> int | None:
    moment = datetime.fromisoformat(at).replace(tzinfo=BERLIN, fold=fold)
    found = active_window(windows, moment.timestamp())
    return None if found is None else found.min_replicas


@pytest.mark.parametrize("day", ["2027-01-18", "2027-07-19"])
def test_it_opens_by_the_clock_on_the_wall_in_winter_and_summer(day: str) -> None:
    exam = window("50 8 * * 1-5")
    assert [
        opened(exam, at=f"{day}T{time}") for time in ("08:49:59", "08:50:00", "10:49:59", "10:51:00")
    ] == [
        None,
        3,
        3,
        None,
    ]


def test_it_stays_shut_on_other_days() -> None:
    assert opened(window("50 8 * * 1-5"), at="2027-01-17T09:00:00") is None


def test_a_window_over_midnight_stays_open() -> None:
    assert opened(window("0 23 * * 5"), at="2027-01-16T00:59:00") == 3


def test_the_night_that_lacks_an_hour_still_has_its_window() -> None:
    """On 28 March 2027 there is no 02:30 in Berlin: it opens when the clocks have been put forward."""
    batch = window("30 2 * * *", "1h")
    assert opened(batch, at="2027-03-28T03:15:00") == 3
    assert opened(batch, at="2027-03-28T05:00:00") is None


def test_the_night_with_an_hour_twice_opens_once() -> None:
    """On 31 October 2027 02:30 comes twice; the first one opens the window."""
    batch = window("30 2 * * *", "30m")
    assert opened(batch, at="2027-10-31T02:45:00", fold=0) == 3
    assert opened(batch, at="2027-10-31T02:45:00", fold=1) is None


def test_it_lasts_as_long_as_it_says_however_the_clocks_are_put() -> None:
    night = window("0 1 * * *", "3h")
    begins = datetime(2027, 3, 28, 1, tzinfo=BERLIN).timestamp()
    inside, after = (begins + timedelta(hours=hours).total_seconds() for hours in (2.99, 3.01))
    assert active_window((night,), inside) is not None
    assert active_window((night,), after) is None


def test_the_highest_of_several_wins() -> None:
    day, exam = window("0 8 * * *", "10h", 2), window("50 8 * * *", "1h", 4)
    assert [opened(day, exam, at=f"2027-01-18T{time}") for time in ("08:10", "09:00", "12:00", "19:00")] == [
        2,
        4,
        2,
        None,
    ]


def test_a_cron_that_comes_again_before_its_window_ends_keeps_it_open() -> None:
    often = window("*/10 * * * *", "15m")
    assert {opened(often, at=f"2027-01-18T12:{minute:02}:30") for minute in range(60)} == {3}
