"""`orchestrator docs`: write the site about the journeys of a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.catalog import load
from orchestrator.errors import UsageError
from orchestrator.settings import Settings
from orchestrator.simulator.scenario import SUFFIX, name_findings, read_scenario
from orchestrator.simulator.story import Result, play
from orchestrator.site.build import PAGE, build

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys

_EPILOG = """\b
Examples:
  orchestrator docs --to site
  orchestrator docs marketing/journeys --scenarios marketing/scenarios --to public
"""


@click.command(epilog=_EPILOG, short_help="Write a site about the journeys.")
@click.argument(
    "folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--to",
    default="site",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the pages go.",
)
@click.option(
    "--scenarios",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Play the scenarios in there and show how they went.",
)
def docs(folder: Path | None, to: Path, scenarios: Path | None) -> int:
    """Write one page that needs no server: pictures, calendar, owners, words, scenarios.

    DIR is the folder of the journeys; without it the setting `journeys`. Exit code 1 when a
    scenario fails; the page shows it.
    """
    settings = Settings.load(journeys=folder)
    journeys = load(settings.journeys, settings.mode)
    results = _play(scenarios, journeys) if scenarios is not None else []
    to.mkdir(parents=True, exist_ok=True)
    for name, text in build(journeys, results, time.time_ns() // 1_000_000).items():
        (to / name).write_text(text, encoding="utf-8")
    failed = sum(bool(result.failures) for result in results)
    click.echo(f"{len(journeys.current)} journeys, {len(results)} scenarios: {to / PAGE}")
    if failed:
        click.echo(f"{failed} scenarios fail")
    return 1 if failed else 0


def _play(folder: Path, journeys: Journeys) -> list[Result]:
    """Play every scenario that is about these journeys."""
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    if not paths:
        raise UsageError(f"scenarios: {folder} holds none; their files end with {SUFFIX}")
    results = []
    for path in paths:
        scenario, findings = read_scenario(path)
        if scenario is None:
            raise UsageError(f"scenarios: {findings[0]}")
        if scenario.script.journeys is None and not name_findings(scenario, journeys):
            results.append(play(scenario, journeys))
    return results
