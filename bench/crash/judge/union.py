"""What two ids that turn out to be one customer know together: by docs/identity.md alone.

`kindred` unites the survivor with who is absorbed. Enrollments are not united here, it decides
about those.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bench.crash.judge.person import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.crash.judge.permission import Counted, Permission
    from bench.crash.judge.person import Person
    from bench.crash.judge.promises import Promise

REMEMBERED_MAX: Final = 32
K = TypeVar("K")
V = TypeVar("V")


def unite(person: Person, came: Person) -> None:
    """Let somebody know what was known of the id that they have absorbed."""
    person.seen.union(came.seen)
    for key, bodies in came.ever.items():
        person.ever[key] |= bodies
    person.business |= came.business
    person.attributes = _greatest(person.attributes, came.attributes, lambda held: held[0])
    for name, order in came.orders.items():
        mine = person.orders.get(name)
        person.orders[name] = order if mine is None else _order(mine, order)
    for journey in {*person.entries, *came.entries}:
        most = max(person.entries[journey], came.entries[journey])
        person.entries[journey] = max(most, person.floor)
    person.touched_ms = _greatest(person.touched_ms, came.touched_ms, int)
    for journey, keys in came.used.items():
        person.used[journey] = person.used[journey] | keys
    person.over = person.over | came.over
    exits = {(at_ms, one.type, one.source, one.id): one for at_ms, one in person.exits + came.exits}
    person.exits = [(key[0], exits[key]) for key in sorted(exits)[-REMEMBERED_MAX:]]
    _permission(person.permission, came.permission)
    for name, promise in came.promises.held.items():
        held = person.promises.held.get(name)
        person.promises.held[name] = promise if held is None else joined(held, promise)
    person.answers = person.answers + came.answers
    person.absorbed |= {*came.absorbed, came.id}


def joined(one: Promise, other: Promise) -> Promise:
    """Return one promise of two of the same offer: newest grant, redemption and closing."""
    granted = max(one, other, key=_grant)
    redeemed = max(one, other, key=lambda held: _at(held.redeemed_ms, held.order))
    closed = max(one, other, key=lambda held: _at(held.taken_back_ms, held.why))
    return replace(
        granted,
        redeemed_ms=redeemed.redeemed_ms,
        order=redeemed.order,
        taken_back_ms=closed.taken_back_ms,
        why=closed.why,
    )


def _grant(held: Promise) -> tuple[Any, ...]:
    told = tuple((one is not None, one or "") for one in (held.stay, held.channel))
    return held.made_ms, held.until_ms, held.provisional, *told, sorted(held.tellers or ())


def _at(at_ms: int | None, what: str | None) -> tuple[int, bool, str]:
    return (-1 if at_ms is None else at_ms, what is not None, what or "")


def _order(one: Order, other: Order) -> Order:
    both = Order(max(one.time_ms, other.time_ms))
    both.cancelled = one.cancelled or other.cancelled
    for sku in {**one.lines, **other.lines}:
        held = [order.lines[sku] for order in (one, other) if sku in order.lines]
        product = max((line[0] for line in held), key=_variant)
        both.lines[sku] = (product, max(line[1] for line in held))
    for sku in {*one.returned, *other.returned}:
        both.returned[sku] = max(one.returned[sku], other.returned[sku])
    return both


def _variant(product: Mapping[str, Any]) -> tuple[str, str]:
    return product.get("family") or "", product.get("category") or ""


def _permission(mine: Permission, came: Permission) -> None:
    # A no under either id is a no, whenever it was said.
    mine.consents = _greatest(
        mine.consents, came.consents, lambda said: (not said[1], said[0][0], *said[0][2:])
    )
    mine.dead = _greatest(mine.dead, came.dead, int)
    both = {one.id: one for one in mine.counted}
    for one in came.counted:
        held = both.get(one.id)
        both[one.id] = one if held is None else max(held, one, key=_fate)
    mine.counted = sorted(both.values(), key=lambda one: (one.at_ms, one.id or ""))
    mine.talking_until_ms = max(mine.talking_until_ms, came.talking_until_ms)
    mine.promoted_ms = max(mine.promoted_ms, came.promoted_ms)
    for channel, days in came.opened_days.items():
        mine.opened_days[channel] = [*mine.opened_days.get(channel, ()), *days]


def _fate(one: Counted) -> tuple[bool, bool, int]:
    told = one.counts and one.expires_at_ms is None
    return told, not one.counts, one.at_ms


def _greatest(one: Mapping[K, V], other: Mapping[K, V], order: Callable[[V], Any]) -> dict[K, V]:
    """Return both; of what both know, the greater."""
    both = dict(one)
    for key, value in other.items():
        both[key] = max(both[key], value, key=order) if key in both else value
    return both
