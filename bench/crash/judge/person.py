"""What the judge knows of one customer, and how it understands a record: by the contract alone.

`reference` changes a `Person`; `checker` compares it with the state that the changelog ends with.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.permission import Permission
from bench.crash.judge.promises import Promises
from bench.crash.judge.records import duration_ms, milliseconds
from bench.crash.judge.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.crash.judge.history import Record
    from orchestrator.core.customer import Customer
    from orchestrator.core.customer import Promise as Stored

NESTING_MAX: Final = 64
FINALS: Final = {
    "message.delivered": "delivered",
    "message.opened": "delivered",
    "message.bounced": "bounced",
    "message.failed": "failed",
    "message.dropped": "dropped",
}
REQUIRED: Final = {
    "purchase": ("order_id", "items", "total", "currency"),
    "order.cancelled": ("order_id",),
    "order.returned": ("order_id",),
    "payment.pending": ("order_id",),
    "product.viewed": ("sku",),
    "cart.updated": ("cart_id", "items"),
    "cart.abandoned": ("cart_id", "items"),
    "ad.clicked": ("utm",),
    "profile.updated": ("attributes",),
    "message.delivered": ("command_id",),
    "message.opened": ("command_id",),
    "message.bounced": ("command_id",),
    "message.failed": ("command_id",),
    "message.dropped": ("command_id", "reason"),
    "offer.requested": ("offer",),
    "offer.shown": ("offer",),
    "offer.accepted": ("offer",),
    "offer.rejected": ("offer",),
    "offer.redeemed": ("offer",),
    "profile.identified": ("anonymous_id", "customer_id"),
}


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event, as its record says it."""

    source: str
    id: str
    type: str
    subject: str
    time_ms: int
    data: Mapping[str, Any]
    backfill: bool

    @property
    def body(self) -> str:
        """What may not change under the same source and id."""
        return json.dumps([self.type, self.subject, self.data], sort_keys=True)


@dataclass(slots=True)
class Open:
    """A command that an exit would have to take back."""

    id: str
    kind: str
    channel: str
    promotional: bool
    expires_at_ms: int
    audience: str | None
    offer: str | None = None


@dataclass(slots=True)
class Stay:
    """One customer in one journey; `step` is None when only open commands are left of it."""

    id: str
    journey: Mapping[str, Any]
    key: str | None
    entry_ms: int
    entered_ms: int
    products: list[Mapping[str, Any]]
    trigger: Mapping[str, Any]
    step: str | None = None
    wake_at_ms: int | None = None
    held: str | None = None
    due_ms: int | None = None
    tried: tuple[str, ...] = ()
    awaited: str | None = None
    """The message on whose delivery somebody waits, by its place until its id is known."""
    open: list[Open] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """What was bought, and what of it came back."""

    time_ms: int
    lines: dict[str, tuple[Mapping[str, Any], int]] = field(default_factory=dict)
    returned: Counter[str] = field(default_factory=Counter)
    cancelled: bool = False


