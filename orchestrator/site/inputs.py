"""Inputs for the page: which topics of other teams are read, and what their records become.

`build` puts them behind the offers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.inputs import Rule

_INSTEAD: Final = {"dead_letter": "a dead letter", "ignore": "ignored, and counted"}


def inputs_of(journeys: Journeys) -> list[dict[str, Any]]:
    """Return every input as the page shows it."""
    return [
        {
            "name": name,
            "topic": one.topic,
            "format": one.format,
            "rules": [{"type": rule.type, "sentence": _sentence(rule)} for rule in one.rules],
            "unmatched": _INSTEAD[one.unmatched],
        }
        for name, one in sorted(journeys.inputs.items())
    ]


def _sentence(rule: Rule) -> str:
    """Return when a rule is taken, for whom and how often, in words."""
    when = "always" if rule.when is None else f"when {rule.when.source}"
    each = "" if rule.each is None else f", one for each of {rule.each.source}"
    return f"{when}{each}; the customer is {rule.subject.source}"
