"""Who has several ids in the story of a crash run, and how that is learned; who is forgotten.

A third of the customers act under two to five ids: of a browser, of a device, of a second account.
Which of them an event comes from is left to chance, before and after they are known to be one.
"""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from bench.crash.plan import Teller

ACTS_AS_KNOWN: Final = 0.5
"""How often somebody with several ids uses their first one."""
ERASED_PART: Final = 0.1
THIRD: Final = "desk-1"
"""Who tells of others, and is none of them."""


def ids_of(number: int) -> tuple[str, ...]:
    """Return the ids of one person. `acc-` stays before `c-`, and `kc-` behind it."""
    known, tail = f"c-{number:05d}", f"{number:05d}"
    if number % 3:
        return (known,)
    match number // 3 % 5:
        case 0:
            return known, f"web-{tail}-a"
        case 1:
            return known, f"web-{tail}-a", f"web-{tail}-b", f"device-{tail}"
        case 2:
            return known, f"acc-{tail}", f"web-{tail}-a"
        case 3:
            return known, f"kc-{tail}"
        case _:
            return known, f"acc-{tail}", f"kc-{tail}", f"web-{tail}-a", str(UUID(int=number))


def acting(teller: Teller, number: int) -> str:
    """Return the id under which a person does the next thing."""
    first, *others = ids_of(number)
    if not others or teller.random.random() < ACTS_AS_KNOWN:
        return first
    return teller.random.choice(others)


def phone_of(customer: str) -> str:
    """Return a number that nobody else has."""
    return f"+346{zlib.crc32(customer.encode()) % 10**8:08d}"


def tell_of_kin(teller: Teller, at_ms: int, number: int) -> bool:
    """Tell a story about who somebody is, now and then; return whether one was told."""
    dice, ids = teller.random.random(), ids_of(number)
    if dice < teller.size.kin * ERASED_PART:
        _erased(teller, at_ms, ids)
    elif len(ids) > 1 and dice < teller.size.kin:
        story = teller.random.choice(STORIES)
        story(teller, at_ms, ids)
    else:
        return False
    return True


def _identify(teller: Teller, at_ms: int, one: str, other: str) -> None:
    """Say that two ids are one customer: in any direction, at either, or at a third one."""
    names = teller.random.sample((one, other), 2)
    data: dict[str, Any] = {"anonymous_id": names[0], "customer_id": names[1]}
    if teller.random.random() < 0.3:
        data["attributes"] = {"first_name": one.title(), "loyal": teller.random.random() < 0.5}
    subject = teller.random.choice((one, one, other, other, THIRD))
    planned = teller.happens(at_ms, subject, "profile.identified", data)
    if teller.random.random() < 0.2:
        teller.repeat(planned, teller.random.choice((0, 30, 2_000, 20_000)))


