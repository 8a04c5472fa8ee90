"""Journeys that are found by a value are those that asking all of them would have found."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.entrances import Entrances
from tests.core.builders import START, event, journey, shop_of, wait

CONDITIONS = (
    None,
    'event.data.campaign == "a"',
    'event.data.campaign == "b"',
    'event.data.campaign == "b" && profile.n > 3',
    'has(event.data.campaign) && event.data.campaign == "a" && event.data.n > 1',
    '"a" == event.data.campaign',
    'event.data.campaign != "a"',
    'event.data.n > 1 && event.data.campaign == "a"',
    'event.data.price == "5"',
    'event.data.city == "a" && event.data.campaign == "a"',
    'event.data.campaign == "a" || event.data.n == 1',
)
VALUES = st.sampled_from(["a", "b", "", "5", 5, 5.0, None, True, ["a"], {"a": 1}])
DATA = st.dictionaries(st.sampled_from(["campaign", "n", "price", "city"]), VALUES)


@settings(max_examples=300, deadline=None)
@given(whens=st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=14), data=DATA)
def test_looking_up_and_asking_everybody_come_to_the_same(whens, data):
    """Also in what is logged of conditions that cannot be evaluated, and in the order."""
    steps = [wait("w", "1h")]
    shop = shop_of(*(journey(f"j{n:02}", "seen", steps, when=w) for n, w in enumerate(whens)))
    seen = event("seen", "e", **data)

    entrances = shop.entering["seen"]
    shop.entering["seen"] = Entrances(entrances.plans, indexed_min=1)
    looked_up = decide(shop, Customer("ana"), seen, START)
    shop.entering["seen"] = Entrances(entrances.plans, indexed_min=99)
    asked = decide(shop, Customer("ana"), seen, START)

    assert looked_up.entries == asked.entries


def test_of_a_thousand_journeys_only_those_of_the_value_are_asked():
    """The others cost nothing: a campaign team adds journeys for years."""
    conditions = [f'event.data.campaign == "c{n}"' for n in range(1_000)]
    steps = [wait("w", "1h")]
    shop = shop_of(*(journey(f"j{n}", "seen", steps, when=w) for n, w in enumerate(conditions)))

    asked = shop.entering["seen"].asked({"campaign": "c7"})

    assert [plan.name for plan in asked] == ["j7"]
    assert shop.entering["seen"].asked({}) == ()
    assert len(shop.entering["seen"].asked({"campaign": 7})) == 1_000
