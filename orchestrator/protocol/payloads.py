"""What the `data` of each known event type must hold, as types.

`protocol/codec` converts the data of an event to its type only to find what is missing; the event
keeps the data as it came, unknown fields included. `protocol/schema` publishes the same types as
JSON Schema, so that a producer can check before sending. Optional fields stand here when a
decision reads them, so that a wrong one is told to its producer rather than ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta, Struct, ValidationError, convert, field

# A million pieces keeps sums of quantities far inside 64 bits.
QUANTITY_MAX: Final = 1_000_000
# Above it a JSON number no longer carries cents exactly.
MONEY_NUMBER_MAX: Final = 10**12

# Python's `$` also stands before a closing newline; the look-ahead makes it JSON Schema's `$`.
_MONEY_PATTERN: Final = r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$(?!\n)"
_CURRENCY_PATTERN: Final = r"^[A-Za-z]{3}$(?!\n)"

Text = Annotated[str, Meta(min_length=1, max_length=1024)]
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
CustomerId = Annotated[
    str, Meta(min_length=1, max_length=256, description="1 to 256 bytes of UTF-8, a pseudonym.")
]
Sku = Annotated[str, Meta(min_length=1, max_length=256, description="The article sold.")]
Quantity = Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]
Money = (
    Annotated[str, Meta(pattern=_MONEY_PATTERN, examples=["129.00"])]
    | Annotated[int, Meta(ge=-MONEY_NUMBER_MAX, le=MONEY_NUMBER_MAX)]
    | Annotated[float, Meta(ge=-MONEY_NUMBER_MAX, le=MONEY_NUMBER_MAX)]
)
Currency = Annotated[str, Meta(pattern=_CURRENCY_PATTERN, examples=["EUR"])]
DropReason = Literal["fenced", "expired", "cancelled", "duplicate", "killed", "test"]


class Item(Struct, frozen=True, gc=False):
    """One line of an order or a cart; `family` groups the variants of one product."""

    sku: Sku
    quantity: Quantity | None = None
    price: Money | None = None
    category: Text | None = None
    family: Text | None = None


class Purchase(Struct, frozen=True, gc=False):
    """The customer bought; one event for each order, known by `order_id`.

    `offers` names what was redeemed with it, by name or code; `offer` is short for one.
    """

    order_id: Identifier
    items: Annotated[tuple[Item, ...], Meta(min_length=1)]
    total: Money
    currency: Currency
    offer: Identifier | None = None
    offers: tuple[Identifier, ...] | None = None


class OrderCancelled(Struct, frozen=True, gc=False):
    """An order will not be delivered; `items` when only a part of it."""

    order_id: Identifier
    items: tuple[Item, ...] | None = None


class OrderReturned(Struct, frozen=True, gc=False):
    """An order came back; `items` when only a part of it."""

    order_id: Identifier
    items: tuple[Item, ...] | None = None


class PaymentPending(Struct, frozen=True, gc=False):
    """A payment is not decided yet; not a purchase."""

    order_id: Identifier


class PaymentFailed(Struct, frozen=True, gc=False):
    """A payment was refused; not a purchase."""

    order_id: Identifier


class ProductViewed(Struct, frozen=True, gc=False):
    """The customer looked at a product."""

    sku: Sku
    category: Text | None = None
    family: Text | None = None
    price: Money | None = None


class CartUpdated(Struct, frozen=True, gc=False):
    """The whole content of a cart after a change; an emptied cart has no items."""

    cart_id: Identifier
    items: tuple[Item, ...]


class CartAbandoned(Struct, frozen=True, gc=False):
    """A cart was left behind, as the shop's backend sees it."""

    cart_id: Identifier
    items: tuple[Item, ...]


class SearchDone(Struct, frozen=True, gc=False):
    """The customer searched the shop."""


class StoreVisited(Struct, frozen=True, gc=False):
    """The customer was in a store."""


class AdClicked(Struct, frozen=True, gc=False):
    """The customer came by an advertisement; `utm` holds its campaign parameters."""

    utm: dict[str, Any] | Text


class NewsletterSubscribed(Struct, frozen=True, gc=False):
    """The customer asked for the newsletter. Not a consent: that is `consent.updated`."""


class GeoEntered(Struct, frozen=True, gc=False):
    """The customer entered an area."""


class ProfileUpdated(Struct, frozen=True, gc=False):
    """Attributes of the customer changed; the newest by event time wins, one by one."""

    attributes: dict[str, Any]


class ProfileIdentified(Struct, frozen=True, gc=False):
    """An anonymous id turned out to be a known customer."""

    anonymous_id: CustomerId
    customer_id: CustomerId


class ConsentUpdated(Struct, frozen=True, gc=False):
    """The customer gave or withdrew consent for one class of messages on one channel."""

    channel: Identifier
    consent_class: Identifier = field(name="class")
    granted: bool
    proof: dict[str, Any] | Text


class OfferRequested(Struct, frozen=True, gc=False):
    """A page or an agent asks whether it may show an offer, on this channel."""

    offer: Identifier
    channel: Identifier | None = None


class OfferShown(Struct, frozen=True, gc=False):
    """An offer was shown to the customer."""

    offer: Identifier


class OfferAccepted(Struct, frozen=True, gc=False):
    """The customer accepted an offer."""

    offer: Identifier


class OfferRejected(Struct, frozen=True, gc=False):
    """The customer rejected an offer."""

    offer: Identifier


class OfferRedeemed(Struct, frozen=True, gc=False):
    """The customer redeemed an offer, by its name or code, with an order."""

    offer: Identifier
    order_id: Identifier | None = None