def _signed_in(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Visit under a cookie, sign in, go on under both: what the other id has begun must end."""
    one, other = teller.random.sample(ids, 2)
    items = [{"sku": f"sku-{teller.random.randrange(120)}", "category": "boots", "quantity": 1}]
    cart = {"cart_id": teller.next_id("cart"), "items": items}
    teller.happens(at_ms, one, "cart.abandoned", cart)
    if teller.random.random() < 0.4:
        # The same cart under both ids.
        teller.happens(at_ms + 300, other, "cart.abandoned", cart)
    at_ms += teller.random.randrange(50, 9_000)
    _identify(teller, at_ms, one, other)
    at_ms += teller.random.choice((0, 0, 20, 500, 6_000))
    buyer = teller.random.choice((one, other))
    order = {"order_id": teller.next_id("order"), "total": "42.00", "currency": "EUR"}
    teller.happens(at_ms, buyer, "purchase", {**order, "items": items})
    if teller.random.random() < 0.3:
        # The same order under the other id, as a second system reports it.
        twin = other if buyer == one else one
        teller.happens(at_ms + 40, twin, "purchase", {**order, "items": items})
    if teller.random.random() < 0.3:
        whole = {"order_id": order["order_id"]}
        teller.happens(at_ms + 4_000, teller.random.choice(ids), "order.cancelled", whole)


def _courted(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Be advertised to, and be promised things, under two ids; then turn out to be one."""
    one, other = teller.random.sample(ids, 2)
    for customer in (one, other):
        for channel in teller.random.sample(("email", "push", "sms", "ads"), 3):
            granted = teller.random.random() < 0.85
            word = {"channel": channel, "class": "promotional", "granted": granted, "proof": "form"}
            teller.happens(at_ms, customer, "consent.updated", word)
        if teller.random.random() < 0.7:
            known: dict[str, Any] = {"email": f"{customer}@example.org", "first_name": "Ana"}
            known["loyal"] = teller.random.random() < 0.5
            known["push_token"] = f"token-{customer}"
            teller.happens(at_ms + 20, customer, "profile.updated", {"attributes": known})
        kind, data = teller.random.choice(BEGINNINGS)
        teller.happens(at_ms + 40, customer, kind, data)
        offer = teller.random.choice(("welcome10", "season15", "ship_free"))
        about = {"offer": offer, "channel": "web"}
        teller.happens(at_ms + 60, customer, "offer.requested", about)
        at_ms += teller.random.choice((10, 400, 3_000))
    at_ms += teller.random.randrange(100, 7_000)
    _identify(teller, at_ms, one, other)
    if teller.random.random() < 0.5:
        items = [{"sku": f"sku-{teller.random.randrange(120)}", "quantity": 1}]
        order = {"order_id": teller.next_id("order"), "total": "42.00", "currency": "EUR"}
        at_ms += teller.random.choice((0, 30, 2_000))
        buyer = teller.random.choice((one, other))
        teller.happens(at_ms, buyer, "purchase", {**order, "items": items})


def _told_twice(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Two systems tell of one merge at one instant, most likely in two directions."""
    one, other = teller.random.sample(ids, 2)
    for _ in range(teller.random.choice((2, 2, 3))):
        _identify(teller, at_ms, one, other)
        at_ms += teller.random.choice((0, 0, 5, 400))


def _chained(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Tell of all ids in a ring, in any order, at one instant or one after the other."""
    ring = list(zip(ids, (*ids[1:], ids[0]), strict=True))
    for one, other in teller.random.sample(ring, len(ring)):
        _identify(teller, at_ms, one, other)
        at_ms += teller.random.choice((0, 0, 100, 3_000))


def _shared(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Let several accounts have one address, in many spellings, and some change it again."""
    mail, phone = f"{ids[0]}@home.example", phone_of(ids[0])
    spellings: tuple[dict[str, str], ...] = (
        {"email": f" {mail.title()} "},
        {"email_sha256": sha256(mail.encode()).hexdigest().upper()},
        {"phone": f"{phone[:3]} {phone[3:6]}-{phone[6:]}"},
        {"phone": phone, "email": mail},
    )
    for customer in teller.random.sample(ids, min(len(ids), 3)):
        said = teller.random.choice(spellings)
        teller.happens(at_ms, customer, "profile.updated", {"attributes": said})
        if teller.random.random() < 0.15:
            moved = {"email": f"{customer}@away.example", "phone": phone_of(customer)}
            teller.happens(at_ms + 3_000, customer, "profile.updated", {"attributes": moved})
        at_ms += teller.random.choice((0, 15, 900))


STORIES: Final = (_signed_in, _signed_in, _courted, _courted, _told_twice, _chained, _shared)
BEGINNINGS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("ad.clicked", {"utm": {"campaign": "season"}}),
    ("ad.clicked", {"utm": {"campaign": "season"}}),
    ("newsletter.subscribed", {}),
    ("search.done", {"query": "tent"}),
)


def _erased(teller: Teller, at_ms: int, ids: tuple[str, ...]) -> None:
    """Forget somebody; what comes late counts for nothing, what comes later begins anew."""
    customer = teller.random.choice(ids)
    viewed = {"sku": f"sku-{teller.random.randrange(120)}"}
    before = teller.happens(at_ms, customer, "product.viewed", viewed)
    if len(ids) > 1 and teller.random.random() < 0.5:
        _identify(teller, at_ms, *teller.random.sample(ids, 2))
    at_ms += teller.random.choice((0, 100, 5_000))
    gone = teller.happens(at_ms, customer, "customer.erased", {})
    teller.repeat(before, teller.random.choice((10_000, 15_000)))
    if teller.random.random() < 0.3:
        teller.repeat(gone, teller.random.choice((20, 8_000)))
    if len(ids) > 1:
        for one in teller.random.sample(ids, 2):
            if one != customer:
                _identify(teller, at_ms + teller.random.choice((0, 200, 7_000)), one, customer)
    if teller.random.random() < 0.6:
        at_ms += teller.random.randrange(500, 12_000)
        again = {"channel": "push", "class": "promotional", "granted": True, "proof": "form"}
        teller.happens(at_ms, customer, "consent.updated", again)
        teller.happens(at_ms + 50, customer, "ad.clicked", {"utm": {"campaign": "season"}})
