"""The metrics of a worker: what is counted, how it is bounded, and the page about them."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import Histogram, generate_latest

from orchestrator.core.customer import Customer
from orchestrator.core.decision import Decision, EntryRefused, Outcome, Refusal, Rejection
from orchestrator.metrics import (
    DEAD_LETTER_REASONS,
    GroupStats,
    InputStatus,
    Metrics,
    PartitionStatus,
)
from orchestrator.metrics.histograms import LATENCY_SECONDS
from orchestrator.metrics.partitions import InputCollector, PartitionCollector
from orchestrator.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.api.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
NOW_MS = 1_700_000_000_000
ROW = re.compile(r"^\| `(orchestrator_\w+)` \| (\w+) \|[^|]+\|([^|]*)\|", re.MULTILINE)
STRUCTURAL = {"le"}


def applied(*entries: Any) -> Decision:
    return Decision(Outcome.APPLIED, Customer("ana"), NOW_MS, entries=entries)


def exposed(metrics: Metrics | Telemetry) -> dict[str, tuple[str, frozenset[str]]]:
    """Return type and labels of each metric under the name that an operator sees."""
    families: dict[str, tuple[str, frozenset[str]]] = {}
    for family in metrics.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        labels = {label for sample in family.samples for label in sample.labels} - STRUCTURAL
        families[family.name + suffix] = (kind, frozenset(labels))
    return families


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE.read_text())
    }


def test_the_page_lists_every_metric_with_its_type_and_labels_and_no_other(
    worked: Metrics,
) -> None:
    """Both ways: nothing undocumented is exposed, nothing documented is missing."""
    registry = {name: what for name, what in exposed(worked).items() if "process_" not in name}

    assert documented() == registry


def test_the_page_of_the_api_lists_every_metric_with_its_labels_and_no_other(
    answered: Telemetry,
) -> None:
    row = re.compile(r"^\| `(orchestrator_api_\w+)(?:\{([\w,]+)\})?` \|", re.MULTILINE)
    written = {
        name: frozenset(labels.split(",")) - {""}
        for name, labels in row.findall((ROOT / "docs" / "api.md").read_text())
    }
    known = {name: labels for name, (_, labels) in exposed(answered).items()}

    assert written == {name: labels for name, labels in known.items() if "process_" not in name}


def test_everything_that_happens_to_the_api_moves_a_metric(answered: Telemetry) -> None:
    still = {
        family.name
        for family in answered.registry.collect()
        if not any(sample.value > 0 for sample in family.samples)
    }

    assert still == set()


def test_everything_that_can_happen_moves_a_metric(worked: Metrics) -> None:
    """After one of everything, no metric is left without a sample above zero."""
    still = {
        family.name
        for family in worked.registry.collect()
        if not any(sample.value > 0 for sample in family.samples)
    }

    # `ready` has no server to ask here; no wait is due.
    assert still == {"orchestrator_ready", "orchestrator_waits_due"}


@pytest.mark.parametrize("process", ["worked", "answered"])
def test_the_exposition_follows_prometheus_own_rules(
    process: str, promtool: str, request: pytest.FixtureRequest
) -> None:
    """Names, units and help texts pass promtool's lint."""
    linted = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(request.getfixturevalue(process).registry),
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")


def test_a_hundred_thousand_unknown_event_types_are_one_series(metrics: Metrics, read: Any) -> None:
    """Whatever a producer invents, the number of series does not move."""
    before = len(generate_latest(metrics.registry).splitlines())
    for batch in range(100):
        stats = GroupStats()
        for number in range(1_000):
            stats.decided(
                f"invented.{batch}.{number}", applied(), recorded_ms=NOW_MS, seconds=0.001
            )
        metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)
    grown = len(generate_latest(metrics.registry).splitlines()) - before

    assert read(metrics, "orchestrator_events_total", type="other", outcome="applied") == 100_000
    assert grown == 1


