"""Templates, and what only shows when all journeys are looked at together."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.catalog import read
from orchestrator.catalog.rules.pressure import pressures
from tests.core.builders import journey, send, wait

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "email/cart.yaml": "es: {subject: 'Hola {{ name }}', text: Cesta}\n",
    "email/sorry.yaml": "es: {text: Perdona}\n",
    "push/cart.yaml": "es: {title: Cesta, text: Tu cesta}\n",
}


@pytest.fixture
def shop(folder: Path) -> Path:
    """The small shop of these tests, with templates."""
    for name, text in GOOD.items():
        path = folder / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def findings(folder: Path) -> list[str]:
    return [str(one).removeprefix(f"{folder}/") for one in read(folder).findings]


def test_a_shop_whose_templates_are_right_has_no_finding(shop: Path) -> None:
    assert findings(shop) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("email/cart.yaml", "es: {text: 'Hola {{ nam }}'}\n",
         ('cart.yaml:32: step "reminder_email": send.template: "cart" shows "nam", which the step '
         'does not give; did you mean "name"?')),
        ("email/cart.yaml", "en: {text: Hello}\n",
         "templates/email/cart.yaml:1: says nothing in es, the language of the shop"),
        ("email/cart.yaml", "es: {text: Hola, subject: X}\nen: {text: Hello}\n",
         "templates/email/cart.yaml:2: en: has no subject, and other languages have one"),
        ("email/cart.yaml", "es:\n  text: 'Hola {% if %}'\n",
         "templates/email/cart.yaml:2: es.text: not Liquid: missing expression (line 1 of it)"),
        ("email/cart.yaml", "es:\n  text: 'Hola {{ name | shout }}'\n",
         "templates/email/cart.yaml:2: es.text: not Liquid: there is no filter 'shout' here"),
        ("email/cart.yaml", "es: {text: '{{ snippets.sign }}'}\n",
         "templates/email/cart.yaml:1: es.text: there is no snippets.sign"),
        ("email/cart.yaml", "es: {}\n",
         "templates/email/cart.yaml:1: es: should be parts, like `text: Hello`"),
        ("email/cart.yaml", "es: {text: 5}\n",
         "templates/email/cart.yaml:1: es.text: should be text"),
        ("email/cart.yaml", "spanish!: {text: Hola}\nes: {text: Hola}\n",
         'templates/email/cart.yaml:1: "spanish!" is no language; write one like es or es-ES'),
        ("emial/other.yaml", "es: {text: Hola}\n",
         ("templates/emial/other.yaml:1: stands in no folder of a channel; did you mean "
         '"email"?; write templates/<channel>/<name>')),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_template_is_told(
    shop: Path, name: str, text: str, found: str
) -> None:
    path = shop / "templates" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    assert findings(shop)[-1] == found


def test_a_message_without_a_template_gets_the_nearest_one(shop: Path) -> None:
    (shop / "templates/email/cart.yaml").rename(shop / "templates/email/carts.yaml")

    assert findings(shop) == [
        (
            'cart.yaml:32: step "reminder_email": send.template: there is no template "cart" for '
            'email; did you mean "carts"?'
        )
    ]


def test_a_forbidden_word_is_found_in_its_language_only(shop: Path) -> None:
    file = shop / "shop.yaml"
    file.write_text(file.read_text() + "forbidden_words: {es: [cesta], all: [gratis]}\n")

    assert findings(shop) == [
        'templates/email/cart.yaml:1: es.text: says "cesta", which is forbidden here',
        'templates/push/cart.yaml:1: es.text: says "cesta", which is forbidden here',
        'templates/push/cart.yaml:1: es.title: says "cesta", which is forbidden here',
    ]


RING = """\
name: {name}
version: 1
owner: crm
kind: service
stage: service
entry: {{on: {on}}}
steps:
  - id: tell
    emit: {{event: {tells}}}
"""


def test_journeys_that_tell_each_other_for_ever_are_found(folder: Path) -> None:
    for name, on, tells in (
        ("a", "quiz.done", "survey.filled"),
        ("b", "survey.filled", "quiz.done"),
    ):
        (folder / f"{name}.yaml").write_text(RING.format(name=name, on=on, tells=tells))

    found = findings(folder)

    assert found[0].startswith(
        'a.yaml:9: step "tell": emit.event: "survey.filled" enters b and then a, which goes round'
    )
    assert len(found) == 2


def test_a_ring_that_lets_nobody_in_twice_is_none(folder: Path) -> None:
    once = RING.replace("{{on: {on}}}", "{{on: {on}, reentry: once}}")
    (folder / "a.yaml").write_text(once.format(name="a", on="quiz.done", tells="quiz.done"))

    assert findings(folder) == []


def test_more_messages_a_week_than_the_shop_allows_itself_are_a_finding(folder: Path) -> None:
    file = folder / "shop.yaml"
    (folder / "more.yaml").write_text(
        (folder / "cart.yaml").read_text().replace("name: cart", "name: more", 1)
    )
    file.write_text(file.read_text() + "messages_per_week_max: 1\n")

    (found,) = findings(folder)

    assert found.startswith("shop.yaml:7: messages_per_week_max: one customer may get 2 ")

    # Caps that let no more through answer for it; those of one channel do not.
    said = file.read_text()
    file.write_text(said + "caps: [{max: 1, per: 7d, channel: email}, {max: 1, per: 3d}]\n")
    assert len(findings(folder)) == 1
    file.write_text(said + "caps: [{max: 1, per: 7d}]\n")
    assert findings(folder) == []


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        ([send("a"), wait("w", "1d"), send("b"), wait("v", "8d"), send("c")], 2),
        ([send("a"), wait("w", "2d"), {"id": "g", "go_to": "a"}], 4),
        ([send("a"), {"id": "s", "split": [{"weight": 1, "next": "b"}, {"weight": 1, "next": "c"}]},
          send("b"), send("c")], 3),
        ([send("a", **{"class": "service"})], 0),
    ],
)  # fmt: skip
def test_the_worst_week_is_counted_wherever_it_begins(steps, most) -> None:
    found = pressures([journey("j", "seen", steps)])

    assert sum(one.messages for one in found) == most


def test_counting_a_ring_of_short_waits_costs_next_to_nothing() -> None:
    """A wait that an event may cut short goes round thousands of times a week."""
    short = {"for": "1d", "until": [{"event": "message.replied", "next": "again"}]}
    steps = [send("a"), {"id": "w", "wait": short}, {"id": "again", "go_to": "a"}]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()

    (found,) = pressures([journey("j", "seen", steps)])

    assert found.messages == 1_000
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
