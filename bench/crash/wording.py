"""How the judge words what a decision told, so that its own idea and the log can be compared.

`reference` words what should have been done, `form` words what the log and the commands say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bench.crash.records import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.crash.records import CommandLine


def form(entry: Mapping[str, Any], commands: Mapping[str, CommandLine]) -> tuple[Any, ...]:
    """Write a log entry, with the command it names, the way `Turn` tells it."""
    match entry["kind"]:
        case "entered":
            return ("entered", entry["enrollment"])
        case "moved":
            return ("moved", entry["enrollment"], entry["step"], entry["wake_at_ms"])
        case "ended":
            recalled = frozenset(entry.get("cancelled", ()))
            return ("ended", entry["enrollment"], entry["reason"], recalled)
        case "entry_refused":
            return ("refused", entry["journey"])
        case "held":
            return ("held", entry["enrollment"], entry["step"], entry["reason"], entry["until_ms"])
        case "send_refused":
            return ("silent", entry["enrollment"], entry["step"], entry["reason"])
        case "message_final":
            return ("final", entry["command"], entry["enrollment"], entry["outcome"])
        case "emitted":
            return _emitted_form(entry, commands.get(entry["command"]))
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
    return (kind, stay, *said, expires_at_ms, json.dumps(data["variables"] or {}, sort_keys=True))


def kind_of(told: tuple[Any, ...], otherwise: str) -> str:
    """Which of the report's kinds a missing or an additional effect belongs to."""
    return "wrong" if told[0] in {"refused", "silent"} else otherwise


def text_of(told: tuple[Any, ...]) -> str:
    parts = (sorted(one) if isinstance(one, frozenset) else one for one in told)
    return " ".join(map(str, parts))