class ProductBackInStock(Struct, frozen=True, gc=False):
    """A product the customer watches is available again."""

    sku: Sku


class PriceDropped(Struct, frozen=True, gc=False):
    """A product the customer watches became cheaper."""

    sku: Sku


class TaskClaimed(Struct, frozen=True, gc=False):
    """A person took a task of the call centre; `by` names them to their colleagues."""

    task_id: Identifier
    by: Identifier | None = None


class TaskClosed(Struct, frozen=True, gc=False):
    """A person closed a task of the call centre; a journey may wait for its `outcome`."""

    task_id: Identifier
    by: Identifier | None = None
    outcome: Identifier | None = None


class EnrollmentExitRequested(Struct, frozen=True, gc=False):
    """A person or a system takes the customer out of one enrollment."""

    enrollment: Text


class HandoffStarted(Struct, frozen=True, gc=False):
    """A person started to talk with the customer."""


class HandoffEnded(Struct, frozen=True, gc=False):
    """The person's conversation with the customer is over."""


class CaseOpened(Struct, frozen=True, gc=False):
    """A service case of the customer was opened."""


class CaseClosed(Struct, frozen=True, gc=False):
    """A service case of the customer was closed."""


class Feedback(Struct, frozen=True, gc=False):
    """What a sender reports about one command."""

    command_id: Identifier


class MessageReplied(Struct, frozen=True, gc=False):
    """The customer answered a message, in words; `answer` is what a question asked for."""

    command_id: Identifier
    answer: Any = None
    text: str | None = None


class MessageDropped(Struct, frozen=True, gc=False):
    """A sender did not send a command, and says why."""

    command_id: Identifier
    reason: DropReason


class CustomerErased(Struct, frozen=True, gc=False):
    """The customer is to be forgotten."""


PAYLOADS: Final[dict[str, type[Struct]]] = {
    "purchase": Purchase,
    "order.cancelled": OrderCancelled,
    "order.returned": OrderReturned,
    "payment.pending": PaymentPending,
    "payment.failed": PaymentFailed,
    "product.viewed": ProductViewed,
    "cart.updated": CartUpdated,
    "cart.abandoned": CartAbandoned,
    "search.done": SearchDone,
    "store.visited": StoreVisited,
    "ad.clicked": AdClicked,
    "newsletter.subscribed": NewsletterSubscribed,
    "geo.entered": GeoEntered,
    "profile.updated": ProfileUpdated,
    "profile.identified": ProfileIdentified,
    "consent.updated": ConsentUpdated,
    "offer.requested": OfferRequested,
    "offer.shown": OfferShown,
    "offer.accepted": OfferAccepted,
    "offer.rejected": OfferRejected,
    "offer.redeemed": OfferRedeemed,
    "product.back_in_stock": ProductBackInStock,
    "price.dropped": PriceDropped,
    "task.claimed": TaskClaimed,
    "task.closed": TaskClosed,
    "enrollment.exit_requested": EnrollmentExitRequested,
    "handoff.started": HandoffStarted,
    "handoff.ended": HandoffEnded,
    "case.opened": CaseOpened,
    "case.closed": CaseClosed,
    "message.delivered": Feedback,
    "message.opened": Feedback,
    "message.clicked": Feedback,
    "message.replied": MessageReplied,
    "message.bounced": Feedback,
    "message.failed": Feedback,
    "message.unsubscribed": Feedback,
    "message.dropped": MessageDropped,
    "audience.applied": Feedback,
    "customer.erased": CustomerErased,
}

_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_WRONG_TYPE: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_LENGTH: Final = re.compile(r"Expected `(\w+)` of length (>=|<=) (\d+)")
_BOUND: Final = re.compile(r"Expected `\w+` (>=|<=) (\S+)")
_MATCHING: Final = re.compile(r"Expected `str` matching regex '(.*)'")
_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def data_fault(event_type: str, data: dict[str, Any]) -> str | None:
    """Return what is wrong with the data of an event, naming the field, or None.

    The sentence never holds a value of the event: it becomes a header and a log line.
    """
    payload = PAYLOADS.get(event_type)
    if payload is None:
        return None
    try:
        convert(data, payload)
    except ValidationError as error:
        return _in_words(str(error))
    return None


def _in_words(message: str) -> str:
    """Turn the library's message about a type into a sentence for the producer's developer."""
    what, _, path = message.partition(" - at `$")
    where = "data" + path.removesuffix("`")
    if found := _MISSING.match(what):
        return f"{where}.{found[1]}: is missing"
    if found := _WRONG_TYPE.match(what):
        return f"{where}: must be {_type_words(found[1])}, not {_type_words(found[2])}"
    if found := _LENGTH.match(what):
        return f"{where}: {_length_words(found[1], found[2], int(found[3]))}"
    if found := _BOUND.match(what):
        return f"{where}: must be at {'least' if found[1] == '>=' else 'most'} {found[2]}"
    if found := _MATCHING.match(what):
        example = "129.00" if found[1].startswith("^-") else "EUR"
        return f'{where}: must look like "{example}"'
    if what.startswith("Invalid enum value"):
        # The library quotes the value; the one closed list of the events is this one.
        return f"{where}: must be one of {', '.join(get_args(DropReason))}"
    return f"{where}: is not valid"


def _type_words(names: str) -> str:
    known = [_WORDS.get(name, name) for name in names.split(" | ") if name != "null"] or ["null"]
    if "float" in names and "int" in names:
        known.remove("a whole number")
    return " or ".join(known)


def _length_words(name: str, bound: str, length: int) -> str:
    if bound == ">=":
        return "must not be empty"
    return f"is longer than {length} {'characters' if name == 'str' else 'entries'}"
