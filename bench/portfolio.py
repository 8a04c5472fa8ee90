"""Twenty journeys of a busy shop, and customers in the middle of them, for `bench/decide.py`.

The portfolio is what a team has after some years: a few journeys on every page view, most of them
over conditions, exits tied to products, and a purchase that ends all and starts several.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.customer import (
    Attribute,
    Cause,
    Consent,
    Contact,
    Customer,
    Enrollment,
    JourneyMemory,
    OpenCommand,
    Order,
    OrderLine,
    Product,
    RememberedExit,
)
from orchestrator.core.journeys import Journeys, Plan
from orchestrator.core.language.journey import Journey
from orchestrator.core.language.shop import Channel, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
START_MS: Final = 1_795_341_600_000
CATEGORIES: Final = ("tents", "footwear", "clothing", "packs", "stoves", "fuel", "food", "care")
PRODUCTS: Final = 400
ENROLLMENTS_OF_A_CUSTOMER: Final = 3

_BUYING_IT: Final = {
    "on": "purchase",
    "when": "event.data.items.exists(i, i.sku in enrollment.skus)",
}
_BUYING: Final = {"on": "purchase"}
_GREETING: Final = {"first_name": {"value": "profile.first_name", "default": "friend"}}

# name, kind, entry, exits, and how long each of its waits takes between its messages.
_PORTFOLIO: Final[tuple[tuple[str, str, dict[str, Any], list[Any], tuple[str, ...]], ...]] = (
    (
        "browse_abandonment",
        "promotional",
        {
            "on": "product.viewed",
            "when": "has(profile.email)",
            "about": "event.data",
            "reentry": {"after": "7d"},
        },
        [_BUYING_IT],
        ("4h", "20h"),
    ),
    (
        "premium_browse",
        "promotional",
        {
            "on": "product.viewed",
            "when": 'event.data.price > 400.0 && profile.tier == "gold"',
            "about": "event.data",
        },
        [_BUYING_IT],
        ("1h", "2d"),
    ),
    (
        "tent_advice",
        "service",
        {"on": "product.viewed", "when": 'event.data.category == "tents"', "reentry": "once"},
        [_BUYING],
        ("1d", "7d"),
    ),
    (
        "cart_saver",
        "promotional",
        {
            "on": "cart.updated",
            "when": "size(event.data.items) > 1",
            "key": "event.data.cart_id",
            "about": "event.data.items",
        },
        [_BUYING_IT],
        ("2h", "1d"),
    ),
    (
        "cart_abandonment",
        "promotional",
        {"on": "cart.abandoned", "key": "event.data.cart_id", "about": "event.data.items"},
        [_BUYING_IT],
        ("1h", "23h", "3d"),
    ),
    (
        "cart_call",
        "promotional",
        {"on": "cart.abandoned", "when": 'profile.tier == "gold"', "key": "event.data.cart_id"},
        [_BUYING],
        ("3h", "2d"),
    ),
    (
        "post_purchase",
        "transactional",
        {"on": "purchase", "key": "event.data.order_id"},
        [],
        ("3d",),
    ),
    (
        "review_request",
        "service",
        {"on": "purchase", "reentry": {"after": "30d"}},
        ["order.returned"],
        ("14d",),
    ),
    (
        "cross_sell",
        "promotional",
        {"on": "purchase", "when": 'event.data.items.exists(i, i.category == "tents")'},
        [_BUYING],
        ("7d", "7d"),
    ),
    (
        "loyalty",
        "promotional",
        {"on": "purchase", "when": "event.data.total > 500.0", "reentry": "once"},
        [_BUYING],
        ("1d", "30d"),
    ),
    ("care_tips", "service", {"on": "purchase", "reentry": {"after": "90d"}}, [], ("5d", "30d")),
    (
        "welcome",
        "promotional",
        {"on": "newsletter.subscribed", "reentry": "once"},
        [_BUYING],
        ("2d", "5d"),
    ),
    ("winter_sale", "promotional", {"on": "newsletter.subscribed"}, [_BUYING], ("7d", "7d", "7d")),
    (
        "win_back",
        "promotional",
        {"on": "store.visited", "reentry": {"after": "60d"}},
        [_BUYING],
        ("10d", "20d"),
    ),
    (
        "search_help",
        "promotional",
        {"on": "search.done", "reentry": {"after": "3d"}},
        [_BUYING],
        ("2h",),
    ),
    (
        "back_in_stock",
        "promotional",
        {"on": "product.back_in_stock", "about": "event.data"},
        [_BUYING_IT],
        ("1h",),
    ),
    (
        "price_drop",
        "promotional",
        {"on": "price.dropped", "about": "event.data"},
        [_BUYING_IT],
        ("1h", "2d"),
    ),
    (
        "payment_help",
        "service",
        {"on": "payment.failed", "key": "event.data.order_id"},
        [_BUYING],
        ("1h", "1d"),
    ),
    ("ad_follow_up", "promotional", {"on": "ad.clicked"}, [_BUYING], ("1d", "3d")),
    ("case_follow_up", "service", {"on": "case.closed"}, [], ("3d",)),
)

CHANNELS: Final = {
    "email": Channel(kind="message", address_ref="profile.email"),
    "push": Channel(kind="message", address_ref="profile.push_token"),
    "ads": Channel(kind="audience", address_ref="profile.hashed_email"),
}


CONSENTED: Final = Contact(
    consents={
        f"{channel}/promotional": Consent(
            granted=True, time_ms=START_MS - DAY_MS, source="/f", id="f"
        )
        for channel in CHANNELS
    }
)


def portfolio() -> Journeys:
    """Return the twenty journeys."""
    return Journeys(Shop(locale="es-ES"), CHANNELS, [_journey(*one) for one in _PORTFOLIO])


def _journey(
    name: str, kind: str, entry: dict[str, Any], exits: list[Any], waits: tuple[str, ...]
) -> Journey:
    steps: list[dict[str, Any]] = []
    if kind != "promotional":
        steps.append(_send("at_once", "email"))
    for number, duration in enumerate(waits):
        steps.append({"id": f"wait_{number}", "wait": duration})
        steps.append(_send(f"message_{number}", "push" if number % 2 else "email"))
    if kind == "promotional":
        steps.insert(2, {"id": "ads", "audience": {"channel": "ads", "add": name}})
    return Journey.model_validate(
        {
            "name": name,
            "version": 1,
            "owner": "crm@example.com",
            "kind": kind,
            "stage": "consideration",
            "entry": entry,
            "exits": [{"on": one} if isinstance(one, str) else one for one in exits],
            "steps": steps,
        }
    )


def _send(step: str, channel: str) -> dict[str, Any]:
    return {"id": step, "send": {"channel": channel, "template": step, "variables": _GREETING}}


def sku(number: int) -> dict[str, Any]:
    """Return the article with this number, as events name it."""
    return {
        "sku": f"sku-{number:04d}",
        "family": f"family-{number // 4:03d}",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "price": f"{9 + number * 7 % 700}.00",
    }


def customers(journeys: Journeys, count: int, seed: int) -> Iterator[Customer]:
    """Yield customers with a full dedupe window, a past, and three enrollments each."""
    chance = random.Random(seed)
    plans = tuple(journeys.plans.values())
    for number in range(count):
        yield _customer(f"c-{number:06d}", chance, plans)


def _customer(customer_id: str, chance: random.Random, plans: tuple[Plan, ...]) -> Customer:
    chosen = chance.sample(plans, ENROLLMENTS_OF_A_CUSTOMER)
    orders = tuple(_order(chance, number) for number in range(chance.randrange(4)))
    profile = {
        "email": f"{customer_id}@example.com",
        "first_name": chance.choice(("Ana", "Ben", "Chloé", "Dimitri")),
        "tier": chance.choice(("gold", "silver", "silver", "none")),
        "locale": chance.choice(("es-ES", "en-GB", "de-DE")),
        "country": "ES",
        "phone": "+34000000000",
    }
    return Customer(
        id=customer_id,
        sequence=chance.randrange(50),
        now_ms=START_MS,
        seen=chance.randbytes(64 * 12),
        seen_times=chance.randbytes(64 * 4),
        business=b"".join(
            chance.randbytes(8) + (START_MS - DAY_MS).to_bytes(6, "big") for _ in orders
        ),
        attributes={
            name: Attribute(value, START_MS - 40 * DAY_MS, "/crm", f"import-{name}")
            for name, value in profile.items()
        },
        orders=orders,
        enrollments=tuple(_enrollment(chance, plan) for plan in chosen),
        memories={
            plan.name: JourneyMemory(entries=1, last_entry_ms=START_MS - DAY_MS) for plan in chosen
        },
        contact=CONSENTED,
        exits=tuple(
            RememberedExit("purchase", START_MS - DAY_MS, Cause("/shop", order.order_id), {})
            for order in orders[:1]
        ),
    )


def _order(chance: random.Random, number: int) -> Order:
    article = sku(chance.randrange(PRODUCTS))
    product = Product(article["sku"], article["family"], article["category"])
    time_ms = START_MS - chance.randrange(1, 170) * DAY_MS
    return Order(f"o-{chance.randrange(10**9)}-{number}", time_ms, (OrderLine(product, 1),))


def _enrollment(chance: random.Random, plan: Plan) -> Enrollment:
    entry = plan.journey.entry
    key = f"key-{chance.randrange(10**9)}" if entry.key is not None else None
    article = sku(chance.randrange(PRODUCTS))
    about = (Product(article["sku"], article["family"], article["category"]),)
    entered_ms = START_MS - chance.randrange(60, 1_440) * MINUTE_MS
    open_command = OpenCommand(
        id=chance.randbytes(16).hex(),
        kind="message",
        channel="email",
        command_class=plan.journey.kind.value,
        step="message_0",
        sequence=1,
        expires_at_ms=START_MS + 2 * DAY_MS,
    )
    return Enrollment(
        id=f"{plan.name}#1" if key is None else f"{plan.name}/{key}#1",
        journey=plan.name,
        version=1,
        key=key,
        entry_time_ms=entered_ms,
        entered_at_ms=entered_ms,
        cause=Cause("/web", f"view-{chance.randrange(10**9)}"),
        step="wait_0",
        wake_at_ms=START_MS + chance.randrange(1, 5_000) * MINUTE_MS,
        visits={"message_0": 1},
        products=about if entry.about is not None else (),
        trigger={},
        open_commands=(open_command,) if chance.random() < 0.5 else (),
        longest_expires_at_ms=START_MS + 2 * DAY_MS,
    )
