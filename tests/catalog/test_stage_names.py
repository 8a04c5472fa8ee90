"""Journeys may name the stages that the shop declares, and no step writes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.catalog import read

if TYPE_CHECKING:
    from pathlib import Path

STAGES = "stages:\n  - {name: visitor}\n  - {name: loyal, on: purchase}\n"


def _findings(folder: Path, written: str, instead: str, *, stages: str = STAGES) -> list[str]:
    with (folder / "shop.yaml").open("a") as file:
        file.write(stages)
    path = folder / "cart.yaml"
    text = path.read_text()
    assert text.count(written) == 1
    path.write_text(text.replace(written, instead))
    return [str(one).removeprefix(f"{folder}/") for one in read(folder).findings]


@pytest.mark.parametrize(
    "condition",
    [
        'profile.stage == "loyl"',
        '"loyl" != profile.stage',
        "profile.stage in ['loyl', 'visitor']",
        'has(profile.x) && (profile . stage == "loyl" || profile.stage == "visitor")',
    ],
)
def test_a_stage_that_there_is_not_is_found_with_the_nearest_word(folder, condition):
    assert _findings(folder, "when: has(profile.push_token)", f"when: {condition!r}") == [
        'cart.yaml:23: step "ways": branch[1].when: there is no stage "loyl"; did you mean "loyal"?'
    ]


def test_a_stage_that_there_is_is_not_found(folder):
    condition = """when: 'profile.stage == "loyal" && profile.stages == "loyl"'"""

    assert _findings(folder, "when: has(profile.push_token)", condition) == []


def test_without_stages_it_is_an_attribute_like_any_other(folder):
    condition = """when: 'profile.stage == "gold"'"""

    assert _findings(folder, "when: has(profile.push_token)", condition, stages="") == []


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("set: {stage: {to: loyal}}", "set.stage"),
        ("ask: {attribute: stage, channel: email, template: cart}", "ask.attribute"),
    ],
)
def test_no_step_writes_the_stage(folder, word, place):
    (found,) = _findings(folder, "audience: {add: cart_people}", word)

    assert found == (
        f'cart.yaml:37: step "list": {place}: follows from what shop.yaml says under stages; '
        "no step writes it"
    )
