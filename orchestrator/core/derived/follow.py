"""Which derived attributes a customer has, by the rules of `shop.yaml`.

`decide` comes here after an event was applied, and when something leaves a window. What is counted
stands in the customer's state as a tally; the values are attributes of the profile, which
conditions read like any other, and which only this file writes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from orchestrator.core.command import SOURCE
from orchestrator.core.customer import Attribute
from orchestrator.core.decision import AttributesDerived
from orchestrator.core.derived.amounts import parse_amount, text_of
from orchestrator.core.derived.kept import NO_DERIVED
from orchestrator.core.derived.tally import (
    LINES_MAX,
    Counted,
    Line,
    Series,
    closed,
    opened,
    trimmed,
)
from orchestrator.core.derived.terms import UNDOING
from orchestrator.core.derived.values import due_ms_of, values_of
from orchestrator.core.expressions.condition import Scope
from orchestrator.core.profile import QUANTITY_MAX, lines_in
from orchestrator.core.rules.dedupe import business_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.derived.terms import Derivations, SeriesTerms
    from orchestrator.core.event import Event
    from orchestrator.core.rules.draft import Draft

# What the attributes say of where they come from, with the orchestrator as their source.
DERIVED: Final = "derived"
MARK_BYTES: Final = 8
VALUE_CHARACTERS_MAX: Final = 128
# Parcels in which one order comes back.
RETURNS_MAX: Final = 32


def follow(draft: Draft, derivations: Derivations, event: Event, occurred_ms: int) -> None:
    """Take an event into what is counted, and let the attributes follow."""
    if draft.attributes is not draft.customer.attributes:
        _disregard(draft, derivations)
    if event.type in derivations.types:
        content = dict(opened(draft.derived))
        if event.type in UNDOING:
            _undo(derivations, content, event, draft.now_ms)
        if event.type in derivations.by_type:
            _count(draft, derivations, content, event, occurred_ms)
        _settle(draft, derivations, content)
    elif (draft.derived.due_ms or draft.now_ms + 1) <= draft.now_ms:
        derive_again(draft)


def derive_again(draft: Draft) -> None:
    """Work the attributes out again: time has passed, or two customers have become one."""
    derivations = draft.journeys.derivations
    if derivations is not None:
        _settle(draft, derivations, dict(opened(draft.derived)))
    elif draft.derived is not NO_DERIVED:
        draft.derived = replace(draft.derived, due_ms=None)  # Nobody asks for them any more.


def _disregard(draft: Draft, derivations: Derivations) -> None:
    """Take back what an event has said of derived attributes: they follow from the rules alone."""
    before, after = draft.customer.attributes, draft.attributes
    told = [
        name for name, one in after.items() if name in derivations.names and not _is_derived(one)
    ]
    if told:
        attributes = {name: one for name, one in after.items() if name not in told}
        for name in told:
            held = before.get(name)
            if held is not None and _is_derived(held):
                attributes[name] = held
        draft.change_attributes(attributes)


def _count(
    draft: Draft,
    derivations: Derivations,
    content: dict[str, Series],
    event: Event,
    occurred_ms: int,
) -> None:
    mark = _mark(event)
    scope: Scope | None = None
    for terms in derivations.by_type[event.type]:
        if terms.when is not None:
            if scope is None:
                scope = Scope({}, draft.now_ms, event=event, reads=derivations.reads)
            # A condition that cannot be evaluated does not hold.
            if scope.holds(terms.when) is not True:
                continue
        series = content.get(terms.key, Series())
        known = series.counted.get(mark)
        if known is not None and known.came:
            continue
        if known is not None and known.gone:
            counted = replace(known, came=True)
        else:
            counted = Counted(
                occurred_ms,
                draft.now_ms,
                came=True,
                numbers=_numbers(terms, event.data),
                told=_told(terms.told, event.data),
                lines=_lines(terms, event.data.get("items")) if terms.keeps_lines else (),
                returns={} if known is None else known.returns,
            )
        content[terms.key] = Series({**series.counted, mark: counted}, series.total)


def _undo(derivations: Derivations, content: dict[str, Series], event: Event, now_ms: int) -> None:
    """Note that an order, or a part of it, is gone; also before the order itself is known."""
    if event.data.get("order_id") is None:
        return
    mark, items = _order_mark(event), event.data.get("items")
    lines = _returned(items) if items else ()
    for terms in derivations.by_type.get("purchase", ()):
        series = content.get(terms.key, Series())
        known = series.counted.get(mark) or Counted(event.time_ms, now_ms)
        if items:
            if len(known.returns) == RETURNS_MAX or known.gone:
                continue
            key = business_key(event) or event.identity
            undone = replace(known, returns={**known.returns, key: lines})
        else:
            undone = replace(known, gone=True, numbers={}, told={}, lines=(), returns={})
        content[terms.key] = Series({**series.counted, mark: undone}, series.total)


def _settle(draft: Draft, derivations: Derivations, content: dict[str, Series]) -> None:
    """Keep what is counted, and write what it amounts to into the profile."""
    now_ms = draft.now_ms
    kept = {
        key: trimmed(
            content[key],
            now_ms,
            undo_ms=terms.undo_ms,
            window_ms=terms.window_ms + terms.window_ms // 1000,
        )
        for key, terms in derivations.series.items()
        if key in content
    }
    due_ms = due_ms_of(derivations, kept, now_ms)
    draft.derived = closed(draft.derived, draft.customer.id, kept, due_ms)
    values = values_of(derivations, kept, now_ms)
    attributes = {
        name: one
        for name, one in draft.attributes.items()
        if not (_is_derived(one) or name in derivations.names)
    }
    changed = []
    for name, value in values.items():
        held = draft.attributes.get(name)
        if held is None or not _is_derived(held) or held.value != value:
            held = Attribute(value, now_ms, SOURCE, DERIVED)
            changed.append(name)
        attributes[name] = held
    changed += [name for name in draft.attributes if name not in attributes]
    if changed:
        draft.change_attributes(attributes)
        draft.log(AttributesDerived(tuple(sorted(changed))))


def _is_derived(attribute: Attribute) -> bool:
    return attribute.id == DERIVED and attribute.source == SOURCE


def _mark(event: Event) -> bytes:
    """Return by what an event is known again; a purchase by its order, so that it can be undone."""
    return _order_mark(event) if event.type == "purchase" else event.identity


def _order_mark(event: Event) -> bytes:
    return blake2b(str(event.data.get("order_id")).encode(), digest_size=MARK_BYTES).digest()


def _numbers(terms: SeriesTerms, data: Mapping[str, Any]) -> dict[str, str]:
    """Return the numbers that count, under the names that they are kept by."""
    found = {}
    for name, (field, currency) in terms.numbers.items():
        amount = parse_amount(data.get(field))
        if amount is not None and (currency is None or data.get("currency") == currency):
            found[name] = text_of(amount)
    return found


def _told(fields: frozenset[str], data: Mapping[str, Any]) -> dict[str, str]:
    found = {name: _text(data.get(name)) for name in sorted(fields)}
    return {name: value for name, value in found.items() if value is not None}


def _text(value: Any) -> str | None:
    """Return a value as text; some shops number their articles."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return text if 0 < len(text) <= VALUE_CHARACTERS_MAX else None


def _lines(terms: SeriesTerms, items: Any) -> tuple[Line, ...]:
    lines: dict[str, Line] = {}
    for product, quantity, item in lines_in(items, quantity_default=1):
        sku = product.sku
        held = lines.get(sku)
        if held is not None:
            lines[sku] = replace(held, quantity=held.quantity + quantity)
        elif len(lines) < LINES_MAX:
            price = parse_amount(item.get("price"))
            price_text = None if price is None else text_of(price)
            lines[sku] = Line(sku, quantity, price_text, _told(terms.of_items, item))
    return tuple(lines.values())


def _returned(items: Any) -> tuple[tuple[str, int], ...]:
    """Return what came back by article; a line without a quantity means all of it."""
    pieces: dict[str, int] = {}
    for product, quantity, _ in lines_in(items, quantity_default=QUANTITY_MAX):
        pieces[product.sku] = min(pieces.get(product.sku, 0) + quantity, QUANTITY_MAX)
    return tuple(sorted(pieces.items())[:LINES_MAX])
