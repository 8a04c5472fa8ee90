"""Offers at one customer: what is promised, what is refused and why, and what is seen of it."""

from __future__ import annotations

import pytest

from orchestrator.core.customer import Promise
from orchestrator.core.decision import (
    OfferGranted,
    OfferRefused,
    Promised,
    Refusal,
    SendRefused,
)
from orchestrator.core.event import Resumed
from orchestrator.core.expressions.templates import Templates, compile_part
from orchestrator.core.language.shop import Shop
from orchestrator.core.offers.ledger import PROMISES_MAX
from orchestrator.core.pauses import Pause, Pauses
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)
from tests.core.promising import FREE, WELCOME, asked, held, known, of, telling


def test_a_message_that_tells_an_offer_makes_the_promise_in_the_same_decision():
    story = Story(shop_of(telling(), offers={"ten": {"code": "TEN", "valid_for": "2d"}}))

    decision = story.tell(event("seen", "e"))

    (command,) = decision.commands
    assert command.offer == "ten"
    assert command.promise is not None
    assert (command.promise.text, command.promise.code) == ("ten per cent off", "TEN")
    assert command.promise.valid_until_ms == START + 2 * DAY
    (promised,) = of(story, Promised)
    assert promised == Promised("ten", "email", "tells#1", START + 2 * DAY)
    assert held(story) == ["ten"]


def test_a_message_does_not_go_out_when_its_promise_is_over():
    offers = {"ten": {"valid_for": "1h"}}

    (command,) = Story(shop_of(telling(), offers=offers)).tell(event("seen", "e")).commands

    assert command.expires_at_ms == START + HOUR


def test_every_channel_tells_the_same_promise():
    steps = [send("push", "push", offer="ten"), wait("hour", "1h"), send("sms", "sms", offer="ten")]
    story = Story(shop_of(telling(steps=steps), offers={"ten": {}}))

    story.tell(event("seen", "e"))
    story.pass_time(2 * HOUR)

    assert story.sent == ["told", "push", "sms"]
    assert len({command.promise.valid_until_ms for command in story.commands}) == 1
    assert len(of(story, Promised)) == 1


@pytest.mark.parametrize(
    ("offer", "reason", "detail"),
    [
        ({"from": "2026-11-23"}, Refusal.OFFER_NOT_VALID, "not before 2026-11-23T00:00:00Z"),
        ({"until": "2026-11-21"}, Refusal.OFFER_NOT_VALID, "ended 2026-11-22T00:00:00Z"),
        ({"channels": ["sms", "push"]}, Refusal.OFFER_NOT_VALID, "not by email"),
        ({"qualifies": 'profile.tier == "gold"'}, Refusal.OFFER_NOT_QUALIFIED, None),
        ({"qualifies": "profile.tier > 5"}, Refusal.OFFER_NOT_QUALIFIED, None),
        (None, Refusal.OFFER_NOT_VALID, "there is no offer ten"),
    ],
)
def test_an_offer_that_cannot_be_promised_is_not_told_and_the_journey_goes_on(
    offer, reason, detail
):
    story = Story(shop_of(telling(), offers={} if offer is None else {"ten": offer}))

    story.tell(known(tier="silver"), event("seen", "e"))

    (refused,) = of(story, SendRefused)
    assert (refused.reason, refused.detail) == (reason, detail)
    assert story.commands == []
    assert held(story) == []
    assert story.standing_in == {"tells#1": "day"}


def test_days_of_an_offer_are_days_of_the_shops_zone_and_the_last_one_counts_to_its_end():
    offers = {"ten": {"from": "2026-11-24", "until": "2026-11-24"}}
    journeys = shop_of(offers=offers, shop=Shop(zone="Asia/Tokyo"))
    begins, ends = START + 29 * HOUR, START + 53 * HOUR
    answers = []
    for now in (begins - 1, begins, ends - 1, ends):
        story = Story(journeys, now=now)
        story.tell(asked("ten"))
        answers.append(bool(of(story, OfferGranted)))

    assert answers == [False, True, True, False]


def test_two_discounts_contradict_each_other_until_the_first_has_expired():
    offers = {"ten": {"valid_for": "2h"}, "free": FREE}
    story = Story(shop_of(telling(), offers=offers))

    story.tell(event("seen", "e"), asked("free"))
    story.pass_time(2 * HOUR)
    story.tell(asked("free", "later"))

    (refused,) = of(story, OfferRefused)
    assert refused.reason is Refusal.OFFER_CONTRADICTED
    assert refused.detail == "ten until 2026-11-22T12:00:00Z"
    assert held(story) == ["free"]


def test_or_until_it_is_redeemed():
    story = Story(shop_of(offers={"ten": {}, "free": FREE}))

    story.tell(asked("ten"), asked("free"), purchase("1", "tent", offers=["ten"]))
    story.tell(asked("free", "later"))

    assert [entry.offer for entry in of(story, OfferGranted)] == ["ten", "free"]


@pytest.mark.parametrize(
    ("ten", "other", "both"),
    [
        ({}, {"gives": {"other": "early access"}}, True),
        ({}, {"gives": {"gift": "socks"}}, False),
        ({"stacks_with": ["other"]}, {}, True),
        ({}, {"stacks_with": ["ten"]}, True),
        ({"stacks_with": ["prices"]}, {"groups": ["prices"]}, True),
        ({"excludes": ["other"]}, {"gives": {"other": "early access"}}, False),
        ({"excludes": ["first"]}, {"gives": {"other": "access"}, "groups": ["first"]}, False),
    ],
)
def test_what_contradicts_and_what_stacks_is_declared_on_either_side(ten, other, both):
    journeys = shop_of(offers={"ten": ten, "other": other})
    for first, second in (("ten", "other"), ("other", "ten")):
        story = Story(journeys)
        story.tell(asked(first), asked(second))

        assert held(story) == (sorted([first, second]) if both else [first])


@pytest.mark.parametrize(
    ("again", "after_a_day", "after_a_year"),
    [("once", False, False), ("always", True, True), ({"after": "90d"}, False, True)],
)
def test_an_offer_is_promised_again_as_often_as_it_says(again, after_a_day, after_a_year):
    story = Story(shop_of(offers={"ten": {"again": again, "valid_for": "1h"}}))
    story.tell(asked("ten"))
    answers = []
    for number, duration in enumerate((DAY, 364 * DAY)):
        story.pass_time(duration)
        story.tell(asked("ten", f"again-{number}", at=story.now))
        answers.append(held(story) == ["ten"])

    assert answers == [after_a_day, after_a_year]


def test_one_that_was_redeemed_counts_from_then_on():
    story = Story(shop_of(offers={"ten": {"again": {"after": "10d"}}}))
    story.tell(asked("ten"))
    story.pass_time(5 * DAY)
    story.tell(purchase("1", "tent", at=story.now, offer="ten"))
    story.pass_time(9 * DAY)
    story.tell(asked("ten", "too early", at=story.now))
    story.pass_time(2 * DAY)
    story.tell(asked("ten", "in time", at=story.now))

    (refused,) = of(story, OfferRefused)
    assert refused.reason is Refusal.OFFER_USED
    assert refused.detail == "not before 2026-12-07T10:00:00Z"
    assert len(of(story, OfferGranted)) == 2


def test_who_asks_twice_is_answered_twice_and_promised_once():
    story = Story(shop_of(offers={"ten": {}}))

    story.tell(asked("ten", "tab 1", channel="web"), asked("ten", "tab 2", channel="web"))

    assert len(of(story, OfferGranted)) == 2
    assert len(of(story, Promised)) == 1


def test_what_nobody_has_declared_is_refused_to_who_asks():
    story = Story(shop_of())

    story.tell(asked("eleven"))

    assert of(story, OfferRefused) == [
        OfferRefused("eleven", None, Refusal.OFFER_NOT_VALID, "there is no offer eleven")
    ]


@pytest.mark.parametrize("scope", ["offer/ten", "channel/web", "global"])
def test_what_somebody_has_paused_is_not_granted(scope):
    pauses = Pauses([Pause(scope, "eva", "wrong price")])
    story = Story(shop_of(offers={"ten": {}, "free": FREE}).pausing(pauses))

    decision = story.tell(asked("ten", channel="web"))

    (refused,) = of(story, OfferRefused)
    assert (refused.reason, refused.detail) == (
        Refusal.PAUSED,
        f"{scope} by eva: wrong price",
    )
    assert [pause.scope for pause in decision.paused] == [scope]


def test_a_paused_offer_holds_the_messages_that_tell_it_and_no_others():
    pauses = Pauses([Pause("offer/ten", "eva", "wrong price")])
    other = journey("other", "seen", [send("other", offer="access")], kind="service")
    offers = {"ten": {}, "access": {"gives": {"other": "access"}}}
    journeys = shop_of(telling(), other, offers=offers)
    story = Story(journeys.pausing(pauses))

    story.tell(event("seen", "e"))
    assert story.sent == ["other"]
    assert held(story) == ["access"]

    story.journeys = journeys
    story._take(Resumed(1))
    assert story.sent == ["other", "told"]


def test_history_asks_for_nothing():
    story = Story(shop_of(offers={"ten": {}}))

    story.tell(event("offer.requested", "old", offer="ten", backfill=True))

    assert story.entries == []
    assert held(story) == []


def test_history_of_redemptions_counts_for_the_limit():
    story = Story(shop_of(offers={"ten": {}}))

    story.tell(event("offer.redeemed", "old", offer="ten", order_id="7", backfill=True))
    story.tell(asked("ten"))

    assert [entry.reason for entry in of(story, OfferRefused)] == [Refusal.OFFER_USED]


class TestWhatIsSeen:
    def test_conditions_see_the_names_of_open_promises(self):
        steps = [
            {"id": "b", "branch": [{"when": '"ten" in offers', "next": "yes"}, {"next": "no"}]},
            send("yes"),
            {"id": "end", "end": "x"},
            send("no"),
        ]
        for first, said in (([], ["no"]), ([asked("ten")], ["yes"])):
            story = Story(shop_of(journey("j", "seen", steps), offers={"ten": {}}))
            for one in first:
                story.tell(one)
            story.tell(event("seen", "e"))

            assert story.sent == said

    def test_also_those_of_the_same_decision(self):
        steps = [
            {"id": "b", "branch": [{"when": "size(offers) > 0", "next": "x"}, {"next": "told"}]},
            send("told", offer="ten"),
            {"id": "b2", "branch": [{"when": '"ten" in offers', "next": "yes"}, {"next": "x"}]},
            send("yes"),
            {"id": "x", "end": "x"},
        ]
        story = Story(shop_of(journey("j", "seen", steps), offers={"ten": {}}))

        story.tell(event("seen", "e"))

        assert story.sent == ["told", "yes"]

    def test_an_entry_and_an_exit_see_them(self):
        enters = journey("j", "seen", [wait("w", "1d")], when='"ten" in offers')
        exits = journey(
            "k", "seen", [wait("w", "1d")], exits=[{"on": "left", "when": '"ten" in offers'}]
        )
        story = Story(shop_of(enters, exits, offers={"ten": {"valid_for": "1h"}}))

        story.tell(event("seen", "e"), event("left", "l1"))
        assert set(story.standing_in) == {"k#1"}

        story.tell(asked("ten"), event("seen", "e2"), event("left", "l2"))
        assert set(story.standing_in) == {"j#1"}

    def test_templates_show_the_offers_words_in_the_customers_language(self):
        text = "{{ offer.text }} {{ offer.until }} {{ offer.code }}"
        parts = {"en": {"text": compile_part("text", text)}}
        templates = Templates({("email", "told"): parts}, {})
        told = {"en": "ten", "es": "diez"}
        offers = {"ten": {"text": told, "code": "TEN", "valid_for": "13h30m"}}
        story = Story(shop_of(telling(), templates=templates, offers=offers))

        story.tell(known(locale="es-MX", zone="Asia/Kathmandu"), event("seen", "e"))

        (command,) = story.commands
        assert command.content == {"text": "diez 2026-11-23 TEN"}
        assert command.promise.text == "diez"
        assert command.variables == {}

    def test_a_code_that_there_is_not_yet_is_asked_for_and_never_shown_empty(self):
        text = "{% if offer.provisional %}soon{% else %}{{ offer.code }}{% endif %}"
        careless = "{{ offer.code }}"
        for source, sent in ((text, ["told"]), (careless, [])):
            templates = Templates(
                {("email", "told"): {"en": {"text": compile_part("text", source)}}}, {}
            )
            story = Story(
                shop_of(telling("welcome"), templates=templates, offers={"welcome": WELCOME})
            )
            story.tell(event("seen", "e"))

            assert story.sent == sent
            assert held(story) == (["welcome"] if sent else [])


def test_the_ledger_is_bounded_and_keeps_what_is_open():
    access = {"gives": {"other": "access"}, "valid_for": "1h"}
    offers = {f"o{n}": access for n in range(PROMISES_MAX + 20)} | {"ten": {}}
    story = Story(shop_of(offers=offers))
    story.tell(asked("ten"))
    for n in range(PROMISES_MAX + 20):
        story.tell(asked(f"o{n}", at=story.now))
        story.pass_time(61 * MINUTE)

    assert len(story.customer.promises) == PROMISES_MAX
    assert held(story) == ["ten"]
    assert f"o{PROMISES_MAX + 19}" in story.customer.promises, "the longest over went first"


def test_nobody_holds_more_open_promises_than_the_bound():
    access = {"gives": {"other": "access"}}
    offers = {f"o{n}": access for n in range(PROMISES_MAX + 1)}
    story = Story(shop_of(offers=offers))
    for n in range(PROMISES_MAX + 1):
        story.tell(asked(f"o{n}"))

    assert len(held(story)) == PROMISES_MAX
    assert of(story, OfferRefused)[0].detail == f"holds {PROMISES_MAX} promises"


def test_what_no_limit_and_no_return_needs_any_more_is_forgotten():
    offers = {"ten": {"again": "always", "valid_for": "1h"}, "free": {**FREE, "valid_for": "1h"}}
    story = Story(shop_of(offers=offers))
    story.tell(asked("ten"))
    story.pass_time(4 * DAY)  # An order of before its end may be learned until then.
    story.tell(asked("free", at=story.now))

    assert set(story.customer.promises) == {"free"}


def test_a_promise_that_a_page_asked_for_says_nothing_that_is_not_so():
    story = Story(shop_of(offers={"ten": {}}))
    story.tell(asked("ten"))

    assert story.customer.promises == {
        "ten": Promise(granted_ms=START, expires_at_ms=START + 30 * DAY)
    }
