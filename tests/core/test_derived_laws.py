"""Laws of derived attributes, over random histories of orders, returns and merges.

What a history amounts to is worked out a second time here, by a few lines that know nothing of the
code: from the set of what has happened, not from the order in which it was learned.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.core.customer import Customer
from orchestrator.core.derived.follow import derive_again
from orchestrator.core.derived.kept import Derived, Tally
from orchestrator.core.derived.tally import closed, merged, opened
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.rules.draft import Draft
from tests.core.builders import DAY, START, Story, event, item
from tests.core.test_derived import a_shop

ATTRIBUTES = {
    "orders": {"count": "events", "on": "purchase"},
    "pieces": {"count": "pieces", "on": "purchase"},
    "total_spent": {"sum": "total", "on": "purchase"},
    "largest_order": {"max": "total", "on": "purchase"},
    "average_order": {"average": "total", "on": "purchase"},
    "last_purchase": {"newest": "time", "on": "purchase"},
    "favourite": {"most_frequent": "items.category", "on": "purchase"},
    "bought": {"values": "items.sku", "on": "purchase"},
    "spent_lately": {"sum": "total", "on": "purchase", "within": "19d12h"},
    "large": {"count": "events", "on": "purchase", "when": "event.data.total > 10.0"},
    "visits": {"count": "events", "on": "store.visited", "within": "40d"},
    "tier": {"of": "total_spent", "tiers": [{"name": "base"}, {"name": "gold", "from": 40}]},
}
SHOP = a_shop(attributes=ATTRIBUTES)
SKUS = {"tent": ("outdoor", "20.00"), "mug": ("kitchen", "5.00"), "axe": ("outdoor", "7.30")}
MANY = settings(max_examples=150, deadline=None)


def line(sku, quantity):
    category, price = SKUS[sku]
    return item(sku, quantity, category=category, price=price)


LINES = st.dictionaries(st.sampled_from(sorted(SKUS)), st.integers(1, 3), min_size=1)
ORDERS = st.dictionaries(
    st.sampled_from("1234"), st.tuples(LINES, st.integers(0, 50)), min_size=1, max_size=4
)


@st.composite
def facts(draw):
    """Return orders by id, and what was taken back: by line, or as a whole."""
    orders = draw(ORDERS)
    taken = []
    for order, (lines, _) in orders.items():
        skus = draw(st.lists(st.sampled_from(sorted(lines)), unique=True))
        taken += [(order, sku, draw(st.integers(1, lines[sku]))) for sku in skus]
        if draw(st.integers(0, 4)) == 0:
            taken.append((order, None, 0))
    return orders, taken


def told(orders, taken):
    """Return the facts as events."""
    events = []
    for order, (lines, days) in orders.items():
        total = sum(Decimal(SKUS[sku][1]) * count for sku, count in lines.items())
        events.append(
            event(
                "purchase",
                f"o{order}",
                at=START - days * DAY,
                order_id=order,
                total=str(total),
                currency="EUR",
                items=[line(sku, count) for sku, count in lines.items()],
            )
        )
    for order, sku, count in taken:
        if sku is None:
            events.append(event("order.cancelled", f"c{order}", order_id=order))
        else:
            back = [item(sku, count)]
            events.append(event("order.returned", f"r{order}{sku}", order_id=order, items=back))
    return events


def kept(orders, taken):
    """Return the orders without what was taken back of them, by the rules as they are written."""
    left = {}
    for order, (lines, days) in orders.items():
        if (order, None, 0) in taken:
            continue
        rest = {
            sku: count - sum(n for of, its, n in taken if (of, its) == (order, sku))
            for sku, count in lines.items()
        }
        if any(rest.values()):
            left[order] = ({sku: count for sku, count in rest.items() if count}, days)
    return left


def amount(lines):
    return sum((Decimal(SKUS[sku][1]) * count for sku, count in lines.items()), Decimal(0))


def values(customer):
    return {name: one.value for name, one in customer.attributes.items()}


def story_of(events):
    story = Story(SHOP)
    for one in events:
        story.tell(one)
    return story


@MANY
@given(history=facts(), data=st.data())
def test_orders_and_returns_in_any_order_and_any_number_amount_to_what_was_kept(history, data):
    events = data.draw(st.permutations(told(*history)))
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=6))

    story = story_of([*events, *repeats])

    left = kept(*history)
    found = values(story.customer)
    assert found.get("orders", 0) == len(left)
    assert Decimal(found.get("total_spent", "0")) == sum(amount(its) for its, _ in left.values())
    assert found.get("pieces", 0) == sum(sum(its.values()) for its, _ in left.values())
    assert found.get("bought", []) == sorted({sku for its, _ in left.values() for sku in its})
    lately = sum(amount(its) for its, days in left.values() if days < 20)
    assert Decimal(found.get("spent_lately", "0")) == lately
    spent = Decimal(found.get("total_spent", "0"))
    assert found.get("tier", "base") == ("gold" if spent >= 40 else "base")


@MANY
@given(history=facts(), data=st.data())
def test_what_was_taken_back_whole_is_as_if_it_had_never_been(history, data):
    orders, taken = history
    gone = data.draw(st.sampled_from(sorted(orders)))
    without = {order: said for order, said in orders.items() if order != gone}
    events = data.draw(st.permutations(told(orders, [*taken, (gone, None, 0)])))

    story = story_of(events)

    never = [one for one in taken if one[0] != gone]
    assert values(story.customer) == values(story_of(told(without, never)).customer)


@MANY
@given(history=facts(), data=st.data())
def test_a_repeat_changes_nothing(history, data):
    events = told(*history)
    story = story_of(events)
    before = encode_customer(story.customer)

    story.tell(*data.draw(st.lists(st.sampled_from(events), min_size=1, max_size=8)))

    assert encode_customer(story.customer) == before


@MANY
@given(history=facts(), waits=st.lists(st.integers(0, 30), max_size=6), data=st.data())
def test_time_that_passes_between_events_makes_no_difference_within_the_promise(
    history, waits, data
):
    """At the end of a year everything is counted that was learned less than 180 days apart."""
    events = data.draw(st.permutations(told(*history)))
    at_once, slowly = story_of(events), Story(SHOP)
    for at, one in enumerate(events):
        slowly.tell(one)
        if at < len(waits):
            slowly.pass_time(waits[at] * DAY // 2)

    now = START + 400 * DAY
    at_once.pass_time(now - at_once.now)
    slowly.pass_time(now - slowly.now)

    assert values(at_once.customer) == values(slowly.customer)


VISITS = st.lists(st.integers(0, 60), max_size=5).map(
    lambda days: [
        event("store.visited", f"v{at}", at=START - one * DAY) for at, one in enumerate(days)
    ]
)
TALLIES = st.dictionaries(
    st.sampled_from(["ana", "anonymous-1", "anonymous-2"]),
    st.builds(Tally, st.integers(1, 4), st.binary(max_size=2)),
)
DERIVEDS = st.builds(Derived, st.none() | st.integers(0, 5), TALLIES)


@settings(max_examples=300)
@given(DERIVEDS, DERIVEDS)
def test_it_does_not_matter_which_of_two_ids_is_merged_into_which(one, other):
    assert merged(one, other) == merged(other, one)


@settings(max_examples=300)
@given(DERIVEDS, DERIVEDS, DERIVEDS)
def test_it_does_not_matter_in_which_order_three_ids_are_merged(one, other, third):
    assert merged(merged(one, other), third) == merged(one, merged(other, third))


@settings(max_examples=300)
@given(DERIVEDS, DERIVEDS)
def test_what_is_merged_twice_counts_once(one, other):
    assert merged(one, one) == merged(one, Derived())
    assert merged(merged(one, other), other) == merged(one, other)


def under(customer, events):
    """Return a customer to whom these events have happened."""
    story = Story(SHOP, customer)
    for one in events:
        story.tell(replace(one, subject=customer))
    return story.customer


def absorbing(survivor, *absorbed):
    """Return the survivor as it is once others were merged into it, as far as this is about."""
    derived = survivor.derived
    for one in absorbed:
        derived = merged(derived, one.derived)
    draft = Draft(SHOP, replace(survivor, derived=derived), START, None)
    derive_again(draft)
    return decode_customer(encode_customer(draft.seal().customer))


@MANY
@given(history=facts(), visits=VISITS, data=st.data())
def test_a_history_under_two_ids_amounts_to_what_it_does_under_one(history, visits, data):
    """An order under one id and its return under the other; some events came under both."""
    events = data.draw(st.permutations([*told(*history), *visits]))
    ids = data.draw(st.lists(st.sampled_from("abc"), min_size=len(events), max_size=len(events)))
    pairs = list(zip(events, ids, strict=True))
    both = (
        [one for one, its in pairs if its in "ca"],
        [one for one, its in pairs if its in "cb"],
    )
    known, cookie = under("ana", both[0]), under("web-1", both[1])

    assert values(absorbing(known, cookie)) == values(under("ana", events))


@MANY
@given(history=facts(), data=st.data())
def test_what_was_merged_goes_on_and_a_late_repeat_of_the_merge_counts_nothing_twice(history, data):
    events = data.draw(st.permutations(told(*history)))
    at = data.draw(st.integers(0, len(events)))
    cookie = under("web-1", events[:at])
    merged_once = absorbing(Customer("ana", now_ms=START), cookie)
    story = Story(SHOP, "ana")
    story.customer = merged_once
    for one in events[at:]:
        story.tell(replace(one, subject="ana"))

    again = absorbing(story.customer, cookie)

    usual = values(under("ana", events))
    assert values(story.customer) == usual
    assert values(again) == usual
    assert again.derived == story.customer.derived


@example(order=("ana", "web-1", "web-2"))
@given(order=st.permutations(["ana", "web-1", "web-2"]))
def test_a_chain_of_merges_counts_everything_once(order):
    parts = {
        name: under(
            name, [event("purchase", f"o{name}", order_id=name, total="10", currency="EUR")]
        )
        for name in order
    }

    last = parts[order[0]]
    for name in order[1:]:
        last = absorbing(parts[name], last)

    assert values(last)["total_spent"] == "30.00"
    repeated = absorbing(last, *(parts[name] for name in order[:-1]))
    assert values(repeated)["total_spent"] == "30.00"


def test_what_is_closed_without_a_change_is_the_same_object():
    customer = under("ana", told({"1": ({"mug": 1}, 0)}, []))

    held = customer.derived

    assert closed(held, "ana", opened(held), held.due_ms) is held
