"""Keeps copies of what other workers own, so that taking it over is not a matter of loading it.

Every worker with a standby follows the changelogs of all partitions that it does not own, slowly
and in small pieces: whichever of them the group gives it, it reads only what was written a moment
ago. The price is memory, as much as if it owned everything.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from orchestrator.metrics import StandbyStatus
from orchestrator.runtime.recovery import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = structlog.get_logger()

# A few fetches a second, each with what came meanwhile: nobody waits for a copy.
_FETCH_BYTES_MIN: Final = 256 * 1024
_FETCH_WAIT_MS: Final = 500
_POLL_MS: Final = 1_000
# Applied before the loop decides again: about a millisecond.
_SLICE_RECORDS: Final = 100
_RETRY_SECONDS: Final = 1.0


class Standby:
    """Follows the changelog of partitions that are others'. Lives on the driver's loop.

    `copies` are by partition. Who takes a partition over takes its copy out; it is followed again
    from the beginning when the partition is another's again.
    """

    def __init__(self, client_options: dict[str, Any], changelog: str) -> None:
        self.copies: dict[int, Copy] = {}
        self._options = client_options
        self._changelog = changelog
        self._wanted: frozenset[int] = frozenset()
        # Goes up with every change of what is followed; what was fetched before is not applied.
        self._turn = 0
        self._changed = asyncio.Event()
        self._behind: dict[int, int] = {}

    def follow(self, indexes: Iterable[int]) -> None:
        """Follow these from now on, and no others; returns at once.

        Copies of what is not followed any more stay as they are until somebody takes them.
        """
        self._wanted = frozenset(indexes)
        self._turn += 1
        self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled; a broker that is away is waited for."""
        while True:
            consumer = AIOKafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                # A copy whose place is gone is read anew, and not gone on with elsewhere.
                auto_offset_reset="none",
                fetch_min_bytes=_FETCH_BYTES_MIN,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            try:
                await consumer.start()
                await self._follow(consumer)
            except OffsetOutOfRangeError as error:
                gone = [tp.partition for tp in error.args[0]]
                _log.warning("standby reads anew, its place in the log is gone", partitions=gone)
                for index in gone:
                    self.copies.pop(index, None)
            except (KafkaError, OSError) as error:
                _log.warning("standby waits for the broker", error=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await consumer.stop()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        turn = -1
        while True:
            if turn != self._turn:
                turn = self._turn
                self._changed.clear()
                self._behind.clear()
                if not self._wanted:
                    await self._changed.wait()
                    continue
                await self._assign(consumer)
                if turn != self._turn:
                    continue
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_SLICE_RECORDS)
            if turn != self._turn:
                continue  # It may be a partition that we are taking over.
            started = time.monotonic()
            for tp, messages in fetched.items():
                self.copies[tp.partition].apply(messages)
            for index in self._wanted:
                await self._look(consumer, index)
            # Catching up takes half of the time that is left, and no more.
            await asyncio.sleep(time.monotonic() - started)

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        places = [TopicPartition(self._changelog, index) for index in sorted(self._wanted)]
        consumer.assign(places)
        for tp in places:
            copy = self.copies.setdefault(tp.partition, Copy())
            if copy.offset:
                consumer.seek(tp, copy.offset)
            else:
                await consumer.seek_to_beginning(tp)

    async def _look(self, consumer: AIOKafkaConsumer, index: int) -> None:
        """Note how far a copy is behind what can be read of its log."""
        tp = TopicPartition(self._changelog, index)
        end = consumer.last_stable_offset(tp)
        if end is None:
            return
        # Not the copy's offset: behind the last record stands the marker of its transaction.
        self._behind[index] = max(0, end - await consumer.position(tp))
        copy = self.copies.get(index)
        if copy is not None and not self._behind[index]:
            copy.read_at = time.monotonic()

    def statuses(self) -> list[StandbyStatus]:
        """Return how each copy stands that is followed; read by the exposition's thread."""
        behind = self._behind.copy()
        return [
            StandbyStatus(index, len(copy.contents.states), behind.get(index))
            for index, copy in sorted(self.copies.copy().items())
            if index in self._wanted
        ]
