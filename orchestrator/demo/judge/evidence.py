"""What the judge knows: promotions that were handed over, and what customers did.

`demo/day` fills it while it plays. Nothing here knows a journey, a fence or a campaign: both worlds
are judged by the same touchpoints and by deliveries of the same shape. Times are seconds after
opening, on the clock of the process that sends the events and works the senders' desks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.demo.judge.sayings import Saying

LOYAL_TIERS: Final = frozenset({"silver", "gold", "platinum"})


class Kind(StrEnum):
    """What a hand-over does."""

    MESSAGE = "message.send"
    ADDED = "audience.add"
    REMOVED = "audience.remove"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One promotion that a channel handed over to its provider.

    `name` is the template or the audience, `skus` the products that it names itself, `trigger` the
    id of the event that brought it about. `ordered_at` is when it could be read on its topic,
    `began_at` when the sender took it in hand for the last time, `ended_at` when it was out.
    """

    customer: str
    channel: str
    kind: Kind
    name: str
    saying: Saying
    skus: frozenset[str]
    trigger: str
    ordered_at: float
    began_at: float
    ended_at: float


@dataclass(slots=True)
class Order:
    """One purchase, from the acknowledgement of the broker until it was sent back."""

    customer: str
    order_id: str
    skus: frozenset[str]
    accepted_at: float | None = None
    effect_at: float | None = None
    decided: str = ""
    returned_at: float | None = None


@dataclass(slots=True)
class Touchpoints:
    """What customers did, and from when on the shop could know of their purchases.

    A purchase counts as known when its effect in our world could be read: the first command after
    the purchase and the fences of the same decision. The silos get the same moment, which is
    later than the purchase itself and so to their favour.
    """

    sent_at: dict[str, float] = field(default_factory=dict)
    products: dict[str, frozenset[str]] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    loyal_since: dict[str, float] = field(default_factory=dict)
    consents: defaultdict[tuple[str, str], list[tuple[float, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _fenced_at: dict[tuple[str, str], float] = field(default_factory=dict)

    def on_sent(self, event: Mapping[str, Any], at: float) -> None:
        """Note what a customer does; what is repeated was done once."""
        event_id, customer, data = event["id"], event["subject"], event["data"]
        if event_id in self.sent_at:
            return
        self.sent_at[event_id] = at
        self.products[event_id] = skus_of(data)
        match event["type"]:
            case "purchase":
                self.orders[event_id] = Order(customer, data["order_id"], skus_of(data))
            case "order.returned":
                for order in self.orders.values():
                    if order.order_id == data["order_id"]:
                        order.returned_at = at
            case "profile.updated" if data["attributes"].get("loyalty_tier") in LOYAL_TIERS:
                self.loyal_since.setdefault(customer, at)
            case "consent.updated" if data["class"] == "promotional":
                self.consents[customer, data["channel"]].append((at, data["granted"]))
            case _:
                pass

    def on_accepted(self, event_id: str, at: float) -> None:
        """Note that the broker has a purchase."""
        order = self.orders.get(event_id)
        if order is not None and order.accepted_at is None:
            order.accepted_at = at

    def on_effect(self, event_id: str, decided: str, at: float) -> None:
        """Note the first command that follows a purchase; `decided` is the time in its envelope."""
        order = self.orders.get(event_id)
        if order is not None and order.effect_at is None:
            order.effect_at, order.decided = at, decided

    def on_fence(self, customer: str, value: Mapping[str, Any] | None, at: float) -> None:
        """Note from when on the fences of a decision could be read."""
        for fenced in value["enrollments"] if value else ():
            self._fenced_at.setdefault((customer, fenced["ended_at"]), at)

    def known_at(self, order: Order) -> float | None:
        """Return when the shop could know of a purchase; None when it never had its effect.

        The markers of a commit reach the partitions one after the other, so what follows a
        purchase may be readable an instant before the fence that ends a promotion.
        """
        if order.effect_at is None:
            return None
        return max(order.effect_at, self._fenced_at.get((order.customer, order.decided), 0.0))

    def agreed(self, customer: str, channel: str, at: float) -> bool:
        """Whether the last word of a customer about promotions on a channel was a yes."""
        said = [granted for since, granted in self.consents[customer, channel] if since <= at]
        return bool(said) and said[-1]


def skus_of(data: Mapping[str, Any]) -> frozenset[str]:
    """Return the products that an event, or the variables of a message, name."""
    named = {item["sku"] for item in data.get("items") or () if "sku" in item}
    if "sku" in data:
        named.add(data["sku"])
    return frozenset(named)
