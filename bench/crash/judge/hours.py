"""The best hour of a customer: the judge's own idea of `wait: best_time`, by docs/journeys.md.

In the crash shop every hour suits those of whom nothing is known. What somebody has answered does
not fade within a run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from zoneinfo import ZoneInfo

MINUTE_MS: Final = 60_000


def best_hour(
    now_ms: int,
    within_ms: int,
    zone: ZoneInfo,
    sleeps: Callable[[int], bool],
    *,
    named: object,
    answers: Mapping[int, int],
) -> tuple[int, str]:
    """Return when the best hour begins that comes, and what the log says of it.

    `sleeps` says whether an instant is quiet for the message that comes next; `answers` counts
    those of each hour.
    """
    soon_ms = (now_ms // MINUTE_MS + 1) * MINUTE_MS
    coming = {hour_of(soon_ms, zone): soon_ms}
    at_ms = _next_hour_ms(soon_ms, zone)
    while at_ms <= now_ms + within_ms:
        coming.setdefault(hour_of(at_ms, zone), at_ms)
        at_ms = _next_hour_ms(at_ms, zone)
    if isinstance(named, int) and named in coming:
        return coming[named], f"named: {named:02}:00"
    awake = {hour: at_ms for hour, at_ms in coming.items() if not sleeps(at_ms)} or coming
    hour = min(awake, key=lambda one: (-answers.get(one, 0), awake[one]))
    return awake[hour], f"{'learned' if answers.get(hour) else 'best_hours'}: {hour:02}:00"


def hour_of(at_ms: int, zone: ZoneInfo) -> int:
    """Return which hour of the day it is there."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).hour


def _next_hour_ms(at_ms: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    begun = local.replace(minute=0, second=0, microsecond=0)
    return round((begun + timedelta(hours=1)).timestamp() * 1000)
