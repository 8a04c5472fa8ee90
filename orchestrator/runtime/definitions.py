"""Reads and writes `definitions`, and follows it, so that all workers run what is published.

`cli/publish` publishes a folder on somebody's word, a worker its own folder at its start, and every
worker takes over what becomes current while it runs.
"""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from orchestrator.catalog.bundle import carried_over, files_of, load_files
from orchestrator.errors import DependencyError, JourneyError, OrchestratorError
from orchestrator.protocol.commit.meta import changed_journeys, journey_digests
from orchestrator.protocol.definitions import (
    FORMAT,
    Bundle,
    Current,
    decode_definition,
    encode_definition,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from orchestrator.core.journeys import Journeys, Mode

_log = structlog.get_logger()

_POLL_MS: Final = 1_000
_RECORD_BYTES_MAX: Final = 8 * 1024 * 1024
_MILLISECONDS: Final = "milliseconds"


@dataclass(slots=True)
class Published:
    """What has been read of the topic: bundles by content hash, and which one is current."""

    bundles: dict[str, Bundle] = field(default_factory=dict)
    current: Current | None = None
    next_offset: int = 0

    def take(self, record: Bundle | Current) -> None:
        """Take in one more record."""
        if isinstance(record, Current):
            self.current = record
        else:
            self.bundles[record.content_hash] = record

    @property
    def running(self) -> Bundle | None:
        """The bundle that is current. Raises DependencyError when the topic has lost it."""
        if self.current is None:
            return None
        bundle = self.bundles.get(self.current.content_hash)
        if bundle is None:
            raise DependencyError(
                f"definitions: {self.current.content_hash[:12]} is current and not on the topic; "
                "publish the journeys again"
            )
        return bundle

    def knows_folder(self, folder_hash: str) -> bool:
        """Whether a folder with this content was published before."""
        return any(bundle.folder_hash == folder_hash for bundle in self.bundles.values())


@dataclass(frozen=True, slots=True)
class Publication:
    """A folder made ready to be published: its bundle, what it means, and what ran before."""

    bundle: Bundle
    journeys: Journeys
    running: Journeys | None


def prepare(folder: Path, journeys: Journeys, published: Published, mode: Mode) -> Publication:
    """Return what is to be published. Raises DependencyError for what must not change."""
    files, bundle = files_of(folder), published.running
    if bundle is None:
        whole = Bundle(FORMAT, journeys.content_hash, journeys.content_hash, files)
        return Publication(whole, journeys, None)
    running = load_files(bundle.files, mode)
    changed = changed_journeys(journey_digests(running), journey_digests(journeys))
    if changed:
        raise DependencyError(
            f"definitions: {', '.join(changed)} changed its content under the same version; raise "
            "the version, people inside finish on the old one"
        )
    files |= carried_over(files, journeys, bundle.files, running)
    coming = load_files(files, mode)
    whole = Bundle(FORMAT, coming.content_hash, journeys.content_hash, files)
    return Publication(whole, coming, running)


class Definitions:
    """The topic, for one process."""

    def __init__(self, client_options: dict[str, Any], topic: str) -> None:
        self._options = client_options
        self._place = TopicPartition(topic, 0)
        self.published = Published()
        self._consumer: AIOKafkaConsumer | None = None
        self._caught_up = asyncio.Condition()
        self._settled_offset = 0

    async def read(self) -> Published:
        """Read the topic to its present end."""
        consumer = await self._started()
        end = (await consumer.end_offsets([self._place]))[self._place]
        while await consumer.position(self._place) < end:
            self._take(await consumer.getmany(timeout_ms=_POLL_MS))
        return self.published

    async def publish(self, bundle: Bundle, *, by: str) -> Current:
        """Write a bundle and make it current; returns when the broker has both."""
        now = datetime.now(UTC).isoformat(timespec=_MILLISECONDS).replace("+00:00", "Z")
        current = Current(FORMAT, bundle.content_hash, now, by)
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type="gzip",
            max_request_size=_RECORD_BYTES_MAX,
        )
        await producer.start()
        try:
            for record in (bundle, current):
                key, value = encode_definition(record)
                await producer.send_and_wait(
                    self._place.topic, value, key=key, partition=self._place.partition
                )
                self.published.take(record)
        finally:
            await producer.stop()
        return current

    async def follow(self, adopt: Callable[[Bundle, Current], Awaitable[None]]) -> None:
        """Hand every bundle that becomes current to `adopt`, until cancelled.

        One that cannot be taken over is told once; what runs goes on.
        """
        consumer = await self._started()
        adopted = self.published.current
        self._settled_offset = self.published.next_offset
        while True:
            self._take(await consumer.getmany(timeout_ms=_POLL_MS))
            current = self.published.current
            if current is not None and current != adopted:
                adopted = current
                await self._hand_over(adopt, current)
            async with self._caught_up:
                self._settled_offset = self.published.next_offset
                self._caught_up.notify_all()

    async def caught_up(self) -> None:
        """Return when everything that is on the topic now has been taken over by `follow`."""
        consumer = await self._started()
        end = (await consumer.end_offsets([self._place]))[self._place]
        async with self._caught_up:
            await self._caught_up.wait_for(lambda: self._settled_offset >= end)

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def _hand_over(
        self, adopt: Callable[[Bundle, Current], Awaitable[None]], current: Current
    ) -> None:
        by = {"published_by": current.published_by, "published_at": current.published_at}
        try:
            bundle = self.published.running
            assert bundle is not None
            await adopt(bundle, current)
        except JourneyError as error:
            first, more = error.findings[0], len(error.findings) - 1
            _log.error("journeys not taken over", reason=first, more=more, **by)
        except OrchestratorError as error:
            _log.error("journeys not taken over", reason=str(error), **by)

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
            )
            await self._consumer.start()
            self._consumer.assign([self._place])
            self._consumer.seek(self._place, self.published.next_offset)
        return self._consumer

    def _take(self, fetched: dict[TopicPartition, list[Any]]) -> None:
        for record in fetched.get(self._place, ()):
            where = f"{record.topic}/{record.partition}/{record.offset}"
            if record.value is not None:
                try:
                    self.published.take(decode_definition(record.value, where=where))
                except DependencyError as error:
                    _log.error("a definition is passed over", reason=str(error))
            self.published.next_offset = record.offset + 1


def publisher() -> str:
    """Return who publishes when nobody is named: the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user has no name.
        return "unknown"
