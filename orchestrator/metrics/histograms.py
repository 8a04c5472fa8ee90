"""Histograms that take a whole group at once.

The client library's histogram costs 1.6 µs a value, mostly for locks; a group has thousands of
values and one writer. `GroupHistogram` costs a tenth and exposes the same samples.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# From a decision (about 30 µs) to a broker that is gone; the steps around the objectives of
# docs/availability.md (10 ms, 250 ms) are bounds themselves, so a ratio needs no interpolation.
LATENCY_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05),
    *(0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Decisions are three orders of magnitude shorter than what the broker adds.
DECISION_SECONDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# A wait may be late by a restart or by a takeover, and by hours after an outage.
LATENESS_SECONDS: Final = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0),
)
RECOVERY_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
COUNTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)
SIZES_BYTES: Final = tuple(4**power for power in range(4, 13))  # 256 B to 16 MiB.


class GroupHistogram(Collector):
    """A histogram without labels, written by one thread and read by the exposition's.

    A scrape in the middle of a group may see its sum a moment later than its counts.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        self._counts = [0] * len(self._names)
        self._sum = 0.0

    def observe_many(self, values: Iterable[float]) -> None:
        """Add values; a negative one (clocks differ) counts as zero."""
        bounds, counts, total = self._bounds, self._counts, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            if value > 0:
                total += value
        self._sum += total

    def collect(self) -> list[HistogramMetricFamily]:
        """Return the samples as Prometheus wants them: cumulative."""
        total = self._sum
        cumulative = [float(count) for count in accumulate(list(self._counts))]
        buckets = list(zip(self._names, cumulative, strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets, total)]
