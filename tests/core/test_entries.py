"""Who enters a journey, when, and why somebody does not."""

import pytest

from orchestrator.core.decision import Entered, EntryRefused, Refusal
from tests.core.builders import (
    DAY,
    HOUR,
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

HOURS = [wait("hours", "4h")]


def refusals(decision):
    return [(e.journey, e.reason) for e in decision.entries if isinstance(e, EntryRefused)]


def entered(decision):
    return [entry.enrollment for entry in decision.entries if isinstance(entry, Entered)]


def viewed(story, event_id, **data):
    return story.tell(event("product.viewed", event_id, at=story.now, **data))


def test_the_condition_sees_the_profile_after_the_event():
    """Braze evaluates the audience before the trigger."""
    gold = journey("gold", "profile.updated", HOURS, when='profile.tier == "gold"')
    story = Story(shop_of(gold))

    decision = story.tell(event("profile.updated", "p", attributes={"tier": "gold"}))

    assert entered(decision) == ["gold#1"]


def test_a_condition_that_is_false_or_misses_a_field_is_silent():
    story = Story(
        shop_of(journey("rich", "product.viewed", HOURS, when="event.data.price > 100.0"))
    )

    assert viewed(story, "v1", price="99.99").entries == ()
    assert viewed(story, "v2").entries == ()
    assert entered(viewed(story, "v3", price="100.01")) == ["rich#1"]


def test_a_condition_that_cannot_be_evaluated_is_told():
    story = Story(shop_of(journey("j", "product.viewed", HOURS, when="event.data.sku > 5")))

    (entry,) = viewed(story, "v", sku="tent").entries

    assert isinstance(entry, EntryRefused)
    assert entry.reason is Refusal.CONDITION_FAILED
    assert "event.data.sku > 5" in (entry.detail or "")


def test_a_condition_that_is_neither_true_nor_false_is_told():
    story = Story(shop_of(journey("j", "product.viewed", HOURS, when="event.data.sku")))

    assert refusals(viewed(story, "v", sku="tent")) == [("j", Refusal.CONDITION_FAILED)]


def test_journeys_are_entered_in_the_order_of_their_names():
    shop = shop_of(*(journey(name, "product.viewed", HOURS) for name in ("zoo", "ant", "bee")))

    assert entered(viewed(Story(shop), "v")) == ["ant#1", "bee#1", "zoo#1"]


def test_without_a_key_there_is_one_enrollment_at_a_time():
    story = Story(shop_of(journey("j", "product.viewed", HOURS)))
    viewed(story, "v1")

    assert refusals(viewed(story, "v2")) == [("j", Refusal.ALREADY_ENROLLED)]
    story.pass_time(4 * HOUR)
    assert entered(viewed(story, "v3")) == ["j#2"]


def test_with_a_key_there_is_one_enrollment_for_each_value():
    story = Story(shop_of(journey("cart", "cart.abandoned", HOURS, key="event.data.cart_id")))

    def abandoned(event_id, cart):
        return story.tell(event("cart.abandoned", event_id, at=story.now, cart_id=cart, items=[]))

    assert entered(abandoned("1", "a")) == ["cart/a#1"]
    assert entered(abandoned("2", 7)) == ["cart/7#2"]
    assert refusals(abandoned("3", "a")) == [("cart", Refusal.ALREADY_ENROLLED)]
    story.pass_time(5 * HOUR)
    assert refusals(abandoned("4", "a")) == [("cart", Refusal.REENTRY)]
    story.pass_time(29 * DAY)
    assert refusals(abandoned("5", "a")) == [("cart", Refusal.REENTRY)]
    story.pass_time(DAY)
    assert entered(abandoned("6", "a")) == ["cart/a#3"]


def test_at_most_256_used_keys_are_remembered():
    steps = [send("hello")]
    story = Story(shop_of(journey("cart", "cart.abandoned", steps, key="event.data.cart_id")))
    for number in range(257):
        story.tell(event("cart.abandoned", f"e{number}", cart_id=f"{number}", items=[]))

    assert len(story.customer.memories["cart"].ended_keys) == 256
    assert entered(story.tell(event("cart.abandoned", "x", cart_id="0", items=[])))
    assert not entered(story.tell(event("cart.abandoned", "y", cart_id="256", items=[])))


@pytest.mark.parametrize("key", [None, "", True, 1.5, ["a"], "k" * 257])
def test_a_key_that_is_none_is_told(key):
    story = Story(shop_of(journey("cart", "cart.abandoned", HOURS, key="event.data.cart_id")))

    decision = story.tell(event("cart.abandoned", "1", cart_id=key, items=[]))

    assert refusals(decision) == [("cart", Refusal.CONDITION_FAILED)]


def test_a_missing_key_is_told():
    story = Story(shop_of(journey("cart", "cart.abandoned", HOURS, key="event.data.cart_id")))

    (entry,) = story.tell(event("cart.abandoned", "1", items=[])).entries

    assert entry.detail == "key: there is no event.data.cart_id"


def test_once_is_once_for_ever():
    story = Story(shop_of(journey("welcome", "product.viewed", HOURS, reentry="once")))
    viewed(story, "v1")
    story.pass_time(400 * DAY)

    assert refusals(viewed(story, "v2")) == [("welcome", Refusal.REENTRY)]


def test_re_entry_after_a_time_counts_from_the_last_entry_or_end_whichever_is_later():
    story = Story(shop_of(journey("j", "product.viewed", HOURS, reentry={"after": "1d"})))
    viewed(story, "v1")

    story.pass_time(DAY + 4 * HOUR - 1)
    assert refusals(viewed(story, "v2")) == [("j", Refusal.REENTRY)]
    story.pass_time(1)
    assert entered(viewed(story, "v3")) == ["j#2"]


def test_only_the_newest_version_is_entered_and_the_old_one_is_finished():
    old = journey("j", "product.viewed", [wait("hours", "4h"), send("old")])
    new = journey("j", "product.viewed", [wait("hours", "4h"), send("new")], version=2)
    story = Story(shop_of(old))
    viewed(story, "v1")

    story.journeys = shop_of(new, old)
    story.pass_time(4 * HOUR)
    viewed(story, "v2")
    story.pass_time(4 * HOUR)

    assert story.sent == ["old", "new"]
    assert [c.journey_version for c in story.commands] == [1, 2]


def test_an_unknown_event_type_is_applied_and_can_enter_a_journey_that_names_it():
    story = Story(shop_of(journey("spin", "wheel.spun", HOURS)))

    assert story.tell(event("door.opened", "1")).entries == ()
    assert entered(story.tell(event("wheel.spun", "2"))) == ["spin#1"]


def test_only_what_steps_and_exits_read_is_kept_of_the_entering_event():
    steps = [
        wait("hours", "4h"),
        {"id": "fork", "branch": [{"when": "trigger.data.price > 1.0", "next": "mail"}]},
        send("mail", variables={"sku": "trigger.data.sku"}),
    ]
    exits = [{"on": "purchase", "when": "trigger.data.store == event.data.store"}]
    story = Story(shop_of(journey("j", "product.viewed", steps, exits=exits)))

    viewed(story, "v", sku="tent", price="3", store="lugo", url="https://example.com", title="T")

    (enrollment,) = story.customer.enrollments
    assert enrollment.trigger == {"sku": "tent", "price": "3", "store": "lugo"}


def test_what_an_entry_is_about_can_be_the_event_itself_or_its_items():
    about = {"one": "event.data", "many": "event.data.items", "made": '[{"sku": event.data.sku}]'}
    shop = shop_of(
        *(journey(n, "seen", HOURS, about=expression) for n, expression in about.items())
    )
    story = Story(shop)

    tents = [
        item("tent-1", family="tents"),
        item("tent-2"),
        {"no": "sku"},
        item("tent-1", family="tents"),
    ]
    story.tell(event("seen", "1", sku=12, items=tents))

    skus = {one.journey: [p.sku for p in one.products] for one in story.customer.enrollments}
    assert skus == {"one": ["12"], "many": ["tent-1", "tent-2"], "made": ["12"]}


def test_a_promotion_for_what_was_just_bought_is_refused():
    """Everywhere else, looking up a tent's manual starts browse abandonment for that tent."""
    story = Story(shop_of(journey("browse", "product.viewed", HOURS, about="event.data")))
    story.tell(purchase("1", "tent", at=START))
    story.now += 10 * DAY

    (refused,) = viewed(story, "v1", sku="tent").entries

    assert refused.reason is Refusal.ALREADY_OWNED
    assert entered(viewed(story, "v2", sku="boots")) == ["browse#1"]


def test_what_is_owned_already_falls_out_of_a_cart():
    story = Story(shop_of(journey("cart", "cart.abandoned", HOURS, about="event.data.items")))
    story.tell(purchase("1", "tent", at=START))
    story.now += DAY

    items = [item("tent"), item("boots")]
    story.tell(event("cart.abandoned", "c", at=story.now, cart_id="a", items=items))

    (enrollment,) = story.customer.enrollments
    assert [product.sku for product in enrollment.products] == ["boots"]


def test_a_service_journey_about_an_owned_product_is_entered():
    care = journey("care", "product.viewed", HOURS, kind="service", about="event.data")
    story = Story(shop_of(care))
    story.tell(purchase("1", "tent", at=START))
    story.now += DAY

    assert entered(viewed(story, "v", sku="tent")) == ["care#1"]
