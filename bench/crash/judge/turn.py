"""One decision of the judge's own idea: what should be told, compared with what the log says.

`reference` makes a `Turn` of each line of the journey log. It knows nothing of the core's code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.hours import hour_of
from bench.crash.judge.permission import ARRIVED
from bench.crash.judge.person import (
    FINALS,
    Occurrence,
    Open,
    Order,
    Stay,
    business_key,
)
from bench.crash.judge.records import duration_ms, milliseconds
from bench.crash.judge.walk import Walk
from bench.crash.judge.wording import form, kind_of, text_of

if TYPE_CHECKING:
    from bench.crash.judge.records import CommandLine, LogLine

LATE_ENTRY_MS: Final = 3 * 86_400_000
REMEMBERED_MS: Final = 3 * 86_400_000
REMEMBERED_MAX: Final = 32
NEVER_MS: Final = 1 << 60


class Turn(Walk):
    """One decision of the model: takes an input the whole way, then compares and adopts."""

    def take(self) -> None:
        """Go the whole way of an input."""
        person, event = self.person, self.event
        person.changed = True
        self.forget_expired()
        if event is None:
            stays = list(person.stays.values())
            if self.resumed:
                due = [(one.due_ms or 0, one) for one in stays if one.held == "paused"]
            else:
                wakes = [(one.wake_at_ms or NEVER_MS, one) for one in stays]
                due = [(wake_at_ms, one) for wake_at_ms, one in wakes if wake_at_ms <= self.now_ms]
            for _, stay in sorted(due, key=lambda one: (one[0], one[1].id)):
                self.go_on(stay)
            self.choose()
            return
        person.seen.add((event.source, event.id), event.body, self.now_ms)
        person.ever[event.source, event.id].add(event.body)
        key = business_key(event)
        if key is not None:
            person.business.add(key)
        self._apply(event)
        withdrawn = self.follow(event)
        if not event.backfill:
            self._exit(event)
            for name, made in withdrawn:
                self.say_instead(name, made)
            if event.type in FINALS:
                self._hear(event)
            if event.type == "handoff.ended":
                for stay in [one for one in person.stays.values() if one.held == "handoff"]:
                    self.go_on(stay)
            self._enter(event)
            self.choose()

    def forget_expired(self) -> None:
        """Let go of messages that nobody may act on any more."""
        for stay in list(self.person.stays.values()):
            stay.open = [
                one for one in stay.open if one.audience or one.expires_at_ms >= self.now_ms
            ]
            self.leave_when_empty(stay)

    def _apply(self, event: Occurrence) -> None:
        person = self.person
        if event.type in {"profile.updated", "profile.identified"}:
            version = (event.time_ms, event.source, event.id)
            for name, value in event.data.get("attributes", {}).items():
                if name not in person.attributes or person.attributes[name][0] < version:
                    person.attributes[name] = (version, value)
        elif event.type == "purchase":
            order = person.orders.setdefault(event.data["order_id"], Order(self.occurred_ms))
            order.time_ms = self.occurred_ms
            for item in event.data["items"]:
                _, quantity = order.lines.get(item["sku"], (item, 0))
                first = order.lines.get(item["sku"], (item, 0))[0]
                order.lines[item["sku"]] = (first, quantity + item.get("quantity", 1))
        elif event.type in {"order.cancelled", "order.returned"}:
            order = person.orders.setdefault(event.data["order_id"], Order(self.occurred_ms))
            for item in event.data.get("items") or ():
                order.returned[item["sku"]] += item.get("quantity", 10**6)
            order.cancelled = order.cancelled or not event.data.get("items")
        elif event.type in {"consent.updated", "handoff.started", "handoff.ended"}:
            self._learn(event)
        elif event.type in FINALS:
            self._learn(event)
            if event.type == "message.opened":
                zone = self.model.quiet.zone_of(person.attributes.get("zone", (None, None))[1])
                person.answers[hour_of(self.occurred_ms, zone)] += 1
            self._finish(event.data["command_id"], FINALS[event.type])

    def _learn(self, event: Occurrence) -> None:
        command = event.data.get("command_id")
        opened = (one for stay in self.person.stays.values() for one in stay.open)
        channel = next((one.channel for one in opened if one.id == command), None)
        if channel is None:
            counted = self.person.permission.counted
            channel = next((one.channel for one in counted if one.id == command), None)
        self.person.permission.learn(event, self.now_ms, self.model.shop, channel)

    def _finish(self, command: str, outcome: str) -> None:
        for stay in list(self.person.stays.values()):
            for one in stay.open:
                if one.id == command and not one.audience:
                    self.told.append(("final", command, stay.id, outcome))
                    stay.open.remove(one)
                    self.leave_when_empty(stay)
                    return

    def _hear(self, event: Occurrence) -> None:
        """Let a message arrive that somebody waits for, or let the next channel be tried."""
        for stay in list(self.person.stays.values()):
            if stay.awaited != event.data["command_id"]:
                continue
            if event.type in ARRIVED or event.data.get("reason") == "unknown":
                stay.tried, stay.awaited, stay.held = (), None, None
                self.walk(stay, self.after(stay.journey, stay.step), self.now_ms)
            else:
                self.go_on(stay)

    def _exit(self, event: Occurrence) -> None:
        recalled: set[str] = set()
        for stay in list(self.person.stays.values()):
            if stay.entry_ms > self.occurred_ms:
                continue
            for one in stay.journey.get("exits", ()):
                if one["on"] == event.type and self.holds(one.get("when"), event, stay):
                    recalled |= self.end(stay, "exit")
                    if "then" in one and stay.step is not None:
                        self.farewell(stay, one["then"])
                    break
        self.forget_recalled(recalled)
        if event.type in self.model.exit_types:
            oldest_ms = self.now_ms - REMEMBERED_MS
            if self.occurred_ms >= oldest_ms:
                kept = [held for held in self.person.exits if held[0] >= oldest_ms]
                kept.append((self.occurred_ms, event))
                while len(kept) > REMEMBERED_MAX:
                    kept.remove(min(kept, key=lambda held: held[0]))
                self.person.exits = kept

    def end(self, stay: Stay, reason: str, *, remembered: bool = True) -> frozenset[str]:
        """End a stay now; return the messages that are recalled."""
        recalled = [one for one in stay.open if not one.audience]
        self.told.append(("ended", stay.id, reason, frozenset(one.id for one in recalled)))
        del self.person.stays[stay.id]
        if stay.step is not None and remembered:
            self.remember_end(stay)
        gone = self.recall(stay, recalled)
        self.leave_audiences(stay)
        return gone

    def _enter(self, event: Occurrence) -> None:
        for name, journey in sorted(self.model.journeys.items()):
            entry = journey["entry"]
            if entry["on"] != event.type or not self.holds(entry.get("when"), event, None):
                continue
            stay = self._candidate(name, journey, event)
            reasons = self._refusals(stay)
            if reasons:
                self.told.append(("refused", name, frozenset(reasons)))
                continue
            if journey["kind"] == "promotional":
                # A later exit is looked for with all products: as if the entry had come in time.
                stay.products = [one for one in stay.products if not self.owns(one)]
            self.person.entries[name] = self.person.ordinal(name)
            self.person.touched_ms[name] = self.now_ms
            self.person.stays[stay.id] = stay
            self.told.append(("entered", stay.id))
            self.walk(stay, 0, self.now_ms)

    def _candidate(self, name: str, journey: Mapping[str, Any], event: Occurrence) -> Stay:
        entry, scope = journey["entry"], self.scope(event, None)
        key = self.model.evaluate(entry["key"], scope) if "key" in entry else None
        ordinal = self.person.ordinal(name)
        about = self.model.evaluate(entry["about"], scope) if "about" in entry else []
        products: list[Mapping[str, Any]] = []
        for product in about:
            if product["sku"] not in {one["sku"] for one in products}:
                products.append(product)
        enrollment = f"{name}/{key}#{ordinal}" if key is not None else f"{name}#{ordinal}"
        times = (self.occurred_ms, self.now_ms)
        return Stay(enrollment, journey, key, *times, products, event.data)

    def _refusals(self, stay: Stay) -> set[str]:
        """Return every reason that speaks against an entry; the worker names one of them."""
        person, journey, reasons = self.person, stay.journey, set()
        name, reentry = journey["name"], journey["entry"].get("reentry", "always")
        if self.now_ms - self.occurred_ms > LATE_ENTRY_MS:
            reasons.add("too_old")
        for held in person.stays.values():
            if held.journey is journey and held.step is not None and held.key == stay.key:
                reasons.add("already_enrolled")
        if stay.key in person.used[name] or (reentry == "once" and person.entries[name]):
            reasons.add("reentry")
        if isinstance(reentry, Mapping):
            last_ms = person.touched_ms.get(name, 0)
            if self.now_ms < last_ms + duration_ms(reentry["after"]):
                reasons.add("reentry")
        for time_ms, event in person.exits:
            for one in journey.get("exits", ()):
                if (
                    one["on"] == event.type
                    and time_ms >= stay.entry_ms
                    and event is not self.event
                    and self.holds(one.get("when"), event, stay)
                ):
                    reasons.add("exited_later")
        if journey["kind"] == "promotional" and stay.products and self.owns_all(stay):
            reasons.add("already_owned")
        return reasons

    def compare(self, line: LogLine, commands: Mapping[str, CommandLine]) -> list[tuple[str, str]]:
        """Return how the log line differs from what should have been told."""
        reasons = {one[1]: one[2] for one in self.told if one[0] == "refused"}
        expected = Counter(one[:2] if one[0] == "refused" else one for one in self.told)
        actual: Counter[tuple[Any, ...]] = Counter()
        sequence = self.person.sequence
        faults = []
        for entry in line.entries:
            actual[form(entry, commands)] += 1
            if entry["kind"] == "emitted":
                sequence += 1
                if entry["sequence"] != sequence:
                    faults.append(("gap", f"sequence {entry['sequence']} instead of {sequence}"))
            elif entry["kind"] == "entry_refused":
                allowed = reasons.get(entry["journey"], frozenset({entry["reason"]}))
                if entry["reason"] not in allowed:
                    faults.append(("wrong", f"{entry['journey']}: refused {entry['reason']}"))
        met = {pause["scope"] for pause in line.paused}
        if met != self.met:
            text = f"names the pauses {sorted(met)}, met were {sorted(self.met)}"
            faults.append(("wrong", text))
        missing, extra = expected - actual, actual - expected
        faults += [(kind_of(one, "lost"), f"not done: {text_of(one)}") for one in missing]
        faults += [(kind_of(one, "doubled"), f"not to be done: {text_of(one)}") for one in extra]
        return faults

    def adopt(self, line: LogLine, commands: Mapping[str, CommandLine]) -> None:
        """Take over the ids of the commands that were rightly emitted."""
        for entry in line.entries:
            if entry["kind"] != "emitted":
                continue
            self.person.sequence = entry["sequence"]
            stay = self.person.stays.get(entry["enrollment"])
            command = commands.get(entry["command"])
            kind = entry["type"]
            if command is not None and kind == "message.send":
                place = (entry["enrollment"], entry["step"], entry["channel"])
                self.person.permission.name(place, command.id)
                self._name(" ".join(place), command.id)
            if stay is None or command is None or entry["step"] == "exit":
                continue
            if kind in {"message.send", "task.create", "audience.add"}:
                if kind == "audience.add" and stay.step is None:
                    continue
                stay.open.append(
                    Open(
                        command.id,
                        kind,
                        entry["channel"],
                        command.promotional,
                        milliseconds(command.data["expires_at"]),
                        command.data.get("audience"),
                        command.data.get("offer"),
                    )
                )
        for stay in list(self.person.stays.values()):
            self.leave_when_empty(stay)

    def _name(self, place: str, command: str) -> None:
        """Give what a decision knew by its place only the id of its command."""
        for stay in self.person.stays.values():
            if stay.awaited == place:
                stay.awaited = command
        for held in self.person.promises.held.values():
            if held.tellers and place in held.tellers:
                held.tellers = held.tellers - {place} | {command}
