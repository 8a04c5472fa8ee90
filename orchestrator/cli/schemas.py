"""`orchestrator schemas`: write what the topics carry as JSON Schemas and an AsyncAPI document."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.protocol.asyncapi import asyncapi_text
from orchestrator.protocol.schema import schema_files, schema_text


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
    """Write the JSON Schemas and asyncapi.yaml into DIR (default: schemas)."""
    texts = {name: schema_text(schema) for name, schema in schema_files().items()}
    texts["asyncapi.yaml"] = asyncapi_text()
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


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
