"""What the orchestrator tells Prometheus: one `Metrics` a worker, fed once for each group commit.

The protocol room fills a `GroupStats` while it decides; after the commit the driver hands it to
`Metrics.observe_group`. What a partition looks like now is asked for at each scrape
(`PartitionStatus`), so that a worker that stands still is seen standing still. `serve` exposes it.
The page docs/metrics.md lists every metric; tests/ops keeps page and registry equal.
"""

from orchestrator.metrics.group import ABSORBED, RESUMED, SURVIVOR, GroupStats
from orchestrator.metrics.partitions import InputStatus, PartitionStatus, StandbyStatus
from orchestrator.metrics.registry import (
    DEAD_LETTER_REASONS,
    FORWARD_REASONS,
    OTHER,
    TRANSACTION_RESULTS,
    Metrics,
)
from orchestrator.metrics.server import MetricsServer, serve

__all__ = [
    "ABSORBED",
    "DEAD_LETTER_REASONS",
    "FORWARD_REASONS",
    "OTHER",
    "RESUMED",
    "SURVIVOR",
    "TRANSACTION_RESULTS",
    "GroupStats",
    "InputStatus",
    "Metrics",
    "MetricsServer",
    "PartitionStatus",
    "StandbyStatus",
    "serve",
]
