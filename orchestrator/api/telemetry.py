"""What the API tells Prometheus: requests by route template, staleness, what it took in.

Labels come from closed lists (templates, methods, status codes, outcomes): no id ever is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.api.model.progress import Behind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.api.model.tasks import Queue

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PREFIX: Final = "orchestrator_api_"
# What a question is about, by the event that asks it.
_ABOUT: Final = {"offer.requested": "offer", "task.claimed": "task", "task.closed": "task"}
_OTHER: Final = "other"


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
        self._questions = Counter(
            f"{_PREFIX}questions",
            "What was asked of the owners of customers, by what came of it.",
            ("about", "outcome"),
            registry=self.registry,
        )
        for outcome in ("granted", "refused", "unanswered"):
            self._questions.labels("offer", outcome)
        self._answer_seconds = Histogram(
            f"{_PREFIX}answer_seconds",
            "Time from the broker's receipt of a question to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._standing = _Standing()
        self.registry.register(self._standing)
        ProcessCollector(registry=self.registry)
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

    def asked(self, event_type: str, outcome: str, seconds: float) -> None:
        """Count a question: granted, refused, answered, unanswered, or a dead letter."""
        self._questions.labels(_ABOUT.get(event_type, _OTHER), outcome).inc()
        if outcome != "unanswered":
            self._answer_seconds.observe(seconds)

    def tasks(self, queues: Sequence[Queue]) -> None:
        """Say how many tasks are open in each queue; queues are what the journeys declare."""
        self._standing.queues = tuple(queues)

    def watch(self, behind: Callable[[], Behind]) -> None:
        """Ask this at each scrape how far behind the read model is; another thread calls it."""
        self._standing.behind = behind


class _Standing(Collector):
    """How the read model stands, asked at each scrape: one that hangs is seen to hang."""

    def __init__(self) -> None:
        self.behind: Callable[[], Behind] = lambda: Behind({}, 0.0)
        self.queues: tuple[Queue, ...] = ()

    def collect(self) -> list[GaugeMetricFamily]:
        """Return the gauges."""
        behind = self.behind()
        lag = GaugeMetricFamily(
            f"{_PREFIX}lag_records", "Records not in the read model yet.", labels=("topic",)
        )
        for topic, records in behind.records.items():
            lag.add_metric((topic,), records)
        late = GaugeMetricFamily(
            f"{_PREFIX}behind_seconds",
            "How old the read model is while there is something before it, or 0.",
            value=behind.seconds,
        )
        tasks = GaugeMetricFamily(f"{_PREFIX}tasks_open", "Open tasks.", labels=("queue", "state"))
        for queue in self.queues:
            tasks.add_metric((queue.name, "claimed"), queue.claimed)
            tasks.add_metric((queue.name, "free"), queue.open - queue.claimed)
        return [lag, late, tasks]
