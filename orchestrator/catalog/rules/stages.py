"""What can be wrong with the stages of a shop, and with journeys that name them.

`folder.py` asks for the findings of `shop.yaml`, `journeys.py` for those of each journey.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, instead, quoted
from orchestrator.catalog.rules.expressions import expression_faults
from orchestrator.catalog.rules.uses import STAGE_SEES, Use, uses
from orchestrator.core.journeys import STAGE
from orchestrator.core.language.journey import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.catalog.draft import Place
    from orchestrator.catalog.tree import Node
    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.language.shop import Shop

_TEXT: Final = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_READ: Final = r"(?<![\w.])profile\s*\.\s*stage\b"
# What a condition compares the stage with: one name on either side, or a list of them.
_COMPARED: Final = (
    re.compile(rf"{_READ}\s*[!=]=\s*({_TEXT})"),
    re.compile(rf"({_TEXT})\s*[!=]=\s*{_READ}"),
    re.compile(rf"{_READ}\s+in\s*(\[[^\]]*\])"),
)
_TEXTS: Final = re.compile(_TEXT)


def stage_findings(path: str, tree: Node, shop: Shop, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield what is wrong with the stages that a shop declares."""
    for message, place in _faults(tree, shop, vocabulary):
        name = shop.stages[int(place[1])].name
        yield Finding(path, tree.line_of(*place), f"stage {quoted(name)}: {message}")


def named_stage_findings(draft: Draft, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield stages that a journey names and the shop does not have, and attempts to write one."""
    if not vocabulary.stages:
        return  # Then `stage` is an attribute like any other.
    for use in uses(draft):
        for message in unknown_stages(use.expression, vocabulary.stages):
            yield draft.finding(where(draft.tree, use.place) + message, *use.place)
    for at, step in zip(draft.steps_at, draft.journey.steps, strict=True):
        place: Place | None = None
        if step.set is not None and STAGE in step.set:
            place = ("steps", at, "set", STAGE)
        elif step.ask is not None and step.ask.attribute == STAGE:
            place = ("steps", at, "ask", "attribute")
        if place is not None:
            message = "follows from what shop.yaml says under stages; no step writes it"
            yield draft.finding(where(draft.tree, place) + message, *place)


def unknown_stages(expression: Expression, names: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with the names that an expression compares the stage with."""
    for name in _stages_named(expression.source) if names else ():
        if name not in names:
            yield f"there is no stage {quoted(name)}{instead(name, names)}"


def _faults(tree: Node, shop: Shop, vocabulary: Vocabulary) -> Iterator[tuple[str, Place]]:
    first: dict[str, int] = {}
    for at, stage in enumerate(shop.stages):
        place: Place = ("stages", at)
        if first.setdefault(stage.name, at) != at:
            line = tree.line_of("stages", first[stage.name], "name")
            yield f"this name stands twice; first in line {line}", (*place, "name")
        if at == 0 and (stage.on or stage.requires):
            yield "is the first, in which everybody begins; it has neither on nor requires", place
        if at > 0 and not stage.on:
            yield "nobody can earn it; say on which event: `on: purchase`", place
        if STAGE in stage.requires:
            yield "requires: is an attribute, not the stage itself", (*place, "requires")
        yield from _way_faults(shop, at, vocabulary)


def _way_faults(shop: Shop, at: int, vocabulary: Vocabulary) -> Iterator[tuple[str, Place]]:
    named: set[str] = set()
    for index, way in enumerate(shop.stages[at].on):
        place: Place = ("stages", at, "on", index)
        if way.event not in vocabulary.types:
            hint = instead(way.event, vocabulary.types)
            if "did you mean" not in hint:
                hint = "; an event of your own is declared under events"
            yield f"on: there is no event {quoted(way.event)}{hint}", (*place, "event")
        elif way.event in named:
            yield f"on: {quoted(way.event)} stands twice; join the conditions by ||", place
        elif way.when is not None:
            place = (*place, "when")
            use = Use(way.when, place, STAGE_SEES, way.event, "condition")
            faults = [*expression_faults(use, Entry(on=way.event), vocabulary)]
            for message in (*faults, *unknown_stages(way.when, vocabulary.stages)):
                yield f"on.when: {message}", place
        named.add(way.event)


def _stages_named(source: str) -> dict[str, None]:
    """Return the names that an expression compares the stage with, each once."""
    compared = (text for pattern in _COMPARED for text in pattern.findall(source))
    return dict.fromkeys(name[1:-1] for text in compared for name in _TEXTS.findall(text))
