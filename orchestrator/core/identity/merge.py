"""What two ids know together: a union that does not ask which of them came first, or how often.

`united` is commutative, associative and idempotent in everything that two ids can share. What is a
count anywhere else is a map here, keyed by what is counted; of two words on one thing the greater
one by a total order stands; what has a bound keeps the newest of the union. Enrollments, fences and
`sequence` belong to an id and are not united: `joining` decides about those.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import json, msgpack
from msgspec.structs import replace

from orchestrator.core.contact import CONSENTS_MAX, REMOVALS_MAX
from orchestrator.core.customer import (
    ABSORBED_MAX,
    ASKED_AGAIN_MAX,
    ENDED_KEYS_MAX,
    HABITS_MAX,
    NO_KIN,
    RECENT_MAX,
    REMEMBERED_EXITS_MAX,
    SEEN_EVENTS_MAX,
    Attribute,
    Consent,
    Contact,
    Customer,
    Habits,
    JourneyMemory,
    Kin,
    Order,
    OrderLine,
    Product,
    Recent,
    RememberedExit,
    Removal,
    Sent,
    Watch,
)
from orchestrator.core.derived import tally
from orchestrator.core.event import BODY_BYTES, IDENTITY_BYTES
from orchestrator.core.language.stages import TIMES_MAX
from orchestrator.core.offers import ledger
from orchestrator.core.people.recent import says_more
from orchestrator.core.rules.dedupe import BUSINESS_SLOT_BYTES, SECONDS_BYTES, SEEN_SLOT_BYTES
from orchestrator.core.rules.learning.stages import MARK_BYTES, SPARE_MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# More marks than any stage asks for say nothing more.
_MARKS_MAX: Final = TIMES_MAX + SPARE_MARKS
_BUSINESS_DIGEST_BYTES: Final = 8
_canonical: Final = json.Encoder(order="sorted").encode


def united(one: Customer, other: Customer) -> Customer:
    """Return the first customer with everything that is known of the second one."""
    seen, seen_times = _seen(one, other)
    asked = _greatest(one.asked, other.asked, str)
    return replace(
        one,
        now_ms=max(one.now_ms, other.now_ms),
        seen=seen,
        seen_times=seen_times,
        business=_business(one.business, other.business),
        attributes=_greatest(one.attributes, other.attributes, _attribute),
        orders=_orders(one.orders, other.orders),
        memories=_joined(one.memories, other.memories, _memory),
        exits=_exits(one.exits, other.exits),
        extensions=_greatest(one.extensions, other.extensions, bytes),
        watches=_greatest(one.watches, other.watches, _watch),
        asked=asked,
        contact=_contact(one.contact, other.contact),
        promises=ledger.merged(one.promises, other.promises),
        earned=_joined(one.earned, other.earned, _marks),
        derived=tally.merged(one.derived, other.derived),
        kin=_kin(one.kin, other.kin, _asked_again(one, other, asked)),
    )


def _joined(one: Mapping[K, V], other: Mapping[K, V], join: Callable[[V, V], V]) -> dict[K, V]:
    """Return both maps in the order of their keys; what only one has is joined with itself.

    So everything comes out in one form, however it was written before.
    """
    keys: list[Any] = sorted({**one, **other})
    return {
        key: join(one[key] if key in one else other[key], other[key] if key in other else one[key])
        for key in keys
    }


def _greatest(one: Mapping[K, V], other: Mapping[K, V], order: Callable[[V], Any]) -> dict[K, V]:
    """Return both maps; of what both have, the greater one by a total order."""
    return _joined(one, other, lambda left, right: max(left, right, key=order))


def _seen(one: Customer, other: Customer) -> tuple[bytes, bytes]:
    """Return the newest of both windows by (seconds, identity, body), oldest first."""
    newest: dict[bytes, tuple[bytes, bytes]] = {}
    for customer in (one, other):
        for identity, said in _slots(customer):
            newest[identity] = max(newest.get(identity, said), said)
    kept = sorted((at, identity, body) for identity, (at, body) in newest.items())
    kept = kept[-SEEN_EVENTS_MAX:]
    return (
        b"".join(identity + body for _, identity, body in kept),
        b"".join(at for at, _, _ in kept),
    )


def _slots(customer: Customer) -> Iterable[tuple[bytes, tuple[bytes, bytes]]]:
    """Yield identity, seconds and body of every event of a window; without a time it is oldest."""
    seen, count = customer.seen, len(customer.seen) // SEEN_SLOT_BYTES
    times = customer.seen_times.rjust(count * SECONDS_BYTES, b"\0")
    for slot in range(count):
        at = slot * SEEN_SLOT_BYTES
        body_at = at + IDENTITY_BYTES
        seconds = times[slot * SECONDS_BYTES : (slot + 1) * SECONDS_BYTES]
        yield seen[at:body_at], (seconds, seen[body_at : body_at + BODY_BYTES])


def began_at_ms(customer: Customer) -> int | None:
    """Return when the first event of an id was decided; None when nobody remembers."""
    slots = len(customer.seen) // SEEN_SLOT_BYTES
    times = customer.seen_times
    if slots == SEEN_EVENTS_MAX or len(times) < slots * SECONDS_BYTES or not slots:
        return None
    return int.from_bytes(times[:SECONDS_BYTES], "big") * 1_000


def _business(one: bytes, other: bytes) -> bytes:
    newest: dict[bytes, bytes] = {}
    for window in (one, other):
        for at in range(0, len(window), BUSINESS_SLOT_BYTES):
            slot = window[at : at + BUSINESS_SLOT_BYTES]
            digest, time = slot[:_BUSINESS_DIGEST_BYTES], slot[_BUSINESS_DIGEST_BYTES:]
            newest[digest] = max(newest.get(digest, time), time)
    kept = sorted((time, digest) for digest, time in newest.items())
    return b"".join(digest + time for time, digest in kept)


def _attribute(attribute: Attribute) -> tuple[int, str, str, bytes]:
    return attribute.time_ms, attribute.source, attribute.id, _canonical(attribute.value)


def _watch(watch: Watch) -> tuple[int, int, int]:
    since_ms, due_ms = watch.since_ms, watch.due_ms
    return (
        -1 if since_ms is None else since_ms,
        watch.version,
        -1 if due_ms is None else due_ms,
    )


def _orders(one: tuple[Order, ...], other: tuple[Order, ...]) -> tuple[Order, ...]:
    joined = _joined({o.order_id: o for o in one}, {o.order_id: o for o in other}, _order)
    return tuple(sorted(joined.values(), key=lambda order: (order.time_ms, order.order_id)))


def _order(one: Order, other: Order) -> Order:
    """Return one order of two. What came back under both ids may be the same piece."""
    cancelled = one.cancelled or other.cancelled
    lines = _joined(
        {line.product.sku: line for line in one.lines},
        {line.product.sku: line for line in other.lines},
        _line,
    )
    return Order(
        order_id=one.order_id,
        time_ms=max(one.time_ms, other.time_ms),
        lines=() if cancelled else tuple(lines.values()),
        cancelled=cancelled,
    )


def _line(one: OrderLine, other: OrderLine) -> OrderLine:
    return OrderLine(
        product=max(one.product, other.product, key=_product),
        quantity=max(one.quantity, other.quantity),
        returned=max(one.returned, other.returned),
    )


def _product(product: Product) -> tuple[tuple[bool, str], ...]:
    return tuple(_text(one) for one in (product.family, product.category))


def _text(value: str | None) -> tuple[bool, str]:
    return value is not None, value or ""


def _memory(one: JourneyMemory, other: JourneyMemory) -> JourneyMemory:
    """Return what re-entry asks for; of `entries` the greater, so that no number is used twice."""
    ended = _greatest(dict(one.ended_keys), dict(other.ended_keys), int)
    kept = sorted((at_ms, key) for key, at_ms in ended.items())[-ENDED_KEYS_MAX:]
    return JourneyMemory(
        entries=max(one.entries, other.entries),
        last_entry_ms=max(one.last_entry_ms, other.last_entry_ms),
        last_end_ms=_later(one.last_end_ms, other.last_end_ms),
        ended_keys=tuple((key, at_ms) for at_ms, key in kept),
        occurrence_ms=_later(one.occurrence_ms, other.occurrence_ms),
    )


def _later(one_ms: int | None, other_ms: int | None) -> int | None:
    return max((at_ms for at_ms in (one_ms, other_ms) if at_ms is not None), default=None)


def _exits(
    one: tuple[RememberedExit, ...], other: tuple[RememberedExit, ...]
) -> tuple[RememberedExit, ...]:
    def named(exits: tuple[RememberedExit, ...]) -> dict[tuple[Any, ...], RememberedExit]:
        found: dict[tuple[Any, ...], RememberedExit] = {}
        for held in exits:
            key = (held.time_ms, held.type, held.cause.source, held.cause.id)
            found[key] = max(found.get(key, held), held, key=lambda each: _canonical(each.data))
        return found

    both = _greatest(named(one), named(other), lambda held: _canonical(held.data))
    return tuple(both.values())[-REMEMBERED_EXITS_MAX:]


def _contact(one: Contact, other: Contact) -> Contact:
    """Return how both may be reached; how much they respond belongs to each (`Habits`)."""
    sends = _greatest(_by_id(one.sends), _by_id(other.sends), _sent)
    removals = _greatest(_by_command(one), _by_command(other), lambda held: -held.time_ms)
    oldest = sorted(removals.values(), key=lambda held: (held.time_ms, held.command))
    return replace(
        one,
        consents=_consents(one.consents, other.consents),
        bounced=_greatest(one.bounced, other.bounced, int),
        sends=tuple(sorted(sends.values(), key=lambda sent: (sent.time_ms, sent.id))),
        talking_until_ms=max(one.talking_until_ms, other.talking_until_ms),
        promoted_ms=max(one.promoted_ms, other.promoted_ms),
        removals=tuple(oldest[:REMOVALS_MAX]),
        recent=_recent(one.recent, other.recent),
    )


def _by_id(sends: tuple[Sent, ...]) -> dict[str, Sent]:
    return {sent.id: sent for sent in sends}


def _fate(told: Recent) -> tuple[Any, ...]:
    at_ms = -1 if told.fate_ms is None else told.fate_ms
    return says_more(told.fate), told.fate, at_ms, told.channel, told.template, told.journey


def _by_command(contact: Contact) -> dict[str, Removal]:
    return {removal.command: removal for removal in contact.removals}


def _recent(one: tuple[Recent, ...], other: tuple[Recent, ...]) -> tuple[Recent, ...]:
    both = _greatest(
        {(told.time_ms, told.id): told for told in one},
        {(told.time_ms, told.id): told for told in other},
        _fate,
    )
    return tuple(both.values())[-RECENT_MAX:]


def _sent(sent: Sent) -> tuple[Any, ...]:
    """Order what is known of one message: its end is later than its way, being told than not."""
    about = (sent.channel, sent.command_class, sent.journey)
    told = sent.counts and not sent.expires_at_ms
    return told, not sent.counts, sent.time_ms, sent.expires_at_ms, about


def _consents(one: Mapping[str, Consent], other: Mapping[str, Consent]) -> dict[str, Consent]:
    """Return the stricter word of both on each channel: a no under either id is a no.

    It stands until a word comes that is newer than it.
    """
    both = _greatest(one, other, _strictness)
    if len(both) <= CONSENTS_MAX:
        return both
    strictest = sorted(both, key=lambda key: (_strictness(both[key]), key))[-CONSENTS_MAX:]
    return {key: both[key] for key in sorted(strictest)}


def _strictness(consent: Consent) -> tuple[bool, int, str, str]:
    return not consent.granted, consent.time_ms, consent.source, consent.id


def _marks(one: bytes, other: bytes) -> bytes:
    """Return the events that count for a stage. They have no times; the bound keeps any."""
    both = {
        marks[at : at + MARK_BYTES]
        for marks in (one, other)
        for at in range(0, len(marks), MARK_BYTES)
    }
    return b"".join(sorted(both)[-_MARKS_MAX:])


def _asked_again(
    one: Customer, other: Customer, asked: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the messages that ask for what another one asks for too, but that one itself."""
    both = {
        pair for each in (one, other) for pair in (*(each.kin or NO_KIN).asked, *each.asked.items())
    }
    return tuple(sorted(both - asked.items())[-ASKED_AGAIN_MAX:])


def _kin(one: Kin | None, other: Kin | None, asked: tuple[tuple[str, str], ...]) -> Kin | None:
    if one is None and other is None and not asked:
        return None
    one, other = one or NO_KIN, other or NO_KIN
    return Kin(
        absorbed=_newest_names(one.absorbed, other.absorbed),
        habits=_habits(one.habits, other.habits),
        asked=asked,
    )


def _newest_names(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    both = _greatest(one, other, int)
    newest = sorted(both, key=lambda name: (both[name], name))[-ABSORBED_MAX:]
    return {name: both[name] for name in sorted(newest)}


def _habits(one: Mapping[str, Habits], other: Mapping[str, Habits]) -> dict[str, Habits]:
    """Return what was learned of each absorbed id, so that merging twice counts nothing twice."""
    both = _greatest(one, other, _learned)
    newest = sorted(both, key=lambda name: (both[name].as_of_ms, name))[-HABITS_MAX:]
    return {name: both[name] for name in sorted(newest)}


def _learned(habits: Habits) -> tuple[int, bytes]:
    return habits.as_of_ms, _packed(habits)


_packed: Final = msgpack.Encoder(order="sorted").encode
