"""How the worker's partitions stand, asked at each scrape instead of pushed.

A worker whose loop hangs pushes nothing; asked at the scrape, its oldest event keeps ageing in
front of whoever is on call. The runtime gives one callable; it is called in the exposition's
thread and must only read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class InputStatus(NamedTuple):
    """One input topic of a partition: `lag` records lie between `position` and the end.

    `oldest_ms` is the timestamp of the oldest record that is read and not committed. It is None
    when nothing is read; then age counts from the first scrape that saw a lag at this position.
    """

    topic: str
    position: int
    lag: int
    oldest_ms: int | None = None


class PartitionStatus(NamedTuple):
    """One owned partition of customers."""

    partition: int
    customers: int
    state_bytes: int
    waits_pending: int
    waits_due: int
    visits_left: int
    inputs: tuple[InputStatus, ...]
    customers_held: int = 0
    oldest_removal_ms: int | None = None


class StandbyStatus(NamedTuple):
    """A copy of a partition that another worker owns: `records` of it are held here.

    `lag` are the records that are not read yet; None before the broker has said how many.
    """

    partition: int
    records: int
    lag: int | None = None


PartitionsView = Callable[[], Iterable[PartitionStatus]]
# Partitions of inputs that are nobody's home: other teams' topics, with counts of their own.
InputsView = Callable[[], Iterable[tuple[int, InputStatus]]]
StandbyView = Callable[[], Iterable[StandbyStatus]]


class PartitionCollector(Collector):
    """Turns the runtime's view of its partitions into gauges; none owned, no series."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.view: PartitionsView = tuple
        self._now = now
        self._ages = _Ages(now)

    def collect(self) -> list[GaugeMetricFamily]:
        """Ask the view and return the gauges."""
        by_input = ("topic", "partition")
        lag = _gauge("lag_records", "Records between the position read and the end.", by_input)
        age = _gauge(
            "oldest_event_age_seconds", "Age of the oldest event without effect, or 0.", by_input
        )
        pending = _gauge("waits_pending", "Waits that have not fired.")
        due = _gauge("waits_due", "Waits that are due and have not fired.")
        left = _gauge("visits_left", "Customers whom rounds under way have still to visit.")
        state = _gauge("state_bytes", "Encoded state of the partition's customers.")
        customers = _gauge("state_customers", "Customers with state in the partition.")
        removal = _gauge(
            "audience_removal_age_seconds",
            "Age of the oldest removal from an audience that nobody has acknowledged, or 0.",
        )
        held = _gauge("customers_held", "Customers whom a pause holds at a step.")
        for status in self.view():
            name = str(status.partition)
            pending.add_metric((name,), status.waits_pending)
            due.add_metric((name,), status.waits_due)
            left.add_metric((name,), status.visits_left)
            state.add_metric((name,), status.state_bytes)
            customers.add_metric((name,), status.customers)
            since_ms = status.oldest_removal_ms
            age_seconds = 0.0 if since_ms is None else max(0.0, self._now() - since_ms / 1000)
            removal.add_metric((name,), age_seconds)
            held.add_metric((name,), status.customers_held)
            for entry in status.inputs:
                lag.add_metric((entry.topic, name), entry.lag)
                age.add_metric((entry.topic, name), self._ages.seconds(entry, status.partition))
        return [lag, age, pending, due, left, state, customers, held, removal]


class InputCollector(Collector):
    """How far behind the inputs are that are nobody's home: what `inputs.yaml` maps, above all."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.view: InputsView = tuple
        self._ages = _Ages(now)

    def collect(self) -> list[GaugeMetricFamily]:
        """Ask the view and return the gauges."""
        labels = ("topic", "partition")
        lag = _gauge("input_lag_records", "Records of another topic not yet sent home.", labels)
        age = _gauge("input_oldest_record_age_seconds", "Age of the oldest of them, or 0.", labels)
        for partition, entry in self.view():
            place = (entry.topic, str(partition))
            lag.add_metric(place, entry.lag)
            age.add_metric(place, self._ages.seconds(entry, partition))
        return [lag, age]


class StandbyCollector(Collector):
    """What a worker keeps of others' partitions, to take them over sooner; none kept, no series."""

    def __init__(self) -> None:
        self.view: StandbyView = tuple

    def collect(self) -> list[GaugeMetricFamily]:
        """Ask the view and return the gauges."""
        held = _gauge("standby_records", "Records held of a partition of another worker's.")
        lag = _gauge("standby_lag_records", "Records of it that are not read yet.")
        for status in self.view():
            name = (str(status.partition),)
            held.add_metric(name, status.records)
            if status.lag is not None:
                lag.add_metric(name, status.lag)
        return [held, lag]


class _Ages:
    """How long inputs have waited, remembered from one scrape to the next."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stands: dict[tuple[str, int], tuple[int, float]] = {}

    def seconds(self, entry: InputStatus, partition: int) -> float:
        """Return the age of the oldest record; of one that nobody has read, since its position."""
        now = self._now()
        if entry.oldest_ms is not None:
            return max(0.0, now - entry.oldest_ms / 1000)
        key = (entry.topic, partition)
        if entry.lag <= 0:
            self._stands.pop(key, None)
            return 0.0
        position, since = self._stands.get(key, (-1, now))
        if position != entry.position:
            since = now
            self._stands[key] = entry.position, now
        return now - since


def _gauge(
    name: str, documentation: str, labels: tuple[str, ...] = ("partition",)
) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orchestrator_{name}", documentation, labels=labels)
