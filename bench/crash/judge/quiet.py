"""When it is night where the customer is: the judge's own calendar, by docs/guard.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Config = Mapping[str, Any]


class Quiet:
    """The quiet hours of the shop and of its channels."""

    def __init__(self, shop: Config, channels: Config) -> None:
        self._zone = ZoneInfo(shop["zone"])
        self._shop = shop.get("quiet_hours")
        self._channels = {
            name: one["quiet_hours"] for name, one in channels.items() if "quiet_hours" in one
        }

    def until_ms(self, channel: str, zone: object, now_ms: int) -> int | None:
        """Return when the quiet hours end that hold now, or None. `zone` is the profile's."""
        hours = self._channels.get(channel, self._shop)
        if hours is None or hours == "none":
            return None
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self.zone_of(zone))
        minute = local.hour * 60 + local.minute
        begin, end = _minutes(hours["from"]), _minutes(hours["to"])
        quiet = begin <= minute < end if begin < end else minute >= begin or minute < end
        if not quiet:
            return None
        over = local.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0)
        if over <= local:
            over += timedelta(days=1)
        return round(over.timestamp() * 1000)

    def zone_of(self, zone: object) -> ZoneInfo:
        """Return where somebody is, by what their profile says; else where the shop is."""
        try:
            return ZoneInfo(str(zone)) if zone else self._zone
        except (KeyError, ValueError, OSError):
            return self._zone


def _minutes(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)
