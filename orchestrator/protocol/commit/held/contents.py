"""What a changelog partition says, and what can be known of its customers without decoding them.

Whoever reads a changelog feeds it record by record, so that nothing is left to look through once
the last one is read: with half a million customers that look alone took seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.core.encoded.state import (
    check_state_format,
    encoded_awaits_removal,
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
    acknowledged, as far as `ask_removals` was asked. `unreadable` are keys whose value is of a
    format of a newer release. `meta` and `journeys` are the records about the partition itself.
    """

    __slots__ = (
        "_unasked",
        "due",
        "indexes",
        "journeys",
        "meta",
        "paused",
        "removals",
        "state_bytes",
        "states",
        "unreadable",
    )

    def __init__(self) -> None:
        self.states: dict[bytes, bytes] = {}
        self.due: dict[bytes, int] = {}
        self.paused: set[bytes] = set()
        self.removals: dict[bytes, int] = {}
        self.unreadable: set[bytes] = set()
        # Who awaits a removal since an instant that nobody has asked the state for yet.
        self._unasked: set[bytes] = set()
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
        if first == _INDEX:
            self.put_index(key, value)
            return
        self._replace(key, value)
        if not self._readable(key, value) or value is None:
            self.due.pop(key, None)
            self._note(key, None, paused=False)
            return
        due_ms = encoded_wake_at_ms(value)
        if due_ms is not None:
            self.due[key] = due_ms
        else:
            self.due.pop(key, None)
        self._note(key, None, paused=encoded_is_paused(value))
        if encoded_awaits_removal(value):
            self._unasked.add(key)

    def check_formats(self) -> None:
        """Raise UnknownStateFormat when a newer release wrote one of the records."""
        for key in self.unreadable:
            check_state_format(self.states[key])

    def ask_removals(self, most: int) -> int:
        """Ask so many states since when a removal waits; return how many are left to ask.

        A gauge wants to know, no decision does: nobody who takes a partition over waits for it.
        """
        for _ in range(min(most, len(self._unasked))):
            customer = self._unasked.pop()
            since_ms = encoded_oldest_removal_ms(self.states[customer])
            if since_ms is not None:
                self.removals[customer] = since_ms
        return len(self._unasked)

    def put(self, customer: bytes, value: bytes, removal_ms: int | None) -> None:
        """Replace a customer's state, all but when it is due: its owner has an index for that.

        `removal_ms` is that of `oldest_removal_ms`.
        """
        self._replace(customer, value)
        self._note(customer, removal_ms, paused=encoded_is_paused(value))

    def put_index(self, key: bytes, value: bytes | None) -> None:
        """Replace or remove the index of an address."""
        self._readable(key, value)
        was_there = self._replace(key, value)
        self.indexes += (value is not None) - was_there

    def _take_about(self, key: bytes, value: bytes | None) -> None:
        if key == META_KEY:
            self.meta = value
        elif key == JOURNEYS_KEY:
            self.journeys = value

    def _replace(self, key: bytes, value: bytes | None) -> bool:
        """Replace or remove a value; return whether there was one."""
        held = self.states.get(key)
        if held is not None:
            self.state_bytes -= len(held)
        if value is not None:
            self.states[key] = value
            self.state_bytes += len(value)
        elif held is not None:
            del self.states[key]
        return held is not None

    def _readable(self, key: bytes, value: bytes | None) -> bool:
        """Whether this release can read a value; one that it cannot keeps us from owning it all."""
        readable = value is None or encoded_is_readable(value)
        if not readable:
            self.unreadable.add(key)
        elif self.unreadable:
            self.unreadable.discard(key)
        return readable

    def _note(self, customer: bytes, since_ms: int | None, *, paused: bool) -> None:
        if paused:
            self.paused.add(customer)
        elif self.paused:
            self.paused.discard(customer)
        if self._unasked:
            self._unasked.discard(customer)
        if since_ms is not None:
            self.removals[customer] = since_ms
        elif self.removals:
            self.removals.pop(customer, None)
