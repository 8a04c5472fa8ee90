"""Segments that a shop names once: entered, asked for, the same by comparison and by CEL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.customer import Attribute
from orchestrator.core.expressions.condition import Expression, Lens, Reads, Scope
from orchestrator.core.language.shop import Shop
from tests.core.builders import DAY, START, Story, event, journey, send, shop_of

SEGMENTS = {
    "big_spenders": "profile.spent >= 500.0",
    "of_the_north": 'profile.city in ["Vigo", "Bilbao"]',
    "broken": "profile.city > 5",
}
SHOP = {
    "currency": "EUR",
    "attributes": {"spent": {"sum": "total", "on": "purchase"}},
    "segments": SEGMENTS,
}


def story_of(*journeys, **more):
    return Story(shop_of(*journeys, shop=Shop.model_validate(SHOP), **more))


def bought(order, total):
    return event("purchase", f"o{order}", order_id=order, total=total, currency="EUR")


def lives_in(city, *, at=START):
    return event("profile.updated", f"p{city}", at=at, attributes={"city": city})


def test_a_journey_is_entered_by_the_name_of_a_segment():
    story = story_of(journey("club", None, [send("club")], segment="big_spenders"))

    story.tell(bought("1", "300.00"))
    assert story.sent == []
    story.tell(bought("2", "200.00"))
    assert story.sent == ["club"]
    story.tell(bought("3", "900.00"))
    assert story.sent == ["club"]


def test_who_leaves_a_segment_by_a_return_and_comes_back_enters_again():
    story = story_of(journey("club", None, [send("club")], segment="big_spenders"))

    story.tell(bought("1", "500.00"), event("order.returned", "r", order_id="1"))
    story.tell(bought("2", "500.00"))

    assert story.sent == ["club", "club"]


def test_a_segment_may_stand_in_a_longer_condition():
    both = '"big_spenders" in segments && "of_the_north" in segments'
    story = story_of(journey("club", None, [send("club")], segment=both))

    story.tell(bought("1", "500.00"))
    assert story.sent == []
    story.tell(lives_in("Vigo"))
    assert story.sent == ["club"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('"big_spenders" in segments', True),
        ('!("big_spenders" in segments)', False),
        ('"of_the_north" in segments', False),
        ('!("of_the_north" in segments) && profile.spent > 1.0', True),
        ("size(segments) == 1", True),
        ('segments == ["big_spenders"]', True),
        ('["x", "big_spenders"].exists(s, s in segments)', True),
        ('"broken" in segments', False),
    ],
)
def test_every_condition_may_ask_for_a_segment(condition, holds):
    ask = journey("ask", "quiz.done", [send("yes")], when=condition)
    story = story_of(ask)
    story.tell(bought("1", "500.00"))

    story.tell(event("quiz.done", "q"))

    assert story.sent == (["yes"] if holds else [])


def test_a_time_table_may_be_for_a_segment():
    letter = journey(
        "letter",
        None,
        [send("letter")],
        schedule={"cron": "0 9 * * 1"},
        when='"big_spenders" in segments',
    )
    story = story_of(letter)

    story.visit("letter", at=START)
    assert story.sent == []
    story.tell(bought("1", "500.00"))
    story.visit("letter", at=START + DAY)
    assert story.sent == ["letter"]


def test_a_wait_ends_when_the_customer_leaves_a_segment():
    left = '!("big_spenders" in segments)'
    step = {"for": "30d", "until": [{"when": left, "next": "sorry"}]}
    club = journey(
        "club", None, [{"id": "w", "wait": step}, send("no"), send("sorry")], segment="big_spenders"
    )
    story = story_of(club)
    story.tell(bought("1", "500.00"))

    story.tell(event("order.cancelled", "c", order_id="1"))

    assert story.sent == ["sorry"]


def test_an_offer_may_be_for_a_segment():
    told = journey("told", "quiz.done", [send("offer", offer="ten")])
    offers = {"ten": {"qualifies": '"big_spenders" in segments'}}
    story = story_of(told, offers=offers)

    story.tell(event("quiz.done", "q1"))
    assert story.sent == []
    story.tell(bought("1", "500.00"), event("quiz.done", "q2"))
    assert story.sent == ["offer"]


@given(
    spent=st.none() | st.sampled_from(["0.00", "499.99", "500.00", "1e3", "much"]),
    city=st.none() | st.sampled_from(["Vigo", "Porto", 7]),
    source=st.sampled_from(
        [
            '"big_spenders" in segments',
            '!( "of_the_north"in segments ) && profile.spent < 500.0',
            "profile.spent >= 500 && 'of_the_north' in segments",
            '"broken" in segments && profile.city == "Vigo"',
        ]
    ),
)
def test_comparing_and_cel_agree_on_segments_and_on_money(spent, city, source):
    compared, by_cel = Expression(source), Expression(source)
    assert compared.terms is not None
    by_cel.terms = None
    known = {"spent": spent, "city": city}
    attributes = {
        name: Attribute(value, 0, "", "") for name, value in known.items() if value is not None
    }
    conditions = {name: Expression(condition) for name, condition in SEGMENTS.items()}
    lens = Lens({}, frozenset({"spent"}), conditions)
    reads = Reads()
    for one in (compared, by_cel, *conditions.values()):
        reads |= one.reads

    answers = [
        Scope(attributes, START, event=None, reads=reads, lens=lens).holds(one) is True
        for one in (compared, by_cel)
    ]

    assert answers[0] == answers[1]
