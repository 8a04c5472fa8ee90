"""Derived attributes: what they are made of, what undoes them, what reads them, what they cost."""

from __future__ import annotations

import pytest

from orchestrator.core.customer import wake_at_ms
from orchestrator.core.decision import AttributesDerived, Outcome
from orchestrator.core.derived.tally import COUNTED_MAX, UNDO_MS, opened
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.language.shop import Shop
from tests.core.builders import DAY, HOUR, START, Story, event, item, shop_of

ATTRIBUTES = {
    "orders": {"count": "events", "on": "purchase"},
    "pieces": {"count": "pieces", "on": "purchase"},
    "total_spent": {"sum": "total", "on": "purchase"},
    "spent_lately": {"sum": "total", "on": "purchase", "within": "30d"},
    "average_order": {"average": "total", "on": "purchase"},
    "largest_order": {"max": "total", "on": "purchase"},
    "smallest_order": {"min": "total", "on": "purchase"},
    "last_purchase": {"newest": "time", "on": "purchase"},
    "customer_since": {"oldest": "time", "on": "purchase"},
    "favourite": {"most_frequent": "items.category", "on": "purchase"},
    "bought": {"values": "items.sku", "on": "purchase"},
    "large_orders": {"count": "events", "on": "purchase", "when": "event.data.total >= 100.0"},
    "tier": {
        "of": "total_spent",
        "tiers": [{"name": "base"}, {"name": "silver", "from": 100}, {"name": "gold", "from": 500}],
    },
}
NOTHING = {"orders": 0, "pieces": 0, "total_spent": "0.00", "tier": "base"}


def a_shop(*journeys, attributes=ATTRIBUTES, **shop):
    return shop_of(
        *journeys,
        shop=Shop.model_validate({"attributes": attributes, "currency": "EUR", **shop}),
    )


def story_of(*journeys, attributes=ATTRIBUTES, **shop):
    return Story(a_shop(*journeys, attributes=attributes, **shop))


def bought(order, total="20.00", *lines, at=START, event_id=None, **data):
    data = {"currency": "EUR", "items": list(lines or (item("mug"),))} | data
    return event("purchase", event_id or f"o{order}", at=at, order_id=order, total=total, **data)


def returned(order, *lines, at=START, event_id=None, **fields):
    data = {"items": list(lines)} if lines else {}
    return event(
        "order.returned", event_id or f"r{order}-{lines}", at=at, order_id=order, **data, **fields
    )


def profile(story):
    return {name: one.value for name, one in story.customer.attributes.items()}


def value(story, name):
    return profile(story).get(name, NOTHING.get(name))


def test_orders_and_money_are_counted():
    story = story_of()

    story.tell(bought("1", "20.10"), bought("2", "79.95"))

    assert value(story, "orders") == 2
    assert value(story, "total_spent") == "100.05"
    assert value(story, "average_order") == "50.02"
    assert (value(story, "largest_order"), value(story, "smallest_order")) == ("79.95", "20.10")
    assert value(story, "tier") == "silver"


def test_money_is_exact_where_binary_fractions_are_not():
    story = story_of()

    for number in range(10):
        story.tell(bought(f"{number}", "0.10"))

    assert value(story, "total_spent") == "1.00"


def test_an_amount_may_be_a_number():
    story = story_of()

    story.tell(bought("1", 19.9), bought("2", 10))

    assert value(story, "total_spent") == "29.90"


@pytest.mark.parametrize("total", ["a lot", "NaN", "Infinity", None, True, [1], "1" * 60, "1e40"])
def test_what_is_no_amount_is_an_order_without_one(total):
    story = story_of()

    story.tell(bought("1", total), bought("2", "5.00"))

    assert value(story, "orders") == 2
    assert value(story, "total_spent") == "5.00"


def test_other_currencies_are_not_added_up():
    attributes = ATTRIBUTES | {"dollars": {"sum": "total", "on": "purchase", "currency": "USD"}}
    story = story_of(attributes=attributes)

    story.tell(bought("1", "10.00"), bought("2", "99.00", currency="USD"))

    assert value(story, "total_spent") == "10.00"
    assert value(story, "dollars") == "99.00"
    assert value(story, "orders") == 2


def test_the_time_of_the_newest_and_the_oldest_is_that_of_the_events():
    story = story_of()

    story.tell(bought("2", at=START - DAY), bought("1", at=START - 9 * DAY))

    assert value(story, "last_purchase") == "2026-11-21T10:00:00Z"
    assert value(story, "customer_since") == "2026-11-13T10:00:00Z"


