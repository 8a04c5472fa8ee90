"""One rule for order: an exit ends what was entered before it, whichever is learned first."""

from orchestrator.core.decision import EntryRefused, Refusal
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

TIED = {"on": "purchase", "when": "event.data.items.exists(i, i.sku in enrollment.skus)"}
BROWSE = journey("browse", "product.viewed", [wait("h", "4h")], exits=[TIED], about="event.data")
CART = journey("cart", "cart.abandoned", [wait("h", "1h"), send("come_back")], exits=["purchase"])


def refusals(decision):
    return [entry.reason for entry in decision.entries if isinstance(entry, EntryRefused)]


def test_an_entry_older_than_a_purchase_already_known_does_not_enter():
    story = Story(shop_of(CART))
    story.tell(purchase("1", "tent", at=START))
    story.now += HOUR

    decision = story.tell(event("cart.abandoned", "c", at=START - MINUTE, cart_id="a", items=[]))

    assert refusals(decision) == [Refusal.EXITED_LATER]
    assert story.standing_in == {}


def test_an_entry_younger_than_the_purchase_enters():
    story = Story(shop_of(CART))
    story.tell(purchase("1", "tent", at=START))
    story.now += HOUR

    story.tell(event("cart.abandoned", "c", at=START + 1, cart_id="a", items=[]))

    assert list(story.standing_in) == ["cart#1"]


def test_a_remembered_exit_is_matched_with_what_the_entry_would_be_about():
    story = Story(shop_of(BROWSE))
    story.tell(purchase("1", "tent", at=START))
    story.now += HOUR

    tent = story.tell(event("product.viewed", "v1", at=START - 1, sku="tent"))
    boots = story.tell(event("product.viewed", "v2", at=START - 1, sku="boots"))

    assert refusals(tent) == [Refusal.EXITED_LATER]
    assert refusals(boots) == []
    assert list(story.standing_in) == ["browse#1"]


def test_only_what_exit_conditions_read_is_remembered_of_an_exit():
    story = Story(shop_of(BROWSE, CART))
    story.tell(purchase("1", "tent", total="10.00", note="x" * 1000))

    (remembered,) = story.customer.exits

    assert set(remembered.data) == {"items"}


def test_the_event_that_enters_does_not_exit_its_own_enrollment_but_the_next_one_does():
    steps = [send("thanks"), wait("days", "3d")]
    shop = shop_of(journey("post", "purchase", steps, kind="service", exits=["purchase"]))
    story = Story(shop)

    story.tell(purchase("1", "tent"))
    assert list(story.standing_in) == ["post#1"]

    story.now += MINUTE
    story.tell(purchase("2", "boots", at=story.now))
    assert list(story.standing_in) == ["post#2"]


def test_exits_are_remembered_for_72_hours_of_event_time():
    story = Story(shop_of(CART))
    story.tell(purchase("old", "tent", at=START - 72 * HOUR - 1))
    assert story.customer.exits == ()

    story.tell(purchase("1", "tent", at=START - 72 * HOUR))
    assert len(story.customer.exits) == 1
    story.now += 1
    story.tell(purchase("2", "tent", at=story.now))
    assert [one.cause.id for one in story.customer.exits] == ["ord-2"]


def test_at_most_32_exits_are_remembered_and_the_dropped_ones_are_counted():
    story = Story(shop_of(CART))
    for number in range(32):
        story.tell(purchase(str(number), "tent", at=START - number))

    decision = story.tell(purchase("newest", "tent", at=START))

    assert decision.exits_dropped == 1
    assert len(story.customer.exits) == 32
    assert "ord-31" not in {one.cause.id for one in story.customer.exits}


def test_max_age_limits_entries_and_never_exits():
    story = Story(shop_of(CART))
    old = event("cart.abandoned", "c", at=START - 72 * HOUR - 1, cart_id="a", items=[item("tent")])

    assert refusals(story.tell(old)) == [Refusal.TOO_OLD]
    in_time = event("cart.abandoned", "d", at=START - 72 * HOUR, cart_id="a", items=[])
    assert refusals(story.tell(in_time)) == []

    story.now += 5 * DAY
    story.tell(purchase("1", "tent", at=START - 71 * HOUR))
    assert story.standing_in == {}
