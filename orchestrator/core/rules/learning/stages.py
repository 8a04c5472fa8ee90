"""Which stage a customer has come to, by the rules of `shop.yaml`.

`decide` comes here after an event was applied, and again when steps have written the profile. What
counts for a stage is kept by stage and event type, each event once, so that neither a repeat nor
the order of arrival matters; the stage itself is the attribute `stage`, which conditions read like
any other, and which only this file writes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from orchestrator.core.command import SOURCE
from orchestrator.core.customer import Attribute
from orchestrator.core.decision import StageChanged, StageReason, StageWithheld
from orchestrator.core.expressions.condition import Scope, is_empty
from orchestrator.core.journeys import STAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.customer import Order
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Stages
    from orchestrator.core.language.stages import CustomerStage, Way
    from orchestrator.core.rules.draft import Draft

PURCHASE: Final = "purchase"
# What may take a purchase back.
UNDOING: Final = frozenset(("order.cancelled", "order.returned"))
MARK_BYTES: Final = 6
# So many orders more than a stage asks for are kept, in case some are cancelled; the newest ones.
SPARE_MARKS: Final = 4


def follow_stages(draft: Draft, stages: Stages, event: Event) -> None:
    """Take an event into what has earned the customer stages, and let them come to theirs."""
    before = draft.customer.attributes
    known = draft.attributes is not before
    if known:
        _disregard(draft, before.get(STAGE))
    earned, counts = draft.earned, frozenset[str]()
    if event.type in UNDOING:
        draft.earned = _without_order(draft.earned, draft.orders, event)
    if event.type in stages.ways:
        counts = _count(draft, stages, event)
    held = before.get(STAGE)
    gone = held is not None and _place(stages, held) is None
    if known or gone or draft.earned is not earned:
        _come_to_stage(draft, stages, counts)


def look_again(draft: Draft, stages: Stages) -> None:
    """Let the customer go on whose missing attributes a step has just written."""
    _come_to_stage(draft, stages, frozenset())


def _disregard(draft: Draft, held: Attribute | None) -> None:
    """Take back what an event has said of the stage: it follows from the rules alone."""
    if draft.attributes.get(STAGE) is not held:
        attributes = {name: one for name, one in draft.attributes.items() if name != STAGE}
        if held is not None:
            attributes[STAGE] = held
        draft.change_attributes(attributes)


def _count(draft: Draft, stages: Stages, event: Event) -> frozenset[str]:
    """Keep an event for the stages for which it counts, and return these."""
    if event.type == PURCHASE and _is_gone(_order_of(draft.orders, event)):
        return frozenset()
    lens = draft.journeys.lens
    scope = Scope(draft.attributes, draft.now_ms, event=event, reads=stages.reads, lens=lens)
    mark, counts = _mark(event), set()
    for stage, way in stages.ways[event.type]:
        key = _key(stage, way)
        marks = _split(draft.earned.get(key, b""))
        if mark in marks or (len(marks) >= way.times and event.type != PURCHASE):
            continue  # Nothing but an order is ever undone.
        # A condition that cannot be evaluated does not hold.
        if scope.holds(way.when) is not True:
            continue
        kept = (*marks, mark)[-(way.times + SPARE_MARKS) :]
        draft.earned = _of_declared(stages, {**draft.earned, key: b"".join(kept)})
        counts.add(stage)
    return frozenset(counts)


def _without_order(
    earned: Mapping[str, bytes], orders: tuple[Order, ...], event: Event
) -> Mapping[str, bytes]:
    """Return what is earned without an order, when the whole of it is gone."""
    order = _order_of(orders, event)
    # Of an order that is forgotten only a cancellation without items says that it is gone.
    if not (_is_gone(order) or (order is None and not event.data.get("items"))):
        return earned
    mark, after = _order_mark(event), dict(earned)
    for key, marks in earned.items():
        kept = [one for one in _split(marks) if one != mark]
        if key.endswith(f" {PURCHASE}") and len(kept) * MARK_BYTES < len(marks):
            after[key] = b"".join(kept)
    return earned if after == earned else after


def _come_to_stage(draft: Draft, stages: Stages, counts: frozenset[str]) -> None:
    """Go to the furthest stage that is earned and whose attributes, and those before, are known.

    `counts` are the stages for which the event counts that has just come.
    """
    held = draft.attributes.get(STAGE)
    at = 0 if held is None else _place(stages, held)
    earned = [place for place, rule in enumerate(stages.rules) if _is_earned(draft, rule, place)]
    reason = StageReason.EARNED if counts else StageReason.ATTRIBUTES_KNOWN
    if at is None:
        at, reason = 0, StageReason.STAGE_GONE
    elif at not in earned:
        at, reason = max(place for place in earned if place < at), StageReason.ORDER_GONE
    for place in earned:
        if place <= at:
            continue
        missing = _missing(draft, stages.rules[at + 1 : place + 1])
        if missing:
            if stages.rules[place].name in counts:
                draft.log(StageWithheld(stages.rules[place].name, missing))
            break
        at = place
    name = stages.rules[at].name
    before = stages.rules[0].name if held is None else held.value
    if name != before:
        _change(draft, name)
        draft.log(StageChanged(str(before), name, reason))


def _change(draft: Draft, name: str) -> None:
    event = draft.event
    if event is None:
        attribute = Attribute(name, draft.now_ms, SOURCE, f"{STAGE}@{draft.now_ms}")
    else:
        attribute = Attribute(name, event.time_ms, event.source, event.id)
    draft.change_attributes({**draft.attributes, STAGE: attribute})


def _is_earned(draft: Draft, rule: CustomerStage, place: int) -> bool:
    return place == 0 or any(
        len(draft.earned.get(_key(rule.name, way), b"")) >= MARK_BYTES * way.times
        for way in rule.on
    )


def _missing(draft: Draft, rules: tuple[CustomerStage, ...]) -> tuple[str, ...]:
    required = dict.fromkeys(name for rule in rules for name in rule.requires)
    attributes = draft.attributes
    return tuple(
        name for name in required if name not in attributes or is_empty(attributes[name].value)
    )


def _place(stages: Stages, held: Attribute) -> int | None:
    """Return where a stage stands; None when the shop has it no longer, or never had."""
    return stages.places.get(held.value) if isinstance(held.value, str) else None


def _key(stage: str, way: Way) -> str:
    return f"{stage} {way.event}"


def _of_declared(stages: Stages, earned: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return what is earned without what the shop declares no longer."""
    declared = {_key(rule.name, way) for rule in stages.rules for way in rule.on}
    return {key: marks for key, marks in earned.items() if key in declared}


def _mark(event: Event) -> bytes:
    """Return by what an event is known again; a purchase by its order, so that it can be undone."""
    return _order_mark(event) if event.type == PURCHASE else event.identity[:MARK_BYTES]


def _order_mark(event: Event) -> bytes:
    return blake2b(str(event.data.get("order_id")).encode(), digest_size=MARK_BYTES).digest()


def _split(marks: bytes) -> tuple[bytes, ...]:
    return tuple(marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES))


def _order_of(orders: tuple[Order, ...], event: Event) -> Order | None:
    order_id = str(event.data.get("order_id"))
    return next((one for one in orders if one.order_id == order_id), None)


def _is_gone(order: Order | None) -> bool:
    """Whether an order was cancelled, or every piece of it has come back."""
    if order is None:
        return False
    return order.cancelled or (
        bool(order.lines) and all(0 < line.quantity <= line.returned for line in order.lines)
    )
