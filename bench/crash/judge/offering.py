"""What one decision does to promises: asks, makes, confirms, redeems, undoes, takes back.

By docs/offers.md alone. `turn` calls `follow` for what events say, `walk` asks before a message
tells an offer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.moment import Moment
from bench.crash.judge.permission import ARRIVED
from bench.crash.judge.promises import KNOWN, Promise, used_up
from bench.crash.judge.records import duration_ms, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.crash.judge.person import Occurrence

REDEEMED_MAX: Final = 16


class Offering(Moment):
    """The part of a decision that is about promises."""

    def may_promise(self, name: str, channel: str | None, stay: str | None) -> Promise | str:
        """Return the promise that may be told now, or the reason why none may."""
        offer, ledger, now_ms = self.model.offers.get(name), self.person.promises, self.now_ms
        if offer is None or (
            channel and offer.get("channels") and channel not in offer["channels"]
        ):
            return "offer_not_valid"
        held = ledger.held.get(name)
        if held is not None and held.is_open(now_ms):
            return held
        if not self._is_valid(offer):
            return "offer_not_valid"
        provisional = bool(offer.get("acquisition")) and not self._known(offer)
        if not provisional and not self._qualifies(offer):
            return "offer_not_qualified"
        if used_up(offer, held, now_ms):
            return "offer_used"
        if ledger.against(self.model.offers, name, now_ms):
            return "offer_contradicted"
        made = Promise(now_ms, self._until_ms(offer), stay, channel, provisional)
        if held is not None:
            made.redeemed_ms, made.order = held.redeemed_ms, held.order
        return made

    def promise(self, name: str, made: Promise, place: str | None) -> None:
        """Make a promise, or tell it once more; `place` finds the message that tells it first."""
        held = self.person.promises.held
        if held.get(name) is made:
            made.tell(place)
            return
        made.tellers = None if place is None else {place}
        held[name] = made
        self._tell_of(name, made)

    def _tell_of(self, name: str, made: Promise) -> None:
        about = (made.channel, made.stay, made.until_ms, made.provisional)
        self.told.append(("promised", name, *about))

    def said(self, name: str, made: Promise) -> tuple[Any, ...]:
        """Return what a command says of the promise that it tells."""
        offer, locale = self.model.offers[name], self.model.shop["locale"]
        text = offer["text"].get(locale) or offer["text"][locale.partition("-")[0]]
        code = None if made.provisional else offer.get("code")
        return (name, text, code, made.until_ms, made.provisional)

    def follow(self, event: Occurrence) -> list[tuple[str, Promise]]:
        """Let an event have its effect; return what turned out to be for others."""
        data, order = event.data, event.data.get("order_id")
        if event.type == "offer.requested" and not event.backfill:
            self._answer(data["offer"], data.get("channel"))
        elif event.type == "offer.rejected":
            self._reject(data["offer"])
        elif event.type == "offer.redeemed":
            self._redeem(event, data["offer"], order)
        elif event.type == "purchase":
            for word in dict.fromkeys(named_in(data)):
                self._redeem(event, word, order)
        elif event.type in {"order.cancelled", "order.returned"}:
            if not data.get("items") or self._is_back(order):
                self._undo(order)
        elif event.type == "message.dropped" and data.get("reason") != "duplicate":
            self._not_told(data["command_id"])
        elif event.type in ARRIVED and self._arrived(data["command_id"]):
            return self._confirm()
        return self._confirm() if self.person.attributes != self.known_before else []

    def _told_by(self, command: str) -> list[tuple[str, Promise]]:
        """Return what a message has told, where nothing else is known to have told it."""
        held = self.person.promises.held.items()
        return [(name, one) for name, one in held if one.tellers and command in one.tellers]

    def _not_told(self, command: str) -> None:
        """Somebody's sender did not send what has told a promise."""
        for name, held in self._told_by(command):
            left = (held.tellers or set()) - {command}
            if left:
                held.tellers = left
            elif held.is_open(self.now_ms):
                self._take_back(name, held, "never_told")
            elif held.fate() == "recalled":
                held.why = "never_told"

    def _arrived(self, command: str) -> bool:
        """Note that a message has arrived; return whether a promise counts again that it tells."""
        again = False
        for name, held in self._told_by(command):
            if held.is_open(self.now_ms):
                held.tellers = None
            elif held.fate() == "recalled" and self.now_ms < held.until_ms:
                if self.person.promises.against(self.model.offers, name, self.now_ms):
                    continue
                held.tellers = held.taken_back_ms = held.why = None
                self._tell_of(name, held)
                again = True
        return again

    def forget_recalled(self, recalled: set[str]) -> None:
        """Take back what only messages have told that the exits of this decision recall."""
        for name, held in self.person.promises.held.items():
            if held.tellers and held.tellers <= recalled and held.is_open(self.now_ms):
                held.taken_back_ms, held.why = self.now_ms, "recalled"
                about = ("recalled", held.channel, None, frozenset[str]())
                self.told.append(("promise_ended", name, *about))

    def _answer(self, name: str, channel: str | None) -> None:
        if self.pause_on("", channel or "", "promotional", name) is not None:
            self.told.append(("offer_refused", name, channel, "paused", None))
            return
        may = self.may_promise(name, channel, None)
        if isinstance(may, str):
            instead = self._instead_of(name) if may == "offer_not_qualified" else None
            self.told.append(("offer_refused", name, channel, may, instead))
            return
        self.promise(name, may, None)
        self.told.append(("offer_granted", name, channel, may.until_ms, may.provisional))

    def _reject(self, name: str) -> None:
        held, offer = self.person.promises.held.get(name), self.model.offers.get(name)
        if held is not None and held.is_open(self.now_ms):
            self._take_back(name, held, "rejected")
        elif offer is not None and self._is_valid(offer):
            no = held or Promise(self.now_ms, self.now_ms)
            # From here on it is as if a promise had been made, and said no to.
            no.made_ms, no.until_ms = self.now_ms, self._until_ms(offer)
            no.taken_back_ms, no.why = self.now_ms, "rejected"
            self.person.promises.held[name] = no

    def _redeem(self, event: Occurrence, word: str, order: str | None) -> None:
        codes = {one.get("code"): name for name, one in self.model.offers.items()}
        name = word if word in self.model.offers else codes.get(word, word)
        held = self.person.promises.held.get(name)
        if held is not None and order is not None and held.order == order:
            return
        if event.backfill:
            if name in self.model.offers:
                past = held or Promise(self.occurred_ms, self.occurred_ms)
                if past.redeemed_ms is None or past.redeemed_ms < self.occurred_ms:
                    past.redeemed_ms, past.order = self.occurred_ms, order
                self.person.promises.held[name] = past
            return
        reason = self._not_redeemed(name, held)
        if held is None or reason is not None:
            self.told.append(("redemption_refused", name, order, reason or "offer_not_valid"))
            return
        held.provisional, held.redeemed_ms, held.order = False, self.now_ms, order
        # Who names it has read it.
        held.tellers = held.taken_back_ms = held.why = None
        self.told.append(("offer_redeemed", name, order))
        if order is not None and self._is_back(order):
            self._undo(order)

    def _not_redeemed(self, name: str, held: Promise | None) -> str | None:
        if held is None or held.made_ms == 0:
            return "offer_not_valid"
        fate = held.fate()
        if fate == "recalled":
            if self.person.promises.against(self.model.offers, name, self.now_ms):
                return "offer_contradicted"
        elif fate is not None:
            reasons = {"redeemed": "offer_used", "not_qualified": "offer_not_qualified"}
            return reasons.get(fate, "offer_not_valid")
        if self.occurred_ms >= held.until_ms:
            return "offer_not_valid"
        offer = self.model.offers[name]
        if offer.get("again", "once") == "once" and held.redeemed_ms is not None:
            return "offer_used"
        # As they were before the order.
        if held.provisional and not self._known(offer, before=True):
            return "offer_not_qualified"
        if offer.get("acquisition") and not self._qualifies(offer, before=True):
            return "offer_not_qualified"
        return None

    def _undo(self, order: str) -> None:
        promises, now_ms = self.person.promises, self.now_ms
        for name, held in list(promises.held.items()):
            if held.order != order:
                continue
            undone = replace(held, redeemed_ms=None, order=None)
            if undone.is_open(now_ms) and promises.against(self.model.offers, name, now_ms):
                del promises.held[name]
                self.told.append(("redemption_undone", name, order, False))
            else:
                promises.held[name] = undone
                self.told.append(("redemption_undone", name, order, undone.is_open(now_ms)))

    def _is_back(self, order_id: str | None) -> bool:
        order = self.person.orders.get(order_id or "")
        if order is None:
            return False
        left = any(quantity > order.returned[sku] for sku, (_, quantity) in order.lines.items())
        return order.cancelled or (bool(order.lines or order.returned) and not left)

    def _confirm(self) -> list[tuple[str, Promise]]:
        """Look at provisional promises again, now that more is known."""
        withdrawn = []
        for name, held in list(self.person.promises.held.items()):
            offer = self.model.offers[name]
            if not (held.provisional and held.is_open(self.now_ms) and self._known(offer)):
                continue
            if self._qualifies(offer):
                held.provisional = False
                self.told.append(("promise_confirmed", name))
            else:
                self._take_back(name, held, "not_qualified")
                withdrawn.append((name, held))
        return withdrawn

    def _take_back(self, name: str, held: Promise, why: str) -> None:
        held.taken_back_ms, held.why = self.now_ms, why
        recalled: frozenset[str] = frozenset()
        history = self.event is not None and self.event.backfill
        for stay in [] if history else list(self.person.stays.values()):
            telling = [
                one for one in stay.open if one.offer == name and one.expires_at_ms >= self.now_ms
            ]
            recalled |= self.recall(stay, telling)
            stay.open = [one for one in stay.open if one not in telling]
            self.leave_when_empty(stay)
        instead = self._instead_of(name) if why == "not_qualified" else None
        self.told.append(("promise_ended", name, why, held.channel, instead, recalled))

    def _instead_of(self, name: str) -> str | None:
        template = self.model.offers.get(name, {}).get("otherwise", {}).get("template")
        return None if template is None else str(template)

    def _is_valid(self, offer: Mapping[str, Any]) -> bool:
        begins, ends = offer.get("from"), offer.get("until")
        begun = begins is None or self.now_ms >= milliseconds(begins)
        return begun and (ends is None or self.now_ms < milliseconds(ends))

    def _until_ms(self, offer: Mapping[str, Any]) -> int:
        ends = [milliseconds(offer["until"])] if "until" in offer else []
        if "valid_for" in offer:
            ends.append(self.now_ms + duration_ms(offer["valid_for"]))
        return min(ends)

    def _known(self, offer: Mapping[str, Any], *, before: bool = False) -> bool:
        return self._asked(offer.get("known_when", KNOWN), before=before)

    def _qualifies(self, offer: Mapping[str, Any], *, before: bool = False) -> bool:
        return "qualifies" not in offer or self._asked(offer["qualifies"], before=before)

    def _asked(self, when: str, *, before: bool) -> bool:
        attributes = self.known_before if before else self.person.attributes
        profile = {name: value for name, (_, value) in attributes.items()}
        return self.model.evaluate(when, {"profile": profile, "now_ms": self.now_ms}) is True


def named_in(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an order was paid with."""
    named = data.get("offers") or ()
    yield from [word for word in named[:REDEEMED_MAX] if isinstance(word, str)]
    if isinstance(data.get("offer"), str):
        yield data["offer"]
