"""`orchestrator schemas`: write the schemas of topics and of journeys, and an AsyncAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.catalog.schema import (
    DIALECT,
    channels_schema,
    inputs_schema,
    journey_schema,
    model_schema,
    offers_schema,
    shop_schema,
    templates_schema,
)
from orchestrator.protocol.asyncapi import asyncapi_text
from orchestrator.protocol.schema import schema_files, schema_text
from orchestrator.simulator.scenario import Script


@click.command(
    epilog="Example: orchestrator schemas --check schemas",
    short_help="Write the schemas of all topics.",
)
@click.argument(
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("schemas"),
    metavar="[DIR]",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when a file is not up to date.")
def schemas(directory: Path, *, check: bool) -> int:
    """Write the schemas of topics and journeys, and asyncapi.yaml, into DIR (default: schemas)."""
    texts = generated()
    stale = [name for name, text in texts.items() if _read(directory / name) != text]
    if check:
        for name in stale:
            click.echo(f"{directory / name}: is not up to date; run `orchestrator schemas`")
        return 1 if stale else 0
    for name in stale:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[name], encoding="utf-8")
    click.echo(f"{len(stale)} of {len(texts)} files written to {directory}")
    return 0


def generated() -> dict[str, str]:
    """Return every file that stands in `schemas/`, by its path there."""
    schemas = schema_files() | _language()
    texts = {name: schema_text(schema) for name, schema in schemas.items()}
    return texts | {"asyncapi.yaml": asyncapi_text()}


def _language() -> dict[str, dict[str, Any]]:
    """Return the schemas of what authors write, for their editors."""
    return {
        "journey.schema.json": journey_schema(),
        "shop.schema.json": shop_schema(),
        "channels.schema.json": channels_schema(),
        "offers.schema.json": offers_schema(),
        "inputs.schema.json": inputs_schema(),
        "template.schema.json": templates_schema(),
        "scenario.schema.json": {"$schema": DIALECT, **model_schema(Script)},
    }


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
