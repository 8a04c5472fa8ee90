"""The workload: touchpoint events as the contract writes them, about 300 bytes, from a seed.

`load` sends them, `malformed` breaks them, `recovery` makes histories of them. An event's id
carries the instant at which it was meant to be sent, so that whoever reads a command (which names
the event in `caused_by.id`) knows how long the customer waited without asking the generator.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = "/bench"
# 70 % views, 20 % carts, 10 % purchases.
MIXED: Final = (
    ("product.viewed", 0.70),
    ("cart.updated", 0.10),
    ("cart.abandoned", 0.10),
    ("purchase", 0.10),
)
PURCHASES: Final = (("purchase", 1.0),)
MIXES: Final = {"mixed": MIXED, "purchases": PURCHASES}
CATEGORIES: Final = ("tents", "footwear", "clothing", "packs", "stoves", "fuel", "food", "care")
PRODUCTS: Final = 400
PRODUCTS_OF_A_CUSTOMER: Final = 5
# Nobody buys and looks in the same millisecond: which came first decides what follows, and an
# event's time has no finer word for it. Such an event is given to somebody else, so often at most.
DRAWS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: how many customers, which mix, how skewed, from which seed.

    `skew` is the exponent of a Zipf distribution over the customers; 0 is uniform.
    """

    customers: int = 10_000
    mix: str = "mixed"
    skew: float = 0.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Touch:
    """One event to be sent: when on CLOCK_MONOTONIC, for whom, and its bytes; None, a tombstone."""

    intended_ns: int
    type: str
    id: str
    key: bytes
    value: bytes | None


def event_id(intended_ns: int, number: int) -> str:
    return f"{intended_ns:x}-{number}"


def intended_ns(event: str) -> int | None:
    """Return the intended send time that an id carries; None for an id of somebody else."""
    instant, _, number = event.partition("-")
    try:
        return int(instant, 16) if number.isdigit() else None
    except ValueError:
        return None


def customer_id(number: int) -> str:
    return f"customer-{number:07d}"


def touches(workload: Workload, rate: float, seconds: float, start_ns: int) -> Iterator[Touch]:
    """Yield the events of a run with Poisson arrivals, serialised before their time has come.

    Arrivals are open loop: the next one does not know whether the last one was served.
    """
    chance = random.Random(workload.seed)
    kinds = [kind for kind, _ in MIXES[workload.mix]]
    weights = list(accumulate(share for _, share in MIXES[workload.mix]))
    ranks = list(accumulate(1 / (n + 1) ** workload.skew for n in range(workload.customers)))
    population = range(workload.customers)
    # The wall clock of the intended instant, for the event's own `time`.
    wall_offset_ns = time.time_ns() - time.monotonic_ns()
    at, number = 0.0, 0
    latest_ms: dict[int, int] = {}

    def drawn() -> int:
        if workload.skew:
            return chance.choices(population, cum_weights=ranks)[0]
        return chance.randrange(workload.customers)

    while (at := at + chance.expovariate(rate)) < seconds:
        instant_ns = start_ns + int(at * 1e9)
        kind = chance.choices(kinds, cum_weights=weights)[0]
        customer, instant_ms = drawn(), instant_ns // 1_000_000
        for _ in range(DRAWS_MAX):
            if latest_ms.get(customer, -2) < instant_ms - 1:
                break
            customer = drawn()
        latest_ms[customer] = instant_ms
        identity = event_id(instant_ns, number)
        value = event_bytes(kind, identity, customer, instant_ns + wall_offset_ns, chance)
        yield Touch(instant_ns, kind, identity, customer_id(customer).encode(), value)
        number += 1


def population(workload: Workload) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of what the shop knows before the load: profiles, and who is in the sale.

    Every second customer is in a running promotion with messages on their way, so that a purchase
    has something to end, recall and fence.
    """
    now_ns, started_ns = time.time_ns(), time.monotonic_ns()
    for customer in range(workload.customers):
        key = customer_id(customer).encode()
        identity = event_id(started_ns, customer)
        yield key, profile_bytes(customer, identity, now_ns)
        yield key, consent_bytes(customer, "email", identity, now_ns)
        if customer % 2:
            sale = '{"campaign":"winter_sale","discount_text":"up to 30 %"}'
            yield key, _envelope("campaign.started", f"{identity}-sale", customer, now_ns, sale)


def profile_bytes(customer: int, identity: str, at_ns: int) -> bytes:
    """Return who a customer is and where they can be reached."""
    profile = (
        f'{{"attributes":{{"email":"customer-{customer}@example.com",'
        f'"first_name":"Ana","language":"es","push_token":"push-{customer:032x}"}}}}'
    )
    return _envelope("profile.updated", f"{identity}-profile", customer, at_ns, profile)


def consent_bytes(customer: int, channel: str, identity: str, at_ns: int) -> bytes:
    """Return the customer's word that promotions on a channel are welcome."""
    data = f'{{"channel":"{channel}","class":"promotional","granted":true,"proof":"form"}}'
    return _envelope("consent.updated", f"{identity}-{channel}", customer, at_ns, data)


def event_bytes(
    kind: str, identity: str, customer: int, at_ns: int, chance: random.Random
) -> bytes:
    """Return one event of the mix; `at_ns` is on the wall clock."""
    return _envelope(kind, identity, customer, at_ns, _data(kind, identity, customer, chance))


def _envelope(kind: str, identity: str, customer: int, at_ns: int, data: str) -> bytes:
    """Return an event in the contract's structured mode."""
    moment = datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    return (
        f'{{"specversion":"1.0","id":"{identity}","source":"{SOURCE}","type":"{kind}",'
        f'"subject":"{customer_id(customer)}","time":"{moment.removesuffix("+00:00")}Z",'
        f'"data":{data}}}'
    ).encode()


def _data(kind: str, identity: str, customer: int, chance: random.Random) -> str:
    # A customer comes back to the same few products: purchases meet what carts and views began.
    product = (customer * 7 + chance.randrange(PRODUCTS_OF_A_CUSTOMER)) % PRODUCTS
    sku, category = f"sku-{product:04d}", CATEGORIES[product % len(CATEGORIES)]
    price = f"{10 + product}.90"
    item = f'{{"sku":"{sku}","category":"{category}","quantity":1,"price":"{price}"}}'
    match kind:
        case "product.viewed":
            page = f"https://shop.example/es/{category}/{sku}?utm_source=newsletter&position=3"
            return f'{{"sku":"{sku}","category":"{category}","price":"{price}","url":"{page}"}}'
        case "cart.updated" | "cart.abandoned":
            return (
                f'{{"cart_id":"cart-{customer}-{product % 4}","currency":"EUR","items":[{item}]}}'
            )
        case "purchase":
            return (
                f'{{"order_id":"order-{identity}","total":"{price}","currency":"EUR",'
                f'"items":[{item}]}}'
            )
    raise ValueError(f"no such kind of event: {kind}")
