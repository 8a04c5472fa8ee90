"""The event types that journeys may name, and what their data looks like.

`rules/` looks up types here, there too for fields, and evaluates conditions against the
examples to see whether they can work at all. The list is the contract's table; a test holds it
against what `protocol` accepts. A shop adds its own types and fields in `shop.yaml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.language.attributes import AMOUNTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.language.attributes import DerivedAttribute
    from orchestrator.core.language.shop import Shop


class _Any:
    """Stands for a value whose type is the producer's choice; nothing is concluded from it."""

    def __repr__(self) -> str:
        return "anything"


ANYTHING: Final = _Any()

_ITEM: Final = {
    "sku": "tent-2",
    "quantity": 1,
    "price": "129.00",
    "category": "outdoor",
    "family": "tent",
}
_PRODUCT: Final = {key: value for key, value in _ITEM.items() if key != "quantity"}
_CART: Final = {"cart_id": "c-17", "items": [_ITEM]}
_ORDER: Final = {"order_id": "1001"}
_OFFER: Final = {"offer": "winter_10"}
_TASK: Final = {"task_id": "t-1", "by": "eva"}
_FEEDBACK: Final = {"command_id": "b6f1"}

# An example of everything that the data of a type may hold by the contract.
EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "purchase": {
        **_ORDER,
        "items": [_ITEM],
        "total": "129.00",
        "currency": "EUR",
        "offer": "winter_10",
        "offers": ["winter_10"],
    },
    "order.cancelled": {**_ORDER, "items": [_ITEM]},
    "order.returned": {**_ORDER, "items": [_ITEM]},
    "payment.pending": _ORDER,
    "payment.failed": _ORDER,
    "product.viewed": _PRODUCT,
    "cart.updated": _CART,
    "cart.abandoned": _CART,
    "search.done": {},
    "store.visited": {},
    "ad.clicked": {"utm": ANYTHING},
    "newsletter.subscribed": {},
    "geo.entered": {},
    "profile.updated": {"attributes": ANYTHING},
    "profile.identified": {"anonymous_id": "web-1", "customer_id": "ana"},
    "consent.updated": {
        "channel": "email",
        "class": "promotional",
        "granted": True,
        "proof": ANYTHING,
    },
    "offer.requested": {**_OFFER, "channel": "web"},
    "offer.shown": _OFFER,
    "offer.accepted": _OFFER,
    "offer.rejected": _OFFER,
    "offer.redeemed": {**_OFFER, **_ORDER},
    "product.back_in_stock": {"sku": "tent-2"},
    "price.dropped": {"sku": "tent-2"},
    "task.claimed": _TASK,
    "task.closed": {**_TASK, "outcome": "sold"},
    "enrollment.exit_requested": {"enrollment": "welcome#1"},
    "handoff.started": {},
    "handoff.ended": {},
    "case.opened": {},
    "case.closed": {},
    "message.delivered": _FEEDBACK,
    "message.opened": _FEEDBACK,
    "message.clicked": _FEEDBACK,
    "message.replied": {**_FEEDBACK, "answer": ANYTHING, "text": "Yes, please"},
    "message.bounced": _FEEDBACK,
    "message.failed": _FEEDBACK,
    "message.unsubscribed": _FEEDBACK,
    "message.dropped": {**_FEEDBACK, "reason": "expired"},
    "audience.applied": _FEEDBACK,
    "customer.erased": {},
}


class Vocabulary:
    """What the journeys of one shop may name."""

    def __init__(self, shop: Shop) -> None:
        self._own = shop.events
        self.own: Final = frozenset(shop.events) - frozenset(EXAMPLES)
        self.types: Final = frozenset(EXAMPLES) | frozenset(shop.events)
        self.stages: Final = frozenset(stage.name for stage in shop.stages)
        self.segments: Final = frozenset(shop.segments)
        self.derived: Final = frozenset(shop.attributes)
        self.tiers: Final = {
            name: frozenset(tier.name for tier in says.tiers)
            for name, says in shop.attributes.items()
            if says.tiers is not None
        }
        # An example of what the profile holds that the shop itself declares.
        self.profile: Final = {
            name: _derived_example(says) for name, says in shop.attributes.items()
        }

    def example(self, event_type: str) -> dict[str, Any] | None:
        """Return example data with every known field, None when any field may be there."""
        further = self._own.get(event_type, ())
        standard = EXAMPLES.get(event_type)
        if standard is None and not further:
            return None
        example: dict[str, Any] = {name: ANYTHING for name in further if "." not in name}
        example |= standard or {}
        of_items = [name.removeprefix("items.") for name in further if name.startswith("items.")]
        if of_items:
            example["items"] = [{**dict.fromkeys(of_items, ANYTHING), **_ITEM}]
        return example


def _derived_example(says: DerivedAttribute) -> Any:
    if says.make == "count":
        return 1
    if says.make in AMOUNTS:
        return 1.0
    return ["tent-2"] if says.make == "values" else "outdoor"


def known(value: Any) -> Any:
    """Return example data without what could be anything."""
    if isinstance(value, dict):
        return {name: known(inner) for name, inner in value.items() if inner is not ANYTHING}
    return [known(inner) for inner in value] if isinstance(value, list) else value
