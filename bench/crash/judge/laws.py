"""What must not reach a customer, whatever the journeys mean: judged entry by entry of the log.

`reference` replays what should have been done; this only looks at what was done: no cap exceeded,
nobody written to at night or without consent, no two promises that contradict each other, no
message on two channels at once, no order confirmation kept back for a reason of advertising.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.known import Known, Message
from bench.crash.judge.permission import GRACE_MS
from bench.crash.judge.person import Occurrence
from bench.crash.judge.promises import contradict
from bench.crash.judge.records import duration_ms, milliseconds
from bench.crash.judge.walk import OF_OFFERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.crash.judge.history import Place
    from bench.crash.judge.records import CommandLine, LogLine, Reading
    from bench.crash.judge.reference import Model

AT_ONCE: Final = frozenset({"exit", "otherwise"})
"""What answers something that the customer has just done: it does not wait for the morning."""
ADVERTISING: Final = frozenset(
    {
        "no_consent",
        "suppressed",
        "already_owned",
        "frequency_cap",
        "arbitration",
        "quiet_hours",
        "spacing",
        "handoff",
    }
)
"""Why a promotion may not go, and an order confirmation must."""


def judge_laws(reading: Reading, model: Model, events: Mapping[Place, Occurrence | str]) -> None:
    """Report every entry of the log that breaks a law."""
    commands = {command.id: command for command in reading.commands}
    laws = Laws(reading, model, commands)
    everybody: dict[str, Known] = {}
    for customer, lines in reading.people():
        known = everybody[customer] = Known()
        for line in lines:
            event = None
            if line.source is not None and line.outcome == "applied":
                found = events.get(reading.arrival(line.source))
                if isinstance(found, Occurrence):
                    event = found
                    known.hear(event, line.now_ms)
                    if event.backfill and event.type in {"purchase", "offer.redeemed"}:
                        known.redeem_history(event, model.offers, line.now_ms)
            for entry in line.entries:
                match entry["kind"]:
                    case "entered" if event is not None:
                        journey = model.journeys[entry["journey"]]
                        known.enter(entry["enrollment"], event, journey)
                    case "handed_over":
                        known.rename(entry["enrollment"], entry["becomes"])
                    case "absorbed":
                        name = entry["customer"]
                        known.unite(everybody.get(name, Known()), name, line.now_ms)
                    case "customer_erased":
                        known = everybody[customer] = Known()
                    case _:
                        laws.judge(known, line, entry)
            laws.judge_promises_told(known, line)


class Laws:
    """The laws, and where their breaches are reported."""

    def __init__(self, reading: Reading, model: Model, commands: Mapping[str, CommandLine]) -> None:
        self._reading = reading
        self._model = model
        self._journeys = {**model.journeys, "offers": OF_OFFERS}
        self._commands = commands

    def judge(self, known: Known, line: LogLine, entry: Mapping[str, Any]) -> None:
        """Judge one entry, and take it in."""
        kind = entry["kind"]
        if kind == "emitted":
            command = self._commands.get(entry["command"])
            if command is not None:
                self._emitted(known, line, command)
        elif kind in {"send_refused", "held"}:
            self._judge_lane(line, entry)
            if entry["reason"] == "offer_not_qualified":
                # What is said in its place is said once, under whichever id.
                offer = self._step(entry["journey"], entry["step"]).get("offer")
                known.over_ms[str(offer)] = line.now_ms
        elif kind == "promised" or (kind == "redemption_undone" and entry["open"]):
            self._judge_promise(known, line, entry)
        elif kind == "redemption_undone":
            known.unredeem(entry["offer"], line.now_ms)
        elif kind in {"promise_ended", "offer_redeemed"}:
            known.close(entry["offer"], line.now_ms)

    def _emitted(self, known: Known, line: LogLine, command: CommandLine) -> None:
        if command.type == "message.cancel":
            known.cancel(iter(command.data["cancels"]))
        if command.type in {"message.send", "audience.add"} and command.promotional:
            enrollment = command.data["enrollment"]
            if known.bought_since(enrollment):
                text = f"{command.id} of {enrollment}, bought by one of their ids before"
                self._report("promotional", line, text)
        if command.type == "audience.add":
            self._judge_consent(known, line, command)
        if command.type != "message.send":
            return
        self._judge_consent(known, line, command)
        self._judge_night(known, line, command)
        if command.data["step"] != "exit":
            self._judge_caps(known, line, command)
        self._judge_channels(known, line, command)
        expires_at_ms = milliseconds(command.data["expires_at"])
        known.messages[command.id] = Message(
            command, line.now_ms, expires_at_ms, enrollment=command.data["enrollment"]
        )

    def _judge_consent(self, known: Known, line: LogLine, command: CommandLine) -> None:
        channel, class_ = command.data["channel"], command.data["class"]
        if class_ == "transactional" or not self._model.channels[channel].get(
            "needs_consent", True
        ):
            return
        granted = known.consents.get((channel, class_), (None, None))[1]
        if not (granted or (granted is None and class_ == "service")):
            self._report("consent", line, f"{command.id} by {channel}: nobody has agreed")

    def _judge_night(self, known: Known, line: LogLine, command: CommandLine) -> None:
        data = command.data
        if data["step"] in AT_ONCE or not self._keeps_quiet(data["journey"], data["class"]):
            return
        until_ms = self._model.quiet.until_ms(data["channel"], known.zone[1], line.now_ms)
        if until_ms is not None:
            self._report("quiet", line, f"{command.id} by {data['channel']} in quiet hours")

    def _keeps_quiet(self, journey: str, class_: str) -> bool:
        says = self._journeys[journey].get("quiet_hours")
        return class_ != "transactional" if says is None else bool(says == "keep")

    def _judge_caps(self, known: Known, line: LogLine, command: CommandLine) -> None:
        for cap in self._model.shop["caps"]:
            if not _concerns(cap, command):
                continue
            per_ms = duration_ms(cap["per"])
            found = sum(
                _concerns(cap, one.command) and one.counts(per_ms, line.now_ms)
                for one in known.messages.values()
                if one.command.data["step"] != "exit"
            )
            if found >= cap["max"]:
                self._report("cap", line, f"{command.id} is number {found + 1} of {cap}")

    def _judge_channels(self, known: Known, line: LogLine, command: CommandLine) -> None:
        data = command.data
        word = self._step(data["journey"], data["step"])
        for before in known.messages.values():
            said = before.command.data
            if (before.enrollment, said["step"]) != (data["enrollment"], data["step"]):
                continue
            if said["channel"] == data["channel"]:
                self._report("twice", line, f"{command.id} is {before.command.id} once more")
            elif not word.get("all") and not (
                before.failed or before.gone or line.now_ms >= before.expires_at_ms + GRACE_MS
            ):
                text = f"{command.id} by {data['channel']}, while {before.command.id} is on its way"
                self._report("twice", line, f"{text} by {said['channel']}")

    def _judge_lane(self, line: LogLine, entry: Mapping[str, Any]) -> None:
        journey = self._journeys[entry["journey"]]
        word = self._step(entry["journey"], entry["step"])
        if word.get("class", journey["kind"]) != "transactional":
            return
        if entry["reason"] == "quiet_hours" and journey.get("quiet_hours") == "keep":
            return
        if entry["reason"] in ADVERTISING:
            text = f"{entry['enrollment']} {entry['step']} is transactional: {entry['reason']}"
            self._report("lane", line, text)

    def _judge_promise(self, known: Known, line: LogLine, entry: Mapping[str, Any]) -> None:
        name = entry["offer"]
        until_ms = entry.get("expires_at_ms", known.until.get(name, 0))
        for other, other_until_ms in known.promises.items():
            beside = other != name and other_until_ms > line.now_ms
            if beside and contradict(self._model.offers, other, name):
                self._report("promise", line, f"{name} beside {other}")
        if known.until.get(name) != until_ms:
            known.made_ms[name] = line.now_ms
        known.promises[name] = known.until[name] = until_ms
        known.over_ms.pop(name, None)

    def judge_promises_told(self, known: Known, line: LogLine) -> None:
        """Judge that the offers which a decision tells are promised when it is over."""
        if line.kind == "state":
            names = sorted(known.promises)
            for name, other in itertools.combinations(names, 2):
                both = min(known.promises[name], known.promises[other]) > line.now_ms
                if both and contradict(self._model.offers, name, other):
                    self._report("promise", line, f"{name} beside {other}, of two ids")
        for entry in line.entries:
            offer = entry.get("offer") if entry["kind"] == "offer_granted" else None
            if entry["kind"] == "emitted" and entry["type"] == "message.send":
                command = self._commands.get(entry["command"])
                offer = command.data.get("offer") if command is not None else None
            if offer and known.promises.get(offer, 0) <= line.now_ms:
                self._report("promise", line, f"{offer} is told, but not promised")

    def _step(self, journey: str, name: str) -> Mapping[str, Any]:
        """Return what a step says; of the last word of an exit, what that says."""
        found = self._journeys[journey]
        if name == "exit":
            return next((one["then"] for one in found["exits"] if "then" in one), {})
        step = next((one for one in found["steps"] if one["id"] == name), {})
        return next((step[word] for word in ("send", "task", "audience") if word in step), {})

    def _report(self, kind: str, line: LogLine, what: str) -> None:
        self._reading.report(kind, f"{line.customer}: {what}", line.record.place)


def _concerns(cap: Mapping[str, Any], command: CommandLine) -> bool:
    data = command.data
    return (
        cap.get("class", "promotional") == data["class"]
        and cap.get("channel", data["channel"]) == data["channel"]
        and cap.get("journey", data["journey"]) == data["journey"]
    )
