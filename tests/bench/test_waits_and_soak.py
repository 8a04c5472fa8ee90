"""Lateness and flatness are arithmetic; what they call late, doubled or flat is said here."""

from __future__ import annotations

import os
import random
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest

from bench.events import Workload, touches
from bench.firing import Fired, Waits, judged
from bench.rivals.parts.growth import DAY_MS, stranger_id, strangers
from bench.soak import exposed, judge, looked_at, met_in_a_third, windows, write_journeys
from bench.soak import wrong as soak_findings
from bench.soak_page import MEASURES, PURCHASE_BYTES_MAX
from bench.trend import Allowance, slope, trend
from bench.waits import Flow, Plan, burst_due_ms, outage_due_ms, purchases
from bench.waits import wrong as waits_findings
from bench.waits_page import _ratio
from orchestrator import catalog
from orchestrator.core.customer import SEEN_EVENTS_MAX
from orchestrator.core.encoded.state import decode_customer, encoded_wake_at_ms
from orchestrator.metrics import Metrics

DUE_MS = 1_795_000_000_000
HOUR = 3_600.0


def fired(number: int, *, late_ms: int = 5, due_ms: int = DUE_MS) -> Fired:
    return Fired(stranger_id(number), due_ms, due_ms + late_ms, due_ms + late_ms + 2)


def everybody(count: int) -> tuple[Waits, list[Fired], list[str]]:
    """Return waits of so many, each fired once and followed by its letter."""
    waits = Waits(dict.fromkeys(range(count), DUE_MS))
    return waits, [fired(n) for n in range(count)], [stranger_id(n) for n in range(count)]


# -- Which waits fired, and how late ---------------------------------------------------------------


def test_waits_that_fired_once_are_neither_doubled_nor_missing_nor_early():
    found = judged(*everybody(10))

    assert (found.fired, found.doubled, found.missing, found.early) == (10, 0, 0, 0)
    assert waits_findings(found.row() | {"unanswered": 0}) == []


def test_a_wait_is_late_by_its_decision_and_by_the_line_that_was_written():
    waits = Waits(dict.fromkeys(range(100), DUE_MS))
    log = [fired(number, late_ms=10 * (number + 1)) for number in range(100)]

    row = judged(waits, log, [one.customer for one in log]).row()

    assert row["late_decided_ms"]["p50"] == pytest.approx(500, rel=0.01)
    assert row["late_decided_ms"]["p99"] == pytest.approx(990, rel=0.01)
    assert row["late_written_ms"]["max"] == pytest.approx(1_002, rel=0.01)


def test_a_second_line_and_a_second_letter_are_doubled():
    waits, log, letters = everybody(3)

    assert judged(waits, [*log, fired(1)], letters).doubled == 1
    assert judged(waits, log, [*letters, stranger_id(2)]).doubled == 1


@pytest.mark.parametrize("lacking", ["line", "letter"])
def test_who_lacks_the_line_or_the_letter_is_missing(lacking: str):
    waits, log, letters = everybody(3)

    found = judged(waits, log[lacking == "line" :], letters[lacking == "letter" :])

    assert (found.missing, found.doubled) == (1, 0)


def test_a_line_for_another_due_time_does_not_stand_for_the_wait():
    waits, log, letters = everybody(2)

    found = judged(waits, [fired(0, due_ms=DUE_MS + 1), log[1]], letters)

    assert (found.fired, found.missing) == (1, 1)


def test_before_its_time_is_early():
    waits, log, letters = everybody(2)
    tomorrow = Waits({}, early=range(2))

    assert judged(waits, [fired(0, late_ms=-1), log[1]], letters).early == 1
    assert judged(tomorrow, log[:1], letters[:1]).early == 1
    assert judged(tomorrow, [], []).early == 0


def test_the_last_line_of_a_burst_is_that_before_the_next_one():
    waits = Waits({0: DUE_MS, 1: DUE_MS, 2: DUE_MS + 20_000})
    log = [fired(0, late_ms=5), fired(1, late_ms=800), fired(2, due_ms=DUE_MS + 20_000)]

    found = judged(waits, log, [one.customer for one in log])

    assert found.last_before_ms(DUE_MS + 20_000) == DUE_MS + 802
    assert (found.first_ms, found.last_ms) == (DUE_MS + 7, DUE_MS + 20_007)


# -- When waits are due, and whose they are --------------------------------------------------------


def test_a_burst_comes_due_within_its_second_and_the_next_one_later():
    plan = Plan(burst_waits=10, bursts=2, burst_seconds=1.0, apart_seconds=25.0)

    due = [burst_due_ms(plan, DUE_MS, number) - DUE_MS for number in range(20)]

    assert due[:10] == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert due[10:] == [25_000 + one for one in due[:10]]


