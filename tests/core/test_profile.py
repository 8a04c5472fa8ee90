"""What the customer is and has, whatever the order in which it is learned."""

import itertools

import pytest

from orchestrator.core.customer import Product
from orchestrator.core.language.shop import Ownership, Shop
from orchestrator.core.profile import is_owned
from tests.core.builders import DAY, START, Story, event, item, purchase, shop_of

SHOP = Shop(
    owned_for=Ownership.model_validate(
        {
            "default": "180d",
            "categories": {"tents": "365d", "socks": "30d"},
            "replenishable": ["fuel"],
        }
    )
)


def told(*events, now=START):
    story = Story(shop_of(shop=SHOP), now=now)
    story.tell(*events)
    return story


def owns(story, sku, **fields):
    return is_owned(Product(sku, **fields), story.customer.orders, SHOP.owned_for, story.now)


def updated(event_id, at, source="/crm", **attributes):
    return event("profile.updated", event_id, at=at, source=source, attributes=attributes)


def test_the_newest_value_of_an_attribute_wins_in_any_order_of_arrival():
    updates = [
        updated("a", START - 2, tier="none", name="Ana"),
        updated("b", START - 1, tier="gold"),
        updated("c", START - 1, tier="silver", source="/app"),
    ]
    profiles = [told(*order).customer.attributes for order in itertools.permutations(updates)]

    assert all(profile == profiles[0] for profile in profiles)
    assert {name: a.value for name, a in profiles[0].items()} == {"tier": "gold", "name": "Ana"}


def test_a_bought_product_is_owned_for_as_long_as_its_category_says():
    items = [
        item("tent", category="tents"),
        item("sock", category="socks"),
        item("gas", category="fuel"),
        item("mug"),
    ]
    story = told(event("purchase", "p", order_id="1", items=items))
    assert [owns(story, sku) for sku in ("tent", "sock", "gas", "mug")] == [True, True, False, True]

    story.now += 30 * DAY
    assert [owns(story, sku) for sku in ("tent", "sock", "gas", "mug")] == [
        True,
        False,
        False,
        True,
    ]
    story.now += 150 * DAY
    assert [owns(story, sku) for sku in ("tent", "sock", "gas", "mug")] == [
        True,
        False,
        False,
        False,
    ]
    story.now += 185 * DAY
    assert not owns(story, "tent")


def test_a_variant_of_the_same_family_counts_as_owned():
    story = told(event("purchase", "p", order_id="1", items=[item("tent-red", family="tent")]))

    assert owns(story, "tent-blue", family="tent")
    assert not owns(story, "tent-blue")
    assert not owns(story, "tent-blue", family="tarp")


@pytest.mark.parametrize(
    ("later", "owned"),
    [
        (event("order.cancelled", "x", order_id="1"), []),
        (event("order.returned", "x", order_id="1"), []),
        (event("order.cancelled", "x", order_id="1", items=[item("tent")]), ["tent", "boots"]),
        (event("order.returned", "x", order_id="1", items=[item("tent", 2)]), ["boots"]),
        (event("order.returned", "x", order_id="1", items=[{"sku": "tent"}]), ["boots"]),
        (event("order.returned", "x", order_id="1", items=[item("mug")]), ["tent", "boots"]),
        (event("order.returned", "x", order_id="2"), ["tent", "boots"]),
    ],
)
def test_what_came_back_is_not_owned_whether_it_is_learned_before_or_after_the_purchase(
    later, owned
):
    bought = event("purchase", "p", order_id="1", items=[item("tent", 2), item("boots")])

    for story in (told(bought, later), told(later, bought)):
        assert [sku for sku in ("tent", "boots", "mug") if owns(story, sku)] == owned


def test_returns_of_one_line_add_up():
    bought = event("purchase", "p", order_id="1", items=[item("tent", 1), item("tent", 2)])
    returns = [
        event("order.returned", f"r{n}", order_id="1", items=[item("tent", n)]) for n in (1, 2)
    ]

    assert owns(told(bought, returns[0]), "tent")
    for order in itertools.permutations([bought, *returns]):
        assert not owns(told(*order), "tent")


def test_an_order_is_forgotten_when_it_can_make_nothing_owned_any_more():
    story = told(purchase("1", "tent", at=START))
    story.now += 365 * DAY + 1

    story.tell(purchase("2", "mug", at=story.now))

    assert [order.order_id for order in story.customer.orders] == ["2"]


def test_an_order_older_than_any_ownership_is_not_kept():
    story = told(
        event("purchase", "old", at=START - 366 * DAY, backfill=True, order_id="1", items=[])
    )

    assert story.customer.orders == ()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"order_id": None, "items": None},
        {"order_id": "1", "items": "tent"},
        {"order_id": "1", "items": {"sku": "tent"}},
        {"order_id": ["1"], "items": [None, 5, "x", {"sku": None}, {"sku": {}}, {"sku": ""}]},
        {
            "order_id": "1",
            "items": [{"sku": "tent", "quantity": q} for q in ("2", None, -1, 1e308)],
        },
    ],
)
@pytest.mark.parametrize("type_", ["purchase", "order.returned", "order.cancelled"])
def test_data_of_any_shape_is_survived(type_, data):
    assert told(event(type_, "x", **data)).decisions[-1].outcome == "applied"


@pytest.mark.parametrize("attributes", [None, "x", [], {"a": None}, {"a": {"b": [1, {}]}}])
def test_attributes_of_any_shape_are_survived(attributes):
    assert told(event("profile.updated", "x", attributes=attributes)).decisions[-1].entries == ()
