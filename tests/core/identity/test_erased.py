"""Merges and erasures: nobody comes back by being told to be somebody else."""

from __future__ import annotations

from orchestrator.core.customer import Cause
from orchestrator.core.decision import Outcome
from orchestrator.core.identity.notices import AddressClaimed, MergeAsked, StateMoved
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    item,
    journey,
    send,
    shop_of,
    wait,
)

CAUSE = Cause("/shop", "signed-in")
CART = journey("cart", "cart.abandoned", [wait("soon", "1h")], key="event.data.cart_id")


def both() -> tuple[Story, Story]:
    rules = shop_of(CART)
    return Story(rules, "web-1"), Story(rules, "ana")


def cart(at: int, number: str = "1", **fields: str):
    return event("cart.abandoned", f"c{number}-{at}", at=at, cart_id=number, items=[item("tent")])


def erase(story: Story, at: int) -> None:
    story.now = max(story.now, at)
    story.tell(event("customer.erased", f"x-{at}", at=at))


def ask(story: Story):
    return story._take(MergeAsked(story.customer.id, "ana", CAUSE))


def moved(story: Story) -> StateMoved:
    (one,) = (n for n in ask(story).notices if isinstance(n, StateMoved))
    return one


def test_a_merge_into_who_was_erased_brings_nothing_back():
    web, ana = both()
    web.tell(cart(START))
    ana.tell(event("profile.updated", "p", attributes={"email": "a@x.example"}))
    erase(ana, START + MINUTE)
    before = ana.customer

    decision = ana._take(moved(web))

    assert decision.outcome is Outcome.IGNORED
    assert ana.customer == before


def test_a_cookie_of_the_new_life_belongs_to_it():
    web, ana = both()
    erase(ana, START)
    web.now = START + HOUR
    web.tell(cart(web.now))

    ana.now = web.now
    decision = ana._take(moved(web))

    assert decision.outcome is Outcome.APPLIED
    assert list(ana.standing_in) == ["cart/1#1~web-1"]


def test_an_id_that_was_erased_is_not_merged():
    web, _ = both()
    web.tell(cart(START))
    erase(web, START + MINUTE)

    assert ask(web).outcome is Outcome.IGNORED
    assert web.customer.merged_into is None


def test_what_is_older_than_an_erasure_does_not_reach_the_survivor():
    web, _ = both()
    web.tell(cart(START))
    erase(web, START + MINUTE)
    web.now = START + HOUR
    web.tell(cart(web.now, "2"))
    ask(web)

    assert web.customer.merged_into == "ana"
    assert web._take(cart(START + 1, "3")).outcome is Outcome.IGNORED
    assert web._take(cart(START + HOUR, "4")).outcome is Outcome.MOVED
    # What was fenced by the erasure is taken back, also when another id has taken over since.
    web.pass_time(30 * DAY)
    assert web.decisions[-1].fence == ()
    assert web.wake_at is None


def test_fences_of_an_absorbed_id_do_not_outlive_the_erasure_of_its_customer():
    rules = shop_of(journey("season", "cart.abandoned", [send("sale"), wait("w", "9d")]))
    web, ana = Story(rules, "web-1"), Story(rules, "ana")
    web.tell(cart(START))
    ana._take(moved(web))
    erase(ana, START + MINUTE)
    fenced = web.decisions[-1].fence
    web.pass_time(30 * DAY)

    assert [one.enrollment for one in fenced] == ["season#1"]
    assert web.decisions[-1].fence == ()


def test_an_erasure_under_the_absorbed_id_erases_the_customer():
    web, ana = both()
    web.tell(cart(START))
    ana._take(moved(web))
    ana.now = START + MINUTE
    ana.tell(event("customer.erased", "x", at=ana.now, customer="web-1"))

    assert ana.customer.erased is not None
    assert dict(ana.customer.absorbed) == {"web-1": START}
    assert ana.customer.kin is not None
    assert not ana.customer.kin.habits
    assert ana.tell(cart(START, "9")).outcome is Outcome.IGNORED


def test_an_erasure_gives_addresses_back():
    _, ana = both()
    claimed = ana.tell(event("profile.updated", "p", attributes={"email": "a@x.example"})).notices
    decision = ana.tell(event("customer.erased", "x", at=START))

    (released,) = decision.notices
    assert isinstance(released, AddressClaimed)
    assert released.ended
    assert released.key == claimed[0].key


def test_numbers_of_enrollments_go_on_behind_those_that_were_forgotten():
    web, ana = both()
    for number in "123":
        ana.tell(cart(START, number))
    erase(ana, START)
    web.now = ana.now = START + HOUR
    web.tell(cart(web.now, "1"))
    ana._take(moved(web))
    ana.tell(cart(ana.now, "8"))

    assert "cart/8#4" in ana.standing_in
