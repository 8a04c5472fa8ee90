"""Commands as the contract writes them, and views to judge them by, for the tests of the sender."""

from __future__ import annotations

import orjson

from bench.senders import channel as bench
from bench.senders.channel import fence, rfc3339
from orchestrator.sender.rules.attempts import Attempts
from orchestrator.sender.rules.command import Command, Place, decode_command
from orchestrator.sender.rules.obstacles import Cancels, Controls, Fences
from orchestrator.sender.rules.verdict import View

__all__ = ["command", "control", "envelope", "fence", "rfc3339", "view"]

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
LANE = "commands.email"
PROMOTIONAL_LANE = "commands.email.promotional"


def envelope(command_id: str = "c1", **changes) -> dict:
    """Return a command's CloudEvent, born at NOW_MS."""
    return bench.envelope(command_id, now_ms=NOW_MS, **changes)


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
