"""A partition of customers: their encoded states, their waits, its clock and its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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

    `states` are those of its `contents`, for who looks one up for every event; `waits` goes on with
    what they say of due times.
    """

    __slots__ = (
        "clock",
        "contents",
        "index",
        "owned",
        "positions",
        "rounds",
        "starts",
        "states",
        "waits",
    )

    def __init__(self, index: int, loaded: Loaded, rounds: Rounds, *, monotonic_ms: int) -> None:
        meta = loaded.meta
        self.rounds = rounds
        self.index = index
        self.contents = loaded.contents
        self.states = self.contents.states
        self.positions = dict(loaded.start_offsets)
        if meta is not None:
            self.positions |= {t: p for t, p in meta.positions.items() if t in self.positions}
        self.clock = PartitionClock(meta.clock_ms if meta else 0, monotonic_ms)
        self.starts = meta.starts + 1 if meta else 1
        self.owned = False
        self.waits = WaitIndex(self.contents.due)

    @property
    def customers(self) -> int:
        """How many of the states are customers; the others are indexes of addresses."""
        return len(self.states) - self.contents.indexes
