"""What the API tells Prometheus: requests by route template, staleness, what it took in.

Labels come from closed lists (templates, methods, status codes, outcomes): no id ever is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PREFIX: Final = "orchestrator_api_"


class Telemetry:
    """All metrics of one API process; `registry` is what is exposed."""

    def __init__(self) -> None:
        # The client library's switch is global; the series it stops repeat what a restart says.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry: Final = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            f"{_PREFIX}request_seconds",
            "Time until an answer was complete.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._staleness = Histogram(
            f"{_PREFIX}staleness_seconds",
            "Age of a record when the read model had it, since it has caught up.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._applied_at = Gauge(
            f"{_PREFIX}applied_timestamp_seconds",
            "Timestamp of the newest record in the read model.",
            registry=self.registry,
        )
        self._events = Counter(
            f"{_PREFIX}events", "Events taken in.", ("outcome",), registry=self.registry
        )
        for outcome in ("accepted", "rejected", "unavailable"):
            self._events.labels(outcome)
        self.ready = Gauge(f"{_PREFIX}ready", "Whether it has caught up.", registry=self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is a template."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def applied(self, timestamps_ms: Iterable[int], *, now_ms: int) -> None:
        """Note the age of records that the read model has just taken in."""
        newest_ms = 0
        for at_ms in timestamps_ms:
            newest_ms = max(newest_ms, at_ms)
            self._staleness.observe(max(0, now_ms - at_ms) / 1000)
        if newest_ms:
            self._applied_at.set(newest_ms / 1000)

    def took_in(self, outcome: str, count: int = 1) -> None:
        """Count events by what became of them: accepted, rejected, unavailable."""
        self._events.labels(outcome).inc(count)