def test_the_waits_of_an_outage_were_due_evenly_until_its_end():
    plan = Plan(outage_waits=6, outage_seconds=600.0)

    due = [outage_due_ms(plan, DUE_MS, number) - DUE_MS for number in range(6)]

    assert due == [-600_000, -500_000, -400_000, -300_000, -200_000, -100_000]


def test_strangers_have_the_waits_that_they_are_given():
    at_once = list(strangers(3, events=3, due_ms=lambda number: DUE_MS + number))

    assert [encoded_wake_at_ms(value) for _, value in at_once] == [DUE_MS, DUE_MS + 1, DUE_MS + 2]
    assert [key.decode() for key, _ in at_once] == [stranger_id(number) for number in range(3)]
    (enrollment,) = decode_customer(at_once[0][1]).enrollments
    assert (enrollment.journey, enrollment.entered_at_ms) == ("sale_offer", DUE_MS - DAY_MS)


def test_strangers_wait_for_nothing_or_in_three_promotions():
    ((_, without),) = strangers(1, events=2)
    ((_, with_three),) = strangers(1, events=5)

    assert encoded_wake_at_ms(without) is None
    assert len(decode_customer(with_three).enrollments) == 3


def test_purchases_are_told_by_the_time_for_which_they_were_meant():
    samples = [(at * 1_000_000, at * 1_000_000 + 1) for at in (10, 20, 30)]
    report = SimpleNamespace(measure_from_ns=0)
    flow = Flow(report, samples, wall_offset_ms=1_000.0, missing=0, load_average=(0, 0))

    assert flow.between([(1_015, 1_025)]) == samples[1:2]
    assert flow.between([(1_015, 1_025)], outside=True) == [samples[0], samples[2]]


def bought(milliseconds: int, count: int = 100) -> dict[str, Any]:
    return purchases([(0, milliseconds * 1_000_000)] * count)


def test_the_ratio_of_an_outage_is_that_of_both_p99_and_says_whether_the_goal_held():
    assert "2.00 x" in _ratio([bought(20)], [bought(10)])
    assert "held" in _ratio([bought(20)], [bought(10)])
    assert "missed" in _ratio([bought(31)], [bought(10)])


def test_an_outage_that_nobody_met_has_no_ratio():
    assert "no ratio" in _ratio([bought(20, count=0)], [bought(10)])


# -- Flat or not -----------------------------------------------------------------------------------


def noisy(level: float, each_hour: float, *, noise: float = 1.0) -> list[tuple[float, float]]:
    """Return an hour of looks, one every ten seconds."""
    chance = random.Random(1)
    return [
        (at * 10.0, level + each_hour * at / 360 + chance.uniform(-noise, noise))
        for at in range(360)
    ]


def test_the_slope_is_that_of_the_line():
    assert slope([(0, 5), (10, 7), (20, 9)]) == pytest.approx(0.2)
    assert slope([(0, 5)]) == 0
    assert slope([(0, 5), (0, 9)]) == 0


def test_noise_is_flat_and_a_leak_below_the_noise_is_not():
    allowance = Allowance(share=0.01)

    assert trend(noisy(200, 0, noise=5), HOUR, allowance).flat
    leak = trend(noisy(200, 8, noise=5), HOUR, allowance)
    assert not leak.flat
    assert leak.slope_per_hour == pytest.approx(8, rel=0.3)


def test_what_happens_in_the_first_half_does_not_count():
    filling = [(at, min(at, 1_800.0)) for at in range(0, 3_600, 10)]

    found = trend(filling, HOUR, Allowance())

    assert found.flat
    assert (found.middle, found.rise) == (1_800, 0)


def test_a_single_hiccup_is_no_trend_and_a_fall_is_flat():
    hiccup = [(at * 60.0, 900.0 if at == 50 else 20.0) for at in range(60)]

    assert trend(hiccup, HOUR, Allowance(amount=1)).rise == 0
    assert trend(noisy(200, -50), HOUR, Allowance()).flat


