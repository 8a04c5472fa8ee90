"""Every metric of a worker, declared once on a registry of its own.

Label values are bounded: a closed list, or names that the loaded journeys declare; whatever else
comes is counted as `other`. Customer ids are never label values. docs/metrics.md says what each
metric means to an operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from orchestrator.core.command import CommandClass, CommandType
from orchestrator.core.decision import EndReason, Refusal
from orchestrator.core.pauses import KINDS as PAUSE_KINDS
from orchestrator.metrics.group import ABSORBED, RESUMED, SURVIVOR
from orchestrator.metrics.histograms import (
    COUNTS,
    DECISION_SECONDS,
    LATENCY_SECONDS,
    LATENESS_SECONDS,
    RECOVERY_SECONDS,
    SIZES_BYTES,
    GroupHistogram,
)
from orchestrator.metrics.partitions import (
    InputCollector,
    InputsView,
    PartitionCollector,
    PartitionsView,
    StandbyCollector,
    StandbyView,
)
from orchestrator.metrics.server import MetricsServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.core.pauses import Pause
    from orchestrator.metrics.group import GroupStats

OTHER: Final = "other"
EVENT_OUTCOMES: Final = ("applied", "duplicate", "ignored", "forwarded", "dead_letter")
DEAD_LETTER_REASONS: Final = (
    "invalid_json",
    "too_large",
    "schema",
    "empty_value",
    "key_subject_mismatch",
    "id_reused",
    "partitioner_mismatch",
    "too_many_hops",
    "state_too_large",
)
FORWARD_REASONS: Final = ("partition", "topic", "input", "merge", "notice")
SHARED_ADDRESSES: Final = ("email", "phone")
TRANSACTION_RESULTS: Final = ("committed", "aborted", "fenced", "unknown")
REFUSED_AT: Final = ("entry", "send", "offer", "redemption")
# What a pause does with commands: `hold` until resume or expiry, or `kill`.
PAUSE_ACTIONS: Final = ("hold", "kill")
# A customer's record that is this near to its bound gets a warning before it gets dead letters.
NEAR_LIMIT: Final = 0.8

_Labels = tuple[str, ...]


class _CountedBy:
    """A counter with labels from closed lists; a value that is in none of them is `other`.

    Children are kept, because finding one in the client library costs more than counting.
    """

    def __init__(self, counter: Counter, *allowed: Iterable[str], start: bool = False) -> None:
        self._counter = counter
        self._allowed = tuple(frozenset((*values, OTHER)) for values in allowed)
        self._children: dict[_Labels, Counter] = {}
        if start:
            # A series that is there from the start makes the first increase visible to rate().
            (values,) = self._allowed
            for value in values - {OTHER}:
                self._child((value,))

    def add(self, counts: Mapping[_Labels, int]) -> None:
        for labels, count in counts.items():
            bounded = tuple(
                value if value in allowed else OTHER
                for value, allowed in zip(labels, self._allowed, strict=True)
            )
            self._child(bounded).inc(count)

    def learn(self, *further: Iterable[str]) -> None:
        """Allow further values of the first labels."""
        known = zip(self._allowed, further, strict=False)
        learned = tuple(allowed | frozenset(values) for allowed, values in known)
        self._allowed = learned + self._allowed[len(learned) :]

    def _child(self, labels: _Labels) -> Counter:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._counter.labels(*labels)
        return child


class Metrics:
    """All metrics of one worker. Create one, hand it down; `registry` is what is exposed."""

    def __init__(
        self,
        *,
        event_types: Iterable[str],
        channels: Iterable[str],
        journeys: Iterable[str],
        inputs: Iterable[str] = (),
        state_bytes_max: int = 900_000,
    ) -> None:
        """Take the names that may become label values: what the contract and journeys know."""
        # The client library's switch is global; the series it stops repeat what a restart says.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._near_limit_bytes = int(state_bytes_max * NEAR_LIMIT)
        self._declare_counts(tuple(event_types), tuple(channels), tuple(journeys))
        self._declare_ways(tuple(inputs))
        self._declare_group()
        self._declare_worker()

    def _declare_counts(
        self,
        event_types: tuple[str, ...],
        channels: tuple[str, ...],
        journeys: tuple[str, ...],
    ) -> None:
        self._events = _CountedBy(
            self._counter("events", "Records taken in.", "type", "outcome"),
            *(event_types, EVENT_OUTCOMES),
        )
        self._commands = _CountedBy(
            self._counter("commands", "Commands emitted.", "channel", "class", "type"),
            *(channels, tuple(CommandClass), tuple(CommandType)),
        )
        self._entered = _CountedBy(
            self._counter("enrollments_entered", "Enrollments entered.", "journey"), journeys
        )
        self._ended = _CountedBy(
            self._counter("enrollments_ended", "Enrollments over.", "journey", "reason"),
            *(journeys, tuple(EndReason)),
        )
        self._visits = _CountedBy(
            self._counter("visits", "Customers whom a journey came to by itself.", "journey"),
            (*journeys, RESUMED),
        )
        self._merges = _CountedBy(
            self._counter("merges", "Ids absorbed, by the side that has done its part.", "side"),
            (ABSORBED, SURVIVOR),
            start=True,
        )
        self._duplicate_customers = _CountedBy(
            self._counter("duplicate_customers", "Known ids found to share an address.", "by"),
            SHARED_ADDRESSES,
            start=True,
        )
        self._refusals = _CountedBy(
            self._counter(
                "refusals", "Entries, sends, offers and redemptions not made.", "at", "reason"
            ),
            *(REFUSED_AT, tuple(Refusal)),
        )
        self._transactions = _CountedBy(
            self._counter("transactions", "Kafka transactions ended.", "result"),
            TRANSACTION_RESULTS,
            start=True,
        )
        self._capped = self._counter(
            "clock_capped_records",
            "Batches whose newest record was stamped too far ahead; its time was capped.",
        )
        self._exits_dropped = self._counter(
            "remembered_exits_dropped", "Remembered exits pushed out by their bound."
        )
        self._near_limit = self._counter(
            "state_records_near_limit", "Customer records written above 80 % of their bound."
        )

    def _declare_ways(self, inputs: tuple[str, ...]) -> None:
        """Declare what becomes of records that nobody decides where they stand."""
        self._dead_letters = _CountedBy(
            self._counter("dead_letters", "Records put aside.", "reason"),
            DEAD_LETTER_REASONS,
            start=True,
        )
        self._forwarded = _CountedBy(
            self._counter("forwarded", "Records sent home.", "reason"),
            FORWARD_REASONS,
            start=True,
        )
        self._ignored = _CountedBy(
            self._counter("inputs_ignored", "Records that no rule of an input asks for.", "input"),
            inputs,
        )
        self._waiting = Gauge(
            "orchestrator_inputs_waiting_records",
            "Records that wait until the schema registry answers.",
            registry=self.registry,
        )

    def _declare_group(self) -> None:
        self._decision_seconds = self._group_histogram(
            "decision_duration_seconds", "Time to decide one input.", DECISION_SECONDS
        )
        self._event_visible = self._group_histogram(
            "event_visible_seconds", "Record timestamp to effect visible.", LATENCY_SECONDS
        )
        self._purchase_visible = self._group_histogram(
            "purchase_visible_seconds", "The same, purchases only.", LATENCY_SECONDS
        )
        self._lateness = self._group_histogram(
            "wait_lateness_seconds", "Due time to firing of a wait.", LATENESS_SECONDS
        )
        self._state_record_bytes = self._group_histogram(
            "state_record_bytes", "Size of a customer record written.", SIZES_BYTES
        )
        self._transaction_seconds = self._histogram(
            "transaction_duration_seconds", "Begin to end of a transaction.", LATENCY_SECONDS
        )
        self._transaction_inputs = self._histogram(
            "transaction_inputs", "Records and due waits decided in one group.", COUNTS
        )
        self._transaction_records = self._histogram(
            "transaction_records", "Records produced in a transaction.", COUNTS
        )
        self._transaction_bytes = self._histogram(
            "transaction_bytes", "Bytes produced in a transaction.", SIZES_BYTES
        )

    def _declare_worker(self) -> None:
        self._recovery_seconds = self._histogram(
            "recovery_duration_seconds", "Time to load assigned partitions.", RECOVERY_SECONDS
        )
        self._recovery_records = self._counter(
            "recovery_records", "Changelog records read in recovery."
        )
        self._takeover_wait = self._histogram(
            "takeover_wait_seconds",
            "Wait for a former owner's open transaction.",
            RECOVERY_SECONDS,
        )
        self._rebalances = self._counter("rebalances", "Assignments received.")
        self._generation = Gauge(
            "orchestrator_generation", "Group generation of the worker.", registry=self.registry
        )
        self._ready = Gauge(
            "orchestrator_ready", "1 when recovered and caught up.", registry=self.registry
        )
        self._partitions_expected = Gauge(
            "orchestrator_partitions", "Partitions of customers, P.", registry=self.registry
        )
        self._paused = Gauge(
            "orchestrator_paused",
            "Scopes that somebody has paused.",
            ("kind", "action"),
            registry=self.registry,
        )
        self.paused(())
        self._build = Info(
            "orchestrator_build", "What runs, and with which journeys.", registry=self.registry
        )
        self._partitions = PartitionCollector()
        self.registry.register(self._partitions)
        self._inputs = InputCollector()
        self.registry.register(self._inputs)
        self._standby = StandbyCollector()
        self.registry.register(self._standby)
        ProcessCollector(registry=self.registry)

    def observe_group(
        self, stats: GroupStats, *, committed_ms: int, transaction_seconds: float
    ) -> None:
        """Add up a group whose commit has returned; `committed_ms` is the wall clock then."""
        self._events.add(stats.events)
        self._commands.add(stats.commands)
        self._entered.add(stats.entered)
        self._ended.add(stats.ended)
        self._visits.add(stats.visits)
        self._merges.add(stats.merges)
        self._duplicate_customers.add(stats.duplicate_customers)
        self._refusals.add(stats.refusals)
        self._dead_letters.add(stats.dead_letters)
        self._forwarded.add(stats.forwards)
        self._ignored.add(stats.ignored_records)
        self._capped.inc(stats.capped)
        self._exits_dropped.inc(stats.exits_dropped)
        self._decision_seconds.observe_many(stats.decision_seconds)
        self._event_visible.observe_many(
            [(committed_ms - recorded_ms) / 1000 for recorded_ms in stats.recorded_ms]
        )
        self._purchase_visible.observe_many(
            [(committed_ms - recorded_ms) / 1000 for recorded_ms in stats.purchases_recorded_ms]
        )
        self._lateness.observe_many(stats.lateness_seconds)
        self._state_record_bytes.observe_many(stats.state_record_bytes)
        near = sum(size > self._near_limit_bytes for size in stats.state_record_bytes)
        self._near_limit.inc(near)
        self._transaction_seconds.observe(transaction_seconds)
        self._transaction_inputs.observe(stats.inputs)
        self._transaction_records.observe(stats.records)
        self._transaction_bytes.observe(stats.record_bytes)
        self._transactions.add({("committed",): 1})

    def transaction_failed(self, result: str) -> None:
        """Count a transaction that did not commit: `aborted`, `fenced` or `unknown`."""
        self._transactions.add({(result,): 1})

    def assigned(self, generation: int) -> None:
        """Count a rebalance and show its generation."""
        self._rebalances.inc()
        self._generation.set(generation)

    def recovered(self, *, records: int, seconds: float) -> None:
        """Note one recovery: what was read from the changelog, and how long it took."""
        self._recovery_records.inc(records)
        self._recovery_seconds.observe(seconds)

    def takeover_waited(self, seconds: float) -> None:
        """Note how long a partition waited for the open transaction of its former owner."""
        self._takeover_wait.observe(seconds)

    def built(self, *, version: str, journeys: str, mode: str, partitions: int) -> None:
        """Say what runs: release, content hash of the journeys, test or live, how many homes."""
        self._build.info({"version": version, "journeys": journeys[:12], "mode": mode})
        self._partitions_expected.set(partitions)

    def learn(
        self,
        *,
        event_types: Iterable[str],
        channels: Iterable[str],
        journeys: Iterable[str],
        inputs: Iterable[str] = (),
    ) -> None:
        """Take further names that may become label values: journeys were published."""
        names = tuple(journeys)
        self._events.learn(event_types)
        self._commands.learn(channels)
        self._entered.learn(names)
        self._ended.learn(names)
        self._visits.learn(names)
        self._ignored.learn(inputs)

    def paused(self, pauses: Iterable[Pause]) -> None:
        """Say what is paused now."""
        counts = {(kind, action): 0 for kind in PAUSE_KINDS for action in PAUSE_ACTIONS}
        for pause in pauses:
            counts[pause.kind, "kill" if pause.kill else "hold"] += 1
        for labels, count in counts.items():
            self._paused.labels(*labels).set(count)

    def waiting(self, records: int) -> None:
        """Say how many records of mapped topics wait for their schema."""
        self._waiting.set(records)

    def watch(
        self,
        partitions: PartitionsView,
        inputs: InputsView = tuple,
        standby: StandbyView = tuple,
    ) -> None:
        """Ask these at each scrape how all that is owned stands; another thread calls them.

        `inputs` are the partitions of inputs that are nobody's home, `standby` others' partitions.
        """
        self._partitions.view = partitions
        self._inputs.view = inputs
        self._standby.view = standby

    def serve(self, host: str, port: int, ready: Callable[[], bool]) -> MetricsServer:
        """Expose the registry over HTTP; gauge and `/ready` answer from the same callable."""
        self._ready.set_function(lambda: float(ready()))
        return serve(self.registry, host, port, ready)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"orchestrator_{name}", documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(
            f"orchestrator_{name}", documentation, buckets=tuple(buckets), registry=self.registry
        )

    def _group_histogram(
        self, name: str, documentation: str, bounds: Iterable[float]
    ) -> GroupHistogram:
        histogram = GroupHistogram(f"orchestrator_{name}", documentation, tuple(bounds))
        self.registry.register(histogram)
        return histogram
