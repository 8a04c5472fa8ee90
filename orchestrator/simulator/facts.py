"""What a decision did, as facts that a scenario can expect and a timeline can show.

`story` asks for the facts of every decision, `expectation` compares them, `report` prints them. A
fact is named by the word that a scenario uses for it: `send`, `cancel`, `enter`, `leave`, …
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, assert_never

import msgspec
from msgspec import Struct

from orchestrator.catalog.findings import shortened
from orchestrator.core.command import Command, CommandType
from orchestrator.core.decision import (
    AttributesDerived,
    AttributesSet,
    Chosen,
    ClaimRefused,
    CustomerErased,
    Decision,
    Emitted,
    Ended,
    Entered,
    EntryRefused,
    EventTold,
    GoalReached,
    Held,
    LogEntry,
    MessageFinal,
    Moved,
    OfferEntry,
    OfferGranted,
    OfferRedeemed,
    OfferRefused,
    Outcome,
    PromiseConfirmed,
    Promised,
    PromiseEnded,
    RedemptionRefused,
    RedemptionUndone,
    SendRefused,
    StageChanged,
    StageWithheld,
    TaskClaimed,
)
from orchestrator.core.language.scalars import duration_text

COMMAND_WORDS: Final = {
    CommandType.MESSAGE_SEND: "send",
    CommandType.MESSAGE_CANCEL: "cancel",
    CommandType.AUDIENCE_ADD: "add",
    CommandType.AUDIENCE_REMOVE: "remove",
    CommandType.TASK_CREATE: "task",
    CommandType.TASK_CLOSE: "close_task",
}
_SIGNS: Final = {
    "send": "✉", "task": "☎", "add": "+", "remove": "-", "cancel": "✗", "close_task": "✗",
    "enter": "→", "leave": "■", "wait": "…", "refuse_entry": "✗", "refuse_send": "✗",
    "hold": "‖",
    "final": "✓", "fence": "▮", "ignore": "·", "dead_letter": "!",
    "promise": "◇", "grant": "◇", "refuse_offer": "✗", "confirm": "◆", "withdraw": "✗",
    "redeem": "◆", "refuse_redemption": "✗", "undo_redemption": "◇",
    "choose": "⑂", "hold_out": "⑂", "set": "=", "tell": "⇢", "goal": "★",
    "stage": "▲", "stage_withheld": "△", "derive": "=", "forget": "∅",
    "claim": "☎", "refuse_claim": "✗",
}  # fmt: skip
# An enrollment's name holds its journey and key.
_IN_ENROLLMENT: Final = frozenset({"journey", "key"})
# A line of a timeline has no room for these.
_UNTOLD: Final = frozenset({"version", "locale", "delivery", "expires_after", "content", "context"})


class Fact(Struct, frozen=True):
    """One thing that happened. `details[word]` is what the word is followed by in a scenario."""

    word: str
    at_ms: int
    customer: str
    details: Mapping[str, Any]

    @property
    def is_command(self) -> bool:
        """Whether a sender hears of it."""
        return self.word in COMMAND_WORDS.values()

    def sentence(self) -> str:
        """Return the fact on one line of a timeline, with its sign."""
        told = {name: value for name, value in self.details.items() if name not in _UNTOLD}
        about = described(self.word, {k: v for k, v in told.items() if k != "variables"})
        if variables := told.get("variables"):
            about += f", with {shortened(_shown('', variables))}"
        return f"{_SIGNS[self.word]} {about}"


def described(word: str, details: Mapping[str, Any]) -> str:
    """Return a fact, or the expectation of one, as a scenario would write it."""
    told = [f"{word} {_shown(word, details[word])}"]
    for name, value in details.items():
        hidden = name in _IN_ENROLLMENT and "enrollment" in details
        # What a message says is long; differences show the part that is not as expected.
        if name not in (word, "content", "context") and value not in (None, [], {}) and not hidden:
            told.append(f"{name} {_shown(name, value)}")
    return ", ".join(told)


def _shown(name: str, value: Any) -> str:
    if name in {"expires_after", "for"}:
        return duration_text(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_shown(key, one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown('', one) for one in value)}]"
    return shortened(str(value))


class Observer:
    """Turns decisions into facts; remembers commands, so that a cancel can name their steps."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def facts(self, decision: Decision) -> Iterator[Fact]:
        """Return what a decision did, in its order."""
        customer, now_ms = decision.customer.id, decision.now_ms
        commands = {command.id: command for command in decision.commands}
        self._commands |= commands
        if decision.outcome is Outcome.DUPLICATE:
            yield Fact("ignore", now_ms, customer, {"ignore": "duplicate"})
        if decision.outcome is Outcome.IGNORED:
            yield Fact("ignore", now_ms, customer, {"ignore": "erased"})
        if decision.rejection is not None:
            yield dead_letter(
                customer, now_ms, decision.rejection.reason, decision.rejection.detail
            )
        for entry in decision.entries:
            if isinstance(entry, Emitted):
                word, details = self._of_command(commands[entry.command])
            else:
                word, details = self._of_entry(entry, decision)
            yield Fact(word, now_ms, customer, details)
        for fence in decision.fence or ():
            if fence.ended_at_ms == now_ms:
                about = _enrollment(fence.enrollment)
                journey = about.pop("journey") or fence.enrollment
                details = {"fence": journey, **about, "sequence": fence.sequence}
                yield Fact("fence", now_ms, customer, details)

    def last_command(self, customer: str, step: str) -> Command | None:
        """Return the newest message or task of a step, for events that report on one."""
        told = (one for one in reversed(self._commands.values()) if one.customer == customer)
        asked = ("send", "task", "add")
        return next((c for c in told if c.step == step and COMMAND_WORDS[c.type] in asked), None)

    def steps_told(self, customer: str) -> list[str]:
        """Return the steps whose commands an event can report on."""
        return [one.step for one in self._commands.values() if one.customer == customer]

    def _of_command(self, command: Command) -> tuple[str, dict[str, Any]]:
        word = COMMAND_WORDS[command.type]
        about = {**_enrollment(command.enrollment), "class": command.command_class.value}
        match word:
            case "send" | "task":
                people = {"queue": command.queue, "context": msgspec.to_builtins(command.context)}
                return word, {
                    word: command.channel,
                    **(people if word == "task" else {}),
                    "template": command.template,
                    "step": command.step,
                    "offer": command.offer,
                    "code": None if command.promise is None else command.promise.code,
                    **about,
                    "variables": dict(command.variables or {}),
                    "content": dict(command.content or {}),
                    "locale": command.locale,
                    "delivery": command.delivery,
                    "expires_after": command.expires_at_ms - command.time_ms,
                }
            case "cancel" | "close_task":
                return word, {word: command.channel, "of": self._steps(command.cancels), **about}
            case _:
                audience = command.audience
                return word, {
                    word: audience,
                    "channel": command.channel,
                    "step": command.step,
                    **about,
                }

    def _of_entry(self, entry: LogEntry, decision: Decision) -> tuple[str, dict[str, Any]]:
        match entry:
            case Entered():
                about = _enrollment(entry.enrollment)
                return "enter", {
                    "enter": about.pop("journey"),
                    **about,
                    "version": entry.version,
                }
            case Moved():
                about = _enrollment(entry.enrollment)
                return "wait", {
                    "wait": entry.step,
                    **about,
                    "for": entry.wake_at_ms - decision.now_ms,
                    "detail": entry.detail,
                }
            case Ended():
                about = _enrollment(entry.enrollment)
                return "leave", {
                    "leave": about.pop("journey"),
                    "reason": entry.reason.value,
                    "step": entry.step,
                    "label": entry.detail,
                    **about,
                }
            case EntryRefused():
                return "refuse_entry", {
                    "refuse_entry": entry.journey,
                    "reason": entry.reason.value,
                    "detail": entry.detail,
                }
            case SendRefused():
                return "refuse_send", {
                    "refuse_send": entry.channel,
                    "reason": entry.reason.value,
                    "detail": entry.detail,
                    "step": entry.step,
                    **_enrollment(entry.enrollment),
                }
            case Held():
                return "hold", {
                    "hold": entry.channel,
                    "reason": entry.reason.value,
                    "detail": entry.detail,
                    "step": entry.step,
                    "for": entry.until_ms - decision.now_ms,
                    **_enrollment(entry.enrollment),
                }
            case Chosen() | AttributesSet() | EventTold() | GoalReached():
                return self._of_step(entry, decision)
            case StageChanged() | StageWithheld() | AttributesDerived():
                return _of_profile(entry, decision)
            case Emitted():
                raise AssertionError("commands are told as such")
            case MessageFinal() | TaskClaimed() | ClaimRefused() | CustomerErased():
                return self._of_people(entry, decision)
            case _:
                return _of_offer(entry, decision)

    def _of_people(
        self,
        entry: MessageFinal | TaskClaimed | ClaimRefused | CustomerErased,
        decision: Decision,
    ) -> tuple[str, dict[str, Any]]:
        match entry:
            case CustomerErased():
                return "forget", {"forget": decision.customer.id}
            case MessageFinal():
                (step,) = self._steps((entry.command,))
                about = _enrollment(entry.enrollment)
                return "final", {
                    "final": entry.outcome,
                    "of": [step],
                    "outcome": entry.detail,
                    **about,
                }
            case TaskClaimed():
                (step,) = self._steps((entry.command,))
                about = _enrollment(entry.enrollment)
                return "claim", {"claim": entry.by, "of": [step], **about}
            case ClaimRefused():
                (step,) = self._steps((entry.command,))
                return "refuse_claim", {
                    "refuse_claim": entry.by,
                    "of": [step],
                    "reason": entry.reason.value,
                    "detail": entry.detail,
                }
            case _:
                assert_never(entry)

    def _of_step(
        self, entry: Chosen | AttributesSet | EventTold | GoalReached, decision: Decision
    ) -> tuple[str, dict[str, Any]]:
        about = _enrollment(entry.enrollment)
        match entry:
            case Chosen():
                word = "hold_out" if entry.held_out else "choose"
                return word, {word: entry.step, "next": entry.next, **about}
            case AttributesSet():
                attributes = decision.customer.attributes
                values = {name: attributes[name].value for name in entry.attributes}
                return "set", {"set": entry.step, "attributes": values, **about}
            case EventTold():
                data = next(one.data for one in decision.told if one.id == entry.id)
                return "tell", {
                    "tell": entry.event,
                    "data": dict(data),
                    "step": entry.step,
                    **about,
                }
            case GoalReached():
                owed = None if entry.command is None else self._steps((entry.command,))[0]
                return "goal", {"goal": entry.journey, "owed_to": owed, **about}
            case _:
                assert_never(entry)

    def _steps(self, commands: tuple[str, ...]) -> list[str]:
        known = self._commands
        return sorted(known[one].step if one in known else one for one in commands)


