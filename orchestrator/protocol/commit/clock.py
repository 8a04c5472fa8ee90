"""The clock of a partition: log time carried on by monotonic time, so that it never goes back.

It is the highest record timestamp read plus the monotonic time since. A wait fires by it, and
every decision's `now` is read from it; the journey log records that, and replay follows the log.
"""

from __future__ import annotations

from typing import Final

# A producer with a wrong clock must not fire everybody's waits at once.
AHEAD_MS_MAX: Final = 5_000


class PartitionClock:
    """Epoch milliseconds of one partition. The caller brings both clocks, in milliseconds."""

    __slots__ = ("_at_monotonic_ms", "_base_ms")

    def __init__(self, base_ms: int, monotonic_ms: int) -> None:
        self._base_ms = base_ms
        self._at_monotonic_ms = monotonic_ms

    def now_ms(self, monotonic_ms: int) -> int:
        """Return the time; `monotonic_ms` never goes back, so neither does this."""
        return self._base_ms + monotonic_ms - self._at_monotonic_ms

    def observe(self, timestamp_ms: int, *, wall_ms: int, monotonic_ms: int) -> bool:
        """Take in a record's timestamp; return whether it was too far ahead, and capped."""
        capped = timestamp_ms > wall_ms + AHEAD_MS_MAX
        if capped:
            timestamp_ms = wall_ms + AHEAD_MS_MAX
        if timestamp_ms > self.now_ms(monotonic_ms):
            self._base_ms = timestamp_ms
            self._at_monotonic_ms = monotonic_ms
        return capped
