"""One message, one channel: the customer's choice, where they respond, what follows a silence."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.core.command import CommandType
from orchestrator.core.decision import Held, Hold, Refusal, SendRefused
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import Channel, Shop
from orchestrator.core.language.words import Send
from tests.core.builders import DAY, HOUR, MINUTE, START, Story, event, journey, send, wait

CHANNELS = {
    "email": Channel(kind="message", address_ref="profile.email", needs_consent=False),
    "push": Channel(kind="message", address_ref="profile.push_token", needs_consent=False),
    "sms": Channel(kind="message", address_ref="profile.phone"),
}
EVERYWHERE = {"email": "e", "push_token": "p", "phone": "1"}
PATIENT = {"channel": "push", "or": ["email", "sms"], "template": "news", "patience": "2h"}


def story_of(*steps, profile=EVERYWHERE, agreed=("sms",), exits=(), **shop):
    made = journey("j", "seen", steps, exits=exits)
    story = Story(Journeys(Shop.model_validate(shop), CHANNELS, [made]))
    know(story, **profile)
    for channel in agreed:
        about = {"channel": channel, "granted": True, "proof": "form", "class": "promotional"}
        story.tell(event("consent.updated", f"c-{channel}", at=START - DAY, **about))
    return story


def know(story, **attributes):
    number = len(story.decisions)
    at = story.now - DAY
    story.tell(event("profile.updated", f"p{number}", at=at, attributes=attributes))


def see(story):
    return story.tell(event("seen", f"s{len(story.decisions)}", at=story.now))


def report(story, outcome, command=None, **data):
    command = command or story.commands[-1]
    number = len(story.decisions)
    about = {"command_id": command.id, "channel": command.channel} | data
    return story.tell(event(outcome, f"r{number}", at=story.now, **about))


def went(story):
    return [c.channel for c in story.commands if c.type is CommandType.MESSAGE_SEND]


def one(**fields):
    return {"id": "news", "send": PATIENT | fields}


def impatient(**fields):
    said = {name: value for name, value in PATIENT.items() if name != "patience"}
    return {"id": "news", "send": said | fields}


# -- Which one ---------------------------------------------------------------------------------


def test_without_a_preference_the_journeys_order_counts():
    story = story_of(impatient())
    see(story)

    assert went(story) == ["push"]


def test_the_customers_own_choice_comes_first():
    story = story_of(impatient(), profile=EVERYWHERE | {"preferred_channel": "sms"})
    see(story)

    assert went(story) == ["sms"]


def test_else_the_channel_on_which_the_customer_responds_most():
    story = story_of(send("a", "email"), wait("w", "1h"), impatient())
    see(story)
    report(story, "message.clicked")
    story.pass_time(2 * HOUR)

    assert went(story) == ["email", "email"]


def test_what_was_responded_long_ago_fades():
    steps = [send("a", "email"), wait("w", "1h"), send("b", "sms"), wait("v", "400d"), impatient()]
    story = story_of(*steps)
    see(story)
    for _ in range(3):
        report(story, "message.replied", story.commands[0])
    story.pass_time(HOUR)
    story.now += 399 * DAY
    report(story, "message.opened", story.commands[1])
    story.pass_time(2 * DAY)

    assert went(story)[-1] == "sms"


@pytest.mark.parametrize(
    ("missing", "why"),
    [("push_token", "no address"), ("bounced", "a dead one"), ("consent", "a no")],
)
def test_a_channel_that_does_not_reach_the_customer_is_passed_over(missing, why):
    first = {"consent": "sms", "push_token": "push", "bounced": "push"}[missing]
    others = [name for name in ("push", "email", "sms") if name != first]
    profile = {name: value for name, value in EVERYWHERE.items() if name != missing}
    steps = [send("before", "push"), wait("w", "1h"), impatient(channel=first, **{"or": others})]
    story = story_of(*steps, profile=profile, agreed=() if missing == "consent" else ("sms",))
    see(story)
    if missing == "bounced":
        report(story, "message.bounced")
    story.pass_time(2 * HOUR)

    assert went(story)[-1] == others[0], why


def test_who_cannot_be_reached_at_all_is_refused_with_the_reason_of_the_first_choice():
    story = story_of(impatient(), profile={}, agreed=())
    see(story)

    (refused,) = [e for e in story.entries if isinstance(e, SendRefused)]
    assert (refused.reason, refused.detail) == (Refusal.NO_ADDRESS, "profile.push_token")


# -- Patience ----------------------------------------------------------------------------------


def test_what_arrives_is_not_sent_again_and_the_journey_goes_on():
    story = story_of(one(), wait("w", "1h"), send("later", "email"))
    see(story)
    assert story.commands[0].expires_at_ms == START + 2 * HOUR
    report(story, "message.delivered")
    story.pass_time(DAY)

    assert went(story) == ["push", "email"]
    assert story.sent == ["news", "later"]


def test_what_brings_nothing_expires_and_takes_the_next_channel_after_a_grace():
    story = story_of(one())
    see(story)
    held = [e for e in story.entries if isinstance(e, Held)]
    assert [(e.reason, e.until_ms) for e in held] == [
        (Hold.DELIVERY, START + 2 * HOUR + 5 * MINUTE)
    ]
    story.pass_time(2 * HOUR + 5 * MINUTE - 1)
    assert went(story) == ["push"]
    story.pass_time(1)
    assert went(story) == ["push", "email"]
    story.pass_time(DAY)
    assert went(story) == ["push", "email", "sms"]


@pytest.mark.parametrize("outcome", ["message.bounced", "message.failed", "message.dropped"])
def test_a_failure_takes_the_next_channel_at_once(outcome):
    story = story_of(one())
    see(story)
    data = {"reason": "expired"} if outcome == "message.dropped" else {}
    command = story.commands[-1]
    story.tell(event(outcome, "f", at=story.now, command_id=command.id, **data))

    assert went(story) == ["push", "email"]


def test_who_may_have_got_it_gets_no_other_one():
    """A sender that died in the middle of a call cannot say whether it arrived."""
    story = story_of(one(), wait("w", "1h"))
    see(story)
    report(story, "message.failed", reason="unknown")
    story.pass_time(DAY)

    assert went(story) == ["push"]


def test_a_report_about_an_older_attempt_moves_nothing():
    story = story_of(one())
    see(story)
    report(story, "message.failed")
    report(story, "message.failed", story.commands[0])

    assert went(story) == ["push", "email"]


def test_a_purchase_while_the_message_is_on_its_way_recalls_it_and_tries_no_other():
    story = story_of(one(), exits=["purchase"])
    see(story)
    story.tell(event("purchase", "b", at=story.now, order_id="1", items=[]))
    story.pass_time(DAY)

    assert went(story) == ["push"]
    assert [c.type for c in story.commands] == ["message.send", "message.cancel"]


def test_the_next_channel_keeps_quiet_hours_too():
    story = story_of(one(), quiet_hours={"from": "21:00", "to": "09:00"})
    story.now += 10 * HOUR  # 20:00.
    see(story)
    story.pass_time(3 * HOUR)
    assert went(story) == ["push"]
    story.pass_time(12 * HOUR)
    assert went(story) == ["push", "email"]


# -- All ---------------------------------------------------------------------------------------


def test_all_is_asked_for_and_leaves_out_only_who_may_not_be_reached():
    story = story_of(impatient(all=True), agreed=())
    see(story)

    assert went(story) == ["push", "email"]


def test_all_count_themselves_for_a_cap():
    """Found by the crash run's judge: three channels went out together where two were allowed."""
    story = story_of(impatient(all=True), caps=[{"max": 2, "per": "1d"}])
    see(story)

    assert went(story) == ["push", "email"]
    refused = [one for one in story.entries if isinstance(one, SendRefused)]
    assert [(one.channel, one.reason) for one in refused] == [("sms", Refusal.FREQUENCY_CAP)]


