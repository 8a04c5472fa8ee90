"""What `explain` says, from journey-log records as the worker writes them."""

from orchestrator.core.calendar import instant_text
from orchestrator.core.decision import (
    Emitted,
    Ended,
    EndReason,
    Entered,
    EntryRefused,
    Held,
    MessageFinal,
    Moved,
    OfferGranted,
    OfferRedeemed,
    OfferRefused,
    PromiseConfirmed,
    Promised,
    PromiseEnd,
    PromiseEnded,
    RedemptionRefused,
    RedemptionUndone,
    Refusal,
    SendRefused,
    StageReason,
)
from orchestrator.core.event import Event
from orchestrator.protocol.outputs import Position, encode_log, event_cause, timer_cause
from orchestrator.timeline.explanation import Mark, as_json, explain
from orchestrator.timeline.record import read_record
from orchestrator.timeline.sentences import (
    ENDED_BECAUSE,
    PROMISE_ENDED_BECAUSE,
    REFUSED_BECAUSE,
    STAGE_BECAUSE,
    duration,
)

NOON_MS = 1_795_348_800_000
CART = "cart_abandonment/cart-1#1"
ORDER = "post_purchase/1001#1"


def event(event_type, event_id, at_ms):
    return Event("/shop", event_id, event_type, "ana", at_ms, {}, b"i" * 8, b"b" * 4)


def log(cause, at_ms, *entries, outcome="applied", customer="ana"):
    value = encode_log(
        customer=customer,
        now_ms=at_ms,
        cause=cause,
        outcome=outcome,
        definitions_hash="d" * 64,
        entries=entries,
    )
    record = read_record(value)
    assert record is not None
    return record


def by_event(event_type, event_id, at_ms):
    return event_cause(Position("touchpoints", 3, 17, at_ms), event(event_type, event_id, at_ms))


def a_purchase_that_overtakes_an_email():
    """Ana leaves a cart, an hour later an e-mail leaves, 2.4 s later she buys."""
    later = NOON_MS + 3_600_000
    bought = later + 2_400
    return [
        log(
            by_event("cart.abandoned", "cart-1", NOON_MS),
            NOON_MS,
            Entered(CART, "cart_abandonment", 1),
            Moved(CART, "first_hour", later),
        ),
        log(
            timer_cause(later),
            later,
            Emitted("c-1", "message.send", "email", "promotional", CART, "reminder_email", 1),
        ),
        log(
            by_event("purchase", "ord-1001", bought),
            bought,
            Ended(CART, "cart_abandonment", 1, EndReason.EXIT, "until_tomorrow", ("c-1",)),
            Emitted("c-2", "message.cancel", "email", "promotional", CART, "reminder_email", 2),
            Entered(ORDER, "post_purchase", 1),
            Emitted("c-3", "message.send", "email", "transactional", ORDER, "thank_you", 3),
        ),
    ]


def test_a_recalled_message_is_told_with_the_purchase_that_recalled_it():
    explanation = explain("ana", a_purchase_that_overtakes_an_email())

    (recalled,) = explanation.not_sent
    assert (recalled.channel, recalled.step) == ("email", "reminder_email")
    assert recalled.fate == "cancelled"
    assert "purchase ord-1001 ended cart_abandonment" in recalled.because
    assert "for 2.4 s" in recalled.because


def test_a_cancel_is_no_message_of_its_own():
    explanation = explain("ana", a_purchase_that_overtakes_an_email())

    assert [message.command for message in explanation.messages] == ["c-1", "c-3"]
    assert explanation.messages[1].fate == "sent"


def test_every_moment_names_its_cause_and_its_facts_in_order():
    moments = explain("ana", a_purchase_that_overtakes_an_email()).moments

    assert [moment.cause.sentence() for moment in moments] == [
        "cart.abandoned cart-1",
        "a wait came due",
        "purchase ord-1001",
    ]
    assert [fact.mark for fact in moments[2].facts] == [
        Mark.ENDED,
        Mark.NOT_SENT,
        Mark.ENTERED,
        Mark.SENT,
    ]
    assert moments[0].facts[1].text == "cart_abandonment waits 60 min in “first_hour”"


def test_a_senders_report_completes_the_story_of_a_message():
    records = a_purchase_that_overtakes_an_email()
    at = NOON_MS + 3_700_000
    records.append(
        log(by_event("message.delivered", "d-1", at), at, MessageFinal("c-3", ORDER, "delivered"))
    )
    records.append(
        log(by_event("message.dropped", "d-2", at), at, MessageFinal("c-1", CART, "cancelled"))
    )

    by_id = {message.command: message for message in explain("ana", records).messages}

    assert by_id["c-3"].fate == "delivered"
    assert by_id["c-1"].fate == "cancelled"
    assert "the sender saw the cancel in time" in by_id["c-1"].because


def test_refusals_are_told_as_sentences_with_their_detail():
    looked = log(
        by_event("product.viewed", "view-9", NOON_MS),
        NOON_MS,
        EntryRefused("browse_abandonment", 1, Refusal.ALREADY_OWNED, "tent-2"),
        SendRefused(CART, "cart_abandonment", "reminder", "sms", Refusal.MISSING_VARIABLE, None),
    )

    explanation = explain("ana", [looked])

    assert explanation.moments[0].facts[0].text == (
        "did not enter browse_abandonment, because the customer has already bought what it is "
        "about (tent-2)"
    )
    assert [refused.reason for refused in explanation.refused] == [
        "already_owned",
        "missing_variable",
    ]


