"""Reads and writes `definitions`, and follows it, so that all workers run what is published.

`cli/publish` publishes a folder on somebody's word, a worker its own folder at its start, and every
worker takes over what becomes current while it runs.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.catalog.bundle import carried_over, load_files
from orchestrator.clients.followed import FollowedTopic
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
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.core.journeys import Journeys, Mode

_log = structlog.get_logger()

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


def prepare(
    given: Mapping[str, str], journeys: Journeys, published: Published, mode: Mode
) -> Publication:
    """Return what is to be published of a folder's files, which say these journeys.

    Raises DependencyError for what must not change.
    """
    files, bundle = dict(given), published.running
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
        self.published = Published()
        self._topic = FollowedTopic(client_options, topic, self._take)

    async def read(self) -> Published:
        """Read the topic to its present end."""
        await self._topic.read(begin=self.published.next_offset)
        return self.published

    async def publish(self, bundle: Bundle, *, by: str) -> Current:
        """Write a bundle and make it current; returns when the broker has both."""
        current = Current(FORMAT, bundle.content_hash, now(), by)
        records = (bundle, current)
        await self._topic.write(encode_definition(record) for record in records)
        for record in records:
            self.published.take(record)
        return current

    async def follow(self, adopt: Callable[[Bundle, Current], Awaitable[None]]) -> None:
        """Hand every bundle that becomes current to `adopt`, until cancelled.

        One that cannot be taken over is told once; what runs goes on.
        """
        adopted = self.published.current

        async def settle() -> None:
            nonlocal adopted
            current = self.published.current
            if current is not None and current != adopted:
                adopted = current
                await self._hand_over(adopt, current)

        await self._topic.follow(settle, begin=self.published.next_offset)

    async def caught_up(self) -> None:
        """Return when everything that is on the topic now has been taken over by `follow`."""
        await self._topic.caught_up()

    async def stop(self) -> None:
        """Close the connection."""
        await self._topic.stop()

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

    def _take(self, record: Any) -> None:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        if record.value is not None:
            try:
                self.published.take(decode_definition(record.value, where=where))
            except DependencyError as error:
                _log.error("a definition is passed over", reason=str(error))
        self.published.next_offset = record.offset + 1


def now() -> str:
    """Return the time as records spell it."""
    return datetime.now(UTC).isoformat(timespec=_MILLISECONDS).replace("+00:00", "Z")


def publisher() -> str:
    """Return who publishes when nobody is named: the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user has no name.
        return "unknown"
