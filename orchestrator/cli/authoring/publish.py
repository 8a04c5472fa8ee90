"""`orchestrator publish`: make a folder of journeys the one that all workers run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from orchestrator.catalog import load
from orchestrator.catalog.bundle import changes, files_of
from orchestrator.cli.authoring.check import refuse_untrue
from orchestrator.cli.options import with_settings
from orchestrator.clients.definitions import Definitions, prepare, publisher
from orchestrator.clients.security import client_options
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.publications import topic_names
from orchestrator.settings import ConnectionSettings, JourneySettings, Settings, TopicSettings

_EPILOG = """\b
Examples:
  orchestrator publish
  orchestrator publish marketing/journeys --by maria@outfitter.example

\b
Exit codes: 0 it is current now, or was already; 1 findings, or a journey changed under its version;
2 wrong usage or settings.
"""


@click.command(epilog=_EPILOG, short_help="Make a folder of journeys the one that runs.")
@click.argument(
    "folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option("--by", metavar="NAME", help="Who publishes. Default: the user of this process.")
@with_settings(ConnectionSettings, TopicSettings, JourneySettings)
def publish(settings: Settings, *, folder: Path | None, by: str | None) -> int:
    """Check DIR (by default the setting `journeys`), and let all workers run it at once.

    No worker restarts. Who is inside a journey finishes on the version they entered, also when
    its file is gone from DIR; a journey that is gone altogether ends for everybody.
    """
    for line in asyncio.run(_publish(settings, folder or settings.journeys, by or publisher())):
        click.echo(line)
    return 0


async def _publish(settings: Settings, folder: Path, by: str) -> list[str]:
    journeys = load(folder, settings.mode)
    refuse_untrue(folder, settings.mode)
    await topic_names(settings, journeys)
    definitions = Definitions(client_options(settings), Topics.of(settings, {}).definitions)
    try:
        published = await definitions.read()
        ready = prepare(files_of(folder), journeys, published, settings.mode)
        running = published.current
        if running is not None and running.content_hash == ready.bundle.content_hash:
            when = f"{running.published_at} by {running.published_by}"
            return [f"current already: {running.content_hash[:12]}, published {when}"]
        current = await definitions.publish(ready.bundle, by=by)
    finally:
        await definitions.stop()
    lines = changes(ready.running, ready.journeys)
    return [*lines, f"published {current.content_hash[:12]} by {by} at {current.published_at}"]
