"""Writes the journeys of one run: quiet hours are hours of the day, and a run has minutes.

So a run's shop is quiet in a minute of its own: `"03:00"` in the files of `bench/crash/journeys`
is the first whole minute, of the clock of the shop's zone, that begins QUIET_AFTER_SECONDS after
the start; `"03:01"` is the minute behind it. Customers whose profile names another zone have their
night at another time of the day.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

JOURNEYS: Final = Path(__file__).parent / "journeys"
ZONE: Final = ZoneInfo("Europe/Madrid")
QUIET_AFTER_SECONDS: Final = 20
_MINUTE_MS: Final = 60_000


def furnish(folder: Path, start_ms: int) -> Path:
    """Write the shop of a run that starts at this epoch millisecond; return its folder."""
    folder.mkdir(parents=True)
    earliest_ms = start_ms + QUIET_AFTER_SECONDS * 1_000
    first_ms = -(-earliest_ms // _MINUTE_MS) * _MINUTE_MS

    def minute(found: re.Match[str]) -> str:
        at_ms = first_ms + int(found[1]) * _MINUTE_MS
        return f'"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZONE):%H:%M}"'

    for path in sorted(JOURNEYS.glob("*.yaml")):
        text = re.sub(r'"03:(\d\d)"', minute, path.read_text(encoding="utf-8"))
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder
