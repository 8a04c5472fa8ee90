"""Splits and holdouts: who goes which way, for ever and evenly."""

import pytest

from orchestrator.core.decision import Chosen, Ended
from orchestrator.core.rules.shares import point
from tests.core.builders import HOUR, START, Story, event, journey, send, shop_of, wait

AB = {"id": "ab", "split": [{"weight": 1, "next": "a"}, {"weight": 3, "next": "b"}]}
SPLIT = [AB, send("a", goes_to="done"), send("b"), {"id": "done", "end": "done"}]


def customer_goes(journeys, customer):
    story = Story(journeys, customer)
    story.tell(event("seen", "e1", customer=customer))
    return story


def test_customers_are_split_by_weight():
    journeys = shop_of(journey("j", "seen", SPLIT))

    sent = [customer_goes(journeys, f"c{number}").sent[0] for number in range(4_000)]

    assert 900 < sent.count("a") < 1_100
    assert sent.count("a") + sent.count("b") == 4_000


def test_somebody_who_comes_again_goes_the_same_way():
    journeys = shop_of(journey("j", "seen", SPLIT))
    for number in range(50):
        story = customer_goes(journeys, f"c{number}")
        story.tell(event("seen", "e2", customer=f"c{number}", at=START + 1))

        assert len(set(story.sent)) == 1
        assert len(story.sent) == 2


def test_the_way_is_in_the_journey_log():
    story = customer_goes(shop_of(journey("j", "seen", SPLIT)), "ana")

    (chosen,) = (entry for entry in story.entries if isinstance(entry, Chosen))

    assert (chosen.step, chosen.next, chosen.held_out) == ("ab", story.sent[0], False)


def test_two_splits_part_customers_independently():
    both = [point(f"c{n}", "split", "j", "one") < 0.5 for n in range(4_000)]
    other = [point(f"c{n}", "split", "j", "two") < 0.5 for n in range(4_000)]

    alike = sum(one == two for one, two in zip(both, other, strict=True))

    assert 1_850 < alike < 2_150


def held(percent=10, **more):
    return {"id": "h", "holdout": {"percent": percent, **more}}


def test_a_holdout_leaves_out_its_part_and_ends_there():
    journeys = shop_of(journey("j", "seen", [held(), send("a")]))

    stories = [customer_goes(journeys, f"c{number}") for number in range(4_000)]
    left_out = [story for story in stories if not story.sent]

    assert 330 < len(left_out) < 470
    ended = [one for one in left_out[0].entries if isinstance(one, Ended)]
    assert (ended[0].reason, ended[0].detail) == ("completed", "holdout")


def test_journeys_with_one_group_leave_out_the_same_customers():
    mine = journey("mine", "seen", [held(group="all"), send("a")], kind="service")
    other = journey("other", "seen", [held(group="all"), send("b")], kind="service")
    alone = journey("alone", "seen", [held(), send("c")], kind="service")
    journeys = shop_of(mine, other, alone)

    sent = [set(customer_goes(journeys, f"c{n}").sent) for n in range(500)]

    assert all(("a" in one) == ("b" in one) for one in sent)
    assert any(("a" in one) != ("c" in one) for one in sent)


def test_who_is_left_out_may_go_another_way():
    steps = [held(99.99, next="quiet"), send("a"), wait("quiet", "1h"), send("later")]
    story = customer_goes(shop_of(journey("j", "seen", steps)), "ana")

    assert story.sent == []
    story.pass_time(HOUR)
    assert story.sent == ["later"]


@pytest.mark.parametrize(
    ("customer", "place"), [("ana", 0.11817), ("ben", 0.510765), ("c-17", 0.389301)]
)
def test_where_a_customer_stands_never_changes(customer, place):
    """A release that hashes otherwise would put people who are inside on the other way."""
    assert point(customer, "split", "j", "ab") == pytest.approx(place, abs=1e-6)
