"""Comparisons are decided without CEL, and exactly as CEL would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.customer import Attribute, Cause, Enrollment, Product
from orchestrator.core.expressions.comparison import parse_terms
from orchestrator.core.expressions.condition import Expression, Failed, Fields, Reads, Scope
from tests.core.builders import START, event

EVERYTHING = Fields(whole=True)
READS = Reads(EVERYTHING, frozenset(), EVERYTHING, EVERYTHING, EVERYTHING)


def answers(
    source: str, data: dict[str, Any], profile: dict[str, Any], key: str | None = None
) -> list[bool | str]:
    """Return what comparing says, and what CEL alone says."""
    compared, by_cel = Expression(source), Expression(source)
    by_cel.terms = None
    attributes = {name: Attribute(value, 0, "", "") for name, value in profile.items()}
    enrollment = Enrollment(
        "j#1", "j", 1, key, START, START, Cause("", ""), products=(Product("gold"),), trigger=data
    )
    found: list[bool | str] = []
    for expression in (compared, by_cel):
        scope = Scope(attributes, START, event=event("seen", "e", **data), reads=READS)
        holds = scope.holds(expression, enrollment)
        found.append("failed" if isinstance(holds, Failed) else holds)
    return found


@pytest.mark.parametrize(
    "source",
    [
        'profile.tier == "gold"',
        "has(profile.email)&&!has(event.data.coupon)",
        "event.data.total > 50.0 && trigger . data . n != 3 && profile.vip == true",
        "event.data.a <= 'x'",
        "event.data.items.exists(i, i.sku in enrollment.skus)",
        "event.data.order_id == enrollment.key",
        "has(profile.email) || has( profile.phone )||has(event.data.coupon)",
        "size(event.data.items) > 1 && event.data.items.exists(item, item.price >= 5)",
    ],
)
def test_conjunctions_of_comparisons_with_literals_are_recognised(source):
    assert parse_terms(source) is not None


@pytest.mark.parametrize(
    "source",
    [
        "event.data.a == event.data.b",
        "event.data.a == 1 || event.data.b == 2",
        "has(event.data.a) || event.data.b == 2",
        "has(event.data.a) || !has(event.data.b)",
        "has(event.data.a) || has(event.data.b) && has(event.data.c)",
        "has(event.data.a) || has(event.data.a.b)",
        "event.data.a == 'it\\'s'",
        'event.data.a == """x"""',
        "event.data.a == 1u",
        "event.data.a == 1e3",
        "event.data.a == 1 &&",
        "event.data.a == 9007199254740993",
        "event.data.a > true",
        "has(event.data.a.b)",
        "event.data.a.b == 1",
        "event.data.a.exists(i, j.sku == 1)",
        "event.data.a.exists(i, i.sku in profile.skus)",
        "event.data.a.exists(i, i.sku == 1 && i.n == 2)",
        "event.data.a.all(i, i.sku == 1)",
        "size(event.data.a) > 1.5",
        "event.type == 'x'",
        "event.data.total == enrollment.key",
        "event.data.a.exists(i, i.price in enrollment.skus)",
        "event.data.size() == 1",
        "!(event.data.a == 1)",
        "event.data.a == 1 && size(event.data.b + []) > 1",
        "",
    ],
)
def test_everything_else_is_left_to_cel(source):
    assert parse_terms(source) is None


NAMES = st.sampled_from(["a", "b", "total", "price"])
PATHS = st.one_of(
    NAMES.map("event.data.{}".format),
    NAMES.map("trigger.data.{}".format),
    NAMES.map("profile.{}".format),
    NAMES.map("event.data.a.{}".format),
)
LITERALS = st.sampled_from(
    ["1", "0", "-1", "1.0", "2.5", "true", "false", '"gold"', "'1'", '""', '"é"']
)
OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
TERMS = st.one_of(
    st.builds("{} {} {}".format, PATHS, OPERATORS, LITERALS),
    st.builds("{}has({})".format, st.sampled_from(["", "!", "! "]), PATHS),
    st.builds("size({}) {} 1".format, PATHS, OPERATORS),
    st.builds("{} == enrollment.key".format, PATHS),
    st.builds("{}.exists(i, i.{} {} {})".format, PATHS, NAMES, OPERATORS, LITERALS),
    st.builds("{}.exists(one, one.{} in enrollment.skus)".format, PATHS, NAMES),
)
VALUES = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 1.0, 2.5, 2**53, 2**53 + 1, 2**62]),
    st.sampled_from(["gold", "1", "1.0", "2.50", "nan", "", "é", "z"]),
    st.sampled_from([[], {}, {"a": 1}, {"b": "gold", "price": "2.5"}]),
    st.lists(
        st.sampled_from([1, None, "gold", {"a": "gold"}, {"a": 1}, {"b": "x", "price": "2.5"}]),
        max_size=3,
    ),
)
DATA = st.dictionaries(NAMES, VALUES)


@settings(max_examples=500, deadline=None)
@given(
    terms=st.lists(TERMS, min_size=1, max_size=3),
    data=DATA,
    profile=DATA,
    key=st.sampled_from([None, "gold", "1"]),
)
def test_a_comparison_says_what_cel_says(terms, data, profile, key):
    compared, by_cel = answers(" && ".join(terms), data, profile, key)

    assert compared == by_cel


@settings(max_examples=200, deadline=None)
@given(paths=st.lists(PATHS, min_size=2, max_size=4), data=DATA, profile=DATA)
def test_whether_any_of_several_is_there_is_what_cel_says(paths, data, profile):
    source = " || ".join(f"has({path})" for path in paths)

    compared, by_cel = answers(source, data, profile)

    assert compared == by_cel
