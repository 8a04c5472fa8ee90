"""`orchestrator explain`: the page for people, the hint for a mistyped id."""

import io

from rich.console import Console

from orchestrator.cli.explain import render, similar_ids
from orchestrator.timeline.explanation import explain
from tests.timeline.test_explanation import a_purchase_that_overtakes_an_email


def printed(explanation, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(explanation))
    return console.file.getvalue()


def test_the_page_says_what_was_not_sent_and_why():
    text = printed(explain("ana", a_purchase_that_overtakes_an_email()), width=300)

    assert "1 sent, 1 recalled, 0 refused" in text
    after = text.split("Not sent, and why")[1]
    assert "e-mail “reminder_email” of cart_abandonment: purchase ord-1001 ended" in after


def test_moments_are_in_order_with_their_time_and_cause():
    text = printed(explain("ana", a_purchase_that_overtakes_an_email()))

    order = [text.index(cause) for cause in ("cart.abandoned", "a wait came due", "purchase ord")]
    assert order == sorted(order)
    assert "12:00:00.000  cart.abandoned cart-1" in text
    assert "13:00:02.400  purchase ord-1001" in text


def test_long_lines_stay_inside_a_narrow_terminal():
    text = printed(explain("ana", a_purchase_that_overtakes_an_email()), width=60)

    assert max(len(line) for line in text.splitlines()) <= 60


def test_a_mistyped_id_gets_the_nearest_known_ones():
    known = ["ana", "anna-1", "ben", "c-0001"]

    assert similar_ids("Ana ", known)[0] == "ana"
    assert similar_ids("c-001", known) == ["c-0001"]
    assert similar_ids("zzz", known) == []
