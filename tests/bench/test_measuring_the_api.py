"""The benchmark of the API ends by itself, and says what was reached and not what was wanted."""

import time

import pytest
from hdrh.histogram import HdrHistogram

from bench import api
from bench.api_table import render
from bench.calls import held
from bench.reader import HIGHEST_US, percentiles
from bench.report import Results, environment


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "api.json", environment(embedded=True))


def waited(ms, **more):
    waits = HdrHistogram(1, HIGHEST_US, 3)
    waits.record_value(ms * 1_000, 100)
    return {"calls": 100, "histogram_us": waits.encode().decode()} | more


def called(ms, *, drift_ms=0.0, statuses=None, answered=1_000.0):
    row = waited(ms, drift_ms=drift_ms, statuses=statuses or {"200": 100})
    return row | {"answered_a_second": answered, "held": held(row)}


def flowed(ms):
    row = waited(ms, missing=0, valid=True, late_p99_ms=0.1, api_cpu_seconds=1.0)
    waits = HdrHistogram(1, HIGHEST_US, 3)
    waits.decode_and_add(row["histogram_us"])
    costs = {"system_cpu_us_per_event": 300.0, "broker_cpu_us_per_event": 300.0}
    return row | costs | {"latency_ms": percentiles(waits)}


@pytest.mark.parametrize(
    ("row", "is_held"),
    [
        (called(5), True),
        (called(500), True),
        (called(5, drift_ms=26.0), False),
        (called(5, statuses={"200": 99, "503": 1}), False),
        (called(5, statuses={"200": 99, "unanswered": 1}), False),
    ],
)
def test_a_rate_is_held_when_all_are_answered_and_no_queue_grows(row, is_held):
    assert row["held"] is is_held


def test_a_part_that_fails_or_takes_too_long_leaves_the_others_alone(results, monkeypatch):
    def broken(_plan, _target, _results):
        raise RuntimeError("no worker\nand more")

    def endless(_plan, _target, _results):
        time.sleep(60)

    def fine(_plan, _target, results):
        results.add("race/0/api/0", {"races": 1})

    parts = {"flow": (broken, 10), "request": (endless, 0.2), "race": (fine, 10)}
    monkeypatch.setattr(api, "PARTS", parts)

    assert not api.run(api.QUICK, None, results, list(parts))

    page = render(results)
    assert "Part flow: 0 s: FAILED, RuntimeError: no worker\n" in page
    assert "FAILED, TimeoutError: it took more than 0.2 s" in page
    assert "| races | 1 |" in page
    assert "Part race: 0 s\n" in page


def test_the_page_tells_the_rate_that_was_held_and_what_it_costs(results):
    results.add("purchases/1000/alone/0", flowed(10))
    results.add("purchases/1000/next-best-1000/0", flowed(900))
    results.add("next-best/1000/api/0", called(4_000, drift_ms=3_000.0, answered=640.0))
    results.add("purchases/1000/next-best-500/0", flowed(20))
    results.add("next-best/500/api/0", called(8))

    page = render(results)

    assert "**500 next-best calls/s**, p50 8.0 ms, p99 8.0 ms." in page
    assert "At 1,000/s the queue grew; 640 a second were answered." in page
    assert "p99 10.0 → 20.0 ms (2.00 x)" in page


def test_the_page_says_so_when_no_rate_was_held(results):
    results.add("next-best/1000/api/0", called(4_000, drift_ms=3_000.0, answered=640.0))

    assert "**No rate of 1000 next-best calls/s was held**" in render(results)
