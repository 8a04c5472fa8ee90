"""When a local time is: days with 23, 24 and 25 hours, leap days, and zones of every kind."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import calendar
from orchestrator.core.calendar import (
    DAY_MS,
    date_instant,
    first_zone,
    next_anniversary,
    next_time,
    zone_named,
)

WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def shown(instant_ms: int | None) -> str:
    assert instant_ms is not None
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


# zone, now (UTC), wait until, over at (UTC)
TIMES = """
Europe/Madrid       2026-11-22 07:59   09:00       2026-11-22 08:00   today, still to come
Europe/Madrid       2026-11-22 08:00   09:00       2026-11-23 08:00   it is 09:00 now: tomorrow
Europe/Madrid       2026-03-28 12:00   09:00       2026-03-29 07:00   the night has an hour less
Europe/Madrid       2026-10-24 12:00   09:00       2026-10-25 08:00   the night has an hour more
Europe/Madrid       2026-03-28 12:00   02:30       2026-03-29 01:00   02:30 is skipped: at 03:00
Europe/Madrid       2026-03-29 01:00   02:30       2026-03-30 00:30   it fired once: next day
Europe/Madrid       2026-10-24 12:00   02:30       2026-10-25 00:30   02:30 comes twice: the first
Europe/Madrid       2026-10-25 00:30   02:30       2026-10-26 01:30   not at the second
Europe/Madrid       2026-10-25 00:45   02:30       2026-10-26 01:30   between the two
America/New_York    2026-03-08 05:00   02:30       2026-03-08 07:00   another gap
America/Sao_Paulo   2018-11-03 12:00   00:30       2018-11-04 03:00   a gap at midnight
Australia/Lord_Howe 2026-10-03 12:00   02:15       2026-10-03 15:30   a gap of half an hour
Asia/Kathmandu      2026-11-22 00:00   09:00       2026-11-22 03:15   a quarter of an hour off
Asia/Tokyo          2026-03-28 23:00   09:00       2026-03-29 00:00   no daylight saving
UTC                 2028-02-28 10:00   09:00       2028-02-29 09:00   a leap day is a day
Pacific/Apia        2011-12-29 20:00   09:00       2011-12-30 19:00   30 December was left out
Pacific/Kiritimati  2026-11-22 09:00   00:00       2026-11-22 10:00   fourteen hours ahead
Europe/Madrid       2026-11-22 10:00   mon         2026-11-22 23:00   Sunday: Monday begins
Europe/Madrid       2026-11-23 10:00   mon         2026-11-29 23:00   Monday itself: the next one
Europe/Madrid       2026-11-23 07:00   mon 09:00   2026-11-23 08:00   Monday, still to come
Europe/Madrid       2026-11-23 09:00   mon 09:00   2026-11-30 08:00   Monday, over
Europe/Madrid       2026-11-23 09:00   mon,thu 9   2026-11-26 08:00   the nearer of two days
America/New_York    2026-11-23 04:00   sun         2026-11-29 05:00   it is still Sunday there
Pacific/Apia        2011-12-29 20:00   fri         2012-01-05 10:00   a Friday that never was
"""
ROWS = [
    (line[:20].strip(), line[20:39].strip(), line[39:51].strip(), line[51:70].strip(), line[70:])
    for line in TIMES.strip().splitlines()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[4].strip()}")
def test_a_wait_until_a_local_time_is_over_once_on_the_day_it_should(row):
    zone, now, until, expected, _ = row
    days, _, time = until.rpartition(" ") if ":" in until or " " in until else (until, "", "00:00")
    time = time if ":" in time else f"{int(time):02}:00"
    weekdays = {WEEKDAYS.index(day) for day in days.split(",") if day}

    assert shown(next_time(ms(now), minute(time), ZoneInfo(zone), weekdays)) == expected


# date, at, shift in hours, zone, over at (UTC)
DATES = [
    ("2026-12-24", None, 0, "Europe/Madrid", "2026-12-23 23:00"),
    ("2026-12-24", "09:00", 0, "Europe/Madrid", "2026-12-24 08:00"),
    ("2026-03-30", "09:00", -48, "Europe/Madrid", "2026-03-28 08:00"),
    ("2026-03-30", "09:00", -49, "Europe/Madrid", "2026-03-28 07:00"),
    ("2026-03-29", "02:30", 0, "Europe/Madrid", "2026-03-29 01:00"),
    ("2026-12-24T18:30:00", None, 0, "Asia/Kathmandu", "2026-12-24 12:45"),
    ("2026-12-24T23:30:00Z", None, 0, "Europe/Madrid", "2026-12-24 23:30"),
    ("2026-12-24T23:30:00Z", "09:00", 0, "Europe/Madrid", "2026-12-25 08:00"),
]


@pytest.mark.parametrize(("value", "at", "hours", "zone", "expected"), DATES)
def test_a_date_is_in_the_zone_and_a_shift_counts_days_of_the_calendar(
    value, at, hours, zone, expected
):
    at_minute = None if at is None else minute(at)
    found = date_instant(value, at_minute, ZoneInfo(zone), shift_ms=hours * HOUR_MS)

    assert shown(found) == expected


@pytest.mark.parametrize(
    ("birthday", "now", "days", "expected"),
    [
        ("1990-12-24", "2026-11-22 10:00", 0, "2026-12-24 08:00"),
        ("1990-11-22", "2026-11-22 07:00", 0, "2026-11-22 08:00"),
        ("1990-11-22", "2026-11-22 08:00", 0, "2027-11-22 08:00"),
        ("1990-01-03", "2026-12-20 10:00", -7, "2026-12-27 08:00"),
        ("1990-12-30", "2026-12-31 10:00", 7, "2027-01-06 08:00"),
        ("1992-02-29", "2027-01-01 10:00", 0, "2027-02-28 08:00"),
        ("1992-02-29", "2028-01-01 10:00", 0, "2028-02-29 08:00"),
        ("1992-02-29", "2027-03-01 10:00", 0, "2028-02-29 08:00"),
    ],
)
def test_a_birthday_comes_every_year(birthday, now, days, expected):
    zone = ZoneInfo("Europe/Madrid")
    found = next_anniversary(birthday, 540, zone, after_ms=ms(now), shift_ms=days * DAY_MS)

    assert shown(found) == expected


@pytest.mark.parametrize(
    "value", [None, 5, True, "", "soon", "2026-13-01", "0001-01-01", "9999-12-31", "20261224x", []]
)
def test_what_is_no_date_is_none(value):
    assert date_instant(value, None, ZoneInfo("UTC")) is None
    assert next_anniversary(value, None, ZoneInfo("UTC"), after_ms=0) is None


@pytest.mark.parametrize(
    "name", ["", "Europe", "Nowhere/City", "../../etc/passwd", "/etc/passwd", "a\0b", "é" * 300]
)
def test_what_is_no_zone_is_passed_over(name):
    assert zone_named(name) is None
    assert first_zone((None, 7, name, "Asia/Tokyo", "UTC")).key == "Asia/Tokyo"
    assert first_zone((name,)).key == "UTC"


@given(
    now=st.integers(-(2**50), 2**50),
    at=st.integers(0, 1439),
    zone=st.sampled_from(["Europe/Madrid", "Pacific/Apia", "Asia/Kathmandu", "Africa/Monrovia"]),
    weekdays=st.frozensets(st.integers(0, 6)),
)
def test_the_next_time_is_always_ahead_and_near(now, at, zone, weekdays):
    found = next_time(now, at, ZoneInfo(zone), weekdays)

    assert now < found <= now + 15 * DAY_MS


@given(
    value=st.dates().map(str) | st.datetimes().map(lambda one: one.isoformat()) | st.text(),
    at=st.none() | st.integers(0, 1439),
    shift=st.integers(-(10**11), 10**11),
    after=st.integers(-(2**50), 2**50),
)
def test_no_value_of_a_profile_breaks_the_calendar(value, at, shift, after):
    zone = ZoneInfo("Europe/Madrid")
    date_instant(value, at, zone, shift_ms=shift)
    found = next_anniversary(value, at, zone, after_ms=after, shift_ms=shift)

    assert found is None or found > after


def test_the_calendar_never_asks_for_the_time():
    tree = ast.parse(Path(calendar.__file__).read_text(encoding="utf-8"))
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    assert not asked & {"now", "today", "utcnow"}
