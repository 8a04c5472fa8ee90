"""The index of journeys and the expressions in them."""

import pytest

from orchestrator.core.expressions.condition import Expression, Fields, calculable
from tests.core.builders import journey, send, shop_of, wait


def test_the_highest_version_of_a_name_is_the_one_that_is_entered():
    journeys = [journey("b", "seen", [wait("w", "1h")], version=v) for v in (2, 10, 1)]
    loaded = shop_of(*journeys, journey("a", "seen", [wait("w", "1h")]))

    assert [(one.name, one.version) for one in loaded.current] == [("a", 1), ("b", 10)]
    assert loaded.entered_by("seen") == loaded.current
    assert loaded.entered_by("other") == ()
    assert set(loaded.versions) == {("a", 1), ("b", 1), ("b", 2), ("b", 10)}


def test_the_content_hash_knows_every_word_and_not_the_order_of_files():
    one = journey("one", "seen", [send("x")], when="event.data.a == 1")
    changed = journey("one", "seen", [send("x")], when="event.data.a == 2")
    two = journey("two", "seen", [wait("w", "1h")])

    assert shop_of(one, two).content_hash == shop_of(two, one).content_hash
    assert shop_of(one, two).content_hash != shop_of(changed, two).content_hash
    assert len(shop_of().content_hash) == 64


def test_exit_types_are_those_of_every_loaded_version():
    old = journey("j", "seen", [wait("w", "1h")], exits=["purchase"])
    new = journey("j", "seen", [wait("w", "1h")], exits=["store.visited"], version=2)

    assert shop_of(old, new).exit_types == {"purchase", "store.visited"}


@pytest.mark.parametrize(
    ("source", "names", "whole"),
    [
        ("event.data.sku == 'a'", {"sku"}, False),
        ("has(event.data.sku) && event . data . price > 1.0", {"sku", "price"}, False),
        ("event.data['sku'] == 'a'", set(), True),
        ("size(event.data) > 1", set(), True),
        ("event.data.map(k, k) == []", set(), True),
        ("event.data.size() > event.data.sku", {"sku"}, True),
        ("event.type == 'purchase'", set(), False),
        ("event == trigger", set(), True),
        ("profile.event == 1", set(), True),
        ("now_ms > 5", set(), False),
    ],
)
def test_an_expression_knows_what_it_reads_of_an_event(source, names, whole):
    assert Expression(source).reads.event == Fields(frozenset(names), whole)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("event.data.sku ==", "not a CEL expression"),
        ("evnt.data.sku == 'a'", "unknown name 'evnt'"),
        ("event.data.items.exists(i, j.sku == 'a')", "unknown name 'j'"),
        ("event.data.a == '" + "x" * 2000 + "'", "longer than"),
    ],
)
def test_an_expression_that_cannot_be_one_says_so(source, words):
    with pytest.raises(ValueError, match=words):
        Expression(source)


def test_money_becomes_a_number_only_where_it_is_one():
    data = {
        "total": "1.50",
        "items": [{"price": "2", "tax": "n/a", "name": "3"}],
        "discount": "NaN",
    }

    assert calculable(data) == {
        "total": 1.5,
        "items": [{"price": 2.0, "tax": "n/a", "name": "3"}],
        "discount": "NaN",
    }


def test_nesting_without_end_is_cut():
    data: dict[str, object] = {}
    for _ in range(5_000):
        data = {"a": data}

    cut = calculable(data)
    depth = 0
    while cut is not None:
        cut, depth = cut["a"], depth + 1
    assert depth < 100
