"""What can be wrong with the derived attributes and segments of a shop, and with their names.

`folder.py` asks for the findings of `shop.yaml`, `journeys.py` for those of each journey.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, instead, quoted
from orchestrator.catalog.rules.expressions import expression_faults
from orchestrator.catalog.rules.stages import unknown_stages
from orchestrator.catalog.rules.uses import DERIVED_SEES, NAMED_SEGMENT_SEES, Use, uses
from orchestrator.catalog.vocabulary import ANYTHING
from orchestrator.core.derived.amounts import parse_amount
from orchestrator.core.derived.tally import ITEMS, TIME
from orchestrator.core.expressions.comparison import MONEY_FIELDS
from orchestrator.core.journeys import STAGE
from orchestrator.core.language.attributes import AMOUNTS
from orchestrator.core.language.journey import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.catalog.draft import Place
    from orchestrator.catalog.tree import Node
    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.language.attributes import DerivedAttribute
    from orchestrator.core.language.shop import Shop

_TEXT: Final = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_SEGMENT: Final = re.compile(rf"({_TEXT})\s*in\s+segments\b")
_TEXTS: Final = re.compile(_TEXT)
# What other parts of the core read by these names follows from nothing else.
_TAKEN: Final = frozenset({"locale", "zone", STAGE})


def derived_findings(
    path: str, tree: Node, shop: Shop, vocabulary: Vocabulary
) -> Iterator[Finding]:
    """Yield what is wrong with the derived attributes and the segments that a shop declares."""
    for name, says in shop.attributes.items():
        for message, word in _attribute_faults(name, says, shop, vocabulary):
            place = ("attributes", name) if word is None else ("attributes", name, word)
            yield Finding(path, tree.line_of(*place), f"attribute {quoted(name)}: {message}")
    for name, condition in shop.segments.items():
        line = tree.line_of("segments", name)
        use = Use(condition, ("segments", name), NAMED_SEGMENT_SEES, None, "condition")
        faults = expression_faults(use, Entry(on="purchase"), vocabulary)
        named = (
            *unknown_names(condition, vocabulary),
            *unknown_stages(condition, vocabulary.stages),
        )
        for message in (*faults, *named):
            yield Finding(path, line, f"segment {quoted(name)}: {message}")
        if "profile" not in condition.roots:
            message = "asks for nothing of the profile, so it is the same for everybody"
            yield Finding(path, line, f"segment {quoted(name)}: {message}")


def named_derived_findings(draft: Draft, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield segments and tiers that a journey names and that there are not, and what it writes."""
    for use in uses(draft):
        for message in unknown_names(use.expression, vocabulary):
            yield draft.finding(where(draft.tree, use.place) + message, *use.place)
    for at, step in zip(draft.steps_at, draft.journey.steps, strict=True):
        written: list[tuple[str, Place]] = [
            (name, ("steps", at, "set", name)) for name in step.set or {}
        ]
        if step.ask is not None:
            written.append((step.ask.attribute, ("steps", at, "ask", "attribute")))
        for name, place in written:
            if name in vocabulary.derived:
                message = "follows from what shop.yaml says under attributes; no step writes it"
                yield draft.finding(where(draft.tree, place) + message, *place)


def unknown_names(expression: Expression, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield what is wrong with the segments and the tiers that an expression names."""
    source = expression.source
    if "segments" in expression.roots:
        for name in dict.fromkeys(text[1:-1] for text in _SEGMENT.findall(source)):
            if name not in vocabulary.segments:
                none = "; shop.yaml declares none" if not vocabulary.segments else ""
                hint = none or instead(name, vocabulary.segments)
                yield f"there is no segment {quoted(name)}{hint}"
    for attribute, tiers in vocabulary.tiers.items():
        for name in _compared_with(attribute, source):
            if name not in tiers:
                yield f"{attribute} has no tier {quoted(name)}{instead(name, tiers)}"


def _compared_with(attribute: str, source: str) -> dict[str, None]:
    """Return the texts that an expression compares an attribute with, each once."""
    read = rf"(?<![\w.])profile\s*\.\s*{attribute}\b"
    patterns = (
        rf"{read}\s*[!=]=\s*({_TEXT})",
        rf"({_TEXT})\s*[!=]=\s*{read}",
        rf"{read}\s+in\s*(\[[^\]]*\])",
    )
    found = (text for pattern in patterns for text in re.findall(pattern, source))
    return dict.fromkeys(name[1:-1] for text in found for name in _TEXTS.findall(text))


Fault = tuple[str, str | None]


def _attribute_faults(
    name: str, says: DerivedAttribute, shop: Shop, vocabulary: Vocabulary
) -> Iterator[Fault]:
    if name in _TAKEN:
        yield "has a meaning of its own; call it otherwise", None
    if says.tiers is not None:
        yield from _tier_faults(name, says, shop)
        return
    assert says.on is not None, "the model asks for it"
    if says.on not in vocabulary.types:
        hint = instead(says.on, vocabulary.types)
        if "did you mean" not in hint:
            hint = "; an event of your own is declared under events"
        yield f"on: there is no event {quoted(says.on)}{hint}", "on"
        return
    if says.when is not None:
        use = Use(says.when, ("attributes", "when"), DERIVED_SEES, says.on, "condition")
        for message in expression_faults(use, Entry(on=says.on), vocabulary):
            yield f"when: {message}", "when"
    example = vocabulary.example(says.on)
    if says.count == "pieces" and example is not None and "items" not in example:
        yield f"count: {says.on} has no items", "count"
    if says.field and says.field != TIME and example is not None:
        yield from _field_faults(says, shop, example)
    elif says.field == TIME and says.make not in {"newest", "oldest"}:
        yield f"{says.make}: time is for newest and oldest", says.make


def _tier_faults(name: str, says: DerivedAttribute, shop: Shop) -> Iterator[Fault]:
    numbers = {
        other
        for other, one in shop.attributes.items()
        if other != name and one.make in {"count", *AMOUNTS}
    }
    if says.of not in numbers:
        hint = instead(str(says.of), numbers)
        yield f"of: there is no derived attribute {quoted(says.of)} that is a number{hint}", "of"


def _field_faults(
    says: DerivedAttribute, shop: Shop, example: Mapping[str, Any]
) -> Iterator[Fault]:
    word, field = says.make, says.field
    known = _fields(example)
    if field not in known:
        yield f"{word}: {says.on} has no field {quoted(field)}{instead(field, known)}", word
        return
    value = known[field]
    if word not in AMOUNTS:
        if isinstance(value, list | dict):
            kind = "a list" if isinstance(value, list) else "an object"
            yield f"{word}: {quoted(field)} is {kind}; name a field that is text or a number", word
        return
    if field.startswith(ITEMS):
        message = "is of single items; say a field of the whole event, or `count: pieces`"
        yield f"{word}: {quoted(field)} {message}", word
    elif value is not ANYTHING and parse_amount(value) is None:
        yield f"{word}: {quoted(field)} is no number", word
    elif field in MONEY_FIELDS and says.currency is None and shop.currency is None:
        yield f"{word}: {quoted(field)} is money; say its currency, like `currency: EUR`", word
    elif field in MONEY_FIELDS and "currency" not in example:
        yield f"{word}: {says.on} does not say in which currency {quoted(field)} is", word


def _fields(example: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(example)
    items = fields.pop("items", None)
    if isinstance(items, list):
        fields |= {f"{ITEMS}{name}": value for name, value in items[0].items()}
    return fields | {TIME: ""}
