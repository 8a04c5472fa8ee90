"""Days and clocks of the customer's zone: when a wait until a time, a weekday or a date is over.

`rules/waiting` asks. Time is given, never asked: the only file of the core that knows `datetime`.
A local time that the clocks skip means the first instant after the gap; one that they show twice
means the first. Instants go in and out as epoch milliseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

DAY_MS: Final = 86_400_000
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Python's calendar ends with the year 9999; waits reach ten years, dates twice that.
_LAST_MS: Final = (datetime(9970, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
# Two weeks hold every weekday twice, also where a zone once left a day out.
_DAYS_SEARCHED: Final = 15
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_UTC: Final = ZoneInfo("UTC")


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """Return an IANA zone, or None. Zones are read once: profiles name them again and again."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # A path, a folder, a name that there is not.
        return None


def first_zone(names: Iterable[object]) -> ZoneInfo:
    """Return the first of these that is a zone; UTC when none is."""
    for name in names:
        if isinstance(name, str) and (zone := zone_named(name)) is not None:
            return zone
    return _UTC


def parse_cron(value: object) -> str:
    """Check five fields of cron. Raises ValueError with what is allowed."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if len(text.split()) == 5:
        try:
            next(CronSim(text, _EPOCH))
        except (CronSimError, StopIteration):
            pass
        else:
            return text
    raise ValueError(
        f"{value!r:.60} is no time table; write minute, hour, day of the month, month and day of "
        'the week, like "0 9 * * 1" for Mondays at nine'
    )


def parse_moment(value: object) -> str:
    """Check a day or an instant. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _moment(value) is not None:
        return value
    raise ValueError(
        f"{value!r:.40} is no day and no instant; write one like 2026-12-24 or "
        "2026-12-24T10:00:00+01:00"
    )


def instant_text(instant_ms: int) -> str:
    """Return an instant for people: `2026-12-24T10:00:00Z`."""
    moment = _EPOCH + min(max(instant_ms, 0), _LAST_MS) * _MILLISECOND
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def day_text(instant_ms: int, zone: ZoneInfo) -> str:
    """Return the day that an instant belongs to where somebody lives: `2026-12-24`."""
    return _local(min(max(instant_ms, 0), _LAST_MS), zone).date().isoformat()


def latest_occurrence(cron: str, zone: ZoneInfo, now_ms: int) -> int | None:
    """Return the last time of a table that is not after now; skipped and doubled hours as in cron.

    An hour that the clocks skip counts as the first instant after it, and one shown twice once.
    """
    if not 0 <= now_ms < _LAST_MS:
        return None
    # The table is searched backwards from the first instant that no longer counts.
    before = _local(now_ms, zone) + timedelta(seconds=1)
    for found in CronSim(cron, before.replace(microsecond=0), reverse=True):
        instant_ms = (found.astimezone(UTC) - _EPOCH) // _MILLISECOND
        if instant_ms <= now_ms:
            return instant_ms
    return None


def next_occurrence(cron: str, zone: ZoneInfo, after_ms: int) -> int | None:
    """Return the first time of a table after an instant."""
    if not 0 <= after_ms < _LAST_MS:
        return None
    found = next(CronSim(cron, _local(after_ms, zone)), None)
    return None if found is None else (found.astimezone(UTC) - _EPOCH) // _MILLISECOND


def next_time(after_ms: int, minute: int, zone: ZoneInfo, weekdays: Collection[int] = ()) -> int:
    """Return the first instant after `after_ms` at which it is this minute of a fitting day."""
    if not 0 <= after_ms < _LAST_MS:
        return after_ms + DAY_MS
    today = _local(after_ms, zone).date()
    for days in range(_DAYS_SEARCHED):
        day = today + timedelta(days=days)
        if weekdays and day.weekday() not in weekdays:
            continue
        instant_ms = _instant(day, minute, zone)
        # A day that a zone left out (Samoa, 30 December 2011) has no such time.
        if instant_ms > after_ms and _local(instant_ms, zone).date() == day:
            return instant_ms
    return after_ms + DAY_MS


def minute_of_day(instant_ms: int, zone: ZoneInfo) -> int:
    """Return which minute of the local day it is, 0 to 1439."""
    if not 0 <= instant_ms < _LAST_MS:
        return 0
    local = _local(instant_ms, zone)
    return local.hour * 60 + local.minute


def date_instant(
    value: object, minute: int | None, zone: ZoneInfo, *, shift_ms: int = 0
) -> int | None:
    """Return the instant that a profile's date means, so much later; None when it is no date.

    A date means its first minute, or `minute` of it; a date with a time means that instant.
    Whole days of a shift are days of the calendar, so that 09:00 stays 09:00.
    """
    moment = _moment(value)
    if moment is None:
        return None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            local = moment
        elif minute is None:
            return (moment - _EPOCH) // _MILLISECOND + shift_ms
        else:
            local = moment.astimezone(zone)
        if minute is None:
            minute = local.hour * 60 + local.minute
        moment = local.date()
    days, rest_ms = divmod(shift_ms, DAY_MS)
    return _instant(moment + timedelta(days=days), minute or 0, zone) + rest_ms


def next_anniversary(
    value: object, minute: int | None, zone: ZoneInfo, *, after_ms: int, shift_ms: int = 0
) -> int | None:
    """Return the first such day of a year after `after_ms`; 29 February is 28 in other years."""
    moment = _moment(value)
    if moment is None:
        return None
    if not 0 <= after_ms - shift_ms < _LAST_MS:
        return after_ms + DAY_MS
    year = _local(after_ms - shift_ms, zone).year
    for candidate in range(max(1, year - 1), year + 3):
        day = _in_year(moment, candidate)
        instant_ms = date_instant(day.isoformat(), minute, zone, shift_ms=shift_ms)
        if instant_ms is not None and instant_ms > after_ms:
            return instant_ms
    return None


def _in_year(moment: date, year: int) -> date:
    day = 28 if (moment.month, moment.day) == (2, 29) and not _is_leap(year) else moment.day
    return date(year, moment.month, day)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _moment(value: object) -> date | datetime | None:
    """Read `1990-02-28` or `2026-12-24T10:00:00+01:00`, in years that calendars can shift."""
    if not isinstance(value, str):
        return None
    try:
        day = date.fromisoformat(value) if _DATE.fullmatch(value) else None
        moment = day or datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if 1800 <= moment.year < 9970 else None


def _local(instant_ms: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + instant_ms * _MILLISECOND).astimezone(zone)


def _instant(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return the first instant of a day at which the clocks show this minute or have passed it."""
    wall = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=zone)
    instant = wall.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return (instant - _EPOCH) // _MILLISECOND
    # In a gap: `instant` lies behind it, the other reading (PEP 495's fold) before it.
    before = (wall.replace(fold=1).astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    behind = (instant - _EPOCH) // timedelta(seconds=1)
    offset = instant.astimezone(zone).utcoffset()
    while before + 1 < behind:
        middle = (before + behind) // 2
        if _local(middle * 1_000, zone).utcoffset() == offset:
            behind = middle
        else:
            before = middle
    return behind * 1_000
