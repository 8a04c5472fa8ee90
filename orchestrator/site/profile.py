"""Derived attributes and segments for the page: what each is made of, and who asks for it.

`build` puts them behind the offers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.language.scalars import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.attributes import DerivedAttribute

_SENTENCES: Final = {
    "sum": "the sum of",
    "average": "the mean of",
    "max": "the largest",
    "min": "the smallest",
    "newest": "the newest",
    "oldest": "the oldest",
    "most_frequent": "the commonest",
    "values": "all values of",
}


def attributes_of(journeys: Journeys) -> list[dict[str, Any]]:
    """Return every derived attribute as the page shows it."""
    return [
        {
            "name": name,
            "is": derived_sentence(says),
            "asked_by": _asking(journeys, rf"\bprofile\s*\.\s*{name}\b"),
        }
        for name, says in journeys.shop.attributes.items()
    ]


def segments_of(journeys: Journeys) -> list[dict[str, Any]]:
    """Return every segment as the page shows it."""
    return [
        {
            "name": name,
            "is": condition.source,
            "asked_by": _asking(journeys, rf"""["']{name}["']\s*in\s+segments\b"""),
        }
        for name, condition in journeys.shop.segments.items()
    ]


def derived_sentence(says: DerivedAttribute) -> str:
    """Return what an attribute is made of, in a sentence."""
    if says.tiers is not None:
        steps = (
            tier.name if tier.from_ is None else f"{tier.name} from {tier.from_}"
            for tier in says.tiers
        )
        return f"by {says.of}: {', '.join(steps)}"
    if says.count is not None:
        what = f"the number of {says.on}" + (" events" if says.count == "events" else " pieces")
    else:
        of = says.currency and f", in {says.currency}"
        what = f"{_SENTENCES[says.make]} {says.field} of {says.on}{of or ''}"
    what += "" if says.when is None else f", when {says.when.source}"
    return what + ("" if says.within is None else f", in the last {duration_text(says.within)}")


def _asking(journeys: Journeys, pattern: str) -> list[str]:
    """Return the journeys that name something in one of their expressions."""
    sources = ((one.name, list(_texts(one.model_dump(mode="json")))) for one in journeys.current)
    return [name for name, texts in sources if any(re.search(pattern, text) for text in texts)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
