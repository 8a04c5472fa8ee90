"""A wrong expectation says what was expected, what happened, and in what they differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import load
from orchestrator.core.language.scalars import duration_text
from orchestrator.simulator.expectation import WORDS, Due, Expectation, Happened, pair
from orchestrator.simulator.facts import Fact
from orchestrator.simulator.scenario import Item, Script, parse_moment
from orchestrator.simulator.world import World, event_from

if TYPE_CHECKING:
    from orchestrator.core.event import Event

CART = """\
scenario: A cart
story:
  - at: 0s
    event: cart.abandoned
    data: {cart_id: c1, items: [{sku: tent-2}, {sku: rope-1}]}
"""


def test_the_nearest_thing_that_happened_is_shown_with_each_difference(failures):
    told = failures(
        CART
        + """\
  - at: 2h
    expect:
      - send: email
        template: cart_still_there
        variables: {cart_id: c2, items: [{}, {sku: rope}]}
        expires_after: 12h
"""
    )

    assert told == [
        """\
8: it did not happen
  expected   2h  send email, template cart_still_there, variables {cart_id: c2, \
items: [{}, {sku: rope}]}, expires_after 12h
  nearest    1h  send email, template cart_reminder, step reminder_email, \
enrollment cart_abandonment/c1#1, class promotional, variables {first_name: outdoor friend, \
cart_id: c1, items: [{sku: tent-2}, {sku: rope-1}]}, locale en-GB, delivery at_most_once, \
expires_after 1d
    at: expected 2h, was 1h
    template: expected "cart_still_there", was "cart_reminder"
    variables.cart_id: expected "c2", was "c1"
    variables.items[2].sku: expected "rope", was "rope-1"
    expires_after: expected 12h, was 1d"""
    ]


def test_null_means_that_there_is_none(failures):
    story = (
        CART
        + """\
  - at: 30m
    event: purchase
    data: {order_id: o1, total: "1.00", currency: EUR, items: [{sku: tent-2}]}
    expect:
      - {leave: cart_abandonment, label: null, step: null}
"""
    )

    (told,) = failures(story)

    assert 'step: expected nothing, was "first_hour"' in told
    assert "label:" not in told


def test_what_has_no_likeness_is_told_with_what_happened_instead(failures):
    (told,) = failures(CART + "  - at: 1h\n    expect: [{send: push}]\n")

    assert "nearest    1h  send email" in told
    assert 'send: expected "push", was "email"' in told
    assert "also then  1h  add cart_abandoners" in told


def test_nothing_else_covers_the_time_since_the_item_before(failures):
    (told,) = failures(CART + "  - at: 3h\n    expect: [nothing else]\n")

    assert told.startswith("7: something else happened\n  expected   nothing else\n")
    assert "happened   1h  send email, template cart_reminder" in told
    assert "           1h  add cart_abandoners" in told


def test_one_event_answers_one_line_only(failures):
    (told,) = failures(CART + "  - at: 1h\n    expect: [{send: email}, {send: email}]\n")

    assert "it happened, but only as often as other lines expect it" in told


def test_what_a_wait_does_is_no_effect_of_an_event_of_the_same_instant(failures):
    told = failures(
        CART
        + """\
  - at: 1h
    event: store.visited
    expect: [{send: email}]
  - at: 1h
    expect: [{add: cart_abandoners}, nothing else]
"""
    )

    assert len(told) == 2
    assert 'cause: expected "this event", was "something else at this moment"' in told[0]
    assert told[1].startswith("10: something else happened")


def test_a_loose_line_does_not_take_the_only_fact_of_a_strict_one(failures):
    sale = """\
scenario: The sale opens
story:
  - at: 0s
    event: campaign.started
    data: {campaign: winter_sale}
    expect:
      - wait: first_week
      - send: web
      - {send: web, journey: winter_sale}
"""
    (told,) = failures(sale)

    assert told.startswith("9: ")


def test_an_event_that_becomes_a_dead_letter_fails_unless_that_is_expected(failures):
    story = "scenario: x\nstory:\n  - at: 0s\n    event: purchase\n    data: {order_id: '1'}\n"

    (told,) = failures(story)
    assert told == (
        "4: the event is a dead letter: schema, data.items: is missing; "
        "expect `dead_letter` if it should be"
    )
    assert failures(story + "    expect: [{dead_letter: schema}]\n") == []


def test_a_report_on_a_step_that_sent_nothing_names_the_steps_that_did(failures):
    (told,) = failures(CART + "  - {at: 2h, event: message.opened, report_on: reminder_mail}\n")

    assert told == (
        "6: report_on: reminder_mail has sent nothing yet; steps that have: "
        "reminder_email, show_ads"
    )


def test_text_and_number_are_not_the_same(failures):
    (told,) = failures(
        CART.replace("c1", '"17"')
        + "  - at: 1h\n    expect: [{send: email, variables: {cart_id: 17}}]\n"
    )

    assert 'variables.cart_id: expected 17, was "17"' in told


@given(st.integers(min_value=0, max_value=3 * 10**8))
def test_durations_are_written_as_they_are_read(seconds):
    assert parse_moment(duration_text(seconds * 1000)) == (seconds * 1000, True)


@given(st.lists(st.integers(0, 3), max_size=7), st.lists(st.integers(0, 3), max_size=7))
def test_as_many_expectations_as_possible_find_their_fact(steps_expected, steps_happened):
    """0 stands for a line that takes any step."""
    expected = [
        Due(0, "ana", Expectation(wait=str(step) if step else "1"), None, 1)
        if step
        else Due(0, "ana", Expectation(refuse_entry="x"), None, 1)
        for step in steps_expected
    ]
    happened = [
        Happened(Fact("wait", 0, "ana", {"wait": str(step)}), 0, by_event=False)
        for step in steps_happened
    ]

    answered = pair(expected, happened)

    possible = sum(
        min(steps_expected.count(step), steps_happened.count(step)) for step in (1, 2, 3)
    )
    assert len(answered) == len(set(answered.values())) == possible


def test_the_simulator_and_the_worker_fire_waits_in_the_same_order():
    """By due time, then by customer; each at its own due time."""
    world = World(load(Path(__file__).parents[2] / "journeys", "test"))
    start_ms = 1_800_000_000_000
    for number, customer in enumerate(("eva", "ana", "ben")):
        world.tell(subscribed(customer, start_ms + number), start_ms + number // 2)

    fired = [(one.customer.id, one.now_ms - start_ms) for one in world.waits_until(start_ms * 2)]

    three_days, ten_days = 259_200_000, 864_000_000
    assert fired == [
        ("ana", three_days),
        ("eva", three_days),
        ("ben", three_days + 1),
        ("ana", ten_days),
        ("eva", ten_days),
        ("ben", ten_days + 1),
    ]


def subscribed(customer: str, time_ms: int) -> Event:
    document = {"specversion": "1.0", "id": customer, "source": "/shop", "subject": customer}
    return event_from(document | {"type": "newsletter.subscribed"}, now_ms=time_ms)


def test_the_example_of_the_page_holds(failures):
    page = (Path(__file__).parents[2] / "docs/scenarios.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]

    assert failures(example) == []
    (told,) = failures(
        example.replace("template: cart_reminder", "template: cart_still_there").replace(
            "- nothing else\n\n  - at: 5h", "\n  - at: 5h"
        )
    )
    assert 'template: expected "cart_still_there", was "cart_reminder"' in told


def test_the_page_names_every_word():
    page = (Path(__file__).parents[2] / "docs/scenarios.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)[:`]", page))
    fields = {*Script.model_fields, *Item.model_fields}

    assert set(WORDS) <= named
    assert {detail for details in WORDS.values() for detail in details} <= named
    assert fields <= named
