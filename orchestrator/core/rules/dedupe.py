"""Whether an event happened before: by its identity, and by the business key of its type.

First stop of `decide`. Both memories are byte strings of fixed slots in the customer's state, so
that a full window costs the garbage collector nothing and is searched at the speed of memory.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import Any, Final

from msgspec import json

from orchestrator.core.customer import BUSINESS_KEY_MS, SEEN_EVENTS_MAX
from orchestrator.core.event import BODY_BYTES, IDENTITY_BYTES, Event

SEEN_SLOT_BYTES: Final = IDENTITY_BYTES + BODY_BYTES
SECONDS_BYTES: Final = 4
_SEEN_BYTES_MAX: Final = SEEN_EVENTS_MAX * SEEN_SLOT_BYTES
_TIMES_BYTES_MAX: Final = SEEN_EVENTS_MAX * SECONDS_BYTES
_SECONDS_MAX: Final = 2 ** (8 * SECONDS_BYTES) - 1
_BUSINESS_TYPES: Final = frozenset({"purchase", "order.cancelled", "order.returned"})
_DIGEST_BYTES: Final = 8
_TIME_BYTES: Final = 6
BUSINESS_SLOT_BYTES: Final = _DIGEST_BYTES + _TIME_BYTES


class Seen(Enum):
    """What the window of the last events says about one."""

    NEW = "new"
    REPEATED = "repeated"  # The same event again.
    REUSED = "reused"  # Its source and id belong to an event that said something else.


def seen_before(window: bytes, event: Event) -> Seen:
    """Look the event up among the customer's last events."""
    at = _slot(window, event.identity, SEEN_SLOT_BYTES)
    if at < 0:
        return Seen.NEW
    body = window[at + IDENTITY_BYTES : at + SEEN_SLOT_BYTES]
    return Seen.REPEATED if body == event.body else Seen.REUSED


def remember(window: bytes, event: Event) -> bytes:
    """Return the window with the event as its newest slot."""
    return (window + event.identity + event.body)[-_SEEN_BYTES_MAX:]


def remember_time(times: bytes, now_ms: int) -> bytes:
    """Return the times of the window with that of its newest slot.

    They stand apart from the slots, so that a window written without them stays readable.
    """
    seconds = min(now_ms // 1_000, _SECONDS_MAX)
    return (times + seconds.to_bytes(SECONDS_BYTES, "big"))[-_TIMES_BYTES_MAX:]


def business_key(event: Event) -> bytes | None:
    """Return the digest by which this type is idempotent whatever its id, or None."""
    if event.type not in _BUSINESS_TYPES or event.data.get("order_id") is None:
        return None
    order_id = str(event.data["order_id"])
    if event.type == "purchase":
        return _digest([event.type, order_id])
    return _digest([event.type, order_id, _canonical(event.data.get("items"))])


def business_known(window: bytes, key: bytes, now_ms: int) -> bool:
    """Whether the key was remembered within the last 90 days."""
    at = _slot(window, key, BUSINESS_SLOT_BYTES)
    return at >= 0 and _slot_time_ms(window, at) >= now_ms - BUSINESS_KEY_MS


def remember_business(window: bytes, key: bytes, now_ms: int) -> bytes:
    """Return the window with the key as its newest slot and without what is too old."""
    # A repeat of an expired key must not stand twice, or the older slot would be found first.
    kept = [
        window[at : at + BUSINESS_SLOT_BYTES]
        for at in range(0, len(window), BUSINESS_SLOT_BYTES)
        if _slot_time_ms(window, at) >= now_ms - BUSINESS_KEY_MS
    ]
    return b"".join((*kept, key, now_ms.to_bytes(_TIME_BYTES, "big")))


def _slot(window: bytes, digest: bytes, slot_bytes: int) -> int:
    """Return where the slot that begins with the digest starts, or -1."""
    at = window.find(digest)
    while at > 0 and at % slot_bytes:  # Found across two slots: chance, not a match.
        at = window.find(digest, at + 1)
    return at


def _slot_time_ms(window: bytes, at: int) -> int:
    return int.from_bytes(window[at + _DIGEST_BYTES : at + BUSINESS_SLOT_BYTES], "big")


def _canonical(items: Any) -> list[bytes]:
    """Return the items so that neither the order of lines nor that of fields matters."""
    lines = items if isinstance(items, list | tuple) else ()
    return sorted(json.encode(line, order="sorted") for line in lines)


def _digest(parts: list[Any]) -> bytes:
    return blake2b(json.encode(parts), digest_size=_DIGEST_BYTES).digest()
