"""Commands as the contract writes them, and views to judge them by, for the tests of the sender."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from orchestrator.sender.rules.attempts import Attempts
from orchestrator.sender.rules.command import Command, Place, decode_command
from orchestrator.sender.rules.obstacles import Cancels, Controls, Fences
from orchestrator.sender.rules.verdict import View

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
LANE = "commands.email"
PROMOTIONAL_LANE = "commands.email.promotional"


def rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def envelope(command_id: str = "c1", **changes) -> dict:
    """Return a command's CloudEvent; `changes` replace fields of its data, or of the envelope."""
    data = {
        "channel": "email",
        "class": "promotional",
        "mode": "live",
        "journey": "winter_sale",
        "journey_version": 1,
        "step": "offer",
        "enrollment": "winter_sale/#1",
        "recipient": {"address_ref": "profile.email"},
        "locale": "en-GB",
        "template": "winter_sale",
        "variables": {},
        "content": {"subject": "Tents", "text": "Hello Ana"},
        "offer": None,
        "not_before": None,
        "expires_at": rfc3339(NOW_MS + HOUR_MS),
        "delivery": "at_least_once",
        "caused_by": {"source": "/shop", "id": "e1"},
        "sequence": 5,
    }
    event = {
        "specversion": "1.0",
        "id": command_id,
        "source": "/orchestrator",
        "type": "message.send",
        "subject": "ana",
        "time": rfc3339(NOW_MS),
    }
    for name, value in changes.items():
        target = event if name in event else data
        target["class" if name == "command_class" else name] = value
    return event | {"data": data}


def command(command_id: str = "c1", *, place: Place | None = None, **changes) -> Command:
    """Return a command as a sender reads it."""
    value = orjson.dumps(envelope(command_id, **changes))
    decoded = decode_command(value, place or Place(PROMOTIONAL_LANE, 0, 0))
    assert decoded is not None
    return decoded


def view(*, allowed=frozenset(), by="us", topic=PROMOTIONAL_LANE) -> View:
    """Return a view of nothing: everything may go out but test commands."""
    return View(
        attempts=Attempts(topic),
        cancels=Cancels(),
        fences=Fences(),
        controls=Controls(),
        allowed=allowed,
        by=by,
    )


def fence(enrollment="winter_sale/#1", sequence=5, expires_at="2099-01-01T00:00:00Z") -> bytes:
    """Return the value of a fence record."""
    return orjson.dumps(
        {
            "enrollments": [
                {
                    "enrollment": enrollment,
                    "ended_at": rfc3339(NOW_MS),
                    "sequence": sequence,
                    "expires_at": expires_at,
                }
            ]
        }
    )


def control(scope: str, **changes) -> tuple[bytes, bytes]:
    """Return key and value of a control record."""
    value = {
        "scope": scope,
        "paused": True,
        "kill": False,
        "by": "eva@shop.example",
        "reason": "wrong price",
        "at": rfc3339(NOW_MS),
    }
    return scope.encode(), orjson.dumps(value | changes)
