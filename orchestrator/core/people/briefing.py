"""Fills the context that a person needs before they talk to a customer, as of this decision.

`reach` asks for it when a task is created, the API when an agent looks at a customer. Bounded,
whatever the customer has done: the newest of everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.calendar import instant_text
from orchestrator.core.journeys import STAGE
from orchestrator.core.offers.ledger import open_names
from orchestrator.core.people.context import (
    BoughtLine,
    BoughtOrder,
    HeldOffer,
    ProposedOffer,
    RunningJourney,
    TaskContext,
    ToldMessage,
)
from orchestrator.core.people.proposals import propose
from orchestrator.core.people.recent import SEEN
from orchestrator.core.rules.draft import Draft

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer, Order, Recent
    from orchestrator.core.journeys import Journeys

ATTRIBUTES_MAX: Final = 32
VALUE_CHARACTERS_MAX: Final = 200
ORDERS_MAX: Final = 5
LINES_MAX: Final = 10
PROMISES_SHOWN_MAX: Final = 8
PROPOSALS_MAX: Final = 5
JOURNEYS_MAX: Final = 16


def context(journeys: Journeys, customer: Customer, now_ms: int, channel: str) -> TaskContext:
    """Return what a person has to know who works on `channel`. Pure."""
    return context_in(Draft(journeys, customer, max(now_ms, customer.now_ms), None), channel)


def context_in(draft: Draft, channel: str) -> TaskContext:
    """Return what a person has to know, as things stand in a decision."""
    stage = draft.attributes.get(STAGE, draft.journeys.lens.assumed.get(STAGE))
    talking_ms = draft.contact.talking_until_ms
    orders = sorted(draft.orders, key=lambda one: (-one.time_ms, one.order_id))
    running = sorted(draft.enrollments, key=lambda one: (-one.entered_at_ms, one.id))
    return TaskContext(
        customer=draft.customer.id,
        locale=draft.locale(),
        stage=stage.value if stage is not None and isinstance(stage.value, str) else None,
        attributes=_attributes(draft),
        orders=tuple(_order(one) for one in orders[:ORDERS_MAX]),
        promises=_promises(draft),
        messages=tuple(_message(one) for one in reversed(draft.contact.recent)),
        journeys=tuple(
            RunningJourney(one.id, one.journey, one.step, instant_text(one.entered_at_ms))
            for one in running
            if one.step is not None
        )[:JOURNEYS_MAX],
        proposals=tuple(
            ProposedOffer(
                one.offer,
                one.text,
                one.because.value,
                instant_text(one.expires_at_ms),
                one.provisional,
            )
            for one in propose(draft, channel).proposed[:PROPOSALS_MAX]
        ),
        talking_until=instant_text(talking_ms) if talking_ms > draft.now_ms else None,
    )


def _attributes(draft: Draft) -> dict[str, str | int | float | bool]:
    newest = sorted(draft.attributes.items(), key=lambda held: (-held[1].time_ms, held[0]))
    shown = {name: _short(held.value) for name, held in newest}
    told = [(name, value) for name, value in shown.items() if value is not None]
    return dict(sorted(told[:ATTRIBUTES_MAX]))


def _short(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return value[:VALUE_CHARACTERS_MAX]
    return value if isinstance(value, int | float) else None


def _order(order: Order) -> BoughtOrder:
    return BoughtOrder(
        order_id=order.order_id[:VALUE_CHARACTERS_MAX],
        time=instant_text(order.time_ms),
        cancelled=order.cancelled,
        items=tuple(
            BoughtLine(
                one.product.sku[:VALUE_CHARACTERS_MAX],
                one.quantity,
                one.returned,
                None
                if one.product.category is None
                else one.product.category[:VALUE_CHARACTERS_MAX],
            )
            for one in order.lines[:LINES_MAX]
        ),
    )


def _promises(draft: Draft) -> tuple[HeldOffer, ...]:
    held = [(draft.promises[name], name) for name in open_names(draft.promises, draft.now_ms)]
    shown = []
    for promise, name in sorted(held, key=lambda one: (-one[0].granted_ms, one[1])):
        terms = draft.journeys.offers.get(name)
        text = code = None
        if terms is not None:
            text = terms.offer.text_in((draft.locale(), draft.journeys.shop.locale))
            code = None if promise.provisional else terms.offer.code
        until = instant_text(promise.expires_at_ms)
        shown.append(HeldOffer(name, text, code, until, promise.provisional, promise.channel))
    return tuple(shown[:PROMISES_SHOWN_MAX])


def _message(one: Recent) -> ToldMessage:
    return ToldMessage(
        command_id=one.id,
        channel=one.channel,
        template=one.template,
        journey=one.journey,
        time=instant_text(one.time_ms),
        fate=one.fate,
        fate_time=None if one.fate_ms is None else instant_text(one.fate_ms),
        seen=one.fate in SEEN,
    )