def test_one_descriptor_a_minute_is_a_leak():
    leak = [(at * 10.0, 40.0 + at // 6) for at in range(360)]

    assert not trend(leak, HOUR, Allowance(amount=2)).flat


def test_of_too_few_points_nobody_can_say_that_they_are_flat():
    assert not trend([(0, 1), (3_000, 1), (3_500, 1)], HOUR, Allowance(amount=9)).flat


def test_memory_less_states_leaves_out_what_states_grow_by():
    by_name = {measure.name: measure for measure in MEASURES}
    look = {"resident_bytes": 300 * 2**20, "state_bytes": 20 * 2**20}

    assert by_name["resident memory, MiB"].figure(look) == 300
    assert by_name["resident less states, MiB"].figure(look) == 280


def test_states_may_grow_by_what_a_purchase_leaves_and_other_memory_may_not():
    by_name = {measure.name: measure for measure in MEASURES}
    mib_of_purchases = 2**20 // PURCHASE_BYTES_MAX + 1

    assert by_name["states, MiB"].allowed(0).amount == 0
    assert by_name["states, MiB"].allowed(mib_of_purchases).amount == pytest.approx(1, rel=0.01)
    assert by_name["resident less states, MiB"].allowed(mib_of_purchases).amount == 0


def test_a_leak_in_the_states_is_not_flat_and_what_purchases_leave_is():
    def judged_after(bytes_a_purchase: float) -> bool:
        looks = dict.fromkeys(("resident_bytes", "pss_bytes", "anonymous_bytes"), 2.0**27)
        looks |= dict.fromkeys(("descriptors", "series", "threads", "lag", "waits_pending"), 1.0)
        row = {
            "seconds": HOUR,
            "looks": [
                looks | {"seconds": at, "state_bytes": 10_000 + bytes_a_purchase * at}
                for at in range(0, 3_600, 10)
            ],
            # One purchase a second.
            "windows": [
                {"seconds": at + 30.0, "purchases": 60, "p50_ms": 9.0, "p99_ms": 20.0}
                for at in range(0, 3_600, 60)
            ],
        }
        return judge(row, HOUR)["states, MiB"]["flat"]

    assert judged_after(155)
    assert not judged_after(260)


def test_the_kernel_tells_memory_descriptors_and_threads_of_a_process():
    found = looked_at(os.getpid())

    assert 0 < found["anonymous_bytes"] <= found["resident_bytes"]
    assert 0 < found["pss_bytes"] <= found["resident_bytes"]
    assert found["descriptors"] >= 1
    assert found["threads"] >= 1


def test_latencies_stand_in_the_window_for_which_the_purchase_was_meant():
    second = 1_000_000_000
    samples = [(at * second, at * second + (at + 1) * 1_000_000) for at in range(4)]

    rows = windows(samples, 0, window_seconds=2.0)

    assert [(row["seconds"], row["purchases"]) for row in rows] == [(1.0, 2), (3.0, 2)]
    assert rows[1]["p99_ms"] == pytest.approx(4.0, rel=0.01)


def test_an_exposition_is_counted_by_series_and_summed_over_partitions():
    text = (
        "# TYPE orchestrator_lag_records gauge\n"
        'orchestrator_lag_records{topic="t",partition="0"} 3\n'
        'orchestrator_lag_records{topic="t",partition="1"} 4\n'
        "# TYPE orchestrator_visits counter\n"
        'orchestrator_visits_total{journey="bulletin"} 9\n'
    )

    found = exposed(text)

    assert (found["series"], found["lag"], found["visits"]) == (3, 7, 9)


def test_the_metrics_that_a_soak_reads_are_those_of_a_worker():
    metrics = Metrics(event_types=(), channels=(), journeys=())
    text = prometheus_client.generate_latest(metrics.registry).decode()

    for name in ("lag_records", "state_bytes", "state_customers", "waits_pending"):
        assert f"# TYPE orchestrator_{name} gauge" in text
    for name in ("visits_total", "commands_total"):
        assert f"# TYPE orchestrator_{name} counter" in text
    assert "orchestrator_wait_lateness_seconds_count" in text


def test_everybody_is_met_and_every_window_full_by_a_third_of_the_run():
    minutes, rate = 3.0, 200.0
    customers = met_in_a_third(minutes, rate)
    seen = [
        touch.key for touch in touches(Workload(customers=customers), rate, minutes * 20, 10**9)
    ]

    full = sum(seen.count(key) >= SEEN_EVENTS_MAX for key in set(seen))

    assert len(set(seen)) == customers
    assert full >= 0.98 * customers


def test_the_journeys_of_a_soak_are_sound_and_none_waits_for_a_day(tmp_path):
    write_journeys(tmp_path, 2_400)

    journeys = catalog.load(tmp_path, "test")

    assert [one.name for one in journeys.scheduled] == ["bulletin"]
    assert not [path for path in tmp_path.glob("*.yaml") if "24h" in path.read_text("utf-8")]


def test_a_soak_without_waits_or_with_a_purchase_unanswered_is_not_passed():
    look = {"waits_fired": 1.0, "visits": 1.0}
    row = {
        "trends": {"threads": {"flat": True}},
        "unanswered": 0,
        "system_alive": True,
        "looks": [look],
    }

    assert soak_findings(row) == []
    assert soak_findings(row | {"unanswered": 2}) == ["2 purchases were not answered"]
    assert soak_findings(row | {"looks": [look | {"visits": 0.0}]})
    assert soak_findings(row | {"trends": {"threads": {"flat": False}}}) == ["threads is not flat"]
