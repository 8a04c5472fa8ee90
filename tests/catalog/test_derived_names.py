"""What `check` finds in derived attributes and segments, and in journeys that name them."""
# ruff: noqa: E501 - A finding stands on one line.

from __future__ import annotations

import pytest

from orchestrator.catalog import read

GOOD = """\
currency: EUR
attributes:
  orders: {count: events, on: purchase}
  total_spent: {sum: total, on: purchase, within: 365d}
  tier: {of: total_spent, tiers: [{name: base}, {name: gold, from: 500}]}
segments:
  big_spenders: profile.total_spent >= 500.0
"""
# The line of shop.yaml on which the first attribute stands.
FIRST = 9


def _findings(folder, shop=GOOD, written="", instead=""):
    with (folder / "shop.yaml").open("a") as file:
        file.write(shop)
    path = folder / "cart.yaml"
    text = path.read_text()
    assert not written or text.count(written) == 1
    path.write_text(text.replace(written, instead) if written else text)
    return [str(one).removeprefix(f"{folder}/") for one in read(folder).findings]


def test_what_is_right_has_no_finding(folder):
    wait = """wait: {for: 1h, until: [{when: '!("big_spenders" in segments)', next: list}]}"""

    assert _findings(folder, written="wait: 1h", instead=wait) == []


@pytest.mark.parametrize(
    ("says", "found"),
    [
        (
            "{count: events, on: purchas}",
            'on: there is no event "purchas"; did you mean "purchase"?',
        ),
        (
            "{count: events, on: tea}",
            'on: there is no event "tea"; an event of your own is declared under events',
        ),
        ("{sum: totl, on: purchase}", 'sum: purchase has no field "totl"; did you mean "total"?'),
        ("{sum: order_id, on: purchase}", None),
        ("{sum: currency, on: purchase}", 'sum: "currency" is no number'),
        (
            "{sum: items.price, on: purchase}",
            'sum: "items.price" is of single items; say a field of the whole event, or `count: pieces`',
        ),
        (
            "{most_frequent: items.categry, on: purchase}",
            'most_frequent: purchase has no field "items.categry"; did you mean "items.category"?',
        ),
        (
            "{values: items, on: purchase}",
            'values: purchase has no field "items"; did you mean "items.sku"?',
        ),
        (
            "{values: offers, on: purchase}",
            'values: "offers" is a list; name a field that is text or a number',
        ),
        ("{values: time, on: purchase}", "values: time is for newest and oldest"),
        ("{count: pieces, on: payment.failed}", "count: payment.failed has no items"),
        (
            "{sum: price, on: product.viewed}",
            'sum: product.viewed does not say in which currency "price" is',
        ),
        (
            "{count: events, on: purchase, when: \"event.data.total > 'a'\"}",
            "when: compares or calculates with unlike things, like text with a number (No such overload)",
        ),
        (
            "{count: events, on: purchase, when: profile.vip == true}",
            'when: "profile" is not known here; a derived attribute sees event',
        ),
        (
            '{count: events, on: purchase, when: "event.data.totl > 1.0"}',
            'when: purchase has no field "totl"; did you mean "total"?',
        ),
        (
            "{of: ordrs, tiers: [{name: a}]}",
            'of: there is no derived attribute "ordrs" that is a number; did you mean "orders"?',
        ),
    ],
)
def test_an_attribute_that_cannot_work_is_found_with_the_nearest_word(folder, says, found):
    shop = f"currency: EUR\nattributes:\n  it: {says}\n  orders: {{count: events, on: purchase}}\n"

    findings = _findings(folder, shop)

    told = [one.partition('attribute "it": ')[2] for one in findings]
    assert told == ([] if found is None else [found]), findings
    assert all(one.startswith(f"shop.yaml:{FIRST}:") for one in findings)


@pytest.mark.parametrize(
    ("says", "found"),
    [
        (
            "{on: purchase}",
            "say one of count, sum, average, max, min, newest, oldest, most_frequent, values, tiers",
        ),
        (
            "{count: events, sum: total, on: purchase}",
            "say one of count, sum, average, max, min, newest, oldest, most_frequent, values, tiers, not several",
        ),
        ("{count: events}", "count: say on which event, like `on: purchase`"),
        ("{count: all, on: purchase}", 'count: "all" is not allowed; allowed: events, pieces'),
        ("{cont: events, on: purchase}", 'cont: no such word here; did you mean "count"?'),
        (
            "{sum: the total, on: purchase}",
            "sum: 'the total' is no field of an event's data; write one like total, or items.category",
        ),
        ("{tiers: [{name: a}]}", "tiers: say of which derived attribute, like `of: total_spent`"),
        (
            "{of: orders, within: 1d, tiers: [{name: a}]}",
            "within: belongs to the attribute that `of` names",
        ),
        (
            "{of: orders, tiers: [{name: a, from: 5}, {name: b, from: 5}]}",
            "tiers: write them from the lowest to the highest",
        ),
        (
            "{of: orders, tiers: [{name: a}, {name: b}]}",
            "tiers: only the first may be without from",
        ),
        ("{of: orders, tiers: [{name: a}, {name: a, from: 1}]}", "tiers: a name stands twice"),
        (
            "{of: orders, tiers: [{name: a, from: much}]}",
            "tiers[1].from: 'much' is no amount; write one like 500 or \"499.90\"",
        ),
        ("{count: events, on: purchase, within: 10s}", "within: is at least 1m"),
        (
            "{count: events, on: purchase, currency: EUR}",
            "currency: goes with sum, average, max, min",
        ),
    ],
)
def test_a_declaration_that_says_too_little_or_too_much_is_refused(folder, says, found):
    findings = _findings(folder, f"currency: EUR\nattributes:\n  it: {says}\n")

    (told,) = findings
    assert told.startswith(f"shop.yaml:{FIRST}: attributes.it")
    assert told.endswith(found)


def test_money_without_a_currency_is_found(folder):
    shop = "attributes:\n  spent: {sum: total, on: purchase}\n"

    assert _findings(folder, shop) == [
        'shop.yaml:8: attribute "spent": sum: "total" is money; say its currency, like `currency: EUR`'
    ]


@pytest.mark.parametrize(
    ("segment", "found"),
    [
        ("profile.total_spent > 'x'", "compares or calculates with unlike things"),
        ("event.data.total > 1.0", '"event" is not known here; a segment sees profile'),
        ("'\"other\" in segments'", '"segments" is not known here; a segment sees profile'),
        ("profile.tier == 'goold'", 'tier has no tier "goold"; did you mean "gold"?'),
        ("profile.orders", "gives a number; a condition gives true or false"),
        ("1 == 1", "asks for nothing of the profile, so it is the same for everybody"),
    ],
)
def test_a_segment_that_cannot_work_is_found(folder, segment, found):
    findings = _findings(folder, f"{GOOD}  it: {segment}\n")

    assert any(
        one.startswith('shop.yaml:14: segment "it": ') and found in one for one in findings
    ), findings


@pytest.mark.parametrize(
    ("written", "instead", "found"),
    [
        (
            "when: has(profile.push_token)",
            "when: '\"big_spendrs\" in segments'",
            (
                'cart.yaml:23: step "ways": branch[1].when: there is no segment "big_spendrs"; '
                'did you mean "big_spenders"?'
            ),
        ),
        (
            "when: has(profile.push_token)",
            "when: profile.tier in ['base', 'goold']",
            'cart.yaml:23: step "ways": branch[1].when: tier has no tier "goold"; did you mean "gold"?',
        ),
        (
            "when: has(profile.push_token)",
            "when: profile.total_spent == 'much'",
            None,
        ),
        (
            "when: has(profile.push_token)",
            "when: profile.orders > 'many'",
            (
                'cart.yaml:23: step "ways": branch[1].when: compares or calculates with unlike things, '
                "like text with a number (No such overload)"
            ),
        ),
        (
            "audience: {add: cart_people}",
            "set: {tier: {to: gold}}",
            (
                'cart.yaml:37: step "list": set.tier: follows from what shop.yaml says under attributes; '
                "no step writes it"
            ),
        ),
        (
            "audience: {add: cart_people}",
            "ask: {attribute: orders, channel: email, template: cart}",
            (
                'cart.yaml:37: step "list": ask.attribute: follows from what shop.yaml says under '
                "attributes; no step writes it"
            ),
        ),
    ],
)
def test_a_journey_names_what_there_is(folder, written, instead, found):
    assert _findings(folder, written=written, instead=instead) == ([] if found is None else [found])


def test_a_journey_is_entered_by_a_segment_that_there_is(folder):
    (folder / "club.yaml").write_text(
        "name: club\nversion: 1\nowner: crm@shop.example\nkind: service\nstage: advocacy\n"
        "entry: {segment: big_spendrs}\nsteps:\n  - {id: done, end: done}\n"
    )

    assert _findings(folder) == [
        'club.yaml:6: entry.segment: there is no segment "big_spendrs"; did you mean "big_spenders"?'
    ]


def test_a_shop_without_segments_says_so(folder):
    when = "when: '\"vip\" in segments'"

    assert _findings(folder, "", "when: has(profile.push_token)", when) == [
        (
            'cart.yaml:23: step "ways": branch[1].when: there is no segment "vip"; '
            "shop.yaml declares none"
        )
    ]
