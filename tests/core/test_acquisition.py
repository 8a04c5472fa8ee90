"""Offers for new customers: provisional for who is not known, and something else for the loyal."""

from __future__ import annotations

import pytest

from orchestrator.core.command import CommandClass, CommandType
from orchestrator.core.decision import (
    OfferRedeemed,
    PromiseConfirmed,
    Promised,
    PromiseEnd,
    PromiseEnded,
    RedemptionRefused,
    Refusal,
    SendRefused,
)
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import Shop
from tests.core import guarded
from tests.core.builders import (
    DAY,
    HOUR,
    START,
    Story,
    event,
    journey,
    offer,
    purchase,
    send,
    shop_of,
    wait,
)
from tests.core.promising import WELCOME, asked, held, known, of, telling


def test_a_stranger_is_promised_provisionally_and_without_the_code():
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))

    (command,) = story.tell(event("seen", "e")).commands

    assert command.promise.provisional
    assert command.promise.code is None


def test_who_turns_out_to_be_new_keeps_the_promise_and_gets_the_code():
    steps = [wait("hour", "1h"), send("code", offer="welcome"), wait("day", "1d")]
    story = Story(shop_of(telling("welcome", steps=steps), offers={"welcome": WELCOME}))

    story.tell(event("seen", "e"), known(email="a@b.example"))
    story.pass_time(2 * HOUR)

    assert of(story, PromiseConfirmed) == [PromiseConfirmed("welcome")]
    assert story.commands[-1].promise.code == "W10"
    assert len(of(story, Promised)) == 1


def test_who_turns_out_to_be_loyal_is_greeted_otherwise_in_that_decision():
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))
    story.tell(event("seen", "e"))

    decision = story.tell(known(email="a@b.example", tier="gold"))

    recall, greeting = decision.commands
    assert recall.type is CommandType.MESSAGE_CANCEL
    assert recall.cancels == (story.commands[0].id,)
    assert (greeting.template, greeting.offer) == ("hello_again", None)
    assert greeting.variables == {"tier": "gold"}
    (ended,) = of(story, PromiseEnded)
    assert ended.reason is PromiseEnd.NOT_QUALIFIED
    assert ended.otherwise == "hello_again"
    assert held(story) == []
    assert story.standing_in == {"tells#1": "day"}


def test_what_is_said_instead_is_held_to_the_caps():
    shop = Shop.model_validate({"caps": [{"max": 1, "per": "1d", "class": "service"}]})
    story = Story(shop_of(telling("welcome"), shop=shop, offers={"welcome": WELCOME}))
    story.tell(event("seen", "e"))
    got = {"command_id": story.commands[0].id}
    story.tell(event("message.delivered", "d", at=START, **got))

    story.tell(known(email="a@b.example", tier="gold"))

    assert story.sent == ["told"]
    (refused,) = of(story, SendRefused)
    assert (refused.step, refused.reason) == ("otherwise", Refusal.FREQUENCY_CAP)


def test_what_was_said_instead_is_recalled_by_an_exit_like_anything_else():
    tells = journey(
        "tells", "seen", [send("told", offer="welcome"), wait("day", "1d")], exits=["purchase"]
    )
    story = Story(shop_of(tells, offers={"welcome": WELCOME}))
    story.tell(event("seen", "e"), known(email="a@b.example", tier="gold"))

    (cancel,) = story.tell(purchase("1", "tent")).commands

    assert cancel.cancels == (story.commands[-2].id,)


def test_who_asked_in_the_app_is_greeted_there_in_the_decision_that_knows_them():
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))
    story.tell(asked("welcome", channel="push"))

    (greeting,) = story.tell(known(email="a@b.example", tier="gold")).commands

    assert (greeting.channel, greeting.template) == ("push", "hello_again")
    assert (greeting.offer, greeting.variables) == (None, {"tier": "gold"})
    assert greeting.command_class is CommandClass.PROMOTIONAL
    assert (greeting.journey, greeting.enrollment) == ("offers", "offers/welcome#1")
    assert story.standing_in == {}
    again = story.tell(event("seen", "e"))
    assert "hello_again" not in [command.template for command in again.commands]


def test_who_is_known_after_the_run_that_told_it_is_over_is_greeted_all_the_same():
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))
    (told,) = story.tell(event("seen", "e")).commands
    story.tell(event("message.delivered", "d", command_id=told.id))
    story.pass_time(2 * DAY)

    (greeting,) = story.tell(known(email="a@b.example", tier="gold", at=story.now)).commands

    assert (greeting.channel, greeting.template) == ("email", "hello_again")


@pytest.mark.parametrize("channel", [None, "callcenter", "nowhere"])
def test_who_was_told_by_a_person_reads_no_greeting(channel):
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))
    story.tell(asked("welcome", channel=channel))

    decision = story.tell(known(email="a@b.example", tier="gold"))

    assert decision.commands == ()
    assert [ended.otherwise for ended in of(story, PromiseEnded)] == ["hello_again"]


def test_a_greeting_without_a_run_counts_for_caps_and_asks_for_consent():
    shop = Shop.model_validate({"caps": [{"max": 1, "per": "1d"}]})
    card = journey("card", "seen", [send("card", "web")])
    journeys = Journeys(shop, guarded.CHANNELS, [card], offers={"welcome": offer(**WELCOME)})
    on_the_site, by_mail = Story(journeys), Story(journeys)

    for story, channel in ((on_the_site, "web"), (by_mail, "email")):
        story.tell(asked("welcome", channel=channel), known(email="a@b.example", tier="gold"))
        story.tell(event("seen", "e"))

    assert on_the_site.sent == ["hello_again"]
    assert guarded.refused(on_the_site) == [("card", Refusal.FREQUENCY_CAP, "1 in 1d")]
    assert by_mail.sent == ["card"]
    assert [reason for _, reason, _ in guarded.refused(by_mail)] == [Refusal.NO_CONSENT]


def test_a_greeting_without_a_run_is_held_to_the_caps_itself():
    shop = Shop.model_validate({"caps": [{"max": 1, "per": "1d"}]})
    card = journey("card", "seen", [send("card", "web")])
    channels = guarded.CHANNELS
    story = Story(Journeys(shop, channels, [card], offers={"welcome": offer(**WELCOME)}))

    story.tell(event("seen", "e"), asked("welcome", channel="web"))
    story.tell(known(email="a@b.example", tier="gold"))

    assert story.sent == ["card"]
    (refused,) = of(story, SendRefused)
    assert (refused.enrollment, refused.reason) == ("offers/welcome#1", Refusal.FREQUENCY_CAP)


@pytest.mark.parametrize("tier", ["gold", "none"])
def test_who_became_known_while_the_promise_was_recalled_is_asked_when_it_arrives(tier):
    steps = [send("told", offer="welcome"), wait("w", "1d")]
    tells = journey("tells", "seen", steps, exits=["x"], kind="service")
    story = Story(shop_of(tells, offers={"welcome": WELCOME}))
    (told,) = story.tell(event("seen", "e")).commands
    story.tell(event("x", "x"), known(email="a@b.example", tier=tier))

    arrived = story.tell(event("message.delivered", "d", command_id=told.id))

    said = {"gold": ["hello_again"], "none": []}[tier]
    assert [command.template for command in arrived.commands] == said
    assert held(story) == ([] if said else ["welcome"])
    assert [one.offer for one in of(story, PromiseConfirmed)] == ([] if said else ["welcome"])


def test_who_is_known_to_be_loyal_gets_the_greeting_in_place_of_the_offer_and_once():
    steps = [send("again", offer="welcome"), wait("day", "1d")]
    story = Story(shop_of(telling("welcome", steps=steps), offers={"welcome": WELCOME}))

    story.tell(known(email="a@b.example", tier="gold"), event("seen", "e"))

    assert story.sent == ["hello_again"]
    refused = of(story, SendRefused)
    assert [(r.step, r.reason) for r in refused] == [
        ("told", Refusal.OFFER_NOT_QUALIFIED),
        ("again", Refusal.OFFER_NOT_QUALIFIED),
    ]


def test_a_step_that_writes_the_profile_may_take_the_promise_back():
    steps = [
        wait("hour", "1h"),
        {"id": "s", "set": {"tier": {"to": "gold"}, "email": {"to": "a@b"}}},
        wait("day", "1d"),
    ]
    story = Story(shop_of(telling("welcome", steps=steps), offers={"welcome": WELCOME}))
    story.tell(event("seen", "e"))
    story.pass_time(HOUR)

    assert story.sent == ["told", "hello_again"]
    assert held(story) == []


def test_history_that_says_who_it_is_takes_back_and_sends_nothing():
    story = Story(shop_of(telling("welcome"), offers={"welcome": WELCOME}))
    story.tell(event("seen", "e"))

    attributes = {"email": "a@b.example", "tier": "gold"}
    old = event("profile.updated", "p", backfill=True, attributes=attributes)
    decision = story.tell(old)

    assert decision.commands == ()
    assert held(story) == []


def test_it_says_itself_when_somebody_is_known():
    offers = {"welcome": {**WELCOME, "known_when": "has(profile.member)"}}
    story = Story(shop_of(offers=offers))

    story.tell(asked("welcome"), known(email="a@b.example", tier="gold"))
    assert held(story) == ["welcome"]

    story.tell(known("m", member=True))
    assert held(story) == []


def test_a_provisional_promise_cannot_be_redeemed():
    story = Story(shop_of(offers={"welcome": WELCOME}))

    story.tell(asked("welcome"), purchase("1", "tent", offer="W10"))

    (refused,) = of(story, RedemptionRefused)
    assert (refused.reason, refused.detail) == (Refusal.OFFER_NOT_QUALIFIED, "is provisional")


def test_who_became_loyal_before_redeeming_does_not_qualify_any_more():
    story = Story(shop_of(offers={"welcome": WELCOME}))
    story.tell(known(email="a@b.example"), asked("welcome"), known("later", tier="gold"))
    assert held(story) == ["welcome"]

    story.tell(purchase("1", "tent", offer="W10"))

    (refused,) = of(story, RedemptionRefused)
    assert refused.reason is Refusal.OFFER_NOT_QUALIFIED


def test_who_did_not_qualify_once_may_qualify_later():
    story = Story(shop_of(offers={"welcome": WELCOME}))
    story.tell(asked("welcome"), known(email="a@b.example", tier="gold"))

    story.tell(known("later", tier="none", at=START + 1))
    story.tell(asked("welcome", "once more"))
    story.tell(purchase("1", "tent", offer="W10"))

    assert of(story, OfferRedeemed) == [OfferRedeemed("welcome", "1")]


def test_the_last_message_of_an_exit_may_tell_an_offer_or_what_is_said_instead():
    goodbye = {"channel": "email", "template": "bye", "offer": "welcome"}
    tells = journey(
        "tells",
        "seen",
        [wait("day", "1d")],
        kind="service",
        exits=[{"on": "left", "then": goodbye}],
    )
    for attributes, said in (({}, "bye"), ({"email": "a@b", "tier": "gold"}, "hello_again")):
        story = Story(shop_of(tells, offers={"welcome": WELCOME}))
        story.tell(known(**attributes), event("seen", "e"), event("left", "l"))

        assert story.sent == [said]
        assert held(story) == (["welcome"] if said == "bye" else [])
