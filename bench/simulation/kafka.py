"""The broker's part: logs with transactions, who may write them, and what a reader may see.

No more than the commit, recovery and forwarding ask of Kafka, as it answers: a transaction becomes
visible partition by partition, when its markers are written; a reader of what is committed stands
before the first open one; an older epoch is refused. `cluster` moves it, `worker` calls it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.simulation.group import Group
from orchestrator.protocol.commit.transaction import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.protocol.commit.transaction import Output

TRANSACTION_TIMEOUT_MS: Final = 6_000
OPEN, COMMITTING, COMMITTED, ABORTED = "open", "committing", "committed", "aborted"
# Where the group's offsets are written: a partition like any other to a transaction.
OFFSETS: Final = TopicPartition("__consumer_offsets", 0)


class RefusedError(Exception):
    """The broker refuses a request; a worker ends by that."""


class Record(NamedTuple):
    """One record as a reader gets it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0


@dataclass(slots=True, eq=False)
class Ongoing:
    """One transaction, from its first record until its last marker."""

    writer: str
    epoch: int
    began_ms: int
    state: str = OPEN
    places: list[TopicPartition] = field(default_factory=list)
    """Where it has no marker yet, in the order in which it came there."""
    offsets: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)
    """When each was told, as a running number, and the offset."""


class Log:
    """One partition. Markers take offsets, as Kafka's do."""

    __slots__ = ("first_open", "records", "writers")

    def __init__(self) -> None:
        self.records: list[Record | None] = []
        self.writers: list[Ongoing | None] = []
        self.first_open: dict[Ongoing, int] = {}

    @property
    def stable_end(self) -> int:
        """Before which offset a reader of what is committed has to stop."""
        return min(self.first_open.values()) if self.first_open else len(self.records)

    def append(self, output: Output, timestamp_ms: int, writer: Ongoing | None = None) -> None:
        """Write one record, visible at once or with its transaction."""
        offset = len(self.records)
        self.records.append(Record(offset, timestamp_ms, output[0], output[1], tuple(output[2])))
        self.writers.append(writer)
        if writer is not None and writer not in self.first_open:
            self.first_open[writer] = offset

    def mark(self, writer: Ongoing) -> None:
        """Write the marker that ends a transaction here."""
        self.first_open.pop(writer, None)
        self.records.append(None)
        self.writers.append(writer)

    def committed(self, start: int) -> Iterator[Record]:
        """Yield what a reader of what is committed gets from `start` on."""
        records, writers = self.records, self.writers
        for offset in range(start, self.stable_end):
            record, writer = records[offset], writers[offset]
            if record is not None and (writer is None or writer.state != ABORTED):
                yield record

    def uncommitted(self) -> Iterator[Record]:
        """Yield everything that was ever written: what no worker may read."""
        return (record for record in self.records if record is not None)


