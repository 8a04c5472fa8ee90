"""May this go out? Each question of the guard, by the mistake that it prevents."""

from __future__ import annotations

import pytest

from orchestrator.core.command import CommandType
from orchestrator.core.customer import oldest_removal_ms
from orchestrator.core.decision import Refusal
from orchestrator.core.encoded.state import (
    encode_customer,
    encoded_awaits_removal,
    encoded_wake_at_ms,
)
from tests.core.builders import DAY, HOUR, MINUTE, START, event, journey, send, wait
from tests.core.guarded import SEEN, consent, refused, report, see, story_of

PROMOTION = journey("promotion", SEEN, [send("offer"), wait("w", "1h"), send("again")])


# -- Consent and addresses ---------------------------------------------------------------------


def test_no_recorded_consent_is_no_consent():
    story = story_of(PROMOTION, agreed=())
    see(story)

    assert story.sent == []
    assert refused(story) == [("offer", Refusal.NO_CONSENT, "email, promotional: none is recorded")]


def test_consent_counts_for_its_channel_and_its_class_only():
    steps = [send("mail"), send("ring", channel="push"), wait("w", "1h")]
    story = story_of(journey("j", SEEN, steps), agreed=("push",))
    consent(story, "email", granted=True, class_="service")
    see(story)

    assert story.sent == ["ring"]


@pytest.mark.parametrize("order", ["no last", "no first"])
def test_the_newest_word_on_consent_counts_whichever_is_learned_first(order):
    story = story_of(PROMOTION, agreed=())
    words = [(False, START - HOUR), (True, START - 2 * HOUR)]
    for granted, at in words if order == "no first" else reversed(words):
        consent(story, granted=granted, at=at)
    see(story)

    assert refused(story)[0][2] == "email, promotional: it was withdrawn"


def test_of_two_words_at_one_instant_the_no_counts():
    story = story_of(PROMOTION, agreed=())
    consent(story, granted=False, at=START)
    consent(story, granted=True, at=START)
    see(story)

    assert story.sent == []


def test_a_withdrawal_in_the_middle_of_a_wait_is_seen_when_the_wait_ends():
    story = story_of(PROMOTION)
    see(story)
    consent(story, granted=False)
    story.pass_time(2 * HOUR)

    assert story.sent == ["offer"]
    assert [reason for _, reason, _ in refused(story)] == [Refusal.NO_CONSENT]


@pytest.mark.parametrize("known", ["by the sender", "by the open command", "by nobody"])
def test_who_unsubscribes_gets_no_more_promotions_there(known):
    steps = [send("mail"), wait("w", "1h"), send("again"), send("ring", channel="push")]
    story = story_of(journey("j", SEEN, steps))
    see(story)
    data = {"channel": "email"} if known == "by the sender" else {}
    command_id = "unheard-of" if known == "by nobody" else story.commands[0].id
    story.tell(event("message.unsubscribed", "u1", command_id=command_id, **data))
    story.pass_time(2 * HOUR)

    # A withdrawal that nobody can place is one from every channel.
    assert story.sent == (["mail"] if known == "by nobody" else ["mail", "ring"])


def test_who_agrees_again_after_unsubscribing_is_written_to_again():
    story = story_of(PROMOTION)
    see(story)
    story.now += MINUTE
    report(story, "message.unsubscribed", story.commands[0])
    story.now += MINUTE
    consent(story, granted=True)
    story.pass_time(2 * HOUR)

    assert story.sent == ["offer", "again"]


def test_what_is_only_seen_on_our_own_pages_needs_no_consent():
    story = story_of(journey("j", SEEN, [send("card", channel="web")]), agreed=())
    see(story)

    assert story.sent == ["card"]


def test_the_ads_audience_needs_consent_and_leaving_it_does_not():
    steps = [
        {"id": "join", "audience": {"add": "tents"}},
        wait("w", "1h"),
        {"id": "part", "audience": {"remove": "tents"}},
    ]
    story = story_of(journey("j", SEEN, steps), agreed=())
    see(story)
    story.pass_time(2 * HOUR)

    assert [command.type for command in story.commands] == [CommandType.AUDIENCE_REMOVE]
    assert refused(story)[0][:2] == ("join", Refusal.NO_CONSENT)


def test_service_needs_no_consent_and_respects_a_no():
    story = story_of(journey("j", SEEN, [send("one")], kind="service"), agreed=())
    see(story)
    consent(story, granted=False, class_="service")
    see(story, 2)

    assert story.sent == ["one"]
    assert refused(story)[0][1] is Refusal.NO_CONSENT


def test_an_order_confirmation_asks_for_nothing():
    shop = {"quiet_hours": {"from": "00:00", "to": "23:59"}, "spacing": "1d"}
    story = story_of(journey("j", SEEN, [send("thanks")], kind="transactional"), agreed=(), **shop)
    consent(story, granted=False)
    story.tell(event("handoff.started", "h1", at=story.now))
    see(story)

    assert story.sent == ["thanks"]


def test_a_dead_address_is_not_written_to_until_there_is_a_newer_one():
    steps = [send("one"), wait("w", "1h"), send("two"), wait("v", "1h"), send("three")]
    story = story_of(journey("j", SEEN, steps))
    see(story)
    report(story, "message.bounced", story.commands[0])
    story.pass_time(90 * MINUTE)
    assert refused(story) == [("two", Refusal.SUPPRESSED, "email bounced")]

    attributes = {"email": "new@example.com"}
    story.tell(event("profile.updated", "p1", at=story.now, attributes=attributes))
    story.pass_time(HOUR)
    assert story.sent == ["one", "three"]


def test_whom_the_shop_lists_as_suppressed_hears_nothing_but_confirmations():
    promotion = journey("a", SEEN, [send("offer")])
    service = journey("b", SEEN, [send("notice")], kind="service")
    receipt = journey("c", SEEN, [send("receipt")], kind="transactional")
    story = story_of(promotion, service, receipt)
    story.tell(event("profile.updated", "p", at=START - HOUR, attributes={"suppressed": True}))
    see(story)

    assert story.sent == ["receipt"]


def test_a_removal_from_an_audience_is_awaited_until_the_platform_has_applied_it():
    steps = [{"id": "join", "audience": {"add": "tents"}}, wait("w", "1w")]
    story = story_of(journey("j", SEEN, steps, exits=["purchase"], reentry="always"))
    see(story)
    added = story.commands[-1]
    story.now += HOUR
    story.tell(event("purchase", "p", at=story.now, order_id="1", items=[]))
    removal = story.commands[-1]
    assert removal.type is CommandType.AUDIENCE_REMOVE
    assert oldest_removal_ms(story.customer) == story.now
    value = encode_customer(story.customer)
    assert encoded_awaits_removal(value)
    assert encoded_wake_at_ms(value) is None

    report(story, "audience.applied", added)
    assert oldest_removal_ms(story.customer) is not None
    report(story, "audience.applied", removal)
    assert not encoded_awaits_removal(encode_customer(story.customer))

    # A promotion that is allowed again adds the customer again.
    story.now += MINUTE
    see(story, 2)
    assert story.commands[-1].type is CommandType.AUDIENCE_ADD


# -- Frequency caps ----------------------------------------------------------------------------


def many(count=6, pause="1h", **entry):
    """Return a journey that writes again and again."""
    steps = [one for n in range(count) for one in (send(f"m{n}"), wait(f"w{n}", pause))]
    return journey("many", SEEN, steps, **entry)


def test_a_cap_is_a_rolling_window_and_no_calendar_day():
    """The trap: 23:00 and 00:01 are two days of the calendar, and one night."""
    story = story_of(many(2, "61m"), caps=[{"max": 1, "per": "1d"}])
    story.now += 13 * HOUR  # 23:00.
    see(story)
    story.pass_time(2 * HOUR)

    assert story.sent == ["m0"]
    assert refused(story) == [("m1", Refusal.FREQUENCY_CAP, "1 in 1d")]


def test_a_window_that_has_passed_lets_the_next_one_go():
    story = story_of(many(5, "10h"), caps=[{"max": 2, "per": "1d"}])
    see(story)
    for _ in range(5):
        for command in story.commands:
            report(story, "message.delivered", command)
        story.pass_time(10 * HOUR)

    # At 0 and 10 hours; 20 is too early; at 30 the first has left the window, at 40 the second.
    assert story.sent == ["m0", "m1", "m3", "m4"]


def test_caps_of_a_channel_and_of_a_journey_leave_the_others_alone():
    steps = [send("mail"), send("ring", channel="push"), wait("w", "1h")]
    steps += [send("mail2"), send("ring2", channel="push")]
    other = journey("other", "search.done", [send("found", channel="push")])
    caps = [
        {"max": 1, "per": "1d", "channel": "push", "journey": "j"},
        {"max": 9, "per": "1d"},
    ]
    story = story_of(journey("j", SEEN, steps), other, caps=caps)
    see(story)
    story.pass_time(2 * HOUR)
    story.tell(event("search.done", "s", at=story.now))

    assert story.sent == ["mail", "ring", "mail2", "found"]
    assert refused(story) == [("ring2", Refusal.FREQUENCY_CAP, "1 in 1d, push, j")]


def test_what_was_cancelled_or_dropped_does_not_count():
    one = journey("one", SEEN, [send("a"), wait("w", "1w")], exits=["purchase"])
    two = journey("two", "search.done", [send("b"), wait("w", "1w")])
    three = journey("three", "store.visited", [send("c")])
    story = story_of(one, two, three, caps=[{"max": 1, "per": "7d"}])
    see(story)
    story.tell(event("purchase", "p", at=story.now, order_id="1", items=[]))
    story.tell(event("search.done", "s", at=story.now))
    report(story, "message.dropped", story.commands[-1], reason="expired")
    story.tell(event("store.visited", "v", at=story.now))

    assert story.sent == ["a", "b", "c"]


def test_what_reached_the_customer_although_it_was_cancelled_counts():
    one = journey("one", SEEN, [send("a"), wait("w", "1w")], exits=["purchase"])
    two = journey("two", "search.done", [send("b")])
    story = story_of(one, two, caps=[{"max": 1, "per": "7d"}])
    see(story)
    sent = story.commands[0]
    story.tell(event("purchase", "p", at=story.now, order_id="1", items=[]))
    report(story, "message.delivered", sent)
    story.tell(event("search.done", "s", at=story.now))

    assert story.sent == ["a"]


def test_what_turns_out_to_have_arrived_counts_also_when_others_were_counted_meanwhile():
    """The cap's own window forgot what was dropped, before its sender found that it had arrived."""
    first = journey("one", SEEN, [send("a"), wait("w", "1w")])
    second = journey("two", "search.done", [send("b")])
    third = journey("three", "store.visited", [send("c")])
    story = story_of(first, second, third, caps=[{"max": 2, "per": "1h"}])
    see(story)
    dropped = story.commands[0]
    report(story, "message.dropped", dropped, reason="duplicate")
    story.now += 2 * HOUR
    story.tell(event("search.done", "s", at=story.now))
    report(story, "message.opened", dropped)
    story.tell(event("store.visited", "v", at=story.now))

    assert story.sent == ["a", "b"]


def test_a_second_delivery_that_the_sender_drops_takes_nothing_back():
    story = story_of(many(2, "1h"), caps=[{"max": 1, "per": "1d"}])
    see(story)
    report(story, "message.delivered", story.commands[0])
    report(story, "message.dropped", story.commands[0], reason="duplicate")
    story.pass_time(2 * HOUR)

    assert story.sent == ["m0"]


def test_a_window_counts_from_when_the_customer_got_it():
    """A slow sender hands over what was emitted long ago: two would arrive in one day."""
    story = story_of(many(2, "25h"), caps=[{"max": 1, "per": "1d"}])
    see(story)
    story.now += 23 * HOUR
    report(story, "message.delivered", story.commands[0])
    story.pass_time(3 * HOUR)

    assert story.sent == ["m0"]


def test_service_has_caps_of_its_own():
    steps = [send("a"), send("b"), send("c", **{"class": "promotional"})]
    story = story_of(
        journey("j", SEEN, steps, kind="service"),
        caps=[{"max": 1, "per": "1d", "class": "service"}],
    )
    see(story)

    assert story.sent == ["a", "c"]


NIGHT = {"from": "21:00", "to": "09:00"}


# -- The last message of an exit ---------------------------------------------------------------


def test_a_farewell_goes_at_once_and_not_to_a_dead_address():
    ends = [{"on": "purchase", "then": {"channel": "email", "template": "bye"}}]
    one = journey("j", SEEN, [send("offer"), wait("w", "1d")], exits=ends, reentry="always")
    story = story_of(one, quiet_hours=NIGHT)
    see(story)
    story.now += 12 * HOUR
    story.tell(event("purchase", "p1", at=story.now, order_id="1", items=[]))
    assert story.sent == ["offer", "bye"]

    story.now += DAY
    see(story, 2)
    report(story, "message.bounced", story.commands[-1], channel="email")
    story.tell(event("purchase", "p2", at=story.now, order_id="2", items=[]))
    assert refused(story)[-1][:2] == ("exit", Refusal.SUPPRESSED)