def test_all_wait_for_the_morning_together():
    story = story_of(impatient(all=True), quiet_hours={"from": "21:00", "to": "09:00"})
    story.now += 12 * HOUR
    see(story)
    assert went(story) == []
    story.pass_time(12 * HOUR)

    assert went(story) == ["push", "email", "sms"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"or": [], "all": True}, "all"),
        ({"or": []}, "patience"),
        ({"all": True}, "patience"),
        ({"or": ["push"]}, "twice"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, word):
    with pytest.raises(ValidationError, match=word):
        Send.model_validate(PATIENT | fields)


# -- Laws --------------------------------------------------------------------------------------

REPORTS = ("message.delivered", "message.bounced", "message.failed", "message.opened")


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.sampled_from([one(), impatient()]), min_size=1, max_size=2),
    history=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(REPORTS), st.integers(0, 5)),
            st.tuples(st.just("wait"), st.sampled_from([MINUTE, HOUR, 3 * HOUR])),
            st.tuples(st.just("prefer"), st.sampled_from(["push", "email", "sms", "fax", 3])),
        ),
        max_size=14,
    ),
    missing=st.sets(st.sampled_from(sorted(EVERYWHERE)), max_size=2),
)
def test_a_message_is_never_on_its_way_on_two_channels(steps, history, missing):
    """When one goes out, every other of its step has failed, or has expired for a while."""
    named = [step | {"id": f"s{n}"} for n, step in enumerate(steps)]
    profile = {name: value for name, value in EVERYWHERE.items() if name not in missing}
    story = story_of(*named, profile=profile)
    see(story)
    failed, delivered = set(), set()
    for what, about in [*history, ("wait", 10 * DAY)]:
        if what == "wait":
            story.pass_time(about)
        elif what == "prefer":
            know(story, preferred_channel=about)
        elif story.commands:
            command = story.commands[about % len(story.commands)]
            if story.now <= command.expires_at_ms and command.id not in failed | delivered:
                (delivered if what in REPORTS[::3] else failed).add(command.id)
                report(story, what, command)
        for step in named:
            sent = [c for c in story.commands if c.step == step["id"]]
            assert len({c.channel for c in sent}) == len(sent)
            for before, after in pairwise(sent):
                assert before.id not in delivered
                over = before.id in failed or after.time_ms >= before.expires_at_ms + 5 * MINUTE
                assert over, "two on their way"

    assert story.customer.enrollments == () or not story.wake_at
