"""`orchestrator export CUSTOMER`: everything known of a customer, as one JSON document.

Reads the home partition of the changelog, of the journey log and of every command topic, and all of
the input topics and dead letters, because producers may have put a record anywhere.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from orchestrator.cli.options import check_customer, with_settings
from orchestrator.cli.privacy.topics import records_of, topics_there
from orchestrator.clients.security import check_connection, client_options
from orchestrator.core.encoded.state import decode_customer
from orchestrator.errors import UsageError
from orchestrator.protocol.outputs import rfc3339
from orchestrator.protocol.privacy.account import account_of
from orchestrator.protocol.privacy.needles import Needles
from orchestrator.protocol.topics import Topics
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings

if TYPE_CHECKING:
    from orchestrator.demo.stage import Received

_EPILOG = """\b
Examples:
  orchestrator export ana --output ana.json
  orchestrator export ana | jq '.state.profile'

\b
Exit codes: 0 something is known, 1 nothing is, 2 wrong usage or settings. The document holds
personal data: a file is made for its owner alone (0600), and none is written over.
"""


@click.command(epilog=_EPILOG, short_help="Tell everything known of a customer.")
@with_settings(ConnectionSettings, TopicSettings)
@click.argument("customer")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file; without it, standard output.",
)
def export(settings: Settings, *, customer: str, output: Path | None) -> int:
    """Tell everything that is known of CUSTOMER, as one JSON document."""
    check_customer(customer)
    if output is not None and output.exists():
        raise UsageError(f"--output: {output} is there already; allowed: a new file")
    document = asyncio.run(_document(settings, customer))
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        click.echo(text, nl=False)
    else:
        # Made for its owner from the first byte on, and never through somebody's link.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(output, flags, 0o600), "wb") as file:
            file.write(text)
        click.echo(f"{output}: {len(text):,} bytes", err=True)
    known = any(document[part] for part in ("state", "events", "timeline", "commands"))
    if not known:
        click.echo(f"Nothing is known of {customer!r}.", err=True)
    return 0 if known else 1


async def _document(settings: Settings, customer: str) -> dict[str, Any]:
    await check_connection(settings)
    options, topics = client_options(settings), Topics.of(settings, {})
    key, now_ms = customer.encode(), time.time_ns() // 1_000_000
    document: dict[str, Any] = {
        "customer": customer,
        "exported_at": rfc3339(now_ms),
        "state": None,
        "events": [],
        "timeline": [],
        "commands": [],
        "dead_letters": [],
    }
    needles = Needles(customer)
    for found in await topics_there(options, settings):
        name = found.name
        if name == topics.changelog:
            async for record in records_of(options, name, key=key):
                value = record.value
                document["state"] = None if value is None else _state(value, now_ms)
        elif name == topics.journey_log:
            async for record in records_of(options, name, key=key):
                document["timeline"].append(_read(record.value))
        elif name.startswith(f"{settings.topic_prefix}commands."):
            # What takes back a message of another id of theirs stands where that one is at home.
            merged = bool(document["state"] and document["state"]["ids"])
            async for record in records_of(options, name, key=key, everywhere=merged):
                document["commands"].append(_placed(record))
        elif name in topics.inputs or name == topics.dead_letters:
            part = "events" if name in topics.inputs else "dead_letters"
            async for record in records_of(options, name):
                if record.key == key or _is_about(record, customer, needles):
                    document[part].append(_placed(record))
    document["commands"].sort(key=lambda one: one["value"]["data"].get("sequence", 0))
    return document


def _state(value: bytes, now_ms: int) -> dict[str, Any]:
    return account_of(decode_customer(value), now_ms)


def _is_about(record: Received, customer: str, needles: Needles) -> bool:
    """Whether a record without their key is about the customer: by its subject, or in a header."""
    if not needles.found_in_record(None, record.value, record.headers):
        return False
    event = _read(record.value)
    if isinstance(event, dict) and event.get("subject") == customer:
        return True
    return dict(record.headers).get("ce_subject") == customer.encode()


def _placed(record: Received) -> dict[str, Any]:
    """Return a record with where it stands."""
    placed = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": rfc3339(record.timestamp_ms),
        "value": _read(record.value),
    }
    why = {
        name: value.decode("utf-8", "replace")
        for name, value in record.headers
        if name == "dl_reason" and value is not None
    }
    return placed | why


def _read(value: bytes | None) -> Any:
    """Return a value as JSON, or as text when it is none."""
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.decode("utf-8", "replace")
