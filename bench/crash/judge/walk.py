"""The steps that somebody takes in one decision: what is said, held, not said, and where it leads.

`turn` sends people here who enter, whose wait is over, or whom something has held. The order of
the questions before a message is that of docs/guard.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bench.crash.judge.hours import best_hour
from bench.crash.judge.offering import Offering
from bench.crash.judge.permission import GRACE_MS, Stop, Wish
from bench.crash.judge.person import Stay
from bench.crash.judge.promises import Promise
from bench.crash.judge.records import duration_ms

Word = Mapping[str, Any]
# Why somebody is held, where they stand, and until when.
Standing = tuple[str | None, str | None, int | None]
REACHING: Final = frozenset({"send", "task", "audience"})
OF_OFFERS: Final = {"name": "offers", "kind": "promotional", "steps": (), "exits": ()}
"""The journey in whose name an offer writes itself."""


class Walk(Offering):
    """The part of a decision in which journeys go on."""

    def go_on(self, stay: Stay) -> None:
        """Let somebody go on behind a wait, or try the step again that has held them."""
        if stay.held is None:
            self.walk(stay, self.after(stay.journey, stay.step), stay.wake_at_ms or 0)
        else:
            self.walk(stay, self.index(stay.journey, stay.step or ""), stay.due_ms or 0)

    def choose(self) -> None:
        """Let one promotion of this turn out, and everybody who waited for that go on."""
        while self.waiting:
            heard, self.waiting = sorted(self.waiting, key=lambda one: one[0]), []
            for _, stay, position, due_ms, before in heard:
                self.walk(stay, position, due_ms, before=before)

    def walk(
        self, stay: Stay, position: int, due_ms: int, *, before: Standing | None = None
    ) -> None:
        """Take steps until a wait, the end, or a step that has to stand.

        `before` is how they stood before the arbitration of this decision has heard them.
        """
        steps = stay.journey["steps"]
        heard = before is not None
        before = before or (stay.held, stay.step, stay.wake_at_ms)
        while position < len(steps):
            step = steps[position]
            if "wait" in step:
                until_ms, why = self._over(stay, position)
                self._stand(stay, step["id"], until_ms)
                self.told.append(("moved", stay.id, stay.step, until_ms, why))
                return
            if "end" in step:
                break
            if REACHING & step.keys():
                stop = self._reach(stay, step, due_ms, heard=heard)
                if stop is not None and stop[0] == "contends":
                    self._stand(stay, step["id"], None)
                    order = -stay.journey.get("priority", 50), stop[-1]
                    who = stay.entered_ms, stay.journey["name"], stay.id
                    self.waiting.append(((*order, *who), stay, position, due_ms, before))
                    return
                if stop is not None:
                    _, channel, reason, until_ms = stop
                    self._stand(stay, step["id"], until_ms, held=reason, due_ms=due_ms)
                    if before != (reason, step["id"], until_ms):
                        place = (stay.id, step["id"], channel)
                        self.told.append(("held", *place, reason, until_ms))
                    return
                position = self.after(stay.journey, step["id"])
            else:
                position = self._branch(stay, step)
            stay.tried = ()
        self._complete(stay)

    def _over(self, stay: Stay, position: int) -> tuple[int, str | None]:
        """Return when a wait is over, and why then."""
        word = stay.journey["steps"][position]["wait"]
        if isinstance(word, str):
            return self.now_ms + duration_ms(word), None
        following = stay.journey["steps"][position + 1]["send"]
        wish = self._wish(stay, "send", following, self.now_ms)
        return best_hour(
            self.now_ms,
            duration_ms(word["within"]),
            self.model.quiet.zone_of(self.person.attributes.get("zone", (None, None))[1]),
            lambda at_ms: self._quiet_until_ms(stay, wish, at_ms) is not None,
            named=self.person.attributes.get("preferred_hour", (None, None))[1],
            answers=self.person.answers,
        )

    def _stand(
        self,
        stay: Stay,
        step: str,
        until_ms: int | None,
        *,
        held: str | None = None,
        due_ms: int | None = None,
    ) -> None:
        stay.step, stay.wake_at_ms, stay.held, stay.due_ms = step, until_ms, held, due_ms
        if held != "delivery":
            stay.awaited = None

    def _complete(self, stay: Stay) -> None:
        self.told.append(("ended", stay.id, "completed", frozenset()))
        self.remember_end(stay)
        self.leave_audiences(stay)
        stay.open = [one for one in stay.open if not one.audience]
        stay.step = stay.wake_at_ms = stay.held = stay.awaited = None

    def _branch(self, stay: Stay, step: Word) -> int:
        for arm in step.get("branch", ()):
            if self.holds(arm.get("when"), self.event, stay):
                return self.index(stay.journey, arm["next"])
        return self.after(stay.journey, step["id"])

    def _reach(self, stay: Stay, step: Word, due_ms: int, *, heard: bool) -> Stop | None:
        """Do what a step does to people; return what keeps it standing."""
        kind = next(word for word in ("send", "task", "audience") if word in step)
        word = step[kind]
        if kind == "audience" and "remove" in word:
            self.told.append(("removed", stay.id, word.get("channel", "ads"), word["remove"]))
            stay.open = [one for one in stay.open if one.audience != word["remove"]]
            return None
        instead = self._instead(stay, word)
        said = word if instead is None else instead
        before = len(self.told)
        stop = self._by_channels(stay, step["id"], kind, said, (due_ms, heard))
        went = any(one[0] == "message.send" for one in self.told[before:])
        if instead is not None and went:
            place = (stay.id, step["id"], word["channel"])
            self.told.append(("silent", *place, "offer_not_qualified"))
            held = self.person.promises.held.setdefault(word["offer"], Promise(0, 0))
            held.taken_back_ms, held.why = self.now_ms, "not_qualified"
        return stop

    def _by_channels(
        self, stay: Stay, name: str, kind: str, word: Word, when: tuple[int, bool]
    ) -> Stop | None:
        """Choose where a message goes; most have one channel only."""
        wish = self._wish(stay, kind, word, when[0])
        others = word.get("or", ())
        channels = [wish.channel, *([others] if isinstance(others, str) else others)]
        if word.get("all"):
            return self._everywhere(stay, name, word, channels, (wish, when[1]))
        patience_ms = None
        if len(channels) > 1:
            channels = self._in_order(stay, name, wish, channels)
            if not channels:
                return None
            if "patience" in word and len(channels) > 1:
                patience_ms = duration_ms(word["patience"])
        wish = replace(wish, channel=channels[0])
        stop = self._stop(stay, name, wish, heard=when[1])
        if stop is not None:
            if stop[0] != "silent":
                return stop
            self._silent(stay, name, stop)
            return None
        if patience_ms is not None:
            wish = replace(wish, expires_at_ms=min(wish.expires_at_ms, self.now_ms + patience_ms))
        until_ms = self._speak(stay, name, wish, word)
        if until_ms is None or patience_ms is None:
            return None
        stay.tried = (*stay.tried, wish.channel)
        stay.awaited = f"{stay.id} {name} {wish.channel}"
        return "held", wish.channel, "delivery", until_ms + GRACE_MS

    def _in_order(self, stay: Stay, name: str, wish: Wish, channels: list[str]) -> list[str]:
        """Return the channels that reach the customer, the best one first."""
        preferred = self.person.attributes.get("preferred_channel", (None, None))[1]
        liked = self.person.permission.liked
        ordered = sorted(channels, key=lambda one: (one != preferred, -liked(one, self.now_ms)))
        reasons, found = [], []
        for channel in ordered:
            if channel in stay.tried:
                continue
            reason = self._no_address(channel) or self.unreachable(channel, wish.command_class)
            if reason is None:
                found.append(channel)
            else:
                reasons.append(reason)
        if not found and reasons:
            self.told.append(("silent", stay.id, name, wish.channel, reasons[0]))
        return found

    def _no_address(self, channel: str) -> str | None:
        address = self.model.channels[channel].get("address_ref", "")
        if not address.startswith("profile."):
            return None
        known = self.person.attributes.get(address.removeprefix("profile."), (None, None))[1]
        return None if known else "no_address"

    def _everywhere(
        self, stay: Stay, name: str, word: Word, channels: list[str], wished: tuple[Wish, bool]
    ) -> Stop | None:
        """Say it on every channel that may, or wait with all of them."""
        wish, heard = wished
        going: list[Wish] = []
        for channel in channels:
            one = replace(wish, channel=channel)
            stop = self._stop(stay, name, one, heard=heard, going=going)
            if stop is None:
                going.append(one)
            elif stop[0] != "silent":
                return stop
            else:
                self._silent(stay, name, stop)
        for one in going:
            self._speak(stay, name, one, word)
        return None

    def _silent(self, stay: Stay, name: str, stop: Stop) -> None:
        self.told.append(("silent", stay.id, name, *stop[1:3]))

    def _wish(self, stay: Stay, kind: str, word: Word, due_ms: int) -> Wish:
        command_class = word.get("class", stay.journey["kind"])
        lasts = word.get("expires_after") or self.model.shop["expires_after"][command_class]
        channel = word.get("channel", "ads" if kind == "audience" else "callcenter")
        journey, offer = stay.journey["name"], word.get("offer")
        return Wish(kind, channel, command_class, journey, due_ms + duration_ms(lasts), offer)

    def _stop(
        self, stay: Stay, name: str, wish: Wish, *, heard: bool, going: list[Wish] | None = None
    ) -> Stop | None:
        """Return what keeps a step from reaching anybody, but for its words."""
        del name
        channel, about = wish.channel, (wish.journey, wish.channel, wish.command_class)
        pause = self.pause_on(*about, wish.offer)
        reason = self._refused(stay, wish, pause)
        if reason is not None:
            return "silent", channel, reason, 0
        too_late_ms = wish.expires_at_ms + 1
        if pause is not None:
            return "held", channel, "paused", too_late_ms
        if wish.kind != "send":
            return None
        stop = self.person.permission.stops(
            wish,
            self.now_ms,
            self.model.shop,
            first=self.promoted is None,
            going=going or [],
            quiet_until_ms=self._quiet_until_ms(stay, wish, self.now_ms),
        )
        if stop is not None:
            return (*stop[:3], min(stop[3], too_late_ms)) if stop[0] == "held" else stop
        if wish.promotional and self.promoted not in {None, stay.id}:
            return "silent", channel, "arbitration", 0
        if wish.promotional and self.promoted is None and not heard:
            return "contends", channel, "", wish.expires_at_ms
        return None

    def _refused(self, stay: Stay, wish: Wish, pause: Word | None) -> str | None:
        if pause is not None and pause.get("kill"):
            return "paused"
        if self.now_ms > wish.expires_at_ms:
            return "expired"
        cut = None if wish.kind == "task" else self.unreachable(wish.channel, wish.command_class)
        if cut is not None:
            return cut
        if wish.promotional and self.owns_all(stay):
            return "already_owned"
        if wish.offer is None:
            return None
        may = self.may_promise(wish.offer, wish.channel, stay.id)
        return may if isinstance(may, str) else None

    def _quiet_until_ms(self, stay: Stay, wish: Wish, at_ms: int) -> int | None:
        """Return when the quiet hours end that a message comes into at an instant."""
        says = stay.journey.get("quiet_hours")
        keeps = wish.command_class != "transactional" if says is None else says == "keep"
        if not keeps:
            return None
        zone = self.person.attributes.get("zone", (None, None))[1]
        return self.model.quiet.until_ms(wish.channel, zone, at_ms)

    def _speak(self, stay: Stay, name: str, wish: Wish, word: Word) -> int | None:
        """Say it, if it can be filled in; return when that expires."""
        if wish.kind == "audience":
            self.told.append(("added", stay.id, wish.channel, word["add"]))
            return None
        variables = self.variables(stay, word)
        if variables is None:
            self.told.append(("silent", stay.id, name, wish.channel, "missing_variable"))
            return None
        made, promise = None, None
        if wish.offer is not None:
            may = self.may_promise(wish.offer, wish.channel, stay.id)
            assert not isinstance(may, str), "it was asked a moment ago"
            made, promise = may, self.said(wish.offer, may)
            wish = replace(wish, expires_at_ms=min(wish.expires_at_ms, may.until_ms))
        kind = "message.send" if wish.kind == "send" else "task.create"
        if kind == "task.create":
            self._brief(wish)
        if kind == "message.send":
            place = (stay.id, name, wish.channel)
            self.person.permission.went_out(wish, place, self.now_ms, self.model.shop)
            if wish.promotional:
                self.promoted = stay.id
        said = (wish.channel, wish.command_class, name, word["template"])
        text = json.dumps(variables, sort_keys=True)
        self.told.append((kind, stay.id, *said, wish.expires_at_ms, text, promise))
        if made is not None and wish.offer is not None:
            self.promise(wish.offer, made, f"{stay.id} {name} {wish.channel}")
        return wish.expires_at_ms

    def _brief(self, wish: Wish) -> None:
        """Tell the person who takes a task which offers they may make: none that are paused."""
        for name in self.model.offers:
            self.pause_on("", wish.channel, "promotional", name)

    def _instead(self, stay: Stay, word: Word) -> Word | None:
        """Return what is said in place of an offer that is not for this customer, once."""
        offer = self.model.offers.get(word.get("offer", ""), {})
        held = self.person.promises.held.get(word.get("offer", ""))
        greeted = held is not None and held.fate() == "not_qualified"
        if "otherwise" not in offer or greeted:
            return None
        if self.may_promise(word["offer"], word["channel"], stay.id) != "offer_not_qualified":
            return None
        return {**word, "offer": None, "variables": {}, **offer["otherwise"]}

    def say_instead(self, name: str, made: Promise) -> None:
        """Tell at once who turned out not to qualify what is said in place of their promise.

        Where no run has told it, or that is over, the offer itself does, if it can write.
        """
        stay = self.person.stays.get(made.stay or "")
        otherwise = self.model.offers[name].get("otherwise")
        if made.channel is None or otherwise is None:
            return
        if stay is None:
            if self.model.channels.get(made.channel, {}).get("kind") != "message":
                return
            times = (self.now_ms, self.now_ms)
            stay = Stay(f"offers/{name}#1", OF_OFFERS, name, *times, [], {})
        wish = self._wish(stay, "send", {"channel": made.channel}, self.now_ms)
        place = (stay.id, "otherwise", made.channel)
        paused = self.pause_on(wish.journey, wish.channel, wish.command_class)
        reason = "paused" if paused else self.unreachable(wish.channel, wish.command_class)
        if reason is None and self.person.permission.capped(wish, self.now_ms, self.model.shop):
            reason = "frequency_cap"
        if reason is not None:
            self.told.append(("silent", *place, reason))
        else:
            self._speak(stay, "otherwise", wish, otherwise)

    def farewell(self, stay: Stay, word: Word) -> None:
        """Say the last word of an exit: it goes now or never."""
        command_class, channel = word["class"], word["channel"]
        paused = self.pause_on(stay.journey["name"], channel, command_class)
        reason = "paused" if paused else self.unreachable(channel, command_class)
        if reason is not None:
            self.told.append(("silent", stay.id, "exit", channel, reason))
            return
        expires_at_ms = self.now_ms + duration_ms(self.model.shop["expires_after"][command_class])
        said = (channel, command_class, "exit", word["template"])
        self.told.append(("message.send", stay.id, *said, expires_at_ms, "{}", None))

    def leave_audiences(self, stay: Stay) -> None:
        """Leave what nobody else keeps the customer in."""
        others = {
            (one.channel, one.audience)
            for other in self.person.stays.values()
            if other is not stay and other.step is not None
            for one in other.open
        }
        for place in {(one.channel, one.audience) for one in stay.open if one.audience} - others:
            self.told.append(("removed", stay.id, *place))

    def remember_end(self, stay: Stay) -> None:
        """Note for re-entry that a stay has ended."""
        name = stay.journey["name"]
        self.person.touched_ms[name] = self.now_ms
        self.person.over.add(name)
        if stay.key is not None:
            self.person.used[name].add(stay.key)

    def owns(self, product: Word) -> bool:
        """Whether the customer has bought it and still has it."""
        return self.person.owns(product, self.model.shop, self.now_ms)

    def owns_all(self, stay: Stay) -> bool:
        """Whether they have everything that a stay is about."""
        return bool(stay.products) and all(self.owns(one) for one in stay.products)
