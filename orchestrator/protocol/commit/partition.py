"""A partition of customers: their encoded states, their waits, its clock and its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.encoded.state import check_state_format, encoded_is_paused
from orchestrator.protocol.commit.clock import PartitionClock
from orchestrator.protocol.commit.held.waits import WaitIndex
from orchestrator.protocol.commit.meta import decode_meta

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.protocol.commit.held.contents import Contents
    from orchestrator.protocol.commit.meta import Meta
    from orchestrator.protocol.commit.rounds import Rounds


class Loaded(NamedTuple):
    """What the driver read from a changelog partition, and where its input topics begin.

    `meta` is None for a partition that nobody ever owned.
    """

    contents: Contents
    meta: Meta | None
    start_offsets: Mapping[str, int]

    @classmethod
    def of(cls, contents: Contents, start_offsets: Mapping[str, int], *, where: str) -> Loaded:
        """Read what stands about the partition itself; `where` is it for the message.

        Raises DependencyError when a newer release wrote it.
        """
        written = contents.meta
        meta = None if written is None else decode_meta(written, where=where)
        return cls(contents, meta, start_offsets)


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
        contents = loaded.contents
        self.states = contents.states
        self.positions = dict(loaded.start_offsets)
        if meta is not None:
            self.positions |= {t: p for t, p in meta.positions.items() if t in self.positions}
        self.clock = PartitionClock(meta.clock_ms if meta else 0, monotonic_ms)
        self.starts = meta.starts + 1 if meta else 1
        self.owned = False
        self.state_bytes = contents.state_bytes
        self.paused = contents.paused
        self.removals = contents.removals
        self.indexes = contents.indexes
        self.waits = WaitIndex(contents.due)

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
