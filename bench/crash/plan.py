"""The story that a seed tells: who does what when, and everything that goes wrong on the way.

`load` sends it. The plan is a list in the order of sending; it knows nothing of Kafka but
partitions. The same seed and start give the same bytes.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bench.crash.furnish import ZONE
from bench.crash.ids import acting, phone_of, tell_of_kin
from bench.crash.judge.history import home_of, murmur2

if TYPE_CHECKING:
    from collections.abc import Callable

STORE_PARTITIONS: Final = 3
"""The second input topic has another partition count, so nearly nothing of it is at home."""
TAIL_SECONDS: Final = 30
"""Stories begin this long before the end, so that most of them end inside the load."""
CATEGORIES: Final = ("outdoor", "kitchen", "garden", "light", "accessory", "fuel", "boots", "maps")
COUNTRIES: Final = ("ES", "PT", "FR")
# Where it is another time of the day than in the shop; and where nobody lives.
ZONES: Final = ("Asia/Kathmandu", "America/Bogota", "Mars/Olympus")
OFFERS: Final = ("welcome10", "season15", "ship_free", "socks", "early_look")
CODES: Final = ("WELCOME10", "SEASON15", "ship_free", "SOCKS", "NOBODY20")
STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is told, and how fast."""

    events: int = 54_000
    customers: int = 5_400
    rate: float = 300.0
    pause_seconds: float = 14.0
    pauses: tuple[float, ...] = (0.3, 0.65)
    """Where the load stands still, as parts of its length: waits come due without traffic."""
    kin: float = 0.12
    """The part of the stories of people with several ids that tells of these; a tenth of it is the
    part of everybody's stories that ends with an erasure."""

    @property
    def seconds(self) -> float:
        """How long the load takes without its pauses."""
        return self.events / self.rate


@dataclass(frozen=True, slots=True)
class Planned:
    """One record to send. `lane` is `plain`, or what becomes of its producer transaction."""

    at_ms: int
    kind: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = STRUCTURED
    lane: str = "plain"


@dataclass(slots=True)
class Teller:
    """Collects what happens. Times are milliseconds since the start of the load."""

    random: random.Random
    size: Size
    start_ms: int
    partitions: int
    told: list[Planned] = field(default_factory=list)
    count: int = 0

    def next_id(self, prefix: str) -> str:
        """Return an id that was not used before."""
        self.count += 1
        return f"{prefix}-{self.count}"

    def at_work(self, at_ms: int) -> int:
        """Shift an instant of the story behind the pauses before it."""
        length_ms = self.size.seconds * 1000
        passed = sum(1 for part in self.size.pauses if at_ms >= part * length_ms)
        return at_ms + int(passed * self.size.pause_seconds * 1000)

    def happens(self, at_ms: int, customer: str, kind: str, data: dict[str, Any]) -> Planned:
        """Tell one event, mostly the plain way, sometimes late, odd, astray or aborted."""
        sent_ms = self.at_work(at_ms)
        age_ms = self.random.randrange(300)
        if self.random.random() < 0.02:
            age_ms = self.random.choice((2_000, 15_000, 60_000, 3_600_000, 4 * 86_400_000))
        body: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.next_id("e"),
            "source": "/shop",
            "type": kind,
            "subject": customer,
            "time": rfc3339(self.start_ms + sent_ms - age_ms),
            "data": data,
        }
        if self.random.random() < 0.005:
            body["backfill"] = True
        planned = self._routed(Planned(sent_ms, kind, "touchpoints", 0, b"", b""), customer, body)
        self.told.append(planned)
        return planned

    def _routed(self, planned: Planned, customer: str, body: dict[str, Any]) -> Planned:
        """Choose the way of a record: home, astray, by the stores' topic, or without a key."""
        home = home_of(customer, self.partitions)
        key: bytes | None = customer.encode()
        topic, partition, lane = "touchpoints", home, "plain"
        dice = self.random.random()
        if dice < 0.03:
            partition = (home + self.random.randrange(1, self.partitions)) % self.partitions
        elif dice < 0.06:
            topic, partition = "stores", murmur2(customer.encode()) % STORE_PARTITIONS
        elif dice < 0.065:
            key, partition = None, self.random.randrange(self.partitions)
        elif dice < 0.08:
            lane = "aborted"
        elif dice < 0.09:
            lane = "committed"
        value, headers = encode(body, binary=self.random.random() < 0.05)
        return replace(
            planned,
            topic=topic,
            partition=partition,
            key=key,
            value=value,
            headers=headers,
            lane=lane,
        )

    def repeat(self, original: Planned, delay_ms: int) -> None:
        """Send the same bytes again, as a producer does that did not hear the answer."""
        self.told.append(
            replace(original, at_ms=original.at_ms + delay_ms, kind="repeat", lane="plain")
        )


