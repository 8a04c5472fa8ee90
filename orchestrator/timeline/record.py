"""A record of the journey log as people's answers read it.

Readers of the log ignore what they do not know: an entry of a newer release is skipped and counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct

from orchestrator.core.decision import LogEntry
from orchestrator.core.pauses import Pause
from orchestrator.protocol.outputs import Origin


class LogCause(Struct, frozen=True):
    """What the decision was about: a record on a topic, a wait that came due, a journey's visit."""

    kind: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    source: str | None = None
    id: str | None = None
    type: str | None = None
    time: datetime | None = None
    due: datetime | None = None
    journey: str | None = None
    occurrence: datetime | None = None
    subject: str | None = None
    survivor: str | None = None
    absorbed: str | None = None
    by: str | None = None
    origin: Origin | None = None
    version: int | None = None
    revision: int | None = None

    def sentence(self) -> str:
        """Return the cause as a short phrase."""
        if self.kind == "timer":
            return "a wait came due"
        if self.kind == "visit":
            return f"the time of {self.journey} had come"
        if self.kind == "resumed":
            return "what is paused had changed"
        if self.kind in ("merge", "state"):
            return f"{self.survivor or self.absorbed} is this customer too"
        if self.kind == "shared":
            return f"others have the same {self.by}"
        return f"{self.type or 'an event'} {self.id or ''}".strip()


class LogRecord(Struct, frozen=True):
    """One value of the journey log; entries stay raw until somebody asks."""

    customer: str
    now: datetime
    cause: LogCause
    outcome: str
    definitions: str = ""
    entries: tuple[Raw, ...] = ()
    paused: tuple[Pause, ...] = ()


_records: Final = msgspec.json.Decoder(LogRecord)
_entries: msgspec.json.Decoder[LogEntry] = msgspec.json.Decoder(LogEntry)


def read_record(value: bytes) -> LogRecord | None:
    """Read one journey-log value; None for what is not one."""
    try:
        return _records.decode(value)
    except msgspec.DecodeError:
        return None


def read_entries(record: LogRecord) -> tuple[list[LogEntry], int]:
    """Return the entries this release knows, and how many it does not."""
    known: list[LogEntry] = []
    for raw in record.entries:
        try:
            known.append(_entries.decode(raw))
        except msgspec.DecodeError:
            continue
    return known, len(record.entries) - len(known)