class Broker:
    """All logs, the coordinator of transactions, and that of the group."""

    def __init__(self, now_ms: int, homes: int, elsewhere: Iterable[TopicPartition]) -> None:
        self.now_ms = now_ms
        self.transaction_timeout_ms = TRANSACTION_TIMEOUT_MS
        self.logs: defaultdict[TopicPartition, Log] = defaultdict(Log)
        self.group = Group(homes, tuple(elsewhere))
        self._offsets: dict[TopicPartition, tuple[int, int]] = {}
        self._offsets_told = 0
        self._epochs: dict[str, int] = {}
        self._ongoing: dict[str, Ongoing] = {}

    # -- Time ---------------------------------------------------------------------------------

    def pass_time(self, milliseconds: int) -> list[str]:
        """Let time go by; return whose transactions have lasted too long and are aborted."""
        self.now_ms += milliseconds
        late = [
            one
            for one in self._ongoing.values()
            if one.state == OPEN and self.now_ms - one.began_ms > self.transaction_timeout_ms
        ]
        for one in late:
            self._epochs[one.writer] = self._epochs.get(one.writer, 0) + 1
            self._abort(one)
        return [one.writer for one in late]

    @property
    def is_ending(self) -> bool:
        """Whether some transaction is still open, or wants markers."""
        return any(one.state in {OPEN, COMMITTING} for one in self._ongoing.values())

    # -- Transactions -------------------------------------------------------------------------

    def initialise(self, writer: str) -> int:
        """Give a transactional id a new epoch; whoever had it before is fenced."""
        ongoing = self._ongoing.get(writer)
        if ongoing is not None:
            if ongoing.state == OPEN:
                self._abort(ongoing)
            self._finish(ongoing)
        self._epochs[writer] = self._epochs.get(writer, 0) + 1
        return self._epochs[writer]

    def begin(self, writer: str, epoch: int) -> Ongoing:
        """Begin a transaction; one that still wants markers gets them first."""
        self._check_epoch(writer, epoch)
        before = self._ongoing.get(writer)
        if before is not None:
            self._finish(before)
        self._ongoing[writer] = Ongoing(writer, epoch, self.now_ms)
        return self._ongoing[writer]

    def produce(self, writer: str, epoch: int, place: TopicPartition, outputs: Iterable) -> None:
        """Write records into an open transaction."""
        ongoing = self._open_of(writer, epoch)
        if place not in ongoing.places:
            ongoing.places.append(place)
        log = self.logs[place]
        for output in outputs:
            log.append(output, self.now_ms, ongoing)

    def commit_offsets(
        self,
        writer: str,
        epoch: int,
        offsets: Mapping[TopicPartition, int],
        member: tuple[int, str] | None,
    ) -> None:
        """Take offsets into the transaction, if this member is one in this generation.

        `member` is generation and member id; None as the older request has it, which fences nobody.
        """
        ongoing = self._open_of(writer, epoch)
        if member is not None and not self.group.accepts(*member):
            raise RefusedError("illegal generation or unknown member")
        if OFFSETS not in ongoing.places:
            ongoing.places.append(OFFSETS)
        self._offsets_told += 1
        told = self._offsets_told
        ongoing.offsets |= {place: (told, offset) for place, offset in offsets.items()}

    def committed_offset(self, place: TopicPartition) -> int:
        """Return the group's offset of a partition; 0 without one."""
        return self._offsets.get(place, (0, 0))[1]

    def end(self, writer: str, epoch: int) -> None:
        """Decide that a transaction is committed. Its markers follow."""
        self._open_of(writer, epoch).state = COMMITTING

    def write_marker(self, choice: int) -> TopicPartition | None:
        """Write the next marker of one of the transactions that want some."""
        wanting = [one for one in self._ongoing.values() if one.state == COMMITTING]
        return self._mark(wanting[choice % len(wanting)], choice) if wanting else None

    def open_writers(self, place: TopicPartition) -> list[str]:
        """Return whose transactions a reader of this partition stands before."""
        if place in self.logs:
            return [one.writer for one in self.logs[place].first_open if one.writer]
        return []

    def pending_writers(self, place: TopicPartition) -> list[str]:
        """Return whose transactions may still change the group's offset of a partition."""
        return [
            one.writer
            for one in self._ongoing.values()
            if place in one.offsets and OFFSETS in one.places
        ]

    def is_committing(self, writer: str) -> bool:
        """Whether a transaction is decided and only wants its markers."""
        ongoing = self._ongoing.get(writer)
        return ongoing is not None and ongoing.state == COMMITTING

    def _check_epoch(self, writer: str, epoch: int) -> None:
        if self._epochs.get(writer) != epoch:
            raise RefusedError("fenced by a newer epoch of the transactional id")

    def _open_of(self, writer: str, epoch: int) -> Ongoing:
        self._check_epoch(writer, epoch)
        ongoing = self._ongoing.get(writer)
        if ongoing is None or ongoing.state != OPEN:
            raise RefusedError("no transaction is open")
        return ongoing

    def _mark(self, ongoing: Ongoing, choice: int = 0) -> TopicPartition:
        place = ongoing.places.pop(choice % len(ongoing.places))
        if place == OFFSETS:
            if ongoing.state == COMMITTING:
                # Markers may come in another order than the offsets did; the later told one stays.
                for one, told in ongoing.offsets.items():
                    self._offsets[one] = max(told, self._offsets.get(one, told))
        else:
            self.logs[place].mark(ongoing)
        if not ongoing.places and ongoing.state == COMMITTING:
            ongoing.state = COMMITTED
        return place

    def _finish(self, ongoing: Ongoing) -> None:
        while ongoing.places:
            self._mark(ongoing)
        if ongoing.state == COMMITTING:
            ongoing.state = COMMITTED

    def _abort(self, ongoing: Ongoing) -> None:
        ongoing.state = ABORTED
        self._finish(ongoing)

    # -- Other producers ----------------------------------------------------------------------

    def begin_foreign(self, place: TopicPartition) -> Ongoing:
        """Let a shop's own transactional producer begin to write."""
        return Ongoing("", 0, self.now_ms, places=[place])

    def end_foreign(self, ongoing: Ongoing, *, commit: bool) -> None:
        """End the transaction of a shop's producer."""
        ongoing.state = COMMITTED if commit else ABORTED
        while ongoing.places:
            self.logs[ongoing.places.pop()].mark(ongoing)
