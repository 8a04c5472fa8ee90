"""The promise ledger of a customer as plain data: what is open, what is kept, how two become one.

A promise stands in the customer's state by the name of its offer. `promises` writes it; nothing in
here knows what an offer says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from orchestrator.core.customer import REMEMBERED_EXIT_MS, Promise

# An offer file of a shop has dozens of offers; a customer meets some of them.
PROMISES_MAX: Final = 64
# So long after it a return may still undo a redemption.
REDEMPTION_KEPT_MS: Final = 180 * 86_400_000
# So long after its end an order may still be learned that was placed before it.
LATE_ORDER_MS: Final = REMEMBERED_EXIT_MS
# What became of a promise that was kept.
REDEEMED: Final = "redeemed"

# More messages than these tell a promise for certain, whatever becomes of each.
TELLING_MAX: Final = 4

Promises = Mapping[str, Promise]


def is_open(promise: Promise, now_ms: int) -> bool:
    """Whether the customer may count on it now: not expired, redeemed or taken back since."""
    return now_ms < promise.expires_at_ms and became(promise) is None


def became(promise: Promise) -> str | None:
    """Return what became of it since it was made last: REDEEMED, or why it was taken back."""
    if promise.redeemed_ms is not None and promise.redeemed_ms >= promise.granted_ms:
        return REDEEMED
    if promise.closed_ms is not None and promise.closed_ms >= promise.granted_ms:
        return promise.closed
    return None


def open_names(promises: Promises, now_ms: int) -> list[str]:
    """Return the offers that the customer holds, by name."""
    return sorted(name for name, promise in promises.items() if is_open(promise, now_ms))


def ended_ms(promise: Promise) -> int:
    """Return when it was over, or will be. A no counts until it would have expired."""
    if promise.redeemed_ms is not None and became(promise) == REDEEMED:
        return promise.redeemed_ms
    return promise.expires_at_ms


def telling(promise: Promise) -> tuple[str, ...]:
    """Return the messages that tell it and may not have arrived; none when it was surely told."""
    return () if promise.command is None else (promise.command, *promise.also)


def told_by(promise: Promise, commands: tuple[str, ...]) -> Promise:
    """Return the promise as told by these messages, and by nothing else that is certain."""
    first, *others = commands or (None,)
    return replace(promise, command=first, also=tuple(one for one in others if one is not None))


def pruned(
    promises: Promises, now_ms: int, needed: Callable[[str, Promise], bool]
) -> dict[str, Promise]:
    """Return what is open or still needed, at most PROMISES_MAX; the longest over go first."""
    kept = {
        name: promise
        for name, promise in promises.items()
        if is_open(promise, now_ms) or needed(name, promise)
    }
    over = sorted(
        (max(ended_ms(promise), promise.closed_ms or 0), name)
        for name, promise in kept.items()
        if not is_open(promise, now_ms)
    )
    for _, name in over[: max(0, len(kept) - PROMISES_MAX)]:
        del kept[name]
    return kept


def merged(one: Promises, other: Promises) -> dict[str, Promise]:
    """Return the ledger of two ids that turned out to be one customer: everything either holds.

    Commutative, associative and idempotent. Of an offer that both hold, the newest grant, the
    newest redemption and the newest closing count, each on its own: so a promise made anew after a
    redemption under the other id is open, and what it may still be used for is asked when it is
    redeemed. The bound is that of the next decision.
    """
    return {
        name: _joined(one[name], other[name]) if name in one and name in other else promise
        for name, promise in sorted({**one, **other}.items())
    }


def _joined(one: Promise, other: Promise) -> Promise:
    granted = max(one, other, key=_grant)
    redeemed = max(one, other, key=lambda promise: _order(promise.redeemed_ms, promise.order))
    closed = max(one, other, key=lambda promise: _order(promise.closed_ms, promise.closed))
    return Promise(
        granted_ms=granted.granted_ms,
        expires_at_ms=granted.expires_at_ms,
        enrollment=granted.enrollment,
        channel=granted.channel,
        provisional=granted.provisional,
        command=granted.command,
        redeemed_ms=redeemed.redeemed_ms,
        order=redeemed.order,
        closed_ms=closed.closed_ms,
        closed=closed.closed,
        also=granted.also,
    )


def _grant(promise: Promise) -> tuple[int | bool | tuple[bool | str, ...], ...]:
    """Order grants totally, so that it does not matter which ledger comes first."""
    told = (promise.enrollment, promise.channel, promise.command)
    return (
        promise.granted_ms,
        promise.expires_at_ms,
        promise.provisional,
        *((one is not None, one or "") for one in told),
        promise.also,
    )


def _order(at_ms: int | None, what: str | None) -> tuple[int, bool, str]:
    return (-1 if at_ms is None else at_ms, what is not None, what or "")
