"""Every rule of guard, offers and exits has its scenario, and every scenario its rule."""

from __future__ import annotations

import ast

import pytest
from pydantic import ValidationError

from orchestrator.simulator.scenario import SUFFIX, read_scenario
from tests.scenarios.table import PAGE, ROOT, SCENARIOS, Rule, page_with_table, sections

RULES = [rule for section in sections() for rule in section.rules]
FOLDERS = ("exits", "guard", "offers")
# What the project was begun for.
BY_NAME = ("guard/television", "offers/new_laptop", "offers/free_shipping_here_15_there")


def functions(path: str) -> set[str]:
    """Return the tests of a file, those of a class with its name before theirs."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        found |= {f"{prefix}{one.name}" for one in members if isinstance(one, kinds)}
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
def test_what_shows_a_rule_is_there(rule):
    for scenario in rule.scenarios:
        assert (SCENARIOS / f"{scenario}{SUFFIX}").is_file(), f"there is no scenario {scenario}"
    for one in rule.tests:
        path, _, name = one.partition("::")
        assert name in functions(path), f"{path} has no test {name}"


def test_each_rule_is_told_once():
    told = [rule.rule for rule in RULES]

    assert sorted(set(told)) == sorted(told)


def test_every_scenario_of_these_rooms_shows_a_rule():
    written = {
        f"{folder}/{path.name.removesuffix(SUFFIX)}"
        for folder in FOLDERS
        for path in (SCENARIOS / folder).glob(f"*{SUFFIX}")
    }

    unclaimed = written - {one for rule in RULES for one in rule.scenarios}

    assert not unclaimed, "name them in sentences.yaml"


@pytest.mark.parametrize("scenario", BY_NAME)
def test_what_the_project_was_begun_for_is_shown_with_the_trap_of_others(scenario):
    shown = [rule for rule in RULES if scenario in rule.scenarios]

    assert any(rule.trap is not None for rule in shown)


def test_every_trap_is_a_case_that_says_so():
    """The first scenario that shows a rule with a trap forbids what others do: nothing else."""
    for rule in RULES:
        if rule.trap is None:
            continue
        scenario, _ = read_scenario(SCENARIOS / f"{rule.scenarios[0]}{SUFFIX}")
        assert scenario is not None
        expected = [one for item in scenario.script.story for one in item.expect]
        forbids = any(
            one.nothing_else or one.refuse_send or one.refuse_entry or one.refuse_offer
            for one in expected
        )
        assert forbids, f"{rule.scenarios[0]} forbids nothing"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"shown_by": ["tests/core/test_exits.py::test_x"]},
        {"shown_by": ["guard/night"], "only_tests": "because"},
        {"shown_by": ["guard/night"], "waits_for": "better times"},
    ],
)
def test_a_rule_that_nothing_shows_is_refused(fields):
    with pytest.raises(ValidationError):
        Rule.model_validate({"rule": "A rule.", **fields})


def test_the_page_shows_the_rules():
    page = PAGE.read_text(encoding="utf-8")

    assert page == page_with_table(page), "run `make schemas`"
