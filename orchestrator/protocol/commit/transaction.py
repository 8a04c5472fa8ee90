"""What crosses the seam between the state machine and its driver: batches in, transactions out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.metrics import GroupStats


class SourceRecord(Protocol):
    """A record as a Kafka client returns it; `timestamp` is epoch milliseconds.

    `timestamp_type` is Kafka's: 0 for the producer's time, 1 for the broker's. Only records of
    mapped topics are asked for it.
    """

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102
    @property
    def timestamp_type(self) -> int: ...  # noqa: D102


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Batch(NamedTuple):
    """Records in order of offset, as one fetch brought them.

    `generation` is the group's when the fetch was made: the batch is decided and committed under
    it or not at all. The fetch began at position `start` and ended before position `end`.
    """

    source: TopicPartition
    generation: int
    start: int
    end: int
    records: Sequence[SourceRecord]


class Output(NamedTuple):
    """One record to produce."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Transaction(NamedTuple):
    """All effects of a group, to be made visible together under one generation or not at all.

    `offsets` is never empty: without it nothing would tell the broker whose transaction this is.
    `takeover` names the partitions of customers that it takes over; then it carries no effects.
    """

    generation: int
    member: str
    outputs: Mapping[TopicPartition, Sequence[Output]]
    offsets: Mapping[TopicPartition, int]
    stats: GroupStats
    takeover: frozenset[int] = frozenset()
