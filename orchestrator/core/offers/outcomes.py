"""What becomes of promises: redeemed with an order, come back with it, rejected, or never told.

`decide` calls `follow` for the events that promises follow from; what makes and tells promises
stands in `promises`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from orchestrator.core.calendar import instant_text
from orchestrator.core.contact import REACHED
from orchestrator.core.customer import Promise
from orchestrator.core.decision import (
    OfferRedeemed,
    PromiseEnd,
    RedemptionRefused,
    RedemptionUndone,
    Refusal,
)
from orchestrator.core.offers import ledger
from orchestrator.core.offers.ledger import became, is_open
from orchestrator.core.offers.promises import (
    Refused,
    Withdrawn,
    answer,
    close,
    confirm,
    contradicted,
    is_known,
    keep,
    qualifies,
    restore,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.event import Event
    from orchestrator.core.rules.draft import Draft

# What may concern a customer to whom nothing is promised.
ASKED: Final = frozenset({"offer.requested", "offer.rejected", "offer.redeemed", "purchase"})
# One order redeems a handful; the rest of a longer list is a mistake of its producer.
_REDEEMED_MAX: Final = 16
# The sender has sent it before, so it was told.
_TOLD: Final = "duplicate"


def follow(draft: Draft, event: Event, occurred_ms: int) -> list[Withdrawn]:
    """Let an event that was applied have its effect on promises; return what it took back."""
    order = event.data.get("order_id")
    order_id = None if order is None else str(order)
    match event.type:
        case "offer.requested" if not event.backfill:
            answer(draft, event)
        case "offer.rejected":
            _reject(draft, str(event.data.get("offer")))
        case "offer.redeemed":
            _redeem(draft, event, event.data.get("offer"), order_id, occurred_ms)
        case "purchase":
            for word in _offers_named(event):
                _redeem(draft, event, word, order_id, occurred_ms)
        case "order.cancelled" | "order.returned" if order_id is not None:
            if not event.data.get("items") or _is_gone(draft, order_id):
                _undo(draft, order_id)
        case "message.dropped" if event.data.get("reason") != _TOLD:
            _never_told(draft, event.data.get("command_id"))
        case event_type if event_type in REACHED:
            if _surely_told(draft, event.data.get("command_id")):
                return confirm(draft)  # More may be known of them than when it was recalled.
        case _:
            pass
    if draft.promises and draft.attributes is not draft.customer.attributes:
        return confirm(draft)
    return []


def _offers_named(event: Event) -> Iterator[Any]:
    """Yield what an order was paid with: `offers`, or one `offer`."""
    named, one = event.data.get("offers"), event.data.get("offer")
    if isinstance(named, list | tuple):
        yield from dict.fromkeys(word for word in named[:_REDEEMED_MAX] if isinstance(word, str))
    if isinstance(one, str) and not (isinstance(named, list | tuple) and one in named):
        yield one


def _reject(draft: Draft, name: str) -> None:
    now_ms, held = draft.now_ms, draft.promises.get(name)
    if held is not None and is_open(held, now_ms):
        close(draft, name, held, PromiseEnd.REJECTED)
        return
    terms = draft.journeys.offers.get(name)
    if terms is not None and terms.valid_at(now_ms):
        # They were asked elsewhere. A no is a no, for as long as a promise would have lasted.
        no = held or Promise(granted_ms=now_ms, expires_at_ms=now_ms)
        until_ms, reason = terms.expires_at_ms(now_ms), PromiseEnd.REJECTED.value
        no = replace(no, granted_ms=now_ms, expires_at_ms=until_ms, closed_ms=now_ms, closed=reason)
        keep(draft, name, no)


def _never_told(draft: Draft, command_id: object) -> None:
    """Take back what this message told and no other, for its sender did not send it."""
    for name, promise in draft.promises.items():
        if command_id not in ledger.telling(promise):
            continue
        left = tuple(one for one in ledger.telling(promise) if one != command_id)
        if left:
            others = {**draft.promises, name: ledger.told_by(promise, left)}
            draft.change_promises(others)
        elif is_open(promise, draft.now_ms):
            close(draft, name, promise, PromiseEnd.NEVER_TOLD)
        elif became(promise) == PromiseEnd.RECALLED:
            keep(draft, name, replace(promise, closed=PromiseEnd.NEVER_TOLD.value))  # Now we know.


def _surely_told(draft: Draft, command_id: object) -> bool:
    """Note that a promise has arrived; what was recalled too late counts again.

    Return whether something does.
    """
    again = False
    for name, promise in draft.promises.items():
        if command_id not in ledger.telling(promise):
            continue
        if is_open(promise, draft.now_ms):
            draft.change_promises({**draft.promises, name: ledger.told_by(promise, ())})
        elif became(promise) == PromiseEnd.RECALLED and draft.now_ms < promise.expires_at_ms:
            again = restore(draft, name, promise) or again
    return again


def _redeem(draft: Draft, event: Event, word: Any, order_id: str | None, occurred_ms: int) -> None:
    """Mark a promise redeemed, or log why it could not be counted on."""
    if not isinstance(word, str):
        return
    name = draft.journeys.offers.meant_by(word)
    held = draft.promises.get(name)
    if held is not None and order_id is not None and held.order == order_id:
        return  # The purchase and its checkout both tell it.
    if event.backfill:
        _remember(draft, name, held, order_id, occurred_ms)
        return
    refused = _refused(draft, name, held, occurred_ms)
    if held is None or refused is not None:
        reason, detail = refused or Refused(Refusal.OFFER_NOT_VALID)
        draft.log(RedemptionRefused(name, order_id, reason, detail))
        return
    told = ledger.told_by(held, ())  # Who names it has read it, whatever becomes of the messages.
    redeemed = replace(told, provisional=False, redeemed_ms=draft.now_ms, order=order_id)
    keep(draft, name, replace(redeemed, closed_ms=None, closed=None))
    draft.log(OfferRedeemed(name, order_id))
    # Topics are not ordered: the order may be back before we hear of it.
    if order_id is not None and _is_gone(draft, order_id):
        _undo(draft, order_id)


def _refused(draft: Draft, name: str, held: Promise | None, occurred_ms: int) -> Refused | None:
    """Return why nobody can count on a promise at the checkout."""
    if held is None or held.granted_ms == 0:
        return Refused(Refusal.OFFER_NOT_VALID, "was not promised")
    match became(held):
        case None:
            pass
        case ledger.REDEEMED:
            return Refused(Refusal.OFFER_USED, "was redeemed before")
        case PromiseEnd.NOT_QUALIFIED:
            return Refused(Refusal.OFFER_NOT_QUALIFIED)
        case PromiseEnd.RECALLED:
            # Who names it has read it, unless it was recalled for something that is promised now.
            declared = draft.journeys.offers.get(name) is not None
            if declared and (against := contradicted(draft, name)) is not None:
                return against
        case reason:
            return Refused(Refusal.OFFER_NOT_VALID, reason)
    if occurred_ms >= held.expires_at_ms:
        return Refused(Refusal.OFFER_NOT_VALID, f"ended {instant_text(held.expires_at_ms)}")
    terms = draft.journeys.offers.get(name)
    if terms is None:
        return None  # What was promised counts, also when it is not offered any more.
    if terms.offer.again == "once" and held.redeemed_ms is not None:
        return Refused(Refusal.OFFER_USED, "once")
    # As they were before they bought: a first order must not make its own offer void.
    before = draft.customer.attributes
    if held.provisional and not is_known(draft, terms, before):
        return Refused(Refusal.OFFER_NOT_QUALIFIED, "is provisional")
    if terms.offer.acquisition and not qualifies(draft, terms, before):
        return Refused(Refusal.OFFER_NOT_QUALIFIED)
    return None


def _remember(
    draft: Draft, name: str, held: Promise | None, order_id: str | None, occurred_ms: int
) -> None:
    """Take a redemption of the past into the ledger, so that limits count it."""
    if draft.journeys.offers.get(name) is None:
        return
    past = held or Promise(granted_ms=occurred_ms, expires_at_ms=occurred_ms)
    if past.redeemed_ms is None or past.redeemed_ms < occurred_ms:
        keep(draft, name, replace(past, redeemed_ms=occurred_ms, order=order_id))


def _undo(draft: Draft, order_id: str) -> None:
    """Undo what an order redeemed. A promise is open again, unless another one forbids it now."""
    for name, held in draft.promises.items():
        if held.order != order_id:
            continue
        undone = replace(held, redeemed_ms=None, order=None)
        against = None
        if is_open(undone, draft.now_ms) and draft.journeys.offers.get(name) is not None:
            against = contradicted(draft, name)
        if against is None:
            keep(draft, name, undone)
            is_back = is_open(undone, draft.now_ms)
            draft.log(RedemptionUndone(name, order_id, is_back))
        else:
            # It may be promised anew when the other one is over.
            draft.change_promises({k: v for k, v in draft.promises.items() if k != name})
            draft.log(RedemptionUndone(name, order_id, open=False, detail=against.detail))


def _is_gone(draft: Draft, order_id: str) -> bool:
    """Whether nothing is left of an order that is known."""
    for order in draft.orders:
        if order.order_id == order_id:
            left = any(line.quantity > line.returned for line in order.lines)
            return order.cancelled or (bool(order.lines) and not left)
    return False
