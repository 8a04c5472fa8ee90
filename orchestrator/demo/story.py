"""Who comes to the shop today and what they do: events on a plan, the same for the same seed.

`demo/day` plays the plan against Kafka at the times that stand in it. Ana's own steps are built
here too, but `demo/ana` decides when she takes the last one: she buys when her e-mail is on its
way, however fast the machine is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ANA: Final = "ana"
SOURCE: Final = "/shop"
NAMES: Final = (
    "Ben", "Carla", "Deniz", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Luca",
    "Mina", "Noor", "Omar", "Paula", "Quinn", "Rosa", "Sami", "Tess", "Uma", "Vera", "Wim", "Yara",
)  # fmt: skip


# The share of the customers who welcome promotions there.
AGREED: Final = {"email": 0.9, "push": 0.8, "sms": 0.5, "whatsapp": 0.5, "ads": 0.8}


@dataclass(frozen=True, slots=True)
class Product:
    """One thing on the shelf."""

    sku: str
    family: str
    category: str
    price: str
    name: str

    def line(self, quantity: int = 1) -> dict[str, Any]:
        """Return it as a line of a cart or an order."""
        return {
            "sku": self.sku,
            "family": self.family,
            "category": self.category,
            "name": self.name,
            "quantity": quantity,
            "price": self.price,
        }


TENT: Final = Product("tent-2", "tent", "outdoor", "129.00", "two-person tent")
SHELF: Final = (
    TENT,
    Product("tent-4", "tent-family", "outdoor", "289.00", "family tent"),
    Product("boots-42", "boots", "shoes", "149.00", "hiking boots"),
    Product("jacket-m", "jacket", "clothing", "189.00", "rain jacket"),
    Product("stove-1", "stove", "outdoor", "59.90", "camping stove"),
    Product("pack-45", "backpack", "outdoor", "119.00", "backpack"),
    Product("bag-0c", "sleeping-bag", "outdoor", "99.00", "sleeping bag"),
    Product("lamp-2", "headlamp", "outdoor", "34.50", "headlamp"),
    Product("gas-230", "gas", "consumables", "6.90", "gas cartridge"),
    Product("socks-3", "socks", "clothing", "19.90", "wool socks"),
)


@dataclass(frozen=True, slots=True)
class Touch:
    """One event of the plan: when (seconds after opening), what, and how it is produced.

    `keyed` is False for a producer that forgets the record key: the orchestrator brings such an
    event home. `repeat` marks an event that was sent before: it must change nothing.
    """

    at: float
    event: Mapping[str, Any]
    keyed: bool = True
    repeat: bool = False


def event(event_id: str, event_type: str, customer: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CloudEvent without its time: that is stamped when it is sent."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": event_type,
        "subject": customer,
        "data": dict(data),
    }


def viewed(customer: str, number: object, product: Product) -> dict[str, Any]:
    """Return a look at a product page."""
    data = {
        "sku": product.sku,
        "family": product.family,
        "category": product.category,
        "name": product.name,
        "price": product.price,
    }
    return event(f"view-{number}", "product.viewed", customer, data)


def cart(customer: str, number: object, product: Product, *, abandoned: bool) -> dict[str, Any]:
    """Return a cart with one thing in it, filled or left behind."""
    kind = "cart.abandoned" if abandoned else "cart.updated"
    data = {
        "cart_id": f"cart-{number}",
        "items": [product.line()],
        "total": product.price,
        "currency": "EUR",
    }
    return event(f"{kind.replace('.', '-')}-{number}", kind, customer, data)


def purchase(customer: str, order: object, product: Product) -> dict[str, Any]:
    """Return an order of one thing."""
    data = {
        "order_id": str(order),
        "items": [product.line()],
        "total": product.price,
        "currency": "EUR",
    }
    return event(f"ord-{order}", "purchase", customer, data)


def profile(customer: str, **attributes: Any) -> dict[str, Any]:
    """Return what becomes known of somebody."""
    known = {"country": "ES", "language": "es", "customer_id": customer, **attributes}
    number = "-".join(("profile", customer, *sorted(attributes)[:1]))
    return event(number, "profile.updated", customer, {"attributes": known})


def consent(customer: str, channel: str) -> dict[str, Any]:
    """Return the customer's word that promotions on a channel are welcome."""
    about = {"channel": channel, "class": "promotional", "granted": True, "proof": "sign-up form"}
    return event(f"consent-{channel}-{customer}", "consent.updated", customer, about)


def winter_sale(customer: str) -> dict[str, Any]:
    """Return the campaign team's invitation to the sale."""
    data = {"campaign": "winter_sale"}
    return event(f"sale-{customer}", "campaign.started", customer, data)


