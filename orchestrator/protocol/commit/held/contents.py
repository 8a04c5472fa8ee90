"""What a changelog partition says, and what can be known of its customers without decoding them.

Whoever reads a changelog feeds it record by record, so that nothing is left to look through once
the last one is read: with half a million customers that look alone took seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.core.encoded.state import (
    encoded_is_paused,
    encoded_is_readable,
    encoded_oldest_removal_ms,
    encoded_wake_at_ms,
)
from orchestrator.core.identity.notices import INDEX_BYTE
from orchestrator.protocol.commit.meta import JOURNEYS_KEY, META_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

_INDEX: Final = INDEX_BYTE[0]
_ABOUT: Final = META_KEY[0]


class Contents:
    """The newest record of each key.

    `states` are encoded customers by id, and `indexes` of addresses by their key; `state_bytes`
    is what they hold together. `due` says by customer when the earliest wait is over, `paused` are
    those whom a pause holds, `removals` say since when a removal from an audience is not
    acknowledged. `meta` and `journeys` are the records about the partition itself.
    """

    __slots__ = (
        "due",
        "indexes",
        "journeys",
        "meta",
        "paused",
        "removals",
        "state_bytes",
        "states",
    )

    def __init__(self) -> None:
        self.states: dict[bytes, bytes] = {}
        self.due: dict[bytes, int] = {}
        self.paused: set[bytes] = set()
        self.removals: dict[bytes, int] = {}
        self.indexes = 0
        self.state_bytes = 0
        self.meta: bytes | None = None
        self.journeys: bytes | None = None

    @classmethod
    def of(cls, records: Mapping[bytes, bytes]) -> Contents:
        """Return what these records say."""
        contents = cls()
        for key, value in records.items():
            contents.take(key, value)
        return contents

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record that is newer than all before it; without a value it removes its key."""
        first = key[0]
        if first == _ABOUT:
            self._take_about(key, value)
            return
        held = self.states.get(key)
        if held is not None:
            self.state_bytes -= len(held)
        if value is None:
            if held is not None:
                del self.states[key]
        else:
            self.states[key] = value
            self.state_bytes += len(value)
        if first == _INDEX:
            self.indexes += (value is not None) - (held is not None)
            return
        # A format that this release cannot read keeps the whole partition from being owned.
        readable = value if value is not None and encoded_is_readable(value) else None
        self._look_at(key, readable)

    def _take_about(self, key: bytes, value: bytes | None) -> None:
        if key == META_KEY:
            self.meta = value
        elif key == JOURNEYS_KEY:
            self.journeys = value

    def _look_at(self, customer: bytes, value: bytes | None) -> None:
        due_ms = None if value is None else encoded_wake_at_ms(value)
        if due_ms is not None:
            self.due[customer] = due_ms
        else:
            self.due.pop(customer, None)
        if value is not None and encoded_is_paused(value):
            self.paused.add(customer)
        elif self.paused:
            self.paused.discard(customer)
        since_ms = None if value is None else encoded_oldest_removal_ms(value)
        if since_ms is not None:
            self.removals[customer] = since_ms
        elif self.removals:
            self.removals.pop(customer, None)