def test_reasons_channels_and_journeys_that_nobody_declared_are_other(
    metrics: Metrics, read: Any
) -> None:
    """A typo in a reason, or a journey that is gone, cannot open a series of its own."""
    stats = GroupStats()
    stats.dead_letter("tpyo")
    stats.forwarded("tpyo")
    stats.ended["gone_journey", "exit"] += 1
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)

    assert read(metrics, "orchestrator_dead_letters_total", reason="other") == 1
    assert read(metrics, "orchestrator_forwarded_total", reason="other") == 1
    assert (
        read(metrics, "orchestrator_enrollments_ended_total", journey="other", reason="exit") == 1
    )


def test_a_worker_of_the_usual_size_stays_within_its_budget_of_series() -> None:
    """8 partitions, 8 journeys, 10 channels, all contract types in use: under 1,500 series."""
    types = [f"type.{number}" for number in range(37)]
    channels = [f"channel_{number}" for number in range(10)]
    journeys = [f"journey_{number}" for number in range(8)]
    metrics = Metrics(event_types=types, channels=channels, journeys=journeys)
    stats = GroupStats()
    for event_type in types:
        for outcome in ("applied", "duplicate", "forwarded", "dead_letter"):
            stats.events[event_type, outcome] += 1
    for channel in channels:
        for kind in ("message.send", "message.cancel"):
            for command_class in ("transactional", "service", "promotional"):
                stats.commands[channel, command_class, kind] += 1
    for journey in journeys:
        stats.entered[(journey,)] += 1
        for reason in ("completed", "exit", "version_gone", "step_gone", "step_failed"):
            stats.ended[journey, reason] += 1
    for reason in Refusal:
        for place in ("entry", "send"):
            stats.refusals[place, reason] += 1
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)
    inputs = (InputStatus("touchpoints", 9, 1, NOW_MS), InputStatus("orchestrator-forward", 0, 0))
    metrics.watch(lambda: [PartitionStatus(number, 1, 1, 1, 1, 1, inputs) for number in range(8)])
    series = sum(len(family.samples) for family in metrics.registry.collect())

    assert 500 < series < 1_500


def test_the_dead_letter_reasons_are_those_of_the_codec() -> None:
    """The two lists stand in two rooms, because metrics may not look up at the protocol."""
    assert set(DEAD_LETTER_REASONS) == set(codec.REASONS)


def test_a_rejected_decision_counts_as_its_dead_letter_and_not_as_applied(
    metrics: Metrics, read: Any
) -> None:
    """Consumed is applied + duplicate + forwarded + dead-lettered, each record in one of them."""
    stats = GroupStats()
    reused = Rejection("id_reused", "purchase ord-1 came with another body")
    rejected = Decision(Outcome.REJECTED, Customer("ana"), NOW_MS, rejection=reused)
    stats.decided("purchase", rejected, recorded_ms=NOW_MS, seconds=0.001)
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)

    assert read(metrics, "orchestrator_events_total", type="purchase", outcome="dead_letter") == 1
    assert read(metrics, "orchestrator_dead_letters_total", reason="id_reused") == 1
    assert read(metrics, "orchestrator_purchase_visible_seconds_count") == 0


def test_visible_latency_runs_from_the_records_timestamp_to_the_commit(
    metrics: Metrics, read: Any
) -> None:
    """Three purchases: 20 ms, exactly the objective of 250 ms, and one from a clock ahead."""
    stats = GroupStats()
    for ago_ms in (20, 250, -5_000):
        stats.decided("purchase", applied(), recorded_ms=NOW_MS - ago_ms, seconds=0.001)
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)
    bucket = "orchestrator_purchase_visible_seconds_bucket"

    assert read(metrics, bucket, le="0.0001") == 1
    assert read(metrics, bucket, le="0.02") == 2
    assert read(metrics, bucket, le="0.25") == 3
    assert read(metrics, bucket, le="+Inf") == 3
    assert read(metrics, "orchestrator_purchase_visible_seconds_sum") == pytest.approx(0.27)


