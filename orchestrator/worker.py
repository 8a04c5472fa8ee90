"""The composition root of a worker: settings in, a running process out.

Journeys are loaded first, so that a finding stops everything before a broker is asked anything.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, NoReturn

import mode
import structlog
import uvloop

from orchestrator import __version__
from orchestrator.catalog import load
from orchestrator.metrics import Metrics
from orchestrator.protocol.commit.group import Limits, Rules
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics
from orchestrator.runtime.driver import Driver
from orchestrator.runtime.security import client_options
from orchestrator.runtime.shell.app import Shell, create_shell
from orchestrator.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.settings import Settings

_log = structlog.get_logger()


def run_worker(settings: Settings) -> NoReturn:
    """Run one worker until it is told to stop.

    Raises JourneyError, UsageError and DependencyError before it joins the group; later it ends
    the process itself.
    """
    journeys = load(settings.journeys, settings.mode)
    topics = Topics.of(settings, journeys.channels)
    report = asyncio.run(ensure_topics(settings, topics))
    for difference in report.drift:
        _log.warning("topic differs", difference=str(difference))
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    shell = build_worker(settings, journeys, topics.names(report.partitions))
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


def _triggers(journeys: Journeys) -> set[str]:
    """Return the event types that enter or exit a journey, the shop's own ones among them."""
    loaded = journeys.versions.values()
    return {journey.entry.on for journey in loaded} | {
        exit_.on for journey in loaded for exit_ in journey.exits
    }


def build_worker(settings: Settings, journeys: Journeys, names: TopicNames) -> Shell:
    """Wire a worker; `names` hold the partition counts that the broker has."""
    options = client_options(settings)
    metrics = Metrics(
        event_types=PAYLOADS.keys() | _triggers(journeys),
        channels=journeys.channels,
        journeys=[name for name, _ in journeys.versions],
        state_bytes_max=settings.state_bytes_max,
    )
    limits = Limits(settings.event_bytes_max, settings.state_bytes_max)
    driver = Driver(settings, options, Rules(journeys, names, limits, time.perf_counter), metrics)
    shell = create_shell(settings, options, driver)
    metrics.built(
        version=__version__,
        journeys=journeys.content_hash,
        mode=settings.mode,
        partitions=settings.partitions,
    )
    metrics.watch(driver.statuses)
    if settings.metrics_port:
        metrics.serve(settings.metrics_host, settings.metrics_port, lambda: shell.ready)
    Watchdog(settings.watchdog_seconds, lambda: driver.progress, driver.lag).start()
    return shell
