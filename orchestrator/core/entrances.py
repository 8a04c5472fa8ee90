"""Which journeys an event may enter, without asking every condition of every journey.

A shop with a thousand journeys has hundreds on one event type, most of them with a condition like
`event.data.campaign == "winter_sale"`. Those are found by the value; only they are asked. What is
left out would have said no: a comparison that does not hold decides the conjunction it stands in.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.core.expressions.comparison import MISSING, MONEY_FIELDS, Comparison, Presence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.journeys import Plan

# Fewer conditions are asked faster than looked up.
INDEXED_MIN: Final = 8


class _Told(NamedTuple):
    """What a condition says of one field: its value, and whether it says more behind that."""

    field: str
    literal: str
    says_more: bool


class Entrances:
    """The current journeys that one event type may enter, in the order of their names."""

    __slots__ = ("_by_field", "_others", "plans")

    def __init__(self, plans: Iterable[Plan], indexed_min: int = INDEXED_MIN) -> None:
        self.plans: Final = tuple(plans)
        told = [_told(plan.entry.when) for plan in self.plans]
        if sum(one is not None for one in told) < indexed_min:
            told = [None] * len(told)
        self._others: Final = [at for at, one in enumerate(told) if one is None]
        self._by_field: Final[dict[str, _Field]] = {}
        for at, one in enumerate(told):
            if one is not None:
                self._by_field.setdefault(one.field, _Field()).add(at, one)

    def asked(self, data: Mapping[str, Any]) -> tuple[Plan, ...]:
        """Return the journeys whose conditions have to be asked about an event with this data."""
        if not self._by_field:
            return self.plans
        found = list(self._others)
        for name, field in self._by_field.items():
            found += field.asked(data.get(name, MISSING))
        return tuple(self.plans[at] for at in sorted(found))


class _Field:
    """The journeys that ask for a value of one field of the data, by their place."""

    __slots__ = ("_all", "_by_value", "_when_missing")

    def __init__(self) -> None:
        self._all: list[int] = []
        self._by_value: dict[str, list[int]] = {}
        self._when_missing: list[int] = []

    def add(self, at: int, told: _Told) -> None:
        self._all.append(at)
        self._by_value.setdefault(told.literal, []).append(at)
        if told.says_more:  # What else it says may be impossible to evaluate, which is told.
            self._when_missing.append(at)

    def asked(self, value: object) -> list[int]:
        if value is MISSING:
            return self._when_missing
        # What another kind of value is to a text, only CEL can say.
        return self._by_value.get(value, []) if isinstance(value, str) else self._all


def _told(when: Expression | None) -> _Told | None:
    """Return the field that decides a condition, when one does."""
    terms = () if when is None else when.terms or ()
    for at, term in enumerate(terms):
        if isinstance(term, Presence):
            continue
        if (
            isinstance(term, Comparison)
            and term.compare is operator.eq
            and isinstance(term.literal, str)
            and term.path[:2] == ("event", "data")
            and term.path[-1] not in MONEY_FIELDS
        ):
            return _Told(term.path[-1], term.literal, at + 1 < len(terms))
        return None
    return None
