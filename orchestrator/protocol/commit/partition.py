"""A partition of customers: their encoded states, their waits, its clock and its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.encoded import (
    check_state_format,
    encoded_is_paused,
    encoded_oldest_removal_ms,
    encoded_wake_at_ms,
)
from orchestrator.core.identity.notices import INDEX_BYTE
from orchestrator.protocol.commit.clock import PartitionClock
from orchestrator.protocol.commit.waits import WaitIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.protocol.commit.meta import Meta
    from orchestrator.protocol.commit.rounds import Rounds

_INDEX: Final = INDEX_BYTE[0]


class Loaded(NamedTuple):
    """What the driver read from a changelog partition, and where its input topics begin.

    `states` are encoded customers by id, and indexes of addresses by their key; `meta` is None for
    a partition that nobody ever owned.
    """

    states: dict[bytes, bytes]
    meta: Meta | None
    journeys: bytes | None
    start_offsets: Mapping[str, int]


class CustomerPartition:
    """The state of one owned partition; only the state machine changes it.

    `paused` are the ids of customers whom a pause holds, for the round after a resume. `removals`
    say by customer since when a removal from an audience is not acknowledged.
    """

    __slots__ = (
        "clock",
        "index",
        "indexes",
        "owned",
        "paused",
        "positions",
        "removals",
        "rounds",
        "starts",
        "state_bytes",
        "states",
        "waits",
    )

    def __init__(self, index: int, loaded: Loaded, rounds: Rounds, *, monotonic_ms: int) -> None:
        meta = loaded.meta
        self.rounds = rounds
        self.index = index
        self.states = loaded.states
        self.positions = dict(loaded.start_offsets)
        if meta is not None:
            self.positions |= {t: p for t, p in meta.positions.items() if t in self.positions}
        self.clock = PartitionClock(meta.clock_ms if meta else 0, monotonic_ms)
        self.starts = meta.starts + 1 if meta else 1
        self.owned = False
        self.state_bytes = sum(map(len, loaded.states.values()))
        self.paused: set[bytes] = set()
        self.removals: dict[bytes, int] = {}
        self.indexes = 0
        due = []
        for customer, value in loaded.states.items():
            if customer[0] == _INDEX:
                self.indexes += 1
                continue
            wake_at_ms = encoded_wake_at_ms(value)
            if wake_at_ms is not None:
                due.append((customer, wake_at_ms))
                if encoded_is_paused(value):  # Who is held has a time at which that ends.
                    self.paused.add(customer)
            since_ms = encoded_oldest_removal_ms(value)
            if since_ms is not None:
                self.removals[customer] = since_ms
        self.waits = WaitIndex(due)

    @property
    def customers(self) -> int:
        """How many of the states are customers; the others are indexes of addresses."""
        return len(self.states) - self.indexes

    def put_index(self, key: bytes, value: bytes | None) -> None:
        """Replace or remove the index of an address."""
        held = self.states.pop(key, None)
        if held is not None:
            self.indexes -= 1
            self.state_bytes -= len(held)
        if value is not None:
            self.states[key] = value
            self.indexes += 1
            self.state_bytes += len(value)

    def put(self, customer: bytes, value: bytes, removal_ms: int | None) -> None:
        """Replace a customer's encoded state; `removal_ms` is that of `oldest_removal_ms`."""
        self._await_removal(customer, removal_ms)
        self.state_bytes += len(value) - len(self.states.get(customer, b""))
        self.states[customer] = value
        if encoded_is_paused(value):
            self.paused.add(customer)
        else:
            self.paused.discard(customer)

    def _await_removal(self, customer: bytes, since_ms: int | None) -> None:
        if since_ms is not None:
            self.removals[customer] = since_ms
        elif self.removals:
            self.removals.pop(customer, None)

    @staticmethod
    def check_formats(states: Mapping[bytes, bytes]) -> None:
        """Raise UnknownStateFormat when a newer release wrote one of the records."""
        known = {value[:1] for value in states.values()}
        for first in known:
            check_state_format(first)
