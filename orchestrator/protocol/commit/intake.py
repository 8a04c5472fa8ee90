"""A record on its way into the group: where it stands, and where it stood first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.protocol.forward.original import Original
from orchestrator.protocol.forward.way import Forward, read_forward, read_hops, without_forward
from orchestrator.protocol.outputs import Position

if TYPE_CHECKING:
    from orchestrator.protocol.commit.transaction import SourceRecord, TopicPartition


class Intake(NamedTuple):
    """A record on its way in: where it stands, its way so far, and the decision's now.

    `forwarded` says that it stands on the forward topic.
    """

    source: TopicPartition
    record: SourceRecord
    way: Forward
    now_ms: int
    forwarded: bool

    @property
    def position(self) -> Position:
        """Where it stands."""
        return position_of(self.source, self.record)

    @property
    def written(self) -> Original:
        """The record as its producer wrote it, also when it was mapped or forwarded since."""
        if self.way.original is not None:
            return self.way.original
        record = self.record
        # Whoever writes to an input topic may put such headers on, and has them back.
        headers = without_forward(record.headers) if self.forwarded else record.headers
        return Original(record.key, record.value, [*headers])


def intake_of(
    source: TopicPartition, record: SourceRecord, *, now_ms: int, forwarded: bool
) -> Intake:
    """Return a record on its way in; the way of one on the forward topic is read from its headers.

    One of our own begins there, like any record of an input topic.
    """
    way = read_forward(record.headers) if forwarded else None
    if way is None:
        hops = read_hops(record.headers) if forwarded else 0
        way = Forward(position_of(source, record), hops)
    return Intake(source, record, way, now_ms, forwarded)


def position_of(source: TopicPartition, record: SourceRecord) -> Position:
    """Return where a record stands."""
    return Position(source.topic, source.partition, record.offset, record.timestamp)
