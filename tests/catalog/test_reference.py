"""docs/journeys.md and the editors' schemas are what the models say; every word has its proof."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from orchestrator.catalog import load
from orchestrator.catalog.reference import ENTRY_WAYS, STEP_WORDS, reference
from orchestrator.catalog.schema import (
    channels_schema,
    inputs_schema,
    journey_schema,
    offers_schema,
    shop_schema,
    templates_schema,
)
from orchestrator.catalog.tree import read_tree
from orchestrator.simulator.scenario import SUFFIX, read_scenario
from orchestrator.simulator.story import play

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "journeys"
JOURNEYS = load(SHOP, "test")
JOURNEY_FILES = [
    path for path in sorted(SHOP.glob("*.yaml")) if path.stem not in ("shop", "channels", "offers")
]


def test_the_committed_reference_is_what_the_models_say():
    page = (ROOT / "docs" / "journeys.md").read_text("utf-8")

    assert page == reference(SHOP), "run `make schemas`"


@pytest.mark.parametrize("word", [*STEP_WORDS, *ENTRY_WAYS])
def test_every_word_of_the_reference_has_an_example_of_the_shop(word):
    page = reference(SHOP)
    part = page.partition(f"`{word}`\n")[2].partition("\n### ")[0]

    assert "```yaml" in part
    assert f"{word}:" in part


def test_every_word_is_lived_through_in_a_scenario():
    """A scenario of the shop's comes by a step with each word, and enters by each way."""
    words, ways = set(), set()
    for path in sorted((ROOT / "tests/scenarios").rglob(f"*{SUFFIX}")):
        scenario, findings = read_scenario(path)
        assert not findings
        entered = {
            fact.details["enter"]
            for turn in play(scenario, JOURNEYS).turns
            for fact in turn.facts
            if fact.word == "enter"
        }
        for journey in JOURNEYS.current:
            if journey.name in entered:
                ways.add(journey.entry.label if journey.entry.on is None else "on")
                words |= {
                    word
                    for step in journey.steps
                    for word in STEP_WORDS
                    if getattr(step, word) is not None
                }

    assert words == set(STEP_WORDS)
    assert ways == set(ENTRY_WAYS)


@pytest.mark.parametrize("path", JOURNEY_FILES, ids=lambda path: path.stem)
def test_editors_accept_the_shops_journeys(path):
    jsonschema.validate(written(path), journey_schema())


def written(path):
    """Read a file as the catalog does: its YAML knows no `on` that means true."""
    tree, findings = read_tree(str(path), path.read_bytes())
    assert not findings
    return tree.plain()


def test_editors_accept_what_stands_beside_them():
    jsonschema.validate(written(SHOP / "shop.yaml"), shop_schema())
    jsonschema.validate(written(SHOP / "channels.yaml"), channels_schema())
    jsonschema.validate(written(SHOP / "offers.yaml"), offers_schema())
    page = (ROOT / "docs" / "inputs.md").read_text("utf-8")
    tree, findings = read_tree("inputs.yaml", page.split("```yaml\n")[1].split("```")[0].encode())
    assert tree is not None
    assert not findings
    jsonschema.validate(tree.plain(), inputs_schema())
    for path in SHOP.glob("templates/*/*.yaml"):
        jsonschema.validate(written(path), templates_schema())


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("wait", {"fro": "1d"}),
        ("split", [{"weight": 1, "next": "a"}]),
        ("holdout", {"percent": 200}),
        ("send", {"channel": "email"}),
        ("set", {}),
        ("jump", "a"),
        ("ask", {"attribute": "a b", "channel": "email", "template": "x"}),
    ],
)
def test_editors_underline_what_is_wrong(word, value):
    journey = {
        "name": "j", "version": 1, "owner": "a", "kind": "service", "stage": "service",
        "entry": {"on": "purchase"}, "steps": [{"id": "s", word: value}],
    }  # fmt: skip

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(journey, journey_schema())
