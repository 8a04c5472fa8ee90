"""One decision of the judge's own idea: what should be told, compared with what the log says.

`reference` makes a `Turn` of each line of the journey log. It knows nothing of the core's code.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bench.crash.permission import Stop, Wish
from bench.crash.person import (
    FINALS,
    Occurrence,
    Open,
    Order,
    Person,
    Stay,
    business_key,
)
from bench.crash.records import duration_ms, milliseconds
from bench.crash.wording import form, kind_of, text_of

if TYPE_CHECKING:
    from bench.crash.records import CommandLine, LogLine
    from bench.crash.reference import Model

LATE_ENTRY_MS: Final = 3 * 86_400_000
REMEMBERED_MS: Final = 3 * 86_400_000
REMEMBERED_MAX: Final = 32
SEEN_MAX: Final = 64


class Turn:
    """One decision of the model: collects what should be told, then compares and adopts."""

    def __init__(self, model: Model, person: Person, now_ms: int, event: Occurrence | None) -> None:
        self.model = model
        self.person = person
        self.now_ms = now_ms
        self.event = event
        self.told: list[tuple[Any, ...]] = []
        self.promoted: str | None = None
        self.waiting: list[tuple[tuple[Any, ...], Stay, int, int]] = []
        self.occurred_ms = min(event.time_ms, now_ms) if event is not None else now_ms

    def take(self) -> None:
        """Go the whole way of an input."""
        person, event = self.person, self.event
        person.changed = True
        for stay in list(person.stays.values()):
            stay.open = [
                one for one in stay.open if one.audience or one.expires_at_ms >= self.now_ms
            ]
            self._leave_when_empty(stay)
        if event is None:
            due = [one for one in person.stays.values() if (one.wake_at_ms or 1e18) <= self.now_ms]
            for stay in sorted(due, key=lambda one: (one.wake_at_ms, one.id)):
                self._go_on(stay)
            self._choose()
            return
        person.seen[event.source, event.id] = person.ever[event.source, event.id] = event.body
        if len(person.seen) > SEEN_MAX:
            del person.seen[next(iter(person.seen))]
        key = business_key(event)
        if key is not None:
            person.business.add(key)
        self._apply(event)
        if not event.backfill:
            self._exit(event)
            if event.type == "handoff.ended":
                for stay in [one for one in person.stays.values() if one.held == "handoff"]:
                    self._go_on(stay)
            self._enter(event)
            self._choose()

    def _go_on(self, stay: Stay) -> None:
        """Let somebody go on behind a wait, or try the step again that has held them."""
        if stay.held is None:
            self._walk(stay, self._after(stay.journey, stay.step), stay.wake_at_ms or 0)
        else:
            self._walk(stay, self._index(stay.journey, stay.step or ""), stay.due_ms or 0)

    def _choose(self) -> None:
        """Let one promotion of this turn out, and everybody who waited for that go on."""
        while self.waiting:
            heard, self.waiting = sorted(self.waiting, key=lambda one: one[0]), []
            for _, stay, position, due_ms in heard:
                self._walk(stay, position, due_ms, heard=True)

    def _apply(self, event: Occurrence) -> None:
        person = self.person
        if event.type == "profile.updated":
            version = (event.time_ms, event.source, event.id)
            for name, value in event.data["attributes"].items():
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
            self._finish(event.data["command_id"], FINALS[event.type])

    def _learn(self, event: Occurrence) -> None:
        command = event.data.get("command_id")
        opened = (one for stay in self.person.stays.values() for one in stay.open)
        channel = next((one.channel for one in opened if one.id == command), None)
        if channel is None:
            counted = self.person.permission.counted
            channel = next((one.channel for one in counted if one.id == command), None)
        self.person.permission.learn(event, self.now_ms, self.model.shop, channel)

    def _unreachable(self, channel: str, command_class: str) -> str | None:
        def known_ms(name: str) -> int:
            known = self.person.attributes.get(name)
            return -1 if known is None else known[0][0]

        permission, channels = self.person.permission, self.model.channels
        return permission.unreachable(channel, command_class, channels, known_ms)

    def _finish(self, command: str, outcome: str) -> None:
        for stay in list(self.person.stays.values()):
            for one in stay.open:
                if one.id == command and not one.audience:
                    self.told.append(("final", command, stay.id, outcome))
                    stay.open.remove(one)
                    self._leave_when_empty(stay)
                    return

    def _leave_when_empty(self, stay: Stay) -> None:
        if stay.step is None and not stay.open:
            self.person.stays.pop(stay.id, None)

    def _exit(self, event: Occurrence) -> None:
        for stay in list(self.person.stays.values()):
            if stay.entry_ms > self.occurred_ms:
                continue
            for one in stay.journey.get("exits", ()):
                if one["on"] == event.type and self._holds(one.get("when"), event, stay):
                    self._end(stay, "exit")
                    if "then" in one and stay.step is not None:
                        self._farewell(stay, one["then"])
                    break
        if event.type in self.model.exit_types:
            oldest_ms = self.now_ms - REMEMBERED_MS
            if self.occurred_ms >= oldest_ms:
                kept = [held for held in self.person.exits if held[0] >= oldest_ms]
                kept.append((self.occurred_ms, event))
                while len(kept) > REMEMBERED_MAX:
                    kept.remove(min(kept, key=lambda held: held[0]))
                self.person.exits = kept

    def _end(self, stay: Stay, reason: str) -> None:
        recalled = [one for one in stay.open if not one.audience]
        self.told.append(("ended", stay.id, reason, frozenset(one.id for one in recalled)))
        self.person.permission.forget(one.id for one in recalled)
        del self.person.stays[stay.id]
        if stay.step is not None:
            self._remember_end(stay)
        lanes: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
        for one in recalled:
            kind = "task.close" if one.kind == "task.create" else "message.cancel"
            lanes[kind, one.channel, one.promotional].add(one.id)
        for (kind, channel, promotional), ids in lanes.items():
            self.told.append(("recalled", stay.id, kind, channel, promotional, frozenset(ids)))
        self._leave_audiences(stay)

    def _leave_audiences(self, stay: Stay) -> None:
        others = {
            (one.channel, one.audience)
            for other in self.person.stays.values()
            if other is not stay and other.step is not None
            for one in other.open
        }
        for place in {(one.channel, one.audience) for one in stay.open if one.audience} - others:
            self.told.append(("removed", stay.id, *place))

    def _remember_end(self, stay: Stay) -> None:
        name = stay.journey["name"]
        self.person.touched_ms[name] = self.now_ms
        if stay.key is not None:
            self.person.used[name].add(stay.key)

    def _enter(self, event: Occurrence) -> None:
        for name, journey in sorted(self.model.journeys.items()):
            entry = journey["entry"]
            if entry["on"] != event.type or not self._holds(entry.get("when"), event, None):
                continue
            stay = self._candidate(name, journey, event)
            reasons = self._refusals(stay)
            if reasons:
                self.told.append(("refused", name, frozenset(reasons)))
                continue
            if journey["kind"] == "promotional":
                # A later exit is looked for with all products: as if the entry had come in time.
                stay.products = [one for one in stay.products if not self._owns(one)]
            self.person.entries[name] += 1
            self.person.touched_ms[name] = self.now_ms
            self.person.stays[stay.id] = stay
            self.told.append(("entered", stay.id))
            self._walk(stay, 0, self.now_ms)

    def _candidate(self, name: str, journey: Mapping[str, Any], event: Occurrence) -> Stay:
        entry, scope = journey["entry"], self._scope(event, None)
        key = self.model.evaluate(entry["key"], scope) if "key" in entry else None
        ordinal = self.person.entries[name] + 1
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
                    and self._holds(one.get("when"), event, stay)
                ):
                    reasons.add("exited_later")
        if journey["kind"] == "promotional" and stay.products and self._owns_all(stay):
            reasons.add("already_owned")
        return reasons

    def _owns(self, product: Mapping[str, Any]) -> bool:
        return self.person.owns(product, self.model.shop, self.now_ms)

    def _owns_all(self, stay: Stay) -> bool:
        return bool(stay.products) and all(self._owns(one) for one in stay.products)

    def _walk(self, stay: Stay, position: int, due_ms: int, *, heard: bool = False) -> None:
        steps = stay.journey["steps"]
        before = stay.held, stay.step, stay.wake_at_ms
        while position < len(steps):
            step = steps[position]
            stop = self._stop(stay, step, due_ms)
            if stop is not None and stop[0] == "held":
                until_ms = min(stop[-1], self._wish(stay, step, due_ms).expires_at_ms + 1)
                stay.held, stay.step, stay.wake_at_ms = stop[1], step["id"], until_ms
                stay.due_ms = due_ms
                if before != (stop[1], step["id"], until_ms):
                    self.told.append(("held", stay.id, step["id"], stop[1], until_ms))
                return
            stay.held = None
            if stop is not None:
                self.told.append(("silent", stay.id, step["id"], stop[1]))
                position = self._after(stay.journey, step["id"])
                continue
            if not heard and self._contends(stay, step):
                stay.step, stay.wake_at_ms = step["id"], None
                expires_at_ms = self._wish(stay, step, due_ms).expires_at_ms
                order = -stay.journey.get("priority", 50), expires_at_ms
                who = stay.entered_ms, stay.journey["name"], stay.id
                self.waiting.append(((*order, *who), stay, position, due_ms))
                return
            if "wait" in step:
                stay.step = step["id"]
                stay.wake_at_ms = self.now_ms + duration_ms(step["wait"])
                self.told.append(("moved", stay.id, stay.step, stay.wake_at_ms))
                return
            if "end" in step:
                break
            position = self._step(stay, step, due_ms)
        self.told.append(("ended", stay.id, "completed", frozenset()))
        self._remember_end(stay)
        self._leave_audiences(stay)
        stay.open = [one for one in stay.open if not one.audience]
        stay.step = stay.wake_at_ms = None

    def _step(self, stay: Stay, step: Mapping[str, Any], due_ms: int) -> int:
        journey = stay.journey
        if "branch" in step:
            for arm in step["branch"]:
                if self._holds(arm.get("when"), self.event, stay):
                    return self._index(journey, arm["next"])
        elif "send" in step or "task" in step:
            self._speak(stay, step, due_ms)
        elif "audience" in step:
            self._audience(stay, step)
        return self._after(journey, step["id"])

    def _contends(self, stay: Stay, step: Mapping[str, Any]) -> bool:
        """Whether a step is a promotion that may go, if no other one of this turn does."""
        word = step.get("send", {"class": None})
        return self.promoted is None and word.get("class", stay.journey["kind"]) == "promotional"

    def _wish(self, stay: Stay, step: Mapping[str, Any], due_ms: int) -> Wish:
        kind = next(word for word in ("send", "task", "audience") if word in step)
        word = step[kind]
        command_class = word.get("class", stay.journey["kind"])
        lasts = word.get("expires_after") or self.model.shop["expires_after"][command_class]
        channel = word.get("channel", "ads" if kind == "audience" else "callcenter")
        name = stay.journey["name"]
        return Wish(kind, channel, command_class, name, due_ms + duration_ms(lasts))

    def _stop(self, stay: Stay, step: Mapping[str, Any], due_ms: int) -> Stop | None:
        """Return what keeps a step from reaching anybody, but for its words."""
        if not step.keys() & {"send", "task", "audience"} or "remove" in step.get("audience", ()):
            return None
        wish = self._wish(stay, step, due_ms)
        if self.now_ms > wish.expires_at_ms:
            return "silent", "expired"
        if wish.kind != "task":
            reason = self._unreachable(wish.channel, wish.command_class)
            if reason is not None:
                return "silent", reason
        if wish.promotional and self._owns_all(stay):
            return "silent", "already_owned"
        if wish.kind != "send":
            return None
        permission, shop = self.person.permission, self.model.shop
        stop = permission.stops(wish, self.now_ms, shop, first=self.promoted is None)
        if stop is None and wish.promotional and self.promoted not in {None, stay.id}:
            return "silent", "arbitration"
        return stop

    def _speak(self, stay: Stay, step: Mapping[str, Any], due_ms: int) -> None:
        wish = self._wish(stay, step, due_ms)
        word = step[wish.kind]
        variables = self._variables(stay, word)
        if variables is None:
            self.told.append(("silent", stay.id, step["id"], "missing_variable"))
            return
        if wish.kind == "send":
            place = (stay.id, step["id"], wish.channel)
            self.person.permission.went_out(wish, place, self.now_ms, self.model.shop)
            if wish.promotional:
                self.promoted = stay.id
        kind = "message.send" if wish.kind == "send" else "task.create"
        said = (wish.channel, wish.command_class, step["id"], word["template"])
        text = json.dumps(variables, sort_keys=True)
        self.told.append((kind, stay.id, *said, wish.expires_at_ms, text))

    def _farewell(self, stay: Stay, word: Mapping[str, Any]) -> None:
        command_class = word["class"]
        reason = self._unreachable(word["channel"], command_class)
        if reason is not None:
            self.told.append(("silent", stay.id, "exit", reason))
            return
        expires_at_ms = self.now_ms + duration_ms(self.model.shop["expires_after"][command_class])
        said = (word["channel"], command_class, "exit", word["template"])
        self.told.append(("message.send", stay.id, *said, expires_at_ms, "{}"))

    def _audience(self, stay: Stay, step: Mapping[str, Any]) -> None:
        word = step["audience"]
        channel = word.get("channel", "ads")
        if "add" in word:
            self.told.append(("added", stay.id, channel, word["add"]))
        else:
            self.told.append(("removed", stay.id, channel, word["remove"]))
            stay.open = [one for one in stay.open if one.audience != word["remove"]]

    def _variables(self, stay: Stay, word: Mapping[str, Any]) -> dict[str, Any] | None:
        values = {}
        for name, said in word.get("variables", {}).items():
            variable = said if isinstance(said, Mapping) else {"value": said}
            value = self.model.evaluate(variable["value"], self._scope(self.event, stay))
            if value in (None, ""):
                value = variable.get("default")
            if value is None:
                return None
            values[name] = value
        return values

    def _index(self, journey: Mapping[str, Any], name: str) -> int:
        return next(i for i, step in enumerate(journey["steps"]) if step["id"] == name)

    def _after(self, journey: Mapping[str, Any], name: str | None) -> int:
        position = self._index(journey, name or "")
        following = journey["steps"][position].get("next")
        return position + 1 if following is None else self._index(journey, following)

    def _holds(self, when: str | None, event: Occurrence | None, stay: Stay | None) -> bool:
        return when is None or self.model.evaluate(when, self._scope(event, stay)) is True

    def _scope(self, event: Occurrence | None, stay: Stay | None) -> dict[str, Any]:
        attributes = self.person.attributes
        scope: dict[str, Any] = {
            "profile": {name: value for name, (_, value) in attributes.items()}
        }
        if event is not None:
            scope["event"] = {"type": event.type, "data": event.data}
        if stay is not None:
            skus = [product["sku"] for product in stay.products]
            scope["enrollment"] = {"id": stay.id, "key": stay.key, "skus": skus}
            scope["trigger"] = {"data": stay.trigger}
        return scope

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
                    )
                )
        for stay in list(self.person.stays.values()):
            self._leave_when_empty(stay)
