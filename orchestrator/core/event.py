"""What can happen to a customer: an event, a due wait, a journey's visit, a resume, a notice.

`protocol/codec` builds `Event` from a Kafka record, `protocol/commit` builds `TimerFired` from the
wake-ups of a partition, `Visit` from time tables and `Resumed` when what is paused has changed;
what other owners tell is a notice (`core/identity`). `core/decide` takes any. All times are epoch
milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from orchestrator.core.identity.notices import AddressShared, MergeAsked, StateMoved

IDENTITY_BYTES: Final = 8
BODY_BYTES: Final = 4


class Event(Struct, frozen=True, gc=False):
    """One valid touchpoint event.

    `identity` is an 8-byte digest of source and id, `body` a 4-byte digest of type, subject and
    data: together they tell a repeat (same, same) from a reused id (same, other).
    """

    source: str
    id: str
    type: str
    subject: str
    time_ms: int
    data: Mapping[str, Any]
    identity: bytes
    body: bytes
    backfill: bool = False
    traceparent: str | None = None


class TimerFired(Struct, frozen=True, gc=False):
    """The customer's earliest wait has come due on the partition's clock."""

    due_ms: int


class Visit(Struct, frozen=True, gc=False):
    """A journey looks at a customer who is there already.

    `occurrence_ms` is the time of its table that has come; None when the journey is new here, and
    works out when it has to look again.
    """

    journey: str
    version: int
    occurrence_ms: int | None = None


class Resumed(Struct, frozen=True, gc=False):
    """What is paused has changed: whoever a pause holds is looked at again.

    `revision` is that of the `Pauses` to which it has changed.
    """

    revision: int


Input = Event | TimerFired | Visit | Resumed | MergeAsked | StateMoved | AddressShared
