"""Takes over what is published while the worker runs: journeys, topics of new channels, labels."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from orchestrator import __version__
from orchestrator.catalog.bundle import load_files
from orchestrator.clients.definitions import Definitions
from orchestrator.clients.security import client_options
from orchestrator.errors import UsageError, WorkerGaveUp
from orchestrator.protocol.commit.group import Limits, Rules
from orchestrator.protocol.inputs import mappings
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics

if TYPE_CHECKING:
    from orchestrator.clients.definitions import Published
    from orchestrator.core.journeys import Journeys
    from orchestrator.metrics import Metrics
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.protocol.definitions import Bundle, Current
    from orchestrator.protocol.inputs import Schemas
    from orchestrator.runtime.driver import Driver
    from orchestrator.settings import Settings

_log = structlog.get_logger()


async def topic_names(settings: Settings, journeys: Journeys) -> TopicNames:
    """See to it that every topic of these journeys is there, and return their names."""
    topics = Topics.of(settings, journeys.channels, journeys.inputs)
    report = await ensure_topics(settings, topics)
    for difference in report.drift:
        _log.warning("topic differs", difference=str(difference))
    return topics.names(report.partitions)


def rules_of(settings: Settings, journeys: Journeys, names: TopicNames, schemas: Schemas) -> Rules:
    """Return what every decision of the worker has in common."""
    limits = Limits(settings.event_bytes_max, settings.state_bytes_max)
    mapped = mappings(journeys.inputs, schemas, event_bytes_max=settings.event_bytes_max)
    return Rules(journeys, names, limits, time.perf_counter, mapped)


def check_registry(settings: Settings, journeys: Journeys) -> None:
    """Raise UsageError when inputs need a schema registry and nobody has said where it is."""
    wanting = sorted(name for name, one in journeys.inputs.items() if one.wants_registry)
    if wanting and not settings.schema_registry_url:
        raise UsageError(
            f"schema_registry_url: is not set, and inputs.yaml needs it ({', '.join(wanting)}); "
            "allowed: http://… or https://…"
        )


def read_as(journeys: Journeys, names: TopicNames) -> dict[str, tuple[int, str, str]]:
    """Return how the topics of inputs are read: what only a restart of the worker changes."""
    return {
        one.topic: (names.inputs[one.topic], one.format, one.key)
        for one in journeys.inputs.values()
    }


def event_triggers(journeys: Journeys) -> set[str]:
    """Return the event types that enter or exit a journey, the shop's own ones among them."""
    loaded = journeys.versions.values()
    return {journey.entry.on for journey in loaded if journey.entry.on is not None} | {
        exit_.on for journey in loaded for exit_ in journey.exits
    }


class Publications:
    """Follows the topic of definitions for one worker, on the worker's loop."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        metrics: Metrics,
        published: Published,
        journeys: Journeys,
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._metrics = metrics
        self._published = published
        self._read_as = read_as(journeys, driver.names)
        self._definitions: Definitions | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow, from where the worker's start had read to."""
        topic = Topics.of(self._settings, {}).definitions
        # The client wants to be made on the loop that it will run on.
        self._definitions = Definitions(client_options(self._settings), topic)
        self._definitions.published = self._published
        self._driver.followed.append(self._definitions.caught_up)
        self._following = asyncio.get_running_loop().create_task(self._follow(self._definitions))

    async def _follow(self, definitions: Definitions) -> None:
        try:
            await definitions.follow(self._adopt)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - Crash-only: whatever it is ends us.
            self._driver.give_up(error)

    async def stop(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._definitions is not None:
            await self._definitions.stop()

    async def _adopt(self, bundle: Bundle, current: Current) -> None:
        """Take a bundle over. Raises what is wrong with it; then everything stays as it is."""
        settings = self._settings
        # Compiling takes a moment, and the loop has customers to serve meanwhile.
        journeys = await asyncio.to_thread(load_files, bundle.files, settings.mode)
        check_registry(settings, journeys)
        names = await topic_names(settings, journeys)
        if read_as(journeys, names) != self._read_as:
            # Membership and assignment are about topics; a restart begins with the right ones.
            why = "inputs.yaml reads other topics now, or reads them otherwise; a restart does"
            self._driver.give_up(WorkerGaveUp(why))
        self._driver.adopt(rules_of(settings, journeys, names, self._driver.schemas))
        self._metrics.learn(
            event_types=PAYLOADS.keys() | event_triggers(journeys),
            channels=journeys.channels,
            journeys=[name for name, _ in journeys.versions],
            inputs=journeys.inputs,
        )
        self._metrics.built(
            version=__version__,
            journeys=journeys.content_hash,
            mode=settings.mode,
            partitions=settings.partitions,
        )
        _log.info(
            "journeys taken over",
            journeys=journeys.content_hash[:12],
            published_by=current.published_by,
            published_at=current.published_at,
        )
