"""Which of two ids stays, and how an enrollment is called that came from another id.

The order is a pure function of the two ids and of `shop.yaml`: known before anonymous, then the
smaller one by its bytes. An absorbed id therefore points strictly down, and no cycle can exist,
whichever direction events name and in whichever order they arrive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.language.identity import ANY, UUID

if TYPE_CHECKING:
    from orchestrator.core.language.identity import Identity

_HEX: Final = "[0-9a-fA-F]"
_WORDS: Final = {
    ANY: ".*",
    UUID: f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
}
_SPLIT: Final = re.compile("|".join(f"({re.escape(word)})" for word in _WORDS))
# What an own enrollment never has behind its last `#`: there stands only its number.
_FROM: Final = "~"
_ESCAPED: Final = {ord(one): f"%{ord(one):02X}" for one in f"%#{_FROM}"}


class Pair(NamedTuple):
    """Two ids of one customer."""

    absorbed: str
    survivor: str


class Identities:
    """The order of ids in one shop."""

    __slots__ = ("_anonymous", "shop")

    def __init__(self, shop: Identity) -> None:
        self.shop: Final = shop
        patterns = "|".join(map(_expression, shop.anonymous))
        self._anonymous: Final = re.compile(patterns, re.DOTALL) if patterns else None

    def is_anonymous(self, customer: str) -> bool:
        """Whether nobody knows who is behind an id; decided by the id alone."""
        return self._anonymous is not None and self._anonymous.fullmatch(customer) is not None

    def pair(self, one: str, other: str) -> Pair:
        """Return which of two ids is absorbed into which."""
        survivor, absorbed = sorted((one, other), key=self._rank)
        return Pair(absorbed, survivor)

    def _rank(self, customer: str) -> tuple[bool, bytes]:
        return self.is_anonymous(customer), customer.encode()


def moved_enrollment(enrollment: str, customer: str) -> str:
    """Return the id that an enrollment of an absorbed customer has from then on.

    It names where it came from first, so that it meets no other one on its way through a chain.
    """
    if _FROM in enrollment.rpartition("#")[2]:
        return enrollment
    return f"{enrollment}{_FROM}{customer.translate(_ESCAPED)}"


def _expression(pattern: str) -> str:
    parts = (part for part in _SPLIT.split(pattern) if part)
    return "".join(_WORDS.get(part) or re.escape(part) for part in parts)