def test_the_favourite_is_what_most_pieces_are_of():
    story = story_of()
    tents, mugs = item("tent", category="outdoor"), item("mug", 3, category="kitchen")

    story.tell(bought("1", "9.00", tents, mugs))
    assert value(story, "favourite") == "kitchen"

    story.tell(returned("1", item("mug", 2)), bought("2", "9.00", item("axe", category="outdoor")))
    assert value(story, "favourite") == "outdoor"
    assert value(story, "pieces") == 3


def test_what_was_bought_is_a_list_for_conditions():
    story = story_of()

    story.tell(bought("1", "9.00", item("tent"), item("mug")), returned("1", item("mug")))

    assert value(story, "bought") == ["tent"]


def test_a_condition_says_which_events_count():
    story = story_of()

    story.tell(bought("1", "99.99"), bought("2", "100.00"), bought("3", "no amount"))

    assert value(story, "large_orders") == 1


def test_an_order_that_is_told_twice_counts_once():
    story = story_of()

    story.tell(bought("1"))
    again = story.tell(bought("1", event_id="told again"))

    assert again.outcome is Outcome.DUPLICATE
    assert value(story, "orders") == 1


def test_an_order_that_is_told_again_after_its_key_was_forgotten_counts_once():
    story = story_of()
    story.tell(bought("1"))

    story.pass_time(100 * DAY)
    told_again = story.tell(bought("1", event_id="told again", at=story.now))

    assert told_again.outcome is Outcome.APPLIED
    assert value(story, "orders") == 1


@pytest.mark.parametrize("type_", ["order.cancelled", "order.returned"])
def test_an_order_that_is_gone_is_as_if_it_had_never_been(type_):
    story, never = story_of(), story_of()
    story.tell(bought("1", "300.00"), bought("2", "7.00"))
    never.tell(bought("2", "7.00"))

    story.tell(event(type_, "gone", order_id="1"))

    assert profile(story) == profile(never)


def test_a_cancellation_may_be_learned_before_its_order():
    story = story_of()

    story.tell(event("order.cancelled", "c", order_id="1"), bought("1", "300.00"))

    assert profile(story) == {}


def test_a_line_that_comes_back_takes_its_part_of_the_total():
    """Ten per cent were off, so that the tent cost 180 and not 200."""
    story = story_of()
    story.tell(bought("1", "225.00", item("tent", price="200.00"), item("mug", 2, price="25.00")))

    story.tell(returned("1", item("tent")))

    assert value(story, "total_spent") == "45.00"
    assert value(story, "tier") == "base"
    story.tell(returned("1", item("mug", 1)))
    assert value(story, "total_spent") == "22.50"


def test_without_prices_every_piece_costs_the_same():
    story = story_of()
    story.tell(bought("1", "30.00", item("tent"), item("mug", 2)))

    story.tell(returned("1", item("mug", 1)))

    assert value(story, "total_spent") == "20.00"


def test_an_order_whose_lines_have_all_come_back_is_gone():
    story = story_of()
    story.tell(bought("1", "30.00", item("tent"), item("mug", 2)))

    story.tell(returned("1", item("mug", 2)), returned("1", item("tent")))

    assert profile(story) == {}


def test_a_line_may_come_back_before_its_order_is_known():
    story, usual = story_of(), story_of()
    order, back = bought("1", "30.00", item("tent"), item("mug", 2)), returned("1", {"sku": "mug"})

    story.tell(back, order)
    usual.tell(order, back)

    assert profile(story) == profile(usual)
    assert value(story, "total_spent") == "10.00"


def test_a_return_that_is_told_twice_takes_away_once():
    story = story_of()
    story.tell(bought("1", "30.00", item("mug", 3)))

    story.tell(returned("1", item("mug", 1)), returned("1", item("mug", 1), event_id="again"))

    assert value(story, "total_spent") == "20.00"


def test_the_rest_of_an_order_may_go_after_a_part_of_it():
    story = story_of()
    story.tell(bought("1", "30.00", item("mug", 3)), returned("1", item("mug", 1)))

    story.tell(event("order.cancelled", "c", order_id="1"))

    assert profile(story) == {}


def test_nobody_can_return_more_than_they_bought():
    story = story_of()
    story.tell(bought("1", "30.00", item("tent"), item("mug", 2)))

    story.tell(returned("1", item("mug", 5)))

    assert value(story, "total_spent") == "10.00"


def test_what_is_too_old_to_be_undone_is_kept_as_a_sum():
    story = story_of()
    story.tell(bought("1", "30.00", item("mug", category="kitchen")))
    story.pass_time(UNDO_MS + DAY)

    story.tell(bought("2", "5.00", at=story.now))

    assert len(opened(story.customer.derived)["purchase"].counted) == 1
    assert value(story, "total_spent") == "35.00"
    assert (value(story, "orders"), value(story, "favourite")) == (2, "kitchen")
    assert value(story, "customer_since") == "2026-11-22T10:00:00Z"
    story.tell(event("order.cancelled", "late", at=story.now, order_id="1"))
    assert value(story, "total_spent") == "35.00"


