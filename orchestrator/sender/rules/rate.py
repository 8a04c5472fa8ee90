"""How many calls may be under way and how many a second, with a share kept for the first lane.

A fan-out that had all places, or all of the provider's rate, would stand in front of the next
order confirmation. A quarter of both is therefore out of reach for promotional commands. Pure.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = 0.25
# What may come at once after a pause; providers count per second.
_BURST_SECONDS: Final = 1.0


class Gate:
    """Places for calls, and a token bucket for the provider's rate (None: no limit)."""

    def __init__(self, *, in_flight_max: int, per_second: float | None) -> None:
        self._free = in_flight_max
        self._kept_places = max(1, int(in_flight_max * _KEPT)) if in_flight_max > 1 else 0
        self._per_ms = None if per_second is None else per_second / 1000
        self._capacity = max(1.0, (per_second or 0.0) * _BURST_SECONDS)
        self._kept_tokens = self._capacity * _KEPT if self._capacity >= 1 / _KEPT else 0.0
        self._tokens = self._capacity
        self._at_ms: float | None = None
        self.in_flight = 0

    def enter(self, now_ms: float, *, promotional: bool) -> bool:
        """Take a place and a token, or return False."""
        if self._free <= (self._kept_places if promotional else 0):
            return False
        if self._per_ms is not None:
            self._refill(now_ms)
            if self._tokens < 1 + (self._kept_tokens if promotional else 0.0):
                return False
            self._tokens -= 1
        self._free -= 1
        self.in_flight += 1
        return True

    def leave(self, *, called: bool) -> None:
        """Give the place back, and the token too when nothing was called."""
        self._free += 1
        self.in_flight -= 1
        if not called and self._per_ms is not None:
            self._tokens = min(self._capacity, self._tokens + 1)

    def wait_ms(self, now_ms: float, *, promotional: bool) -> float | None:
        """Return in how many milliseconds a token will be there; None when only a place lacks."""
        if self._per_ms is None:
            return None
        self._refill(now_ms)
        lacking = 1 + (self._kept_tokens if promotional else 0.0) - self._tokens
        return lacking / self._per_ms if lacking > 0 else None

    def _refill(self, now_ms: float) -> None:
        assert self._per_ms is not None
        if self._at_ms is not None and now_ms > self._at_ms:
            gained = (now_ms - self._at_ms) * self._per_ms
            self._tokens = min(self._capacity, self._tokens + gained)
        self._at_ms = now_ms