def rfc3339(instant_ms: int) -> str:
    """Write an instant as the contract's events carry it."""
    text = datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def encode(body: dict[str, Any], *, binary: bool) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Write an event in the structured or in the binary mode of CloudEvents."""
    if not binary:
        return json.dumps(body, separators=(",", ":")).encode(), STRUCTURED
    headers = [("content-type", b"application/json")]
    for name, value in body.items():
        if name != "data":
            text = value if isinstance(value, str) else json.dumps(value)
            headers.append((f"ce_{name}", text.encode()))
    return json.dumps(body["data"], separators=(",", ":")).encode(), tuple(headers)


def tell(seed: int, size: Size, start_ms: int, partitions: int) -> list[Planned]:
    """Return the whole story in the order of sending."""
    teller = Teller(random.Random(seed), size, start_ms, partitions)
    story_ms = max(1, int((size.seconds - min(TAIL_SECONDS, size.seconds / 2)) * 1000))
    while len(teller.told) < size.events * 0.94:
        # A few customers are far busier than the others.
        busy = teller.random.random() < 0.1
        number = teller.random.randrange(max(1, size.customers // 50) if busy else size.customers)
        at_ms = teller.random.randrange(story_ms)
        if not tell_of_kin(teller, at_ms, number):
            story = teller.random.choices(STORIES, STORY_WEIGHTS)[0]
            story(teller, at_ms, acting(teller, number))
    _spoil(teller)
    return sorted(teller.told, key=lambda planned: planned.at_ms)


def _products(teller: Teller, count: int) -> list[dict[str, Any]]:
    products = []
    for _ in range(count):
        number = teller.random.randrange(120)
        product: dict[str, Any] = {
            "sku": f"sku-{number}",
            "category": CATEGORIES[number % len(CATEGORIES)],
            "quantity": teller.random.choice((1, 1, 1, 2)),
            "price": f"{5 + number}.00",
        }
        if number % 3 == 0:
            # Variants of one product: owning one is owning the family.
            product["family"] = f"family-{number // 6}"
        products.append(product)
    return products


def _browse(teller: Teller, at_ms: int, customer: str) -> None:
    for _ in range(teller.random.randrange(1, 4)):
        teller.happens(at_ms, customer, "product.viewed", _products(teller, 1)[0])
        at_ms += teller.random.randrange(200, 9_000)


def _cart(teller: Teller, at_ms: int, customer: str) -> None:
    items = _products(teller, teller.random.randrange(1, 4))
    cart = {"cart_id": teller.next_id("cart"), "items": items}
    teller.happens(at_ms, customer, "product.viewed", items[0])
    teller.happens(at_ms + 600, customer, "cart.updated", cart)
    at_ms += teller.random.randrange(1_000, 4_000)
    teller.happens(at_ms, customer, "cart.abandoned", cart)
    fate = teller.random.random()
    at_ms += teller.random.randrange(100, 30_000)
    if fate < 0.5:
        _order(teller, at_ms, customer, items[: teller.random.randrange(1, len(items) + 1)])
    elif fate < 0.6:
        teller.happens(at_ms, customer, "cart.updated", {"cart_id": cart["cart_id"], "items": []})


def _buy(teller: Teller, at_ms: int, customer: str) -> None:
    items = _products(teller, teller.random.randrange(1, 3))
    teller.happens(at_ms, customer, "product.viewed", items[0])
    _order(teller, at_ms + teller.random.randrange(0, 15_000), customer, items)


def _order(teller: Teller, at_ms: int, customer: str, items: list[dict[str, Any]]) -> None:
    order = teller.next_id("order")
    data: dict[str, Any] = {
        "order_id": order,
        "total": "42.00",
        "currency": "EUR",
        "items": items,
    }
    if teller.random.random() < 0.4:
        data["offers"] = teller.random.sample(CODES, teller.random.choice((1, 1, 2)))
    teller.happens(at_ms, customer, "payment.pending", {"order_id": order})
    teller.happens(at_ms, customer, "purchase", data)
    if teller.random.random() < 0.04:
        # The same order under another event id, as a second system reports it.
        teller.happens(at_ms + teller.random.randrange(4_000), customer, "purchase", data)
    fate = teller.random.random()
    later = at_ms + teller.random.randrange(500, 15_000)
    if fate < 0.2:
        teller.happens(later, customer, "order.cancelled", {"order_id": order})
    elif fate < 0.3:
        teller.happens(later, customer, "order.returned", {"order_id": order})
    elif fate < 0.38:
        part = [{"sku": items[0]["sku"], "quantity": 1}]
        teller.happens(later, customer, "order.returned", {"order_id": order, "items": part})


def _advertised(teller: Teller, at_ms: int, customer: str) -> None:
    campaign = teller.random.choice(("season", "season", "other"))
    teller.happens(at_ms, customer, "ad.clicked", {"utm": {"campaign": campaign}})
    if teller.random.random() < 0.5:
        _order(teller, at_ms + teller.random.randrange(100, 30_000), customer, _products(teller, 1))


def _signed_up(teller: Teller, at_ms: int, customer: str) -> None:
    attributes: dict[str, Any] = {
        "first_name": customer.title(),
        "country": teller.random.choice(COUNTRIES),
        "email": f"{customer}@example.org",
        "loyal": teller.random.random() < 0.4,
    }
    if teller.random.random() < 0.7:
        attributes["phone"] = phone_of(customer)
    if teller.random.random() < 0.6:
        attributes["push_token"] = f"token-{customer}"
    if teller.random.random() < 0.3:
        attributes["preferred_channel"] = teller.random.choice(("email", "sms", "push", "web"))
    if teller.random.random() < 0.2:
        attributes["zone"] = teller.random.choice(ZONES)
    if customer.endswith(("0", "4", "8")):
        # The hour of the run, or for who lives elsewhere one that does not come.
        start = datetime.fromtimestamp(teller.start_ms / 1000, UTC)
        attributes["preferred_hour"] = start.astimezone(ZONE).hour
    # Some say who they are when they have been promised something already.
    known_ms = at_ms + teller.random.choice((0, 0, 9_000, 15_000))
    if teller.random.random() < 0.9:
        teller.happens(known_ms, customer, "profile.updated", {"attributes": attributes})
    teller.happens(at_ms + 50, customer, "newsletter.subscribed", {})


def _asked(teller: Teller, at_ms: int, customer: str) -> None:
    """Ask for promises, in two tabs at one instant, and use them, or not, or send all back."""
    offers = teller.random.sample((*OFFERS, *OFFERS[:3]), 2)
    for name in offers:
        wanted = {"offer": name, "channel": teller.random.choice(("web", "web", "email", "sms"))}
        teller.happens(at_ms, customer, "offer.requested", wanted)
    about, fate = {"offer": offers[0]}, teller.random.random()
    teller.happens(at_ms + 700, customer, "offer.shown", about)
    at_ms += teller.random.randrange(1_000, 14_000)
    if fate < 0.2:
        teller.happens(at_ms, customer, "offer.rejected", about)
    elif fate < 0.65:
        teller.happens(at_ms, customer, "offer.accepted", about)
        # Bought with it, and sent back when the other one is promised already.
        order = {"order_id": teller.next_id("order")}
        bought = {**order, "total": "42.00", "currency": "EUR", "items": _products(teller, 1)}
        teller.happens(at_ms + 500, customer, "purchase", {**bought, "offers": offers[:1]})
        if teller.random.random() < 0.6:
            teller.happens(at_ms + 4_000, customer, "order.cancelled", order)
    elif fate < 0.8:
        order = {"order_id": teller.next_id("order")}
        teller.happens(at_ms, customer, "offer.redeemed", {**about, **order})
        if teller.random.random() < 0.5:
            later = at_ms + teller.random.randrange(500, 9_000)
            teller.happens(later, customer, "order.cancelled", order)
    again = {"offer": offers[1], "channel": "web"}
    teller.happens(at_ms + 3_000, customer, "offer.requested", again)


def _said_yes(teller: Teller, at_ms: int, customer: str) -> None:
    """Say yes to promotions on one or two channels, and sometimes no again."""
    for channel in teller.random.sample(("email", "sms", "push", "ads"), 3):
        granted = teller.random.random() < 0.9
        about = {"channel": channel, "class": "promotional", "granted": granted, "proof": "form"}
        teller.happens(at_ms, customer, "consent.updated", about)
        at_ms += teller.random.randrange(50, 400)
    if teller.random.random() < 0.3:
        teller.happens(at_ms, customer, "handoff.started", {})
        if teller.random.random() < 0.7:
            later = at_ms + teller.random.randrange(500, 15_000)
            teller.happens(later, customer, "handoff.ended", {})


def _wandered(teller: Teller, at_ms: int, customer: str) -> None:
    teller.happens(at_ms, customer, "search.done", {"query": "tent"})
    teller.happens(at_ms + 300, customer, "kiosk.touched", {"screen": 3})
    teller.happens(at_ms + 900, customer, "store.visited", {})


STORIES: Final[tuple[Callable[[Teller, int, str], None], ...]] = (
    _browse,
    _cart,
    _buy,
    _advertised,
    _signed_up,
    _wandered,
    _said_yes,
    _asked,
)
STORY_WEIGHTS: Final = (26, 25, 12, 14, 14, 3, 20, 12)


def _spoil(teller: Teller) -> None:
    """Add repeats, reused ids and poison to what was told."""
    plain = [planned for planned in teller.told if planned.lane == "plain"]
    for planned in teller.random.sample(plain, len(plain) // 30):
        teller.repeat(planned, teller.random.choice((0, 40, 900, 12_000)))
    structured = [planned for planned in plain if planned.headers == STRUCTURED and planned.key]
    for planned in teller.random.sample(structured, min(60, len(structured) // 20)):
        body = json.loads(planned.value or b"{}")
        body["data"] = {**body["data"], "changed": True}
        value, _ = encode(body, binary=False)
        later = planned.at_ms + teller.random.choice((30, 4_000, 20_000))
        teller.told.append(replace(planned, at_ms=later, kind="reused id", value=value))
    last_ms = max(planned.at_ms for planned in teller.told)
    for _ in range(max(12, teller.size.events // 130)):
        teller.told.append(_poison(teller, teller.random.randrange(last_ms)))


def _poison(teller: Teller, at_ms: int) -> Planned:
    """Return a record that nobody can apply, of a kind that the contract lists."""
    customer = f"c-{teller.random.randrange(teller.size.customers):05d}"
    body: dict[str, Any] = {
        "specversion": "1.0",
        "id": teller.next_id("p"),
        "source": "/shop",
        "type": "product.viewed",
        "subject": customer,
        "time": rfc3339(teller.start_ms + at_ms),
        "data": {"sku": "sku-1"},
    }
    whole = json.dumps(body).encode()
    key: bytes | None = customer.encode()
    values: list[bytes | None] = [
        None,
        b"{",
        b"\xff\xfe not text",
        b'["an", "array"]',
        whole.replace(b'"sku-1"', b"NaN"),
        whole.replace(b'"sku-1"', b'"x", "deep": ' + b"[" * 80 + b"]" * 80),
        json.dumps({**body, "data": {}}).encode(),
        json.dumps({**body, "type": "purchase", "data": {"order_id": "1"}}).encode(),
        json.dumps({name: value for name, value in body.items() if name != "id"}).encode(),
        json.dumps({**body, "subject": "somebody-else"}).encode(),
    ]
    choice = teller.random.randrange(len(values))
    value = values[choice]
    if teller.random.random() < 0.01:
        value = whole.replace(b'"sku-1"', b'"' + b"x" * 1_020_000 + b'"')
    partition = home_of(customer, teller.partitions)
    return Planned(at_ms, "poison", "touchpoints", partition, key, value)
