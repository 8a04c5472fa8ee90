"""How the judge words what a decision told, so that its own idea and the log can be compared.

`reference` words what should have been done, `form` words what the log and the commands say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.records import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.crash.judge.records import CommandLine


WRONG: Final = frozenset({"refused", "silent", "offer_refused", "redemption_refused"})
OF_IDS: Final = frozenset(
    {"merge_requested", "merged_into", "absorbed", "handed_over", "duplicate_found"}
)
OF_OFFERS: Final = {
    "promised": ("offer", "channel", "enrollment", "expires_at_ms", "provisional"),
    "promise_confirmed": ("offer",),
    "offer_granted": ("offer", "channel", "expires_at_ms", "provisional"),
    "offer_refused": ("offer", "channel", "reason", "otherwise"),
    "offer_redeemed": ("offer", "order"),
    "redemption_refused": ("offer", "order", "reason"),
    "redemption_undone": ("offer", "order", "open"),
}
"""What an entry about an offer must say, beside its kind."""


def form(entry: Mapping[str, Any], commands: Mapping[str, CommandLine]) -> tuple[Any, ...]:
    """Write a log entry, with the command it names, the way `Turn` tells it."""
    match entry["kind"]:
        case "entered":
            return ("entered", entry["enrollment"])
        case "moved":
            place = (entry["enrollment"], entry["step"])
            return ("moved", *place, entry["wake_at_ms"], entry.get("detail"))
        case "ended":
            recalled = frozenset(entry.get("cancelled", ()))
            return ("ended", entry["enrollment"], entry["reason"], recalled)
        case "entry_refused":
            return ("refused", entry["journey"])
        case "held":
            place = (entry["enrollment"], entry["step"], entry["channel"])
            return ("held", *place, entry["reason"], entry["until_ms"])
        case "send_refused":
            place = (entry["enrollment"], entry["step"], entry["channel"])
            return ("silent", *place, entry["reason"])
        case "message_final":
            return ("final", entry["command"], entry["enrollment"], entry["outcome"])
        case "emitted":
            return _emitted_form(entry, commands.get(entry["command"]))
        case kind if kind in OF_OFFERS:
            return (kind, *(entry[name] for name in OF_OFFERS[kind]))
        case "merge_requested":
            return ("merge_requested", entry["absorbed"], entry["survivor"])
        case "merged_into":
            return ("merged_into", entry["survivor"])
        case "absorbed":
            return ("absorbed", entry["customer"])
        case "handed_over":
            recalled = frozenset(entry["cancelled"])
            return ("handed_over", entry["enrollment"], entry["becomes"], recalled)
        case "taken_over":
            return ("taken_over", entry["enrollment"], entry["step"], entry["wake_at_ms"])
        case "duplicate_found":
            return ("duplicate_found", entry["by"], frozenset(entry["others"]), entry["merges"])
        case "customer_erased":
            return ("customer_erased", entry["until_ms"], entry["enrollments"])
        case "promise_ended":
            about = (entry["offer"], entry["reason"], entry["channel"], entry["otherwise"])
            return ("promise_ended", *about, frozenset(entry["cancelled"]))
        case kind:
            return (kind,)


def _emitted_form(entry: Mapping[str, Any], command: CommandLine | None) -> tuple[Any, ...]:
    kind, stay, channel = entry["type"], entry["enrollment"], entry["channel"]
    data: Mapping[str, Any] = command.data if command is not None else defaultdict(str)
    match kind:
        case "message.cancel" | "task.close":
            promotional = entry["command_class"] == "promotional"
            recalled = frozenset(data.get("cancels", ()))
            return ("recalled", stay, kind, channel, promotional, recalled)
        case "audience.add":
            return ("added", stay, channel, data["audience"])
        case "audience.remove":
            return ("removed", stay, channel, data["audience"])
    said = (channel, entry["command_class"], entry["step"], data["template"])
    expires_at_ms = milliseconds(data["expires_at"]) if command is not None else 0
    text = json.dumps(data["variables"] or {}, sort_keys=True)
    return (kind, stay, *said, expires_at_ms, text, _promise(data))


def _promise(data: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return what a command says of the promise that it tells."""
    if not data.get("offer"):
        return None
    said = data["promise"]
    until_ms = milliseconds(said["valid_until"])
    return (data["offer"], said["text"], said["code"], until_ms, said["provisional"])


def kind_of(told: tuple[Any, ...], otherwise: str) -> str:
    """Which of the report's kinds a missing or an additional effect belongs to."""
    if told[0] == "ended" and told[2] == "merged":
        # Who should have ended there goes on twice, and who should not is gone.
        return "doubled" if otherwise == "lost" else "lost"
    if told[0] in OF_IDS:
        return "identity"
    if told[0] == "customer_erased":
        return "erased"
    return "wrong" if told[0] in WRONG else otherwise


def text_of(told: tuple[Any, ...]) -> str:
    parts = (sorted(one) if isinstance(one, frozenset) else one for one in told)
    return " ".join(map(str, parts))
