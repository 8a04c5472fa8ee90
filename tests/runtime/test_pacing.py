"""When the broker gathers records for a fetch, and when each is fetched at once."""

from __future__ import annotations

import time

import httpx

from orchestrator.broker.process import EmbeddedBroker
from orchestrator.runtime.shell.pacing import BUSY_RECORDS_PER_SECOND, FetchTerms, Pacing
from tests.runtime.deployment import cart, wait_until

IDLE, BUSY = FetchTerms(1, 50), FetchTerms(1 << 20, 10)


def fed(pacing: Pacing, rate: float, *, began: float = 0.0, seconds: float = 1.0) -> FetchTerms:
    """Return the terms after records came one by one at this rate."""
    terms = pacing.terms
    for number in range(int(rate * seconds)):
        terms = pacing.fetched(1, began + (number + 1) / rate)
    return terms


def a_pacing(gather_seconds: float = 0.01) -> Pacing:
    return Pacing(idle_wait_ms=50, gather_seconds=gather_seconds)


def test_few_records_are_fetched_one_by_one():
    assert fed(a_pacing(), BUSY_RECORDS_PER_SECOND / 2) == IDLE


def test_many_records_are_gathered():
    assert fed(a_pacing(), 2 * BUSY_RECORDS_PER_SECOND) == BUSY


def test_the_more_come_the_longer_they_are_gathered_up_to_a_bound():
    pacing = a_pacing()
    waits = []
    for rate in (500, 1_000, 2_000, 3_000, 50_000):
        terms = fed(pacing, rate, began=10.0 * len(waits))
        waits.append((terms.max_wait_ms, round(pacing.stretch, 1)))

    assert waits == [(10, 1.0), (10, 1.0), (20, 2.0), (30, 3.0), (30, 3.0)]


def test_a_fetch_that_brings_many_after_a_silence_is_no_rate():
    """Three events of one visitor at once must not make the next customer wait."""
    assert a_pacing().fetched(3, 100.0) == IDLE


def test_a_silence_ends_the_gathering():
    pacing = a_pacing()
    fed(pacing, 2 * BUSY_RECORDS_PER_SECOND)
    assert pacing.fetched(0, 2.0) == IDLE


def test_who_wants_no_gathering_has_none():
    assert fed(a_pacing(gather_seconds=0.0), 100 * BUSY_RECORDS_PER_SECOND) == IDLE


def committed(port: int) -> float:
    """Return how many transactions a worker says that it has committed."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    name = 'orchestrator_transactions_total{result="committed"} '
    return next(float(line.removeprefix(name)) for line in text.splitlines() if name in line)


def test_events_in_a_row_share_transactions(deployment):
    port = EmbeddedBroker.free_port()
    deployment.start(metrics_port=port, group_interval_seconds=1)
    before = committed(port)

    for number in range(12):
        deployment.produce(cart(f"eva-{number}"))
        time.sleep(0.05)
    wait_until(lambda: len(deployment.templates()) == 12, "first messages")

    assert committed(port) - before <= 4
