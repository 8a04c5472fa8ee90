"""A record on its way into the group: where it stands, and where it stood first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.protocol.forward.way import Forward, read_forward, read_hops
from orchestrator.protocol.outputs import Position

if TYPE_CHECKING:
    from orchestrator.protocol.commit.transaction import SourceRecord, TopicPartition


class Intake(NamedTuple):
    """A record on its way in: where it stands, its way so far, and the decision's now."""

    source: TopicPartition
    record: SourceRecord
    way: Forward
    now_ms: int

    @property
    def position(self) -> Position:
        """Where it stands."""
        return position_of(self.source, self.record)


def position_of(source: TopicPartition, record: SourceRecord) -> Position:
    """Return where a record stands."""
    return Position(source.topic, source.partition, record.offset, record.timestamp)


def way_of(source: TopicPartition, record: SourceRecord) -> Forward:
    """Return the way of a record of the forward topic; one of our own begins there."""
    forward = read_forward(record.headers)
    if forward is not None:
        return forward
    return Forward(position_of(source, record), read_hops(record.headers))
