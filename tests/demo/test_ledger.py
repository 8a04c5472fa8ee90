"""The books of a day: percentiles, the verdict, and what a kill cost."""

import pytest

from orchestrator.core.decision import Ended, EndReason, Entered, EntryRefused, Refusal
from orchestrator.demo.ledger import (
    Ledger,
    for_audit,
    pause_after,
    percentile,
    summarize,
)
from orchestrator.demo.story import TENT, purchase
from orchestrator.protocol.outputs import encode_log, timer_cause
from orchestrator.timeline.record import read_record


def thank_you(order, command_id="c-1", **changes):
    data = {
        "channel": "email",
        "journey": "post_purchase",
        "step": "thank_you",
        "caused_by": {"source": "/shop", "id": f"ord-{order}"},
    }
    return {"id": command_id, "type": "message.send", "data": data | changes}


def books_with_an_accepted_purchase(order=1, due=10.0):
    ledger = Ledger(first_step="thank_you")
    ledger.on_sent(purchase("ben", order, TENT), due=due)
    ledger.on_accepted(f"ord-{order}", due + 0.001)
    return ledger


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 201)), 0.99, 198),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values, share, expected):
    assert percentile(values, share) == expected


def test_latency_counts_from_when_the_purchase_was_due():
    ledger = books_with_an_accepted_purchase(due=10.0)

    seen = ledger.on_command(thank_you(1), 10.025)

    assert seen is not None
    assert seen.latency_ms == pytest.approx(25.0)
    assert ledger.waiting == set()


def test_an_accepted_purchase_without_its_effect_is_lost():
    ledger = books_with_an_accepted_purchase()

    verdict = ledger.verdict()

    assert (verdict.purchases, verdict.lost, verdict.holds) == (1, 1, False)


def test_a_purchase_that_the_broker_never_acknowledged_is_not_lost():
    ledger = Ledger(first_step="thank_you")
    ledger.on_sent(purchase("ben", 1, TENT), due=1.0)

    assert ledger.verdict().lost == 0


def test_a_command_id_seen_twice_is_doubled():
    ledger = books_with_an_accepted_purchase()
    ledger.on_command(thank_you(1), 10.1)
    ledger.on_command(thank_you(1), 10.2)

    assert ledger.verdict().doubled == 1
    assert ledger.commands["email"] == 1


def test_a_second_thank_you_under_another_id_is_doubled():
    ledger = books_with_an_accepted_purchase()
    ledger.on_command(thank_you(1, "c-1"), 10.1)
    ledger.on_command(thank_you(1, "c-2"), 10.2)

    assert ledger.verdict().doubled == 1


def test_other_messages_of_the_journey_are_not_the_first():
    ledger = books_with_an_accepted_purchase()

    assert ledger.on_command(thank_you(1, step="care_guide"), 10.1) is None
    assert ledger.verdict().lost == 1


def test_a_repeat_of_a_purchase_is_no_purchase():
    ledger = books_with_an_accepted_purchase()
    ledger.on_sent(purchase("ben", 1, TENT), due=11.0, repeat=True)

    assert len(ledger.purchases) == 1
    assert ledger.sent == 2


def test_accepted_events_without_a_trace_on_the_topics_break_the_verdict():
    """Everything consumed is applied, a duplicate or a dead letter; the rest was lost."""
    ledger = books_with_an_accepted_purchase()
    ledger.on_command(thank_you(1), 10.1)
    assert ledger.verdict().unread == 1

    ledger.outcomes["applied"] += 1
    assert ledger.verdict().holds


def test_the_journey_log_is_counted_and_timers_are_no_events():
    ledger = Ledger(first_step="thank_you")
    value = encode_log(
        customer="ben",
        now_ms=1,
        cause=timer_cause(1),
        outcome="applied",
        definitions_hash="",
        entries=(
            Entered("a/#1", "a", 1),
            Ended("a/#1", "a", 1, EndReason.EXIT),
            Ended("b/#1", "b", 1, EndReason.COMPLETED),
            EntryRefused("c", 1, Refusal.REENTRY),
        ),
    )

    ledger.on_log(read_record(value))

    assert (ledger.enrollments, ledger.exits, ledger.refusals["reentry"]) == (1, 1, 1)
    assert ledger.outcomes["applied"] == 0


def test_a_pause_lasts_until_the_last_purchase_that_waited_for_the_takeover():
    samples = [(1.0, 8.0), (9.9, 5_000.0), (10.5, 4_500.0), (14.9, 1_100.0), (17.0, 9.0)]

    pause = pause_after(10.0, samples)

    assert pause.begin == 10.0
    assert pause.end == pytest.approx(16.0)


def test_a_kill_that_nobody_noticed_has_no_pause():
    assert pause_after(10.0, [(9.0, 8.0), (11.0, 9.0)]).seconds == 0


def test_calm_latencies_leave_out_exactly_what_the_kill_met():
    live = Ledger(first_step="thank_you")
    for order, due, seen in ((1, 1.0, 1.008), (2, 9.9, 14.9), (3, 12.0, 14.8), (4, 20.0, 20.010)):
        live.on_sent(purchase("ben", order, TENT), due=due)
        live.on_accepted(f"ord-{order}", due)
        live.on_command(thank_you(order, f"c-{order}"), seen)

    summary = summarize(live, for_audit(live), seconds=30, kills=[10.0])

    assert [round(ms) for ms in summary.calm_latencies_ms] == [8, 10]
    assert len(summary.latencies_ms) == 4


def test_the_audit_starts_empty_and_knows_what_was_accepted():
    live = books_with_an_accepted_purchase()
    live.on_command(thank_you(1), 10.1)

    audit = for_audit(live)

    assert audit.verdict().lost == 1
    audit.on_command(thank_you(1), 99.0)
    assert audit.verdict().lost == 0
