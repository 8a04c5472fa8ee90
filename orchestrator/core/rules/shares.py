"""Who goes which way of a split, and who is held out: by customer id and a name, for ever.

No randomness: a hash of the two spreads customers evenly, and different names independently.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec import msgpack

if TYPE_CHECKING:
    from orchestrator.core.language.words import Holdout, Share

_POINTS: Final = 2**64


def point(customer: str, *name: str) -> float:
    """Return where a customer stands for a name, from 0 up to 1."""
    digest = blake2b(msgpack.encode((customer, *name)), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _POINTS


def share_of(customer: str, journey: str, step: str, shares: tuple[Share, ...]) -> Share:
    """Return the way that this customer goes at this split of this journey."""
    left = point(customer, "split", journey, step) * sum(share.weight for share in shares)
    for share in shares:
        left -= share.weight
        if left < 0:
            return share
    return shares[-1]  # Only what the rounding of a product may leave.


def is_held_out(customer: str, journey: str, holdout: Holdout) -> bool:
    """Whether this customer is left out."""
    return 100 * point(customer, "holdout", holdout.group or journey) < holdout.percent
