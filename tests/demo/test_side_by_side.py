"""Both worlds are shown side by side, and a promise that was not held is said and named."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from orchestrator.demo.ana import SAYS, Screens
from orchestrator.demo.day import Outcome
from orchestrator.demo.judge.counters import Counters
from orchestrator.demo.judge.evidence import Kind
from orchestrator.demo.judge.sayings import SAYINGS, Saying, saying
from orchestrator.demo.judge.side_by_side import (
    broken_promises,
    html_day_in_silos,
    side_by_side,
)
from orchestrator.demo.judge.two_worlds import ROWS, Comparison
from orchestrator.demo.ledger import Ledger, Verdict, summarize
from orchestrator.timeline.explanation import explain

from .test_judge import a_delivery

JOURNEYS = Path(__file__).parents[2] / "journeys"
OURS = Counters(
    after_purchase=0,
    during_purchase=2,
    ads_seconds=3.0,
    greeted_as_new=0,
    contradicted=0,
    twice=0,
    without_consent=0,
    messages=40,
    most=3,
)
SILOS = Counters(
    after_purchase=7,
    during_purchase=2,
    ads_seconds=240.0,
    greeted_as_new=5,
    contradicted=6,
    twice=8,
    without_consent=9,
    messages=90,
    most=11,
)


def a_comparison(**ours):
    """Return a day of which Ana got one overlay before and one push after she bought."""
    anas = (
        a_delivery(3.0, customer="ana", channel="web", name="silos_exit_overlay"),
        a_delivery(14.0, customer="ana", channel="push", name="silos_cart_push"),
    )
    return Comparison(replace(OURS, **ours), SILOS, anas)


def drawn(comparison, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(side_by_side(comparison))
    return console.file.getvalue()


def test_every_counter_has_its_line_and_the_table_fits_a_small_terminal():
    lines = drawn(a_comparison()).splitlines()

    assert {row.counter for row in ROWS} == set(Counters.__dataclass_fields__)
    assert len(lines) == len(ROWS) + 2
    for row in ROWS:
        (line,) = [one for one in lines if row.text in one]
        assert line.split(row.text)[1].replace(" min", "").split() == [
            f"{row.value(world) / 60:.1f}" if "seconds" in row.counter else f"{row.value(world):g}"
            for world in (SILOS, OURS)
        ]


@pytest.mark.parametrize(
    "counter", ["after_purchase", "greeted_as_new", "contradicted", "without_consent"]
)
def test_what_is_promised_to_be_none_and_is_not_is_named(counter):
    broken = broken_promises(a_comparison(**{counter: 3}))

    (row,) = [row for row in ROWS if row.counter == counter]
    assert broken == [f"{row.text}: 3, promised: 0"]


@pytest.mark.parametrize(
    ("lost", "without_consent", "holds"), [(0, 0, True), (1, 0, False), (0, 1, False)]
)
def test_a_day_holds_when_nothing_is_lost_and_no_promise_is_broken(lost, without_consent, holds):
    verdict = Verdict(purchases=4, lost=lost, doubled=0, commands=20, unread=0)
    summary = summarize(Ledger("thank_you"), Ledger("thank_you"), seconds=1, kills=[])
    day = Outcome(
        summary=replace(summary, verdict=verdict),
        screens=Screens(),
        explanation=explain("ana", []),
        comparison=a_comparison(without_consent=without_consent),
        restarts={},
    )

    assert day.holds is holds


def test_what_nobody_promised_breaks_nothing():
    assert broken_promises(a_comparison(during_purchase=9, ads_seconds=60.0, most=30)) == []


def test_a_template_without_a_line_is_a_subject_of_its_own():
    assert saying("monday_letter") == Saying("monday_letter")


def named_by_the_shop():
    """Return every template and audience of the journeys."""
    texts = [path.read_text("utf-8") for path in JOURNEYS.glob("*.yaml")]
    found = {path.stem for path in JOURNEYS.glob("templates/*/*.yaml")}

    def collect(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("template", "add", "remove") and isinstance(value, str):
                    found.add(value)
                collect(value)
        elif isinstance(node, list):
            for one in node:
                collect(one)

    for text in texts:
        collect(yaml.safe_load(text))
    return found


def test_no_table_of_the_demo_names_a_template_that_the_shop_no_longer_has():
    silos = {name for name in SAYINGS if name.startswith("silos_")} | {"lookers"}

    assert (set(SAYINGS) | set(SAYS)) - silos <= named_by_the_shop()
    assert silos <= set(SAYS)


def test_a_removal_is_no_message():
    removed = a_delivery(20.0, customer="ana", channel="ads", kind=Kind.REMOVED, name="lookers")
    comparison = replace(a_comparison(), anas=(removed,))

    page = html_day_in_silos(comparison, purchase_at=10.0)
    assert "gone" in page
    assert "after her purchase" not in page
