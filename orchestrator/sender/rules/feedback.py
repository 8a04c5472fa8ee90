"""What a sender tells the orchestrator: touchpoint events, the same bytes for the same outcome.

The id follows from the command and what became of it, so a report that is written again after a
crash is known and applied once. Only what the record of the attempt holds goes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.sender.rules import command as kinds
from orchestrator.sender.rules.attempts import Attempt, State

if TYPE_CHECKING:
    from orchestrator.sender.rules.command import Command

Headers = list[tuple[str, bytes]]

_MESSAGE_TYPES: Final = {
    State.DELIVERED: "message.delivered",
    State.BOUNCED: "message.bounced",
    State.FAILED: "message.failed",
    State.DROPPED: "message.dropped",
}
_CONTENT_TYPE: Final = b"application/cloudevents+json"


def feedback(command: Command, attempt: Attempt) -> dict[str, Any] | None:
    """Return the event that tells what became of a command, or None when nobody waits for one.

    A cancel and a closed task are told by what they name. A task that reached its queue is not
    final, its end is `task.closed`; a message that was delivered is.
    """
    kind = _kind(command, attempt.state)
    if kind is None:
        return None
    data = {
        "command_id": command.id,
        "channel": command.channel,
        "journey": command.journey,
        "enrollment": command.enrollment,
    }
    parts = [command.id, kind]
    if attempt.reason and attempt.state is not State.DELIVERED:
        data["reason"] = attempt.reason
        parts.append(attempt.reason)
    return {
        "specversion": "1.0",
        "id": "/".join(parts),
        "source": f"/senders/{command.channel}",
        "type": kind,
        "subject": command.customer,
        "time": attempt.at,
        "data": data,
    }


def _kind(command: Command, state: State) -> str | None:
    if command.type in kinds.CANCELLING:
        return None
    if state is State.DELIVERED and command.type in (kinds.AUDIENCE_ADD, kinds.AUDIENCE_REMOVE):
        return "audience.applied"
    if state is State.DELIVERED and command.type == kinds.TASK_CREATE:
        return None
    return _MESSAGE_TYPES[state]


def encode_feedback(event: dict[str, Any]) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers of the record on `touchpoints`."""
    headers = [
        ("content-type", _CONTENT_TYPE),
        ("ce_id", event["id"].encode()),
        ("ce_type", event["type"].encode()),
    ]
    return event["subject"].encode(), orjson.dumps(event), headers
