"""What one person was promised, and which promises contradict each other: by docs/offers.md alone.

A `Promises` belongs to one person. `offering` writes into it what a decision promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.crash.judge.records import duration_ms

Offers = Mapping[str, Mapping[str, Any]]
DISCOUNTS: Final = ("percent_off", "amount_off", "free_shipping", "gift")
KNOWN: Final = "has(profile.email) || has(profile.phone) || has(profile.customer_id)"
NOT_COUNTED: Final = ("not_qualified", "never_told", "recalled")
"""What we took back ourselves does not use an offer up."""
TELLERS_MAX: Final = 4
"""Whom more messages have told, has read one of them."""


@dataclass(slots=True)
class Promise:
    """One offer at one person. `tellers` are the messages that alone have told it, as far as known.

    None: the customer has certainly heard of it.
    """

    made_ms: int
    until_ms: int
    stay: str | None = None
    channel: str | None = None
    provisional: bool = False
    tellers: set[str] | None = None
    redeemed_ms: int | None = None
    order: str | None = None
    taken_back_ms: int | None = None
    why: str | None = None

    def fate(self) -> str | None:
        """Return what became of it since: `redeemed`, or why it was taken back."""
        if self.redeemed_ms is not None and self.redeemed_ms >= self.made_ms:
            return "redeemed"
        if self.taken_back_ms is not None and self.taken_back_ms >= self.made_ms:
            return self.why
        return None

    def is_open(self, now_ms: int) -> bool:
        """Whether the customer may count on it."""
        return self.fate() is None and now_ms < self.until_ms

    def tell(self, teller: str | None) -> None:
        """Let one more message tell it, or somebody who has asked."""
        if self.tellers is not None:
            told = self.tellers | {teller} if teller is not None else set()
            self.tellers = told if 0 < len(told) <= TELLERS_MAX else None

    def over_ms(self) -> int:
        """When it was over, or will be; a no counts as long as the promise would have lasted."""
        return self.redeemed_ms or 0 if self.fate() == "redeemed" else self.until_ms


@dataclass(slots=True)
class Promises:
    """Everything that one person was promised, by offer."""

    held: dict[str, Promise] = field(default_factory=dict)

    def open_names(self, now_ms: int) -> list[str]:
        """Return the offers that they hold."""
        return sorted(name for name, one in self.held.items() if one.is_open(now_ms))

    def against(self, offers: Offers, name: str, now_ms: int) -> str | None:
        """Return an open promise that contradicts an offer."""
        for other in self.open_names(now_ms):
            if other != name and contradict(offers, other, name):
                return other
        return None


def contradict(offers: Offers, one: str, other: str) -> bool:
    """Whether nobody may hold both."""

    def says(word: str, of: str, about: str) -> bool:
        named = set(offers[of].get(word, ()))
        return about in named or bool(named & set(offers[about].get("groups", ())))

    if says("excludes", one, other) or says("excludes", other, one):
        return True
    if says("stacks_with", one, other) or says("stacks_with", other, one):
        return False
    return all(any(offers[name]["gives"].get(way) for way in DISCOUNTS) for name in (one, other))


def used_up(offer: Mapping[str, Any], held: Promise | None, now_ms: int) -> bool:
    """Whether it was promised as often as it may be."""
    if held is None or held.fate() in NOT_COUNTED:
        return False
    again = offer.get("again", "once")
    if again == "once":
        return True
    if again == "always":
        return now_ms <= held.over_ms()
    return now_ms <= max(held.made_ms, held.over_ms()) + duration_ms(again["after"])