def test_an_order_can_be_undone_for_as_long_as_the_contract_says_and_longer():
    story = story_of()
    story.tell(bought("1", "30.00"))
    story.pass_time(UNDO_MS - DAY)

    story.tell(bought("2", "5.00", at=story.now))
    story.tell(event("order.cancelled", "c", at=story.now, order_id="1"))

    assert value(story, "total_spent") == "5.00"


def test_history_that_is_learned_late_can_be_undone_too():
    story = story_of()
    story.tell(bought("1", "30.00", at=START - 3 * UNDO_MS, backfill=True))
    story.tell(bought("2", "5.00"))

    story.tell(event("order.cancelled", "c", order_id="1"))

    assert value(story, "total_spent") == "5.00"


def test_state_is_bounded_however_much_is_bought():
    story = story_of()
    for number in range(COUNTED_MAX + 40):
        story.tell(bought(f"{number}", "1.00", at=START + number, event_id=f"o{number}"))

    assert len(opened(story.customer.derived)["purchase"].counted) == COUNTED_MAX
    assert value(story, "total_spent") == f"{COUNTED_MAX + 40}.00"
    assert len(encode_customer(story.customer)) < 120_000


def test_an_event_that_nothing_undoes_is_a_number_at_once():
    views = {"views": {"count": "events", "on": "product.viewed"}}
    story = story_of(attributes=views)

    for number in range(5):
        story.tell(event("product.viewed", f"v{number}", sku="tent"))

    assert value(story, "views") == 5
    assert opened(story.customer.derived)["product.viewed"].counted == {}


def test_what_leaves_a_window_does_so_by_itself():
    story = story_of()
    story.tell(bought("1", "30.00"))
    assert value(story, "spent_lately") == "30.00"

    story.pass_time(29 * DAY)
    assert value(story, "spent_lately") == "30.00"
    story.pass_time(2 * DAY)

    assert "spent_lately" not in profile(story)
    assert value(story, "total_spent") == "30.00"
    assert wake_at_ms(story.customer) is None


def test_events_that_leave_a_window_together_cost_one_decision():
    story = story_of(attributes={"views": ATTRIBUTES["spent_lately"]})
    for number in range(20):
        story.tell(bought(f"{number}", "1.00", at=START + number * 1_000))
    decided = len(story.decisions)

    story.pass_time(31 * DAY)

    assert profile(story) == {}
    assert len(story.decisions) - decided <= 2


def test_a_window_that_nobody_declares_any_more_wakes_nobody():
    story = story_of()
    story.tell(bought("1", "30.00"))
    story.journeys = shop_of()

    story.pass_time(40 * DAY)

    assert wake_at_ms(story.customer) is None


def test_what_an_event_says_of_a_derived_attribute_is_ignored():
    story = story_of()
    story.tell(bought("1", "120.00"))

    said = {"tier": "gold", "total_spent": "9999.00", "city": "Porto"}
    decision = story.tell(event("profile.updated", "p", at=START + DAY, attributes=said))

    assert (value(story, "tier"), value(story, "total_spent")) == ("silver", "120.00")
    assert value(story, "city") == "Porto"
    assert decision.entries == ()


def test_an_attribute_of_before_it_was_declared_goes_with_the_first_word_on_the_profile():
    story = Story(shop_of())
    story.tell(event("profile.updated", "p", attributes={"tier": "platinum", "city": "Porto"}))
    story.journeys = a_shop()

    story.tell(event("profile.updated", "q", at=START + 1, attributes={"city": "Vigo"}))

    assert profile(story) == {"city": "Vigo"}


def test_an_attribute_that_is_declared_no_longer_goes_with_the_next_event_that_counts():
    story = story_of()
    story.tell(bought("1", "120.00"))
    story.journeys = a_shop(attributes={"orders": ATTRIBUTES["orders"]})

    story.tell(bought("2"))

    assert profile(story) == {"orders": 2}


def test_the_log_says_what_has_another_value():
    story = story_of(attributes={name: ATTRIBUTES[name] for name in ("orders", "large_orders")})

    story.tell(bought("1", "20.00"))

    assert story.entries == [AttributesDerived(("orders",))]


def test_an_event_that_counts_for_nothing_leaves_the_state_of_it_alone():
    story = story_of()
    story.tell(bought("1"))
    held = story.customer.derived

    story.tell(event("search.done", "s", at=START + HOUR))

    assert story.customer.derived == held
    assert opened(held) == opened(story.customer.derived)


def test_a_customer_of_a_shop_without_derived_attributes_holds_nothing_of_them():
    story = Story(shop_of())

    story.tell(bought("1"))

    assert story.customer.derived.tallies == {}