@dataclass(slots=True)
class Person:
    """One customer. `astray` once the replay has met a difference and cannot go on.

    Who has become another one (`moved_to`) has nothing left but their number of commands.
    """

    id: str
    astray: bool = False
    changed: bool = False
    sequence: int = 0
    seen: Window = field(default_factory=Window)
    ever: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """All applied events, also those that the window of the last 64 has forgotten."""
    business: set[str] = field(default_factory=set)
    attributes: dict[str, tuple[tuple[int, str, str], Any]] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)
    entries: Counter[str] = field(default_factory=Counter)
    touched_ms: dict[str, int] = field(default_factory=dict)
    """Per journey, the last entry or end, whichever is later."""
    over: set[str] = field(default_factory=set)
    """The journeys that an enrollment has been in to its end."""
    used: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    exits: list[tuple[int, Occurrence]] = field(default_factory=list)
    permission: Permission = field(default_factory=Permission)
    promises: Promises = field(default_factory=Promises)
    answers: Counter[int] = field(default_factory=Counter)
    """How often they have opened something, by the hour of the day."""
    moved_to: str | None = None
    absorbed: set[str] = field(default_factory=set)
    erased_ms: int | None = None
    """Up to when nothing counts any more."""
    floor: int = 0
    """The highest number of an enrollment that the last erasure has made nameless."""

    @property
    def forgotten(self) -> bool:
        """Whether nothing has begun anew since the erasure."""
        return self.erased_ms is not None and not self.seen.entries

    def ordinal(self, journey: str) -> int:
        """Return the number of the next enrollment in a journey."""
        return (self.entries[journey] or self.floor) + 1

    def plain(self) -> dict[str, Any]:
        """Return the profile without its times."""
        return {name: value for name, (_, value) in self.attributes.items()}

    def differences(self, state: Customer) -> list[str]:
        """Compare with the state that the changelog ends with."""
        ours = {stay.id: (stay.step, stay.wake_at_ms) for stay in self.stays.values()}
        theirs = {one.id: (one.step, one.wake_at_ms) for one in state.enrollments}
        found = [
            f"{name} stands at {theirs.get(name)} in the state, at {ours.get(name)} by the log"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        if self.plain() != {name: one.value for name, one in state.attributes.items()}:
            found.append("the profile differs")
        versions = {name: version for name, (version, _) in self.attributes.items()}
        if versions != {n: (o.time_ms, o.source, o.id) for n, o in state.attributes.items()}:
            found.append("the profile is of other times")
        if state.merged_into != self.moved_to:
            found.append(
                f"leads to {state.merged_into} in the state, to {self.moved_to} by the log"
            )
        if (None if state.erased is None else state.erased.at_ms) != self.erased_ms:
            found.append(f"was not erased as of {self.erased_ms} in the state")
        found += self._remains(state)
        promised = {
            name: (one.made_ms, one.until_ms, one.provisional, one.order, one.tellers)
            for name, one in self.promises.held.items()
            if one.is_open(state.now_ms)
        }
        stored = {
            name: (one.granted_ms, one.expires_at_ms, one.provisional, one.order, told_by(one))
            for name, one in state.promises.items()
            if name in promised or one.expires_at_ms > state.now_ms
        }
        if any(stored.get(name) != one for name, one in promised.items()):
            found.append(f"the promises {stored} in the state are {promised} by the log")
        return found

    def _remains(self, state: Customer) -> list[str]:
        """Return what a state holds of somebody of whom nothing may be left."""
        if self.moved_to is None and not self.forgotten:
            return []
        held = ("seen", "business", "orders", "memories", "exits", "enrollments", "attributes")
        left = [name for name in (*held, "promises") if getattr(state, name)]
        left += ["sends"] if state.contact.sends else []
        left += ["consents"] if state.contact.consents else []
        return [f"{', '.join(left)} should be gone"] if left else []

    def verdicts(self, event: Occurrence, now_ms: int) -> set[str]:
        """Return what may be said of an event: whether it is new is not always sure.

        `applied`, `duplicate`, `id_reused`, `ignored`, or `moved`, which no log tells.
        """
        if self.erased_ms is not None:
            late = min(event.time_ms, now_ms) <= self.erased_ms
            if late or (self.forgotten and _about_the_past(event) and self.moved_to is None):
                return {"ignored"}
        if self.moved_to is not None:
            return {"moved"}
        key = business_key(event)
        fresh = "duplicate" if key is not None and key in self.business else "applied"
        before = self.seen.look((event.source, event.id))
        if before is None:
            return {fresh}
        known = "duplicate" if before.body == event.body else "id_reused"
        return {known} if before.sure else {known, fresh}

    def owns(self, product: Mapping[str, Any], shop: Mapping[str, Any], now_ms: int) -> bool:
        """Whether the product, or a variant of it, was bought and is still held."""
        rules = shop["owned_for"]
        for order in self.orders.values():
            if order.cancelled:
                continue
            for sku, (bought, quantity) in order.lines.items():
                family = bought.get("family")
                same = sku == product["sku"] or (family and family == product.get("family"))
                category = bought.get("category") or product.get("category")
                if not same or quantity <= order.returned[sku]:
                    continue
                if category in rules.get("replenishable", ()):
                    continue
                lasts = rules.get("categories", {}).get(category, rules["default"])
                if now_ms < order.time_ms + duration_ms(lasts):
                    return True
        return False


def told_by(promise: Stored) -> set[str] | None:
    """Return the messages that alone have told a stored promise; None when it was told for sure."""
    return None if promise.command is None else {promise.command, *promise.also}


def _about_the_past(event: Occurrence) -> bool:
    """Whether an event can only be about what is gone, so that nothing begins with it."""
    return event.type.startswith(("message.", "task.", "audience.")) or event.type in {
        "enrollment.exit_requested",
        "profile.identified",
    }


def business_key(event: Occurrence) -> str | None:
    """Return by what this type is idempotent, whatever its id."""
    if event.type == "purchase":
        return f"purchase {event.data['order_id']}"
    if event.type in {"order.cancelled", "order.returned"}:
        items = sorted(json.dumps(item, sort_keys=True) for item in event.data.get("items") or ())
        return f"{event.type} {event.data['order_id']} {items}"
    return None


def understand(record: Record, event_bytes_max: int, *, forwarded: bool) -> Occurrence | str:
    """Return the event of a record, or the reason of the contract why there is none."""
    if record.value is None:
        return "empty_value"
    if len(record.value) > event_bytes_max:
        return "too_large"
    try:
        document = json.loads(record.value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return "invalid_json"
    if _depth(document) > NESTING_MAX:
        return "invalid_json"
    if record.header("ce_specversion") is not None:
        names = ("specversion", "id", "source", "type", "subject", "time", "backfill")
        document = {"data": document} | {
            name: text for name in names if (text := record.header(f"ce_{name}")) is not None
        }
    if not isinstance(document, dict):
        return "schema"
    if not all(document.get(name) for name in ("id", "source", "type", "subject")):
        return "schema"
    data = document.get("data") or {}
    if any(data.get(name) is None for name in REQUIRED.get(document["type"], ())):
        return "schema"
    if record.key is not None and record.key.decode() != document["subject"] and not forwarded:
        return "key_subject_mismatch"
    return Occurrence(
        document["source"],
        document["id"],
        document["type"],
        document["subject"],
        milliseconds(document["time"]),
        data,
        document.get("backfill") in {True, "true"},
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth
