"""Reads the state of partitions from their changelog, in bulk, straight into dicts of bytes.

Called by the driver outside the rebalance callback, for partitions that this worker was just given.
First it waits until no transaction of a former owner is open: what is read then is all there is.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from orchestrator.clients.bulk import Stretch, read_stretches
from orchestrator.errors import DependencyError
from orchestrator.protocol.commit import transaction as commit
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.partition import Loaded
from orchestrator.runtime.coordination import Coordination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    from aiokafka.structs import ConsumerRecord

    from orchestrator.protocol.commit.machine import CommitMachine
    from orchestrator.protocol.commit.meta import Meta

_log = structlog.get_logger()

_STABLE_POLL_SECONDS: Final = 0.05
# A living former owner ends its transaction within this; one that does not is asked after.
_DEAD_WRITER_SECONDS: Final = 0.5
# Longer than any transaction of ours may be open, and the broker's sweep of timed-out ones.
_HANGING_SECONDS: Final = 20.0
# Nothing has come yet: so soon it is looked again.
_EMPTY_SECONDS: Final = 0.002
# So many states of a partition that a gauge wants to know of, and so long until the next: a few
# percent of the time.
_ASKED: Final = 50
_ASKED_SECONDS: Final = 0.02
# A client that was just started knows no leader; the broker tells within a millisecond or two.
_RETRY_MS: Final = 10
# Half of the day for which the broker keeps tombstones.
_COPY_SECONDS_MAX: Final = 12 * 3600.0


class Source(NamedTuple):
    """What to load: the changelog, and the input topics whose positions stand in it."""

    changelog: str
    inputs: Sequence[str]


class Copy:
    """What a changelog partition says: all that is committed before `offset`.

    `read_at` is when somebody last looked at the log's end from there, on the monotonic clock.
    """

    __slots__ = ("contents", "offset", "read_at")

    def __init__(self) -> None:
        self.contents = Contents()
        self.offset = 0
        self.read_at = time.monotonic()

    def apply(self, messages: Iterable[ConsumerRecord]) -> None:
        """Take the records that follow, in order, as aiokafka gives them."""
        for message in messages:
            self.take(message.offset, message.key, message.value)

    def take(self, offset: int, key: bytes, value: bytes | None) -> None:
        """Take the record that follows; a tombstone removes its key."""
        self.contents.take(key, value)
        self.offset = offset + 1


class RecoveryReport(NamedTuple):
    """What a recovery cost: the wait for open transactions, and the reading.

    `records` were read now; `kept` are the states that a standby had before.
    """

    records: int
    kept: int
    waited_seconds: float
    seconds: float


class BulkLoader:
    """Loads changelog partitions. One instance serves one worker for its life."""

    def __init__(
        self,
        client_options: dict[str, Any],
        bulk_options: dict[str, Any],
        app_id: str,
        *,
        transaction_timeout_ms: int,
    ) -> None:
        self._options = client_options
        self._bulk_options = bulk_options
        self._app_id = app_id
        self._transaction_timeout_ms = transaction_timeout_ms

    async def load(
        self, source: Source, indexes: Iterable[int], copies: MutableMapping[int, Copy]
    ) -> tuple[dict[int, Loaded], RecoveryReport]:
        """Return the state of each partition; what `copies` have of them is not read again.

        The copies grow as the log is read, and are taken out when all of it is. Raises
        DependencyError when a position lies outside of its input log.
        """
        started = time.monotonic()
        changelogs = [TopicPartition(source.changelog, index) for index in sorted(indexes)]
        committed = self._consumer("read_committed")
        uncommitted = self._consumer("read_uncommitted")
        try:
            await committed.start()
            await uncommitted.start()
            ends = await self._stable_ends(changelogs, committed, uncommitted)
            waited = time.monotonic() - started
            inputs = [
                TopicPartition(topic, tp.partition) for topic in source.inputs for tp in changelogs
            ]
            first = await uncommitted.beginning_offsets(inputs)
            last = await uncommitted.end_offsets(inputs)
        finally:
            await committed.stop()
            await uncommitted.stop()
        held = {tp: _gone_on_with(copies, tp.partition, ends[tp]) for tp in changelogs}
        kept = sum(len(copy.contents.states) for copy in held.values())
        records = await self._read(held, ends)
        loaded = {}
        for tp in changelogs:
            start_offsets = {
                topic: first[TopicPartition(topic, tp.partition)] for topic in source.inputs
            }
            copies.pop(tp.partition, None)
            where = f"{tp.topic}/{tp.partition}"
            loaded[tp.partition] = Loaded.of(held[tp].contents, start_offsets, where=where)
            _check_positions(loaded[tp.partition].meta, tp.partition, first, last)
        report = RecoveryReport(records, kept, waited, time.monotonic() - started)
        return loaded, report

    async def first_offsets(
        self, places: Iterable[commit.TopicPartition]
    ) -> dict[commit.TopicPartition, int]:
        """Return where the logs of input partitions begin."""
        consumer = self._consumer("read_uncommitted")
        await consumer.start()
        try:
            first = await consumer.beginning_offsets([TopicPartition(*place) for place in places])
        finally:
            await consumer.stop()
        return {commit.TopicPartition(*tp): offset for tp, offset in first.items()}

    def _consumer(self, isolation_level: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level=isolation_level,
            retry_backoff_ms=_RETRY_MS,
        )

    async def _read(
        self, copies: Mapping[TopicPartition, Copy], ends: Mapping[TopicPartition, int]
    ) -> int:
        """Read the partitions from where their copies end; return how many records that were."""
        stretches = [
            Stretch(tp.topic, tp.partition, copy.offset, ends[tp]) for tp, copy in copies.items()
        ]
        by_index = {tp.partition: copy for tp, copy in copies.items()}
        count = 0
        with closing(read_stretches(self._bulk_options, self._app_id, stretches)) as found:
            for records in found:
                for one in records:
                    by_index[one.partition()].take(one.offset(), one.key(), one.value())
                count += len(records)
                await asyncio.sleep(0 if records else _EMPTY_SECONDS)
        return count

    async def _stable_ends(
        self,
        changelogs: Sequence[TopicPartition],
        committed: AIOKafkaConsumer,
        uncommitted: AIOKafkaConsumer,
    ) -> Mapping[TopicPartition, int]:
        """Wait until the last stable offset is the end of each changelog, and return the ends."""
        started = time.monotonic()
        asked_at = started + _DEAD_WRITER_SECONDS
        warn_at = started + _HANGING_SECONDS
        while True:
            # In this order: an end that is stable now was not hiding an open transaction before.
            ends = await uncommitted.end_offsets(changelogs)
            stable: Mapping[TopicPartition, int] = await committed.end_offsets(changelogs)
            if all(stable[tp] >= ends[tp] for tp in changelogs):
                return stable
            if time.monotonic() >= asked_at:
                asked_at = time.monotonic() + _DEAD_WRITER_SECONDS
                async with Coordination(self._options, self._app_id) as coordination:
                    aborted = await coordination.abort_dead_writers(self._transaction_timeout_ms)
                if aborted:
                    _log.info("aborted transactions of dead writers", writers=aborted)
            if time.monotonic() >= warn_at:
                warn_at += _HANGING_SECONDS
                _log.warning(
                    "an open transaction holds up the recovery; if it stays, the broker lost its "
                    "markers: kafka-transactions.sh find-hanging, docs/runbooks.md",
                    partitions=sorted(tp.partition for tp in changelogs if stable[tp] < ends[tp]),
                    topic=changelogs[0].topic,
                    seconds=round(time.monotonic() - started),
                )
            await asyncio.sleep(_STABLE_POLL_SECONDS)


async def ask_removals(machine: CommitMachine) -> None:
    """Ask the states since when removals wait, a few at a time beside the decisions.

    What the machine has handed on meanwhile is not asked, and not kept for this.
    """
    while sum(home.contents.ask_removals(_ASKED) for home in machine.homes.values()):  # noqa: ASYNC110 - It works, and waits for nobody.
        await asyncio.sleep(_ASKED_SECONDS)


def _holds(copy: Copy, end: int) -> bool:
    """Whether a copy may be gone on with.

    The broker forgets tombstones a day after they were written: who has not looked for long would
    keep what was removed. And a log that ends before the copy is another log.
    """
    return copy.offset <= end and time.monotonic() - copy.read_at < _COPY_SECONDS_MAX


def _gone_on_with(copies: MutableMapping[int, Copy], index: int, end: int) -> Copy:
    """Return the copy to read on with, which others find as well if this recovery is cut short."""
    copy = copies.get(index)
    if copy is None or not _holds(copy, end):
        copy = copies[index] = Copy()
    return copy


def _check_positions(
    meta: Meta | None,
    index: int,
    first: Mapping[TopicPartition, int],
    last: Mapping[TopicPartition, int],
) -> None:
    """Stop when the next event to decide is not in the log: going on would skip or repeat."""
    if meta is None:
        return
    for topic, position in meta.positions.items():
        tp = TopicPartition(topic, index)
        if tp in first and not first[tp] <= position <= last[tp]:
            raise DependencyError(
                f"{topic}/{index}: the next event to apply is at {position}, but the log holds "
                f"{first[tp]} to {last[tp]}: retention removed events that were not applied, or "
                "the topic was created anew; nothing was skipped"
            )