def anas_way() -> tuple[Touch, ...]:
    """Return what Ana does before she buys: she was away for long, and comes back for a tent."""
    known = {
        "first_name": "Ana",
        "email": "ana@example.org",
        "hashed_email": "3f1c",
        "push_token": "phone-of-ana",
        "phone": "+34600000000",
        "loyalty_tier": "gold",
    }
    return (
        Touch(0.2, profile(ANA, **known)),
        *(Touch(0.2, consent(ANA, channel)) for channel in ("email", "push", "whatsapp", "ads")),
        Touch(0.4, profile(ANA, lifecycle="lapsed")),
        Touch(1.0, winter_sale(ANA)),
        Touch(3.5, viewed(ANA, "ana-1", TENT)),
        Touch(6.0, cart(ANA, "ana", TENT, abandoned=False)),
        Touch(7.0, cart(ANA, "ana", TENT, abandoned=True)),
    )


def anas_order() -> dict[str, Any]:
    """Return the purchase that ends her promotions."""
    return purchase(ANA, "1001", TENT)


def anas_old_tab() -> dict[str, Any]:
    """Return the cart of an old tab on her laptop: it still holds the tent that she now owns."""
    return cart(ANA, "ana-old-tab", TENT, abandoned=True)


def day_plan(*, customers: int, seconds: float, seed: int) -> list[Touch]:
    """Return everybody else's day, in order of time."""
    dice = random.Random(seed)  # noqa: S311 - a repeatable day, not a secret.
    touches: list[Touch] = []
    for number in range(1, customers + 1):
        # Nobody comes so late that their purchase would miss the day.
        begin = dice.uniform(0.0, seconds * 0.7)
        touches += _visit(dice, number, begin, seconds)
    return sorted(touches, key=lambda touch: touch.at)


def _visit(dice: random.Random, number: int, begin: float, seconds: float) -> list[Touch]:
    customer = f"c-{number:04d}"
    product = dice.choice(SHELF)
    touches = [Touch(begin, profile(customer, **_known(dice, customer)))]
    # Not everybody agrees to everything.
    for channel, share in AGREED.items():
        if dice.random() < share:
            touches.append(Touch(begin, consent(customer, channel)))
    if dice.random() < 0.4:
        touches.append(Touch(begin + 0.1, winter_sale(customer)))
    if dice.random() < 0.1:
        touches.append(Touch(begin + 0.2, profile(customer, lifecycle="lapsed")))
    if dice.random() < 0.25:
        touches.append(Touch(begin, event(f"news-{number}", "newsletter.subscribed", customer, {})))
    if dice.random() < 0.15:
        return touches + _in_the_store(dice, number, begin, product)
    clock = begin
    for look in range(dice.randint(1, 3)):
        clock += dice.uniform(0.2, 1.0)
        touches.append(Touch(clock, viewed(customer, f"{number}-{look}", product)))
    if dice.random() < 0.6:
        clock += dice.uniform(0.2, 0.6)
        touches.append(Touch(clock, cart(customer, number, product, abandoned=False)))
        clock += dice.uniform(0.3, 0.8)
        touches.append(Touch(clock, cart(customer, number, product, abandoned=True)))
    if dice.random() < 0.55:
        clock = min(clock + dice.uniform(0.3, seconds * 0.25), seconds)
        touches += _order(dice, number, clock, product)
    return touches


def _in_the_store(dice: random.Random, number: int, begin: float, product: Product) -> list[Touch]:
    """Somebody buys in the store and reads the manual on the web site later.

    Tills set no record key: such an event takes a hop longer.
    """
    customer = f"c-{number:04d}"
    clock = begin + dice.uniform(0.5, 2.0)
    return [
        Touch(begin, event(f"store-{number}", "store.visited", customer, {}), keyed=False),
        Touch(clock, purchase(customer, 2000 + number, product), keyed=False),
        Touch(clock + dice.uniform(1.5, 3.0), viewed(customer, f"{number}-manual", product)),
    ]


def _known(dice: random.Random, customer: str) -> dict[str, str]:
    """Not everybody says their name, has the app or leaves a phone number."""
    known = {"email": f"{customer}@example.org"}
    if dice.random() < 0.85:
        known["first_name"] = dice.choice(NAMES)
    if dice.random() < 0.5:
        known["push_token"] = f"phone-of-{customer}"
    if dice.random() < 0.4:
        known["phone"] = "+34600000000"
    if dice.random() < 0.3:
        known["loyalty_tier"] = dice.choice(("silver", "gold"))
    return known


def _order(dice: random.Random, number: int, at: float, product: Product) -> list[Touch]:
    customer = f"c-{number:04d}"
    order = purchase(customer, 2000 + number, product)
    touches = [Touch(at, order)]
    if dice.random() < 0.08:
        touches.append(Touch(at + 0.5, order, repeat=True))
    if dice.random() < 0.06:
        data = {"order_id": str(2000 + number)}
        touches.append(Touch(at + 2.0, event(f"return-{number}", "order.returned", customer, data)))
    return touches
