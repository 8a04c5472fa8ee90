"""When the broker gathers records for a fetch, and when each is fetched at once."""

from __future__ import annotations

from orchestrator.runtime.shell.pacing import BUSY_RECORDS_PER_SECOND, FetchTerms, Pacing

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


def test_a_fetch_that_brings_many_after_a_silence_is_no_rate():
    """Three events of one visitor at once must not make the next customer wait."""
    assert a_pacing().fetched(3, 100.0) == IDLE


def test_a_silence_ends_the_gathering():
    pacing = a_pacing()
    fed(pacing, 2 * BUSY_RECORDS_PER_SECOND)
    assert pacing.fetched(0, 2.0) == IDLE


def test_who_wants_no_gathering_has_none():
    assert fed(a_pacing(gather_seconds=0.0), 100 * BUSY_RECORDS_PER_SECOND) == IDLE
