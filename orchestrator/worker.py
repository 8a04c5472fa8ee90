"""The composition root of a worker: settings in, a running process out.

Journeys are loaded first, so that a finding stops everything before a broker is asked anything.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, NoReturn

import mode
import structlog
import uvloop

from orchestrator import __version__
from orchestrator.catalog import load
from orchestrator.catalog.bundle import files_of, load_files
from orchestrator.clients.definitions import Definitions, prepare
from orchestrator.clients.security import client_options
from orchestrator.metrics import Metrics
from orchestrator.protocol.inputs import Schemas
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.driver import Driver
from orchestrator.runtime.pauses import PauseFollower
from orchestrator.runtime.publications import (
    Publications,
    check_registry,
    event_triggers,
    rules_of,
    topic_names,
)
from orchestrator.runtime.shell.app import Shell, create_shell
from orchestrator.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from orchestrator.clients.definitions import Published
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.settings import Settings

_log = structlog.get_logger()


def run_worker(settings: Settings) -> NoReturn:
    """Run one worker until it is told to stop.

    Raises JourneyError, UsageError and DependencyError before it joins the group; later it ends
    the process itself.
    """
    folder = load(settings.journeys, settings.mode)
    journeys, names, published = asyncio.run(_prepare(settings, folder))
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    shell = build_worker(settings, journeys, names, published)
    # The young objects of a decision die young; looking at them less often costs nothing.
    gc.set_threshold(50_000, 20, 100)
    _log.info("starting", slot=settings.slot, journeys=journeys.content_hash[:12])
    mode.Worker(
        shell,
        loop=loop,
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
        daemon=True,
    ).execute_from_commandline()
    raise SystemExit(0)


async def _prepare(settings: Settings, folder: Journeys) -> tuple[Journeys, TopicNames, Published]:
    """See to the topics, publish the folder if it is new, and return what is to run."""
    check_registry(settings, folder)
    names = await topic_names(settings, folder)
    definitions = Definitions(client_options(settings), Topics.of(settings, {}).definitions)
    try:
        journeys = await _published(settings, folder, definitions)
    finally:
        await definitions.stop()
    if journeys.channels != folder.channels or journeys.inputs != folder.inputs:
        check_registry(settings, journeys)
        names = await topic_names(settings, journeys)
    return journeys, names, definitions.published


async def _published(settings: Settings, folder: Journeys, definitions: Definitions) -> Journeys:
    """Return the journeys that are current; the worker's own folder when it is new."""
    published = await definitions.read()
    running = published.running
    if running is None or not published.knows_folder(folder.content_hash):
        ready = prepare(files_of(settings.journeys), folder, published, settings.mode)
        current = await definitions.publish(ready.bundle, by=f"worker {settings.slot}")
        _log.info("published", journeys=current.content_hash[:12], by=current.published_by)
        return ready.journeys
    if running.folder_hash != folder.content_hash:
        # Somebody has published since; a restart does not turn that back.
        assert published.current is not None
        _log.warning(
            "running what is published, not this folder",
            journeys=running.content_hash[:12],
            folder=folder.content_hash[:12],
            published_by=published.current.published_by,
            published_at=published.current.published_at,
        )
    return load_files(running.files, settings.mode)


def build_worker(
    settings: Settings, journeys: Journeys, names: TopicNames, published: Published
) -> Shell:
    """Wire a worker; `names` hold the partition counts that the broker has."""
    options = client_options(settings)
    metrics = Metrics(
        event_types=PAYLOADS.keys() | event_triggers(journeys),
        channels=journeys.channels,
        journeys=[name for name, _ in journeys.versions],
        inputs=journeys.inputs,
        state_bytes_max=settings.state_bytes_max,
    )
    schemas = Schemas()
    rules = rules_of(settings, journeys, names, schemas)
    driver = Driver(settings, options, rules, metrics, schemas)
    followers = (
        Publications(settings, driver, metrics, published, journeys),
        PauseFollower(settings, driver, metrics),
    )
    shell = create_shell(settings, options, driver, followers)
    metrics.built(
        version=__version__,
        journeys=journeys.content_hash,
        mode=settings.mode,
        partitions=settings.partitions,
    )
    metrics.watch(driver.statuses, driver.other_inputs, driver.standby.statuses)
    if settings.metrics_port:
        metrics.serve(settings.metrics_host, settings.metrics_port, shell.serving)
    Watchdog(settings.watchdog_seconds, lambda: driver.progress, driver.lag).start()
    return shell
