"""How fast records come, and from that how long the broker may gather them for one fetch.

A fetch costs worker and broker about the same whether it brings one record or fifty. While few
come, each is fetched at once. While many come, the broker holds its answer for some milliseconds:
then a fetch brings all of them, from all partitions, and they share a transaction.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Above this rate a fetch that waits saves more time than it costs.
BUSY_RECORDS_PER_SECOND: Final = 200
# Long enough to tell a rate from a few records that came together.
_WINDOW_SECONDS: Final = 0.05
# More than comes in a wait, and less than a fetch may hold.
_GATHERED_BYTES: Final = 1 << 20


class FetchTerms(NamedTuple):
    """When the broker answers a fetch: with so many bytes, or after so long."""

    min_bytes: int
    max_wait_ms: int


class Pacing:
    """Looks at what fetches brought; times are seconds of a clock that does not go back."""

    def __init__(self, *, idle_wait_ms: int, gather_seconds: float) -> None:
        self._idle = FetchTerms(1, idle_wait_ms)
        self._busy = FetchTerms(_GATHERED_BYTES, max(1, round(1000 * gather_seconds)))
        self._gathers = gather_seconds > 0
        self._since = 0.0
        self._records = 0
        self.terms = self._idle

    def fetched(self, records: int, now: float) -> FetchTerms:
        """Return the terms of the next fetch."""
        self._records += records
        seconds = now - self._since
        if seconds >= _WINDOW_SECONDS:
            busy = self._gathers and self._records > BUSY_RECORDS_PER_SECOND * seconds
            self.terms = self._busy if busy else self._idle
            self._since, self._records = now, 0
        return self.terms