def _of_profile(
    entry: StageChanged | StageWithheld | AttributesDerived, decision: Decision
) -> tuple[str, dict[str, Any]]:
    match entry:
        case StageChanged():
            return "stage", {
                "stage": entry.to,
                "from": entry.from_,
                "reason": entry.reason.value,
            }
        case StageWithheld():
            missing = sorted(entry.missing)
            return "stage_withheld", {"stage_withheld": entry.stage, "missing": missing}
        case AttributesDerived():
            held = decision.customer.attributes
            values = {name: held[name].value if name in held else None for name in entry.attributes}
            return "derive", {"derive": values}
        case _:
            assert_never(entry)


def _of_offer(entry: OfferEntry, decision: Decision) -> tuple[str, dict[str, Any]]:
    match entry:
        case Promised() | OfferGranted():
            word = "promise" if isinstance(entry, Promised) else "grant"
            return word, {
                word: entry.offer,
                "channel": entry.channel,
                "provisional": entry.provisional,
                "for": entry.expires_at_ms - decision.now_ms,
            }
        case PromiseConfirmed():
            return "confirm", {"confirm": entry.offer}
        case PromiseEnded():
            return "withdraw", {
                "withdraw": entry.offer,
                "reason": entry.reason.value,
                "otherwise": entry.otherwise,
                "channel": entry.channel,
            }
        case OfferRefused():
            return "refuse_offer", {
                "refuse_offer": entry.offer,
                "reason": entry.reason.value,
                "detail": entry.detail,
                "otherwise": entry.otherwise,
                "channel": entry.channel,
            }
        case OfferRedeemed():
            return "redeem", {"redeem": entry.offer, "order": entry.order}
        case RedemptionRefused():
            return "refuse_redemption", {
                "refuse_redemption": entry.offer,
                "reason": entry.reason.value,
                "detail": entry.detail,
                "order": entry.order,
            }
        case RedemptionUndone():
            return "undo_redemption", {
                "undo_redemption": entry.offer,
                "order": entry.order,
                "open": entry.open,
                "detail": entry.detail,
            }
        case _:
            assert_never(entry)


def dead_letter(customer: str, at_ms: int, reason: str, detail: str) -> Fact:
    """Return the fact that an event could not be applied."""
    return Fact("dead_letter", at_ms, customer, {"dead_letter": reason, "detail": detail})


def _enrollment(name: str) -> dict[str, Any]:
    """Split `journey/key#ordinal`; without an instance key it is `journey#ordinal`."""
    head = name.rpartition("#")[0]
    journey, _, key = head.partition("/")
    return {"journey": journey, "enrollment": name, "key": key or None}
