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
# Above this rate waits grow with it: the machine is filling up, and what can be saved is what is
# done for each fetch and each transaction, above all by the broker.
_STRETCHED_FROM: Final = 1_000
_STRETCH_MAX: Final = 3.0
# More than comes in a wait, and less than a fetch may hold.
_GATHERED_BYTES: Final = 1 << 20


class FetchTerms(NamedTuple):
    """When the broker answers a fetch: with so many bytes, or after so long."""

    min_bytes: int
    max_wait_ms: int


class Pacing:
    """Looks at what fetches brought; times are seconds of a clock that does not go back.

    `stretch` is by how much the present rate makes waits longer: 1 up to 1,000 records a second.
    """

    def __init__(self, *, idle_wait_ms: int, gather_seconds: float) -> None:
        self._idle = FetchTerms(1, idle_wait_ms)
        self._gather_ms = 1000 * gather_seconds
        self._since = 0.0
        self._records = 0
        self.terms = self._idle
        self.stretch = 1.0

    def fetched(self, records: int, now: float) -> FetchTerms:
        """Return the terms of the next fetch."""
        self._records += records
        seconds = now - self._since
        if seconds >= _WINDOW_SECONDS:
            rate = self._records / seconds
            self.stretch = min(max(1.0, rate / _STRETCHED_FROM), _STRETCH_MAX)
            self.terms = self._idle
            if self._gather_ms and rate > BUSY_RECORDS_PER_SECOND:
                wait_ms = max(1, round(self._gather_ms * self.stretch))
                self.terms = FetchTerms(_GATHERED_BYTES, wait_ms)
            self._since, self._records = now, 0
        return self.terms
