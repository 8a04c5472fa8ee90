"""All offers of a shop, ready for decisions: when each is valid, and which contradict each other.

`core/journeys` makes one of `offers.yaml`; `promises` asks it.
"""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from operator import or_
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.calendar import DAY_MS, date_instant, first_zone
from orchestrator.core.expressions.condition import NOTHING, Reads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.language.offers import Offer

_DAY_CHARACTERS: Final = len("2026-12-24")


class Terms(NamedTuple):
    """One offer with its validity in epoch milliseconds; None where there is no bound."""

    name: str
    offer: Offer
    from_ms: int | None
    until_ms: int | None

    def valid_at(self, now_ms: int) -> bool:
        """Whether it may be promised at this instant."""
        begun = self.from_ms is None or now_ms >= self.from_ms
        return begun and (self.until_ms is None or now_ms < self.until_ms)

    def expires_at_ms(self, granted_ms: int) -> int:
        """Return until when a promise made at this instant can be redeemed."""
        ends = (
            None if self.offer.valid_for is None else granted_ms + self.offer.valid_for,
            self.until_ms,
        )
        return min(end_ms for end_ms in ends if end_ms is not None)


class Offers:
    """The offers of a shop by name.

    `reads` is what their conditions convert for CEL, `says` what their greetings instead do;
    `seen` is what segments do, which conditions may name.
    """

    def __init__(self, offers: Mapping[str, Offer], zone: str, *, seen: Reads = NOTHING) -> None:
        shop_zone = first_zone((zone,))
        self._terms: Final = {
            name: Terms(
                name,
                offer,
                date_instant(offer.from_, None, shop_zone),
                date_instant(offer.until, None, shop_zone, shift_ms=_to_its_end(offer.until)),
            )
            for name, offer in sorted(offers.items())
        }
        self._by_code: Final = {
            offer.code: name for name, offer in offers.items() if offer.code is not None
        }
        contradictions: dict[str, set[str]] = {name: set() for name in self._terms}
        for one, other in combinations(self._terms, 2):
            if contradict(one, offers[one], other, offers[other]):
                contradictions[one].add(other)
                contradictions[other].add(one)
        self._contradictions: Final = contradictions
        everything = offers.values()
        self.reads: Final = seen | _converted(
            condition
            for offer in everything
            for condition in (offer.qualifies, offer.known)
            if condition is not None
        )
        self.says: Final = _converted(
            variable.value
            for offer in everything
            if offer.otherwise is not None
            for variable in offer.otherwise.variables.values()
        )

    def __iter__(self) -> Iterator[Terms]:
        return iter(self._terms.values())

    def __len__(self) -> int:
        return len(self._terms)

    def get(self, name: str) -> Terms | None:
        """Return an offer by its name."""
        return self._terms.get(name)

    def meant_by(self, word: str) -> str:
        """Return the name of the offer that a checkout names, by its name or its code."""
        return word if word in self._terms else self._by_code.get(word, word)

    def contradicting(self, name: str) -> frozenset[str]:
        """Return the offers that one customer must not hold beside this one."""
        return frozenset(self._contradictions.get(name, ()))

    def clash(self, held: str, name: str) -> bool:
        """Whether a promise held forbids another.

        One of an offer that is no longer declared does so as a discount would, until it expires.
        """
        if held in self._terms:
            return held in self._contradictions[name]
        return held != name and self._terms[name].offer.gives.is_discount


def contradict(one: str, offer: Offer, other: str, beside: Offer) -> bool:
    """Whether one customer must not hold both: one excludes the other, or both are discounts."""
    if says_of(offer.excludes, other, beside) or says_of(beside.excludes, one, offer):
        return True
    if says_of(offer.stacks_with, other, beside) or says_of(beside.stacks_with, one, offer):
        return False
    return offer.gives.is_discount and beside.gives.is_discount


def says_of(named: tuple[str, ...], other: str, beside: Offer) -> bool:
    """Whether a list of offers and groups names an offer."""
    return other in named or not set(named).isdisjoint(beside.groups)


def _to_its_end(until: str | None) -> int:
    return DAY_MS if until is not None and len(until) == _DAY_CHARACTERS else 0


def _converted(expressions: Iterator[Expression]) -> Reads:
    """Return what has to be converted for CEL: a plain path is looked up without it."""
    return reduce(or_, (one.reads for one in expressions if one.path is None), NOTHING)
