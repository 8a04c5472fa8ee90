"""The derived attributes of a shop, ready for decisions: what each event counts for.

`core/journeys` makes one of `shop.yaml`; `follow` and `values` ask it.
"""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from hashlib import blake2b
from operator import or_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.core.customer import Attribute
from orchestrator.core.derived.amounts import MONEY_DECIMALS, ZERO, text_of
from orchestrator.core.derived.tally import ITEMS, TIME, UNDO_MS
from orchestrator.core.expressions.comparison import MONEY_FIELDS
from orchestrator.core.expressions.condition import NOTHING, Expression, Reads
from orchestrator.core.language.attributes import AMOUNTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.language.attributes import DerivedAttribute
    from orchestrator.core.language.shop import Shop

PURCHASE: Final = "purchase"
# What takes a purchase back.
UNDOING: Final = frozenset(("order.cancelled", "order.returned"))
_DIGEST_BYTES: Final = 4
_COUNTS: Final = frozenset(("count", "sum"))


class SeriesTerms(NamedTuple):
    """What is kept of the events of one series.

    `numbers` are numeric fields by the name under which they are kept, with the currency that they
    have to be in; `window_ms` is the longest window, 0 without any.
    """

    key: str
    event_type: str
    when: Expression | None
    numbers: Mapping[str, tuple[str, str | None]]
    told: frozenset[str]
    of_items: frozenset[str]
    keeps_lines: bool
    window_ms: int

    @property
    def undo_ms(self) -> int:
        """How long after it was learned an event may be undone."""
        return UNDO_MS if self.event_type == PURCHASE else 0


class DerivedTerms(NamedTuple):
    """One derived attribute: its declaration, what it is made of, the series it looks at.

    `number` is the name of its number there; nothing for an attribute that is no number.
    """

    name: str
    says: DerivedAttribute
    make: str
    field: str
    series: str
    number: str
    is_money: bool


class Derivations:
    """The derived attributes of a shop.

    `attributes` are in such an order that tiers come after what they are of; `by_type` is event
    type to the series it may count in. `amounts` are those that hold a number as text.
    """

    def __init__(self, shop: Shop) -> None:
        declared = shop.attributes
        made = (_terms(name, one, shop) for name, one in declared.items() if one.on is not None)
        counted = sorted(made)
        tiers = [
            DerivedTerms(name, one, one.make, "", "", "", is_money=False)
            for name, one in sorted(declared.items())
            if one.on is None
        ]
        self.attributes: Final = (*counted, *tiers)
        self.names: Final = frozenset(declared)
        self.series: Final = {key: _series(key, counted) for key in _keys(counted)}
        by_type: dict[str, tuple[SeriesTerms, ...]] = {}
        for one in self.series.values():
            by_type[one.event_type] = (*by_type.get(one.event_type, ()), one)
        self.by_type: Final[Mapping[str, tuple[SeriesTerms, ...]]] = by_type
        undoing = UNDOING if PURCHASE in by_type else frozenset()
        self.types: Final = frozenset(by_type) | undoing
        self.amounts: Final = frozenset(one.name for one in counted if one.make in AMOUNTS)
        conditions = (one.when for one in self.series.values() if one.when is not None)
        self.reads: Final[Reads] = reduce(or_, (one.reads for one in conditions), NOTHING)
        self.assumed: Final = _assumed(self.attributes)


def _terms(name: str, says: DerivedAttribute, shop: Shop) -> DerivedTerms:
    money = says.make in AMOUNTS and says.field in MONEY_FIELDS
    currency = (says.currency or shop.currency) if money else None
    number = says.field if currency is None else f"{says.field} {currency}"
    key = str(says.on)
    if says.when is not None:
        source = says.when.source.encode()
        key += f"?{blake2b(source, digest_size=_DIGEST_BYTES).hexdigest()}"
    return DerivedTerms(
        name, says, says.make, says.field, key, number if says.make in AMOUNTS else "", money
    )


def _keys(terms: list[DerivedTerms]) -> list[str]:
    return sorted({one.series for one in terms})


def _series(key: str, terms: list[DerivedTerms]) -> SeriesTerms:
    its = [one for one in terms if one.series == key]
    says = its[0].says
    fields = {one.field for one in its if one.make not in AMOUNTS} - {"", TIME}
    of_items = frozenset(field.removeprefix(ITEMS) for field in fields if field.startswith(ITEMS))
    numbers = {
        one.number: (one.field, one.number.rpartition(" ")[2] if one.is_money else None)
        for one in its
        if one.number
    }
    return SeriesTerms(
        key,
        str(says.on),
        says.when,
        numbers,
        frozenset(field for field in fields if not field.startswith(ITEMS)),
        of_items,
        says.on == PURCHASE or bool(of_items) or any(one.says.count == "pieces" for one in its),
        max((one.says.within or 0 for one in its), default=0),
    )


def _assumed(attributes: tuple[DerivedTerms, ...]) -> Mapping[str, Attribute]:
    """Return what somebody has for whom nothing was counted."""
    values: dict[str, Any] = {}
    for one in attributes:
        if one.says.count is not None:
            values[one.name] = 0
        elif one.says.sum is not None:
            values[one.name] = text_of(ZERO, MONEY_DECIMALS if one.is_money else 0)
        elif one.says.tiers is not None:
            number = values.get(one.says.of or "")
            tier = tier_of(one.says, None if number is None else Decimal(number))
            if tier is not None:
                values[one.name] = tier
    return {name: Attribute(value, 0, "", "") for name, value in values.items()}


def tier_of(says: DerivedAttribute, number: Decimal | None) -> str | None:
    """Return the highest tier that a number reaches; the first may take none."""
    reached = None
    for tier in says.tiers or ():
        if tier.from_ is None or (number is not None and number >= tier.from_):
            reached = tier.name
    return reached
