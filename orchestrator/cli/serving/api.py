"""`orchestrator api`: HTTP and its read model, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.api.application import written_document
from orchestrator.api.server import run_api
from orchestrator.api.tokens import new_token, scopes_of
from orchestrator.cli.options import with_settings
from orchestrator.errors import UsageError
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics
from orchestrator.settings import ApiSettings, ConnectionSettings, JourneySettings, TopicSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.language.shop import Channel
    from orchestrator.settings import Settings

_EPILOG = """\b
Examples:
  orchestrator api --new-token shop-backend --scopes ingest,read >> tokens.txt
  orchestrator api --api-tokens-file tokens.txt
  curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/customers/ana

\b
Without a token only /health answers. docs/api.md and docs/openapi.json tell the rest.
Exit codes: 0 stopped, 1 the broker refuses, 2 wrong usage or settings, 70 it wants a restart.
"""


@click.command(epilog=_EPILOG, short_help="Answer over HTTP: events in, customers out.")
@click.option(
    "--new-token", metavar="NAME", help="Only make a token: to stderr, its line to stdout."
)
@click.option("--scopes", default="", metavar="LIST", help="Of --new-token: ingest,read,act,erase.")
@click.option(
    "--document",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Only write the OpenAPI document.",
)
@with_settings(ConnectionSettings, TopicSettings, JourneySettings, ApiSettings)
def api(settings: Settings, *, new_token: str | None, scopes: str, document: Path | None) -> None:
    """Take events in and answer about customers until SIGTERM.

    It is fed from the topics into a folder of its own, and goes on from there after a restart; any
    number of processes may run, each with its folder.
    """
    if new_token is not None:
        _make_token(new_token, scopes)
        return
    if document is not None:
        document.write_bytes(written_document())
        return
    run_api(settings, _see_to_topics)


def _make_token(name: str, scopes: str) -> None:
    if any(mark.isspace() or mark in ";#," for mark in name) or not 0 < len(name) <= 64:
        raise UsageError("--new-token: allowed: letters, digits, dot, underscore, hyphen")
    token, line = new_token(name, scopes_of(scopes))
    click.echo(f"The token, shown this once: {token}", err=True)
    click.echo(line)


async def _see_to_topics(settings: Settings, channels: Mapping[str, Channel]) -> None:
    await ensure_topics(settings, Topics.of(settings, channels))