def test_a_group_that_is_thrown_away_leaves_no_trace(metrics: Metrics) -> None:
    """Counts become metrics at the commit only, so an aborted group was never seen."""
    before = generate_latest(metrics.registry)
    GroupStats().decided("purchase", applied(), recorded_ms=NOW_MS, seconds=0.001)
    counted = [line for line in before.splitlines() if line.startswith(b"orchestrator_")]

    assert [
        line
        for line in generate_latest(metrics.registry).splitlines()
        if line.startswith(b"orchestrator_")
    ] == counted


def test_only_records_near_the_bound_are_warned_about(metrics: Metrics, read: Any) -> None:
    """The bound of this worker is 1,000 bytes; 80 % of it is still fine."""
    stats = GroupStats()
    stats.state_written(800)
    stats.state_written(801)
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.01)

    assert read(metrics, "orchestrator_state_records_near_limit_total") == 1


def test_the_oldest_event_keeps_ageing_while_the_worker_stands_still() -> None:
    """The age is worked out at the scrape, not when the worker last had time to say it."""
    now = [1_000.0]
    collector = PartitionCollector(now=lambda: now[0])
    read_late = InputStatus("touchpoints", 40, 3, 998_500)
    never_read = InputStatus("clicks", 40, 7)

    def look(*inputs: InputStatus) -> None:
        collector.view = lambda: [PartitionStatus(4, 0, 0, 0, 0, 0, inputs)]

    def ages() -> list[float]:
        return [
            sample.value
            for family in collector.collect()
            if family.name == "orchestrator_oldest_event_age_seconds"
            for sample in family.samples
        ]

    look(read_late, never_read)
    assert ages() == [1.5, 0.0]
    now[0] += 60
    assert ages() == [61.5, 60.0]
    # A worker that moves is busy, not standing, although there is always something before it.
    look(InputStatus("clicks", 41, 7))
    assert ages() == [0.0]
    now[0] += 60
    look(InputStatus("clicks", 48, 0))
    assert ages() == [0.0]


def test_a_mapped_topic_that_stands_falls_behind_while_another_moves() -> None:
    """Its partitions are nobody's home, so the gauges of homes do not show them."""
    now = [1_000.0]
    collector = InputCollector(now=lambda: now[0])

    def look(*inputs: tuple[int, InputStatus]) -> dict[str, list[float]]:
        collector.view = lambda: inputs
        return {
            family.name.removeprefix("orchestrator_"): [one.value for one in family.samples]
            for family in collector.collect()
        }

    unread, moving = (12, InputStatus("erp.orders", 40, 7)), (0, InputStatus("tills", 1, 2))
    assert look(unread, moving)["input_lag_records"] == [7, 2]
    now[0] += 60
    moved = (0, InputStatus("tills", 5, 2))
    assert look(unread, moved)["input_oldest_record_age_seconds"] == [60.0, 0.0]


def test_a_partition_that_is_given_away_takes_its_series_along(worked: Metrics) -> None:
    """Else two workers would seem to hold it for ever."""
    assert b'partition="0"' in generate_latest(worked.registry)
    worked.watch(tuple)
    assert b'partition="0"' not in generate_latest(worked.registry)


def test_counting_an_event_costs_less_than_the_client_librarys_three_histograms(
    metrics: Metrics,
) -> None:
    """All that is counted for an event, 1.5 µs, against observing latency, decision and size."""
    refused = applied(EntryRefused("post_purchase", 1, Refusal.REENTRY))
    library = Histogram("reference", "Text.", buckets=LATENCY_SECONDS, registry=None)

    def count() -> None:
        stats = GroupStats()
        for _ in range(500):
            stats.decided("product.viewed", refused, recorded_ms=NOW_MS, seconds=0.00003)
            stats.state_written(800)
        metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.004)

    def compare() -> None:
        for _ in range(3 * 500):
            library.observe(0.02)

    def cost(work: Callable[[], None]) -> float:
        started = time.thread_time()
        work()
        return time.thread_time() - started

    costs = [(cost(count), cost(compare)) for _ in range(30)]
    assert min(counted for counted, _ in costs) < min(compared for _, compared in costs)
