"""Feeds the read model: changelog, journey log and dead letters, read committed, to the end and on.

Any number of processes may do so, each with its own file; there is no consumer group. A file that
can no longer become true by reading on (another format, away for longer than a removal is kept,
topics made anew) is filled again from the beginning, with a reason in the log.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from orchestrator.api.model.answers import Answers
from orchestrator.api.model.effects import Decided, Effects, Position
from orchestrator.api.model.progress import Behind, Progress
from orchestrator.api.model.store import Batch, Bounds, DeadLetter, Identity, Part, Store
from orchestrator.clients.records import install_lenient_records
from orchestrator.core.encoded.state import decode_customer
from orchestrator.core.identity.notices import INDEX_BYTE
from orchestrator.errors import DependencyError
from orchestrator.protocol.commit.meta import META_KEY, decode_meta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.api.telemetry import Telemetry

_log = structlog.get_logger()

_FETCH_MS: Final = 200
_FETCH_BYTES: Final = 4 * 1024 * 1024
# One transaction of the file while it is filled; nobody is answered meanwhile.
_FILL_RECORDS: Final = 5_000
# One since it has caught up: the loop writes it, and has people to answer besides.
_SLICE_RECORDS: Final = 128
_CHECKPOINT_SECONDS: Final = 1.0
# Keys that begin with this byte or a greater one are no customer's: no text in UTF-8 does.
_OURS: Final = INDEX_BYTE[0]
_ERASED: Final = "customer.erased"
_APPLIED: Final = "applied"
# Kafka keeps a removal for a day by default (delete.retention.ms); who was away for longer may
# have missed one for ever. Half of it leaves room for clocks.
_AWAY_MS_MAX: Final = 12 * 3_600_000


class _Origin(msgspec.Struct, frozen=True, gc=False):
    topic: str
    partition: int
    offset: int


class _Cause(msgspec.Struct, frozen=True, gc=False):
    topic: str | None = None
    type: str = ""
    partition: int = 0
    offset: int = 0
    origin: _Origin | None = None
    source: str = ""
    id: str = ""


class _Line(msgspec.Struct, frozen=True, gc=False):
    """What the feed reads of a journey-log record; the rest is kept as it is."""

    cause: _Cause
    outcome: str = ""


_lines: Final = msgspec.json.Decoder(_Line)


class Sources:
    """The topics that are read, and who the deployment is."""

    def __init__(
        self, changelog: str, journey_log: str, dead_letters: str, partitions: int
    ) -> None:
        self.changelog: Final = changelog
        self.journey_log: Final = journey_log
        self.dead_letters: Final = dead_letters
        self.partitions: Final = partitions
        topics = (changelog, journey_log, dead_letters)
        self.places: Final = [
            TopicPartition(topic, index) for topic in topics for index in range(partitions)
        ]


class Feed:
    """Reads the topics into one store. `store` and `effects` are there after `start`."""

    store: Store
    effects: Effects

    def __init__(
        self, options: dict[str, Any], sources: Sources, bounds: Bounds, telemetry: Telemetry
    ) -> None:
        install_lenient_records()
        self._options = options
        self._sources = sources
        self._bounds = bounds
        self._telemetry = telemetry
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._progress: Final = Progress()
        self.answers: Final = Answers()
        self.changed = asyncio.Event()
        self.caught_up = False

    async def start(self, folder: Path) -> None:
        """Open the file and stand where it had read to.

        Raises UsageError when the file is another's, DependencyError when topics are missing.
        """
        cluster = await _cluster_id(self._options)
        identity = Identity(cluster, self._sources.changelog, self._sources.partitions)
        self.store = await asyncio.to_thread(Store, folder, identity, self._bounds)
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        await consumer.start()
        self._consumer = consumer
        places = self._sources.places
        consumer.assign(places)
        first = await consumer.beginning_offsets(places)
        self._ends = dict(await consumer.end_offsets(places))
        reason = self._outdated(first)
        if reason is not None:
            await asyncio.to_thread(self.store.start_over, identity, reason)
        if self.store.rebuilt is not None:
            _log.warning("the read model is filled again", reason=self.store.rebuilt)
        await self._stand(consumer, first)
        self.effects = Effects(self.store.causes(), self.store.decided())

    async def stop(self) -> None:
        """Close the connection and the file."""
        if self._consumer is not None:
            await self._consumer.stop()
        if hasattr(self, "store"):
            self.store.close()

    async def run(self) -> None:
        """Feed until cancelled.

        A thread writes large batches until everything that was there is known; from then on the
        loop writes small ones itself. Beside a loop that is busy a thread would wait for the
        interpreter at every statement, milliseconds each, and a batch would take a second.
        """
        consumer = self._consumer
        assert consumer is not None
        checkpoint_at = time.monotonic() + _CHECKPOINT_SECONDS
        while True:
            records_max = _SLICE_RECORDS if self.caught_up else _FILL_RECORDS
            fetched = await consumer.getmany(timeout_ms=_FETCH_MS, max_records=records_max)
            if fetched:
                await self._take(consumer, fetched)
            if not self.caught_up:
                await self._look(consumer)
            elif time.monotonic() >= checkpoint_at:
                await asyncio.to_thread(self.store.checkpoint)
                checkpoint_at = time.monotonic() + _CHECKPOINT_SECONDS

    def behind(self) -> Behind:
        """Return how far behind the store is; the exposition's thread asks."""
        positions: dict[Part, int] = {}
        ends: dict[Part, int] = {**self._ends.copy()}
        consumer: Any = self._consumer
        subscribed: Any = consumer and consumer._subscription.subscription  # noqa: SLF001
        for place in self._sources.places if subscribed is not None else ():
            state = subscribed.assignment.state_value(place)
            if state is not None and state.has_valid_position:
                positions[place] = state.position
                if state.lso is not None:
                    ends[place] = state.lso
        return self._progress.behind(positions, ends, now_ms=_now_ms())

    async def _take(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Sequence[Any]]
    ) -> None:
        batch = Batch()
        logged: list[tuple[Position, Decided]] = []
        for place, records in fetched.items():
            if place.topic == self._sources.changelog:
                self._take_states(batch, place.partition, records)
            elif place.topic == self._sources.journey_log:
                self._take_log(batch, logged, place.partition, records)
            else:
                self._take_dead_letters(batch, records)
            # Not the last record's offset: compaction and markers leave gaps.
            batch.positions[place] = await consumer.position(place)
        self._progress.read(batch.positions)
        now_ms = _now_ms()
        if self.caught_up:
            await asyncio.sleep(0)  # Who was told an answer just now goes first.
            self.store.apply(batch, now_ms=now_ms)
        else:
            await asyncio.to_thread(self.store.apply, batch, now_ms=now_ms)
        for home, positions in batch.decided.items():
            self.effects.states(home, positions)
        for position, decided in logged:
            self.effects.log(position, decided)
        newest_ms = {place: records[-1].timestamp for place, records in fetched.items()}
        self._progress.applied(batch.positions, newest_ms, now_ms=_now_ms())
        if self.caught_up:
            self._telemetry.applied(
                (record.timestamp for records in fetched.values() for record in records),
                now_ms=_now_ms(),
            )
        self.changed.set()
        self.changed = asyncio.Event()

    def _take_states(self, batch: Batch, home: int, records: Sequence[Any]) -> None:
        for record in records:
            key = record.key
            if not key or key[0] >= _OURS:
                if key == META_KEY and record.value is not None:
                    where = f"{record.topic}/{record.partition}/{record.offset}"
                    batch.decided[home] = decode_meta(record.value, where=where).positions
                continue
            batch.customers[key] = record.value

    def _ids_of(self, customer_id: bytes, batch: Batch) -> set[bytes]:
        """Return the id and all that it has absorbed: their past is that of the same customer."""
        ids = {customer_id}
        for state in (batch.customers.get(customer_id), self.store.state(customer_id)):
            if state is not None:
                ids.update(one.encode() for one in decode_customer(state).absorbed)
        return ids

    def _take_log(
        self,
        batch: Batch,
        logged: list[tuple[Position, Decided]],
        home: int,
        records: Sequence[Any],
    ) -> None:
        for record in records:
            if not record.key or record.value is None:
                continue
            entry = (record.key, record.timestamp, record.value)
            try:
                line = _lines.decode(record.value)
            except msgspec.DecodeError:
                batch.timeline.append(entry)
                continue  # Nothing of ours; it is shown as it is, or not at all.
            cause = line.cause
            if cause.type == _ERASED and line.outcome == _APPLIED:
                # Who is erased has no past; in the topics, retention says how long it stays.
                gone = self._ids_of(record.key, batch)
                batch.erased |= gone
                batch.timeline = [one for one in batch.timeline if one[0] not in gone]
            batch.timeline.append(entry)
            if cause.topic is None:
                continue
            if self.answers:
                self.answers.decided(cause.source, cause.id, record.value)
            decided = Decided(home, cause.topic, cause.offset)
            first = cause.origin or cause
            position = Position(first.topic or "", first.partition, first.offset)
            logged.append((position, decided))
            part = position[:2]
            batch.causes[part] = max(batch.causes.get(part, -1), position.offset)

    def _take_dead_letters(self, batch: Batch, records: Sequence[Any]) -> None:
        for record in records:
            marks = {
                name: (mark or b"").decode("utf-8", "replace") for name, mark in record.headers
            }
            try:
                # The last of a name is ours: the producer's own headers stand before.
                place = (marks["dl_topic"], int(marks["dl_partition"]), int(marks["dl_offset"]))
            except (KeyError, ValueError):
                continue
            letter = DeadLetter(marks.get("dl_reason", ""), marks.get("dl_detail", ""))
            batch.dead_letters[place] = (record.timestamp, letter)
            if self.answers:
                self.answers.refused(Position(*place), letter)

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Notice that everything which was there at the start has been read."""
        for place in list(self._ends):
            if await consumer.position(place) >= self._ends[place]:
                del self._ends[place]
        if not self._ends:
            self.caught_up = True
            self.changed.set()
            self.changed = asyncio.Event()

    def _outdated(self, first: Mapping[TopicPartition, int]) -> str | None:
        """Return why reading on cannot make the file true, or None."""
        positions, fed_at_ms = self.store.positions(), self.store.fed_at_ms()
        if fed_at_ms is None:
            return None
        for place, end in self._ends.items():
            if positions.get((place.topic, place.partition), 0) > end:
                return f"{place.topic}/{place.partition} was made anew: it ends before we stood"
        away_ms = _now_ms() - fed_at_ms
        behind = any(
            positions.get((place.topic, place.partition), 0) < end
            for place, end in self._ends.items()
            if place.topic == self._sources.changelog and end > first[place]
        )
        if behind and away_ms > _AWAY_MS_MAX:
            hours = away_ms // 3_600_000
            return f"it was not fed for {hours} h, and the changelog may have dropped removals"
        return None

    async def _stand(self, consumer: AIOKafkaConsumer, first: Mapping[TopicPartition, int]) -> None:
        """Go to where the file had read to; in the logs no further back than is kept."""
        positions = self.store.positions()
        kept_from_ms = _now_ms() - self._bounds.timeline_ms
        fresh = [
            place
            for place in self._sources.places
            if (place.topic, place.partition) not in positions
            and place.topic != self._sources.changelog
        ]
        begins: dict[TopicPartition, Any] = {}
        if fresh:
            begins = await consumer.offsets_for_times(dict.fromkeys(fresh, max(0, kept_from_ms)))
        for place in self._sources.places:
            stored = positions.get((place.topic, place.partition))
            if stored is None and place in begins:
                found = begins[place]  # None when all of it is older than what is kept.
                stored = self._ends[place] if found is None else found.offset
            elif stored is None:
                stored = first[place]
            elif stored < first[place] and place.topic != self._sources.changelog:
                _log.warning(
                    "a part of the log was gone before it was read",
                    topic=place.topic,
                    partition=place.partition,
                    records=first[place] - stored,
                )
            position = max(stored, first[place])
            consumer.seek(place, position)
            self._progress.stands(place, position, now_ms=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _cluster_id(options: dict[str, Any]) -> str:
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        cluster = (await admin.describe_cluster()).get("cluster_id")
    finally:
        await admin.close()
    if not cluster:
        raise DependencyError("the broker does not say which cluster it belongs to")
    return str(cluster)
