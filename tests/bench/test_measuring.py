"""A benchmark is believed as far as its instruments: what is sent, and how waits are counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from bench.events import Workload, event_id, intended_ns, population, touches
from bench.load import Load, LoadReport
from bench.malformed.records import malformed
from bench.measure import DRAIN_SECONDS, row_of
from bench.reader import Collected, drift_ms, histogram, percentiles
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import decode_event

MS = 1_000_000
START_NS = 5_000_000_000
LIMIT = 1_000_000


def test_an_event_id_tells_when_the_event_was_meant_to_be_sent():
    assert intended_ns(event_id(START_NS, 7)) == START_NS
    assert intended_ns("ord-1001") is None
    assert intended_ns("abc") is None


def test_the_same_seed_sends_the_same_events_at_the_same_times():
    first, second = (list(touches(Workload(), 500, 2, START_NS)) for _ in range(2))

    assert [(touch.id, touch.key, touch.type) for touch in first] == [
        (touch.id, touch.key, touch.type) for touch in second
    ]
    assert all(a.intended_ns <= b.intended_ns for a, b in pairwise(first))


def test_the_load_has_the_mix_and_the_rate_it_says():
    sent = list(touches(Workload(), 2_000, 5, START_NS))
    shares = {kind: count / len(sent) for kind, count in Counter(t.type for t in sent).items()}

    assert 9_500 < len(sent) < 10_500
    assert 0.67 < shares["product.viewed"] < 0.73
    assert 0.18 < shares["cart.updated"] + shares["cart.abandoned"] < 0.22
    assert 0.08 < shares["purchase"] < 0.12


def test_a_skewed_load_prefers_few_customers():
    sent = list(touches(Workload(customers=1_000, skew=0.99), 1_000, 5, START_NS))
    busiest = Counter(touch.key for touch in sent).most_common(10)

    assert sum(count for _, count in busiest) > len(sent) * 0.25


def test_every_event_of_the_load_is_one_that_the_contract_accepts():
    records = [(touch.key, touch.value) for touch in touches(Workload(), 500, 2, START_NS)]
    records += population(Workload(customers=20))

    for key, value in records:
        event = decode_event(key, value, (), event_bytes_max=LIMIT)
        assert event.subject.encode() == key


def test_waits_count_from_the_intended_instant():
    waits = histogram([(START_NS, START_NS + wait * MS) for wait in range(1, 101)])

    assert abs(percentiles(waits)["p50"] - 50) < 0.1
    assert abs(percentiles(waits)["p99"] - 99) < 0.1
    assert abs(percentiles(waits)["max"] - 100) < 0.1


def test_a_steady_system_does_not_drift_and_one_that_falls_behind_does():
    steady = [(at * MS, (at + 5) * MS) for at in range(100)]
    behind = [(at * MS, (at + at) * MS) for at in range(100)]

    assert drift_ms(steady) == 0
    assert drift_ms(behind) == 75


def test_who_was_never_answered_waited_until_we_stopped_looking():
    load = Load("nowhere", "t", rate=100, seconds=10, warm_up_seconds=2)
    report = LoadReport(
        sent=100,
        failed=0,
        purchases=10,
        purchases_measured=10,
        measure_from_ns=START_NS,
        last_ns=START_NS,
        event_bytes_mean=300.0,
        late_p99_ms=0.1,
        late_max_ms=0.2,
    )
    answered = tuple((START_NS + n, START_NS + 3 * MS) for n in range(9))

    row = row_of(load, report, Collected(answered, repeated=0, commands=9))

    assert row["missing"] == 1
    assert row["latency_ms"]["max"] > 0.99 * DRAIN_SECONDS * 1_000
    assert not row["sustained"]
    assert row_of(load, replace(report, purchases_measured=9), Collected(answered, 0, 9))[
        "sustained"
    ]


def test_purchases_of_the_warm_up_are_not_samples():
    load = Load("nowhere", "t", rate=100, seconds=10, warm_up_seconds=2)
    report = LoadReport(2, 0, 2, 1, START_NS, START_NS, 300.0, 0.1, 0.2)
    answered = ((START_NS - MS, START_NS + 500 * MS), (START_NS, START_NS + 3 * MS))

    row = row_of(load, report, Collected(answered, 0, 2))

    assert (row["samples"], row["missing"]) == (1, 0)
    assert row["latency_ms"]["max"] < 4


def test_a_generator_that_was_late_or_was_refused_voids_its_run():
    report = LoadReport(2, 0, 2, 1, START_NS, START_NS, 300.0, 0.1, 0.2)

    assert report.valid
    assert not replace(report, late_p99_ms=2.5).valid
    assert not replace(report, failed=1).valid


def test_malformed_records_are_refused_with_a_reason_or_harmless():
    outcomes = Counter()
    for record in malformed(3_000, 3, 8, START_NS):
        try:
            decode_event(record.key, record.value, record.headers, event_bytes_max=LIMIT)
        except EventRejected as rejected:
            outcomes[rejected.reason] += 1
        else:
            outcomes["accepted"] += 1

    assert outcomes.total() == 3_000
    assert {"invalid_json", "schema", "empty_value", "key_subject_mismatch"} <= outcomes.keys()
    assert outcomes["accepted"] < 1_500
