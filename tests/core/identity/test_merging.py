"""What becomes of two customers that are one, decided without any driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.customer import Cause, Contact, Sent
from orchestrator.core.decide import decide
from orchestrator.core.decision import Ended, EndReason, Moved, Outcome, PromiseEnded
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Resumed, Visit
from orchestrator.core.identity.addresses import CLAIMS_MAX, addresses_of, claims_after
from orchestrator.core.identity.notices import (
    AddressClaimed,
    AddressShared,
    MergeAsked,
    StateMoved,
)
from orchestrator.core.language.shop import Shop
from orchestrator.core.pauses import Pause, Pauses
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    item,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)

if TYPE_CHECKING:
    from orchestrator.core.decision import Decision

CAUSE = Cause("/shop", "signed-in")
CART = journey(
    "cart",
    "cart.abandoned",
    [wait("soon", "1h"), send("reminder"), wait("later", "10d"), send("last")],
    key="event.data.cart_id",
    exits=["purchase"],
)
WELCOME = journey(
    "welcome",
    "newsletter.subscribed",
    [send("hello"), wait("week", "7d"), send("guide")],
    reentry="once",
)
SERVICE = journey("order", "purchase", [send("thanks"), wait("week", "7d")], kind="transactional")


def merge(absorbed: Story, survivor: Story) -> tuple[Decision, Decision]:
    """Let one story become part of another, as both owners would."""
    asked = MergeAsked(absorbed.customer.id, survivor.customer.id, CAUSE)
    handed = absorbed._take(asked)
    (moved,) = (one for one in handed.notices if isinstance(one, StateMoved))
    survivor.now = max(survivor.now, absorbed.now)
    return handed, survivor._take(moved)


def cart(key: str, **fields: int):
    return event("cart.abandoned", f"cart-{key}", cart_id=key, items=[item("tent")], **fields)


def both(*journeys, shop: Shop | None = None, **fields) -> tuple[Story, Story]:
    rules = shop_of(*journeys, shop=shop, **fields)
    return Story(rules, "web-1"), Story(rules, "ana")


def ended(decision: Decision) -> list[tuple[str, EndReason]]:
    return [(one.enrollment, one.reason) for one in decision.entries if isinstance(one, Ended)]


def test_nothing_stays_behind_but_the_pointer_and_the_sequence():
    web, ana = both(CART)
    web.tell(cart("1"))
    web.pass_time(HOUR)
    handed, _ = merge(web, ana)

    assert web.customer.merged_into == "ana"
    assert web.customer.sequence == 2  # The reminder, and its cancel.
    assert len(encode_customer(web.customer)) < 80
    assert handed.fence is not None
    web.pass_time(30 * DAY)
    assert web.wake_at is None
    assert len(encode_customer(web.customer)) < 70


def test_fences_of_an_absorbed_id_are_taken_back_when_no_sender_can_meet_what_they_hold():
    web, ana = both(CART)
    web.tell(cart("1"))
    web.pass_time(HOUR)
    handed, _ = merge(web, ana)
    until = max(one.expires_at_ms for one in handed.fence) + 5 * MINUTE

    web.pass_time(until - 1 - web.now)
    before = web.decisions[-1]
    web.pass_time(1)
    taken_back = web.decisions[-1]

    assert before is handed
    assert (taken_back.fence, taken_back.wake_at_ms) == ((), None)
    assert web.customer.merged_into == "ana"
    assert web.tell(cart("2")).outcome is Outcome.MOVED


def test_an_absorbed_id_that_has_fenced_nothing_never_wakes():
    web, ana = both(SERVICE)
    web.tell(purchase("1", "tent"))
    handed, _ = merge(web, ana)

    assert (handed.fence, handed.wake_at_ms) == (None, None)


def test_what_comes_for_an_absorbed_id_is_for_somebody_else():
    web, ana = both(CART)
    merge(web, ana)

    for what in (cart("1"), Visit("cart", 1), Resumed(1)):
        assert decide(web.journeys, web.customer, what, START).outcome is Outcome.MOVED
    again = decide(web.journeys, web.customer, MergeAsked("web-1", "ana", CAUSE), START)
    assert again.outcome is Outcome.DUPLICATE


def test_a_state_that_comes_twice_is_taken_over_once():
    web, ana = both(CART)
    web.tell(cart("1"))
    handed, _ = merge(web, ana)
    (moved,) = (one for one in handed.notices if isinstance(one, StateMoved))
    before = ana.customer

    assert ana._take(moved).outcome is Outcome.DUPLICATE
    assert ana.customer == before


def test_an_order_ends_what_is_merged_weeks_later():
    web, ana = both(CART)
    web.tell(cart("1"))
    ana.now = START + HOUR
    ana.tell(purchase("1", "tent", at=START + HOUR))
    web.pass_time(8 * DAY)

    _, taken = merge(web, ana)

    assert ended(taken) == [("cart/1#1~web-1", EndReason.EXIT)]


def test_an_order_from_before_the_entry_ends_nothing():
    web, ana = both(CART)
    ana.tell(purchase("1", "tent"))
    web.now = START + 8 * DAY
    web.tell(cart("1", at=web.now))

    _, taken = merge(web, ana)

    assert ended(taken) == []


def test_who_was_welcomed_under_one_id_is_not_welcomed_again():
    web, ana = both(WELCOME)
    ana.tell(event("newsletter.subscribed", "n1"))
    ana.pass_time(8 * DAY)
    web.now = ana.now
    web.tell(event("newsletter.subscribed", "n2", at=web.now))

    _, taken = merge(web, ana)

    assert ended(taken) == [("welcome#1~web-1", EndReason.MERGED)]


def test_of_two_in_one_journey_one_is_left_however_the_chain_goes():
    rules = shop_of(WELCOME)
    web, tab, ana = Story(rules, "web-2"), Story(rules, "web-1"), Story(rules, "ana")
    for story in (web, tab, ana):
        story.tell(event("newsletter.subscribed", f"n-{story.customer.id}"))
    merge(web, tab)
    merge(tab, ana)

    assert len(ana.standing_in) == 1
    ana.pass_time(8 * DAY)
    assert ana.sent.count("guide") == 1


def test_the_further_one_goes_on_also_when_it_comes_from_the_cookie():
    web, ana = both(CART)
    web.tell(cart("1"))
    web.pass_time(2 * HOUR)
    ana.now = web.now
    ana.tell(cart("1", at=ana.now))

    _, taken = merge(web, ana)

    assert ended(taken) == [("cart/1#1", EndReason.MERGED)]
    assert ana.standing_in == {"cart/1#1~web-1": "later"}


def test_an_enrollment_with_a_farewell_is_fenced_below_what_follows():
    web, ana = both(CART)
    for n in range(3):
        web.tell(cart(str(n)))
    web.pass_time(2 * HOUR)
    merge(web, ana)
    decision = ana.tell(purchase("9", "tent", at=ana.now))

    assert decision.fence is not None
    assert {one.sequence for one in decision.fence} == {0}  # Ana had sent nothing yet.


def test_caps_count_what_both_ids_were_sent():
    shop = Shop.model_validate({"caps": [{"max": 1, "per": "1d"}]})
    web, ana = both(CART, shop=shop)
    sent = Sent("m-1", START, "email", "promotional", "cart")
    ana.customer = ana.customer.__class__("ana", contact=Contact(sends=(sent,)))
    web.tell(cart("1"))
    merge(web, ana)
    ana.pass_time(2 * HOUR)

    assert ana.sent == []


def test_of_two_promises_that_contradict_the_older_one_stands():
    offers = {"ten": {}, "twenty": {"gives": {"percent_off": 20}}}
    web, ana = both(offers=offers)
    web.tell(event("offer.requested", "o1", offer="ten"))
    ana.now = START + MINUTE
    ana.tell(event("offer.requested", "o2", at=ana.now, offer="twenty"))
    _, taken = merge(web, ana)

    ends = [one for one in taken.entries if isinstance(one, PromiseEnded)]
    assert [(one.offer, one.reason) for one in ends] == [("twenty", "contradicted")]


def test_a_merge_keeps_the_time_of_both_clocks():
    web, ana = both(CART)
    web.now = START + 4_000
    web.tell(cart("1", at=START))
    ana.now = START

    merge(web, ana)

    assert ana.customer.now_ms == START + 4_000


def test_a_transactional_message_stays_on_its_way_and_is_closed_by_its_report():
    web, ana = both(SERVICE)
    web.tell(purchase("1", "tent"))
    message = web.commands[0].id
    handed, _ = merge(web, ana)

    assert handed.commands == ()
    delivered = event("message.delivered", "d1", customer="web-1", command_id=message)
    assert [one.kind for one in _open(ana)] == ["message"]
    ana.tell(delivered)
    assert _open(ana) == []


def test_what_takes_back_a_message_of_the_old_id_goes_where_its_sender_reads():
    service = journey(
        "order",
        "purchase",
        [send("thanks"), wait("week", "7d")],
        kind="transactional",
        key="event.data.order_id",
        exits=["order.cancelled"],
    )
    web, ana = both(service)
    web.tell(purchase("1", "tent"))
    ana.tell(purchase("2", "mug"))
    merge(web, ana)
    cancelled = ana.tell(event("order.cancelled", "c1", at=ana.now, order_id="1"))

    commands = {one.sent_under: one for one in cancelled.commands}
    assert commands["web-1"].cancels == (web.commands[0].id,)
    assert commands["web-1"].customer == "ana"
    assert commands[None].cancels == (ana.commands[0].id,)


def test_through_a_chain_a_message_is_taken_back_where_it_was_sent_first():
    rules = shop_of(SERVICE)
    tab, web, ana = Story(rules, "web-2"), Story(rules, "web-1"), Story(rules, "ana")
    tab.tell(purchase("1", "tent"))
    merge(tab, web)
    merge(web, ana)

    gone = ana.tell(event("customer.erased", "x", at=ana.now))

    assert [(one.sent_under, one.cancels) for one in gone.commands] == [
        ("web-2", (tab.commands[0].id,))
    ]


def _open(story: Story):
    return [one for held in story.customer.enrollments for one in held.open_commands]


def test_habits_of_both_ids_count_and_none_twice():
    learns = journey("best", "product.viewed", [{"id": "w", "wait": "best_time"}])
    web, ana = both(learns)
    for story in (web, ana):
        sent = event("message.opened", f"o-{story.customer.id}", command_id="x", channel="email")
        story.tell(sent)
    handed, _ = merge(web, ana)
    (moved,) = (one for one in handed.notices if isinstance(one, StateMoved))

    assert ana.customer.kin is not None
    assert ana.customer.kin.habits["web-1"].hours == moved.state.kin.habits["web-1"].hours
    assert ana.customer.hours is not None


def test_a_question_that_was_asked_under_both_ids_may_be_answered_under_either():
    ask = {"id": "q", "ask": {"attribute": "size", "channel": "email", "template": "your_size"}}
    web, ana = both(journey("fit", "seen", [ask], kind="service"))
    for story in (web, ana):
        story.tell(event("seen", f"s-{story.customer.id}"))
    first, second = web.commands[0].id, ana.commands[0].id
    merge(web, ana)

    for number, (asked, answer) in enumerate(((first, "43"), (second, "44"), (first, "45"))):
        ana.now += MINUTE
        told = event("message.replied", f"r{number}", at=ana.now, command_id=asked, answer=answer)
        ana.tell(told)

        assert ana.customer.attributes["size"].value == answer


def test_who_was_held_by_a_pause_that_ended_on_the_way_goes_on_at_once():
    web, ana = both(SERVICE)
    paused, free = (
        web.journeys.pausing(Pauses([Pause("global", "eva", "x", transactional=True)], 1)),
        web.journeys,
    )
    web.journeys = paused
    web.tell(purchase("1", "tent"))
    assert [one.held for one in web.customer.enrollments] == ["paused"]
    web.journeys = ana.journeys = free
    _, taken = merge(web, ana)

    assert [one.template for one in taken.commands] == ["thanks"]
    assert [one.step for one in ana.customer.enrollments] == ["week"]


def test_who_is_held_by_a_pause_that_goes_on_stays_held():
    web, ana = both(SERVICE)
    pauses = Pauses([Pause("global", "eva", "x", transactional=True)], 1)
    web.journeys = ana.journeys = web.journeys.pausing(pauses)
    web.tell(purchase("1", "tent"))
    _, taken = merge(web, ana)

    assert taken.commands == ()
    assert [one.held for one in ana.customer.enrollments] == ["paused"]


def test_an_hour_that_the_other_id_has_taught_is_told_as_learned():
    learns = journey("best", "product.viewed", [{"id": "w", "wait": "best_time"}])
    web, ana = both(learns)
    sent = [event("message.opened", f"o-{number}", command_id="x") for number in range(9)]
    web.tell(*sent)
    merge(web, ana)
    decision = ana.tell(event("product.viewed", "v"))

    (moved,) = (one for one in decision.entries if isinstance(one, Moved))
    assert moved.detail is not None
    assert moved.detail.startswith("learned: ")


def test_what_is_counted_under_both_ids_adds_up_and_nothing_counts_twice():
    counted = {"attributes": {"orders": {"count": "events", "on": "purchase"}}}
    web, ana = both(shop=Shop.model_validate(counted))
    web.tell(purchase("1", "tent"), purchase("2", "mug"))
    # The till has told the second order of the account, too.
    ana.tell(purchase("2", "mug"), purchase("3", "rope"))
    merge(web, ana)

    assert ana.customer.attributes["orders"].value == 3


def test_spellings_of_one_address_have_one_hash():
    def hashed(**attributes):
        story = Story(shop_of())
        story.tell(event("profile.updated", "p", attributes=attributes))
        return addresses_of(story.customer.attributes)

    assert hashed(email=" Ana@Example.com") == hashed(email="ana@example.com")
    assert hashed(phone="+34 600-123 456") == hashed(phone="0034600123456")
    known = next(iter(hashed(email="ana@example.com")))
    assert hashed(email_sha256=known[1].hex().upper()) == {known}
    for nothing in ({"email": "ana"}, {"phone": "600123456"}, {"email": 7}, {"phone_sha256": "x"}):
        assert hashed(**nothing) == frozenset()


def test_an_address_is_claimed_when_it_changes_and_given_back():
    story = Story(shop_of())
    first = story.tell(event("profile.updated", "p1", attributes={"email": "a@x.example"}))
    same = story.tell(event("profile.updated", "p2", at=START + 1, attributes={"n": 1}))
    other = story.tell(
        event("profile.updated", "p3", at=START + 2, attributes={"email": "b@x.example"})
    )

    assert [one.ended for one in first.notices] == [False]
    assert same.notices == ()
    assert [one.ended for one in other.notices] == [False, True]
    assert (
        Story(shop_of(), "web-1")
        .tell(event("profile.updated", "p1", attributes={"email": "a@x.example"}))
        .notices
        == ()
    )


def test_accounts_with_one_address_are_merged_where_the_shop_says_so():
    shop = Shop.model_validate({"identity": {"shared_email": "merge"}})
    story = Story(shop_of(shop=shop), "bea")
    told = story.tell(event("profile.updated", "p1", attributes={"email": "a@x.example"}))
    claimed = told.notices[0]
    assert isinstance(claimed, AddressClaimed)

    decision = story._take(AddressShared("bea", "email", claimed.digest, ("ana", "bea")))
    gone = story._take(AddressShared("bea", "email", b"\0" * 32, ("ana",)))

    assert [(one.absorbed, one.survivor) for one in decision.notices] == [("bea", "ana")]
    assert gone.entries == ()


def test_an_address_remembers_its_newest_claims_and_forgets_who_gave_it_back():
    claims: tuple[str, ...] = ()
    for number in range(CLAIMS_MAX + 5):
        claims = claims_after(claims, AddressClaimed("email", b"", f"c{number}"))

    assert len(claims) == CLAIMS_MAX
    assert claims[-1] == f"c{CLAIMS_MAX + 4}"
    assert "c7" not in claims_after(claims, AddressClaimed("email", b"", "c7", ended=True))


def test_the_state_of_a_merged_customer_survives_being_stored():
    web, ana = both(CART, WELCOME)
    web.tell(cart("1"), event("newsletter.subscribed", "n1"))
    merge(web, ana)

    assert decode_customer(encode_customer(ana.customer)) == ana.customer