def test_what_became_of_offers_is_told_as_sentences():
    told = log(
        by_event("purchase", "ord-9", NOON_MS),
        NOON_MS,
        Promised("ten", "email", CART, NOON_MS + 1_000, provisional=True),
        PromiseConfirmed("ten"),
        PromiseEnded("ten", PromiseEnd.REJECTED),
        OfferGranted("free", "web", NOON_MS + 1_000),
        OfferRefused("ten", "web", Refusal.OFFER_CONTRADICTED, "free until then"),
        OfferRedeemed("free", "9"),
        RedemptionRefused("ten", "9", Refusal.OFFER_USED),
        RedemptionUndone("free", "9", open=True),
    )

    explanation = explain("ana", [told])

    assert [fact.text for fact in explanation.moments[0].facts] == [
        f"was provisionally promised the offer ten until {instant_text(NOON_MS + 1_000)}",
        "the promise of ten holds: we know who this is",
        "lost the promise of ten, because the customer does not want it",
        "who asked may tell the offer free",
        (
            "offer ten refused, because the customer holds a promise that contradicts the offer "
            "(free until then)"
        ),
        "redeemed the offer free with order 9",
        (
            "redemption of offer ten refused, because the customer has had the offer as often as "
            "it may be had"
        ),
        "got free back with order 9; it can be redeemed again",
    ]
    assert len(explanation.refused) == 2


def test_a_hold_is_told_with_until_when_by_whom_and_why():
    detail = "channel/email by eva: wrong price"
    held = Held(CART, "cart_abandonment", "reminder", "email", "paused", NOON_MS + 1, detail)
    came = log(by_event("cart.abandoned", "c-9", NOON_MS), NOON_MS, held)
    again = read_record(
        b'{"customer":"ana","now":"2026-11-22T12:00:00.000Z","cause":{"kind":"resumed",'
        b'"revision":4},"outcome":"applied","definitions":"d","entries":[]}'
    )

    first, second = explain("ana", [came, again]).moments

    assert first.facts[0].text == (
        "e-mail “reminder” of cart_abandonment held until 2026-11-22 12:00 UTC, because "
        "somebody has paused it (channel/email by eva: wrong price)"
    )
    assert second.cause.sentence() == "what is paused had changed"


def test_a_repeat_and_an_event_that_nobody_asked_for_are_told_too():
    repeat = log(by_event("purchase", "ord-1", NOON_MS), NOON_MS, outcome="duplicate")
    nothing = log(by_event("search.done", "s-1", NOON_MS), NOON_MS)

    applied = log(by_event("audience.applied", "r-1", NOON_MS), NOON_MS)
    late = log(by_event("message.dropped", "r-2", NOON_MS), NOON_MS)

    first, second, third, fourth = explain("ana", [repeat, nothing, applied, late]).moments

    assert "a repeat changes nothing" in first.facts[0].text
    assert "no journey asked for it" in second.facts[0].text
    assert "has applied it" in third.facts[0].text
    assert "already over" in fourth.facts[0].text


def test_other_customers_of_the_partition_are_passed_over():
    other = log(by_event("purchase", "ord-1", NOON_MS), NOON_MS, customer="ben")

    assert explain("ana", [other]).moments == []


def test_entries_of_a_newer_release_are_counted_and_do_not_stop_the_story():
    value = (
        b'{"customer":"ana","now":"2026-11-22T12:00:00.000Z","cause":{"kind":"timer",'
        b'"due":"2026-11-22T12:00:00.000Z","new":1},"outcome":"applied","definitions":"d",'
        b'"entries":[{"kind":"teleported","where":"moon"},'
        b'{"kind":"entered","enrollment":"w/#1","journey":"w","version":1}],"more":true}'
    )

    explanation = explain("ana", [read_record(value)])

    assert explanation.unknown_entries == 1
    assert [fact.mark for fact in explanation.moments[0].facts] == [Mark.ENTERED]


def test_what_is_no_journey_log_record_is_not_read():
    assert read_record(b"not json") is None
    assert read_record(b'{"customer": 7}') is None


def test_every_refusal_every_end_and_every_change_of_stage_has_a_sentence():
    """A new word in the core needs its sentence here, or `explain` would answer in code words."""
    assert set(REFUSED_BECAUSE) == set(Refusal)
    assert set(PROMISE_ENDED_BECAUSE) == set(PromiseEnd)
    assert set(ENDED_BECAUSE) == set(EndReason)
    assert set(STAGE_BECAUSE) == set(StageReason)
    for sentence in (
        *REFUSED_BECAUSE.values(),
        *ENDED_BECAUSE.values(),
        *STAGE_BECAUSE.values(),
    ):
        assert " " in sentence
        assert "_" not in sentence


def test_the_answer_for_machines_is_plain_json():
    answer = as_json(explain("ana", a_purchase_that_overtakes_an_email()))

    assert answer["messages"][0]["fate"] == "cancelled"
    assert answer["moments"][2]["cause"]["type"] == "purchase"
    assert answer["moments"][0]["at"].startswith("2026-")


def test_durations_are_said_as_people_say_them():
    said = [duration(ms) for ms in (7, 999, 2_400, 3_600_000, 7_200_000, 5 * 86_400_000)]

    assert said == ["7 ms", "999 ms", "2.4 s", "60 min", "2 h", "5 d"]
