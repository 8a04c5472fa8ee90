"""`orchestrator erase CUSTOMER…`: forget customers, and prove that nothing of them is live.

Tells the event `customer.erased` on the input topic and waits for the journey log to say that it is
applied. The proof reads every topic of the deployment to its end. The values that one looks for are
never written anywhere.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import DecodeError

from orchestrator.cli.options import check_customer, with_settings
from orchestrator.cli.privacy.topics import records_of, topics_there
from orchestrator.clients.security import check_connection, client_options
from orchestrator.core.encoded.state import UnknownStateFormat, decode_customer
from orchestrator.demo.stage import POLL_MS, consumer, partitions_of
from orchestrator.errors import DependencyError, UsageError
from orchestrator.protocol.outputs import rfc3339
from orchestrator.protocol.privacy.holdings import (
    Holding,
    Judge,
    Kept,
    Live,
    judge_fence,
    judge_state,
)
from orchestrator.protocol.privacy.needles import Needles
from orchestrator.protocol.topics import Topics
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EPILOG = """\b
Examples:
  orchestrator erase ana
  orchestrator erase ana --prove --also ana@example.com --also +34600000000
  orchestrator erase --only-prove ana --also ana@example.com --store /var/lib/api

\b
Exit codes: 0 erased, and nothing but the marker is live; 1 not applied in time, or the proof found
more than the marker; 2 wrong usage or settings.
"""
_SOURCE: Final = "/orchestrator/erase"
_BLOCK_BYTES: Final = 1024 * 1024
# A needle may stand across two blocks of a file; an id has at most 256 bytes, in JSON six times.
_OVERLAP_BYTES: Final = 8 * 1024


class Applied(NamedTuple):
    """What the journey log says became of an erasure."""

    customer: str
    outcome: str
    enrollments: int
    recalled: int


@click.command(epilog=_EPILOG, short_help="Forget customers, and prove it.")
@with_settings(ConnectionSettings, TopicSettings)
@click.argument("customers", nargs=-1, required=True, metavar="CUSTOMER...")
@click.option("--prove", is_flag=True, help="Then search every topic for what is left.")
@click.option("--only-prove", is_flag=True, help="Erase nothing, only search.")
@click.option(
    "--also",
    multiple=True,
    metavar="TEXT",
    help="Search for this too: a mail address, a phone number. One customer only.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Search this file or folder too, like the store of the API.",
)
@click.option(
    "--wait-seconds",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    help="How long to wait until it is applied.",
)
def erase(
    settings: Settings,
    *,
    customers: Sequence[str],
    prove: bool,
    only_prove: bool,
    also: Sequence[str],
    stores: Sequence[Path],
    wait_seconds: float,
) -> int:
    """Forget CUSTOMER: one event, and everything known of them is gone but a marker.

    What was on its way to them is recalled. What topics still keep of before is dropped by their
    retention; --prove says until when.
    """
    for customer in customers:
        check_customer(customer)
    if also and len(customers) > 1:
        raise UsageError("--also: belongs to one customer; name one at a time")
    if (also or stores) and not (prove or only_prove):
        raise UsageError("--also and --store say what to search; add --prove or --only-prove")
    if any(not one for one in also):
        raise UsageError("--also: an empty text is in everything")
    code = 0
    if not only_prove:
        code = asyncio.run(_erase(settings, list(dict.fromkeys(customers)), wait_seconds))
    if prove or only_prove:
        for customer in dict.fromkeys(customers):
            code = max(code, asyncio.run(_prove(settings, customer, also, stores)))
    return code


async def _erase(settings: Settings, customers: list[str], wait_seconds: float) -> int:
    await check_connection(settings)
    options = client_options(settings)
    topics = Topics.of(settings, {})
    reader = consumer(options, fetch_max_wait_ms=POLL_MS)
    partitions = await partitions_of(options, [topics.journey_log])
    await reader.start()
    try:
        reader.assign(partitions)
        await reader.seek_to_end(*partitions)
        for partition in partitions:
            await reader.position(partition)  # Now, not when it is polled first.
        waiting = await _tell(options, topics.inputs[0], customers)
        deadline = time.monotonic() + wait_seconds
        while waiting and time.monotonic() < deadline:
            fetched = await reader.getmany(timeout_ms=POLL_MS)
            for record in (one for batch in fetched.values() for one in batch):
                applied = _applied(record.value, waiting)
                if applied is not None:
                    click.echo(_sentence(applied))
    finally:
        await reader.stop()
    for customer in waiting.values():
        click.echo(
            f"{customer}: accepted, and not applied within {wait_seconds:g} s; it will be when the "
            "workers get to it. A dead letter would say why not: `orchestrator dead-letters list`",
            err=True,
        )
    return 1 if waiting else 0


async def _tell(options: Mapping[str, Any], topic: str, customers: Sequence[str]) -> dict[str, str]:
    """Tell the events; return the customers by event id when the broker has all of them."""
    events = {f"erase-{uuid.uuid4()}": customer for customer in customers}
    producer = AIOKafkaProducer(**options, enable_idempotence=True)
    try:
        await producer.start()
        for event_id, customer in events.items():
            event = {
                "specversion": "1.0",
                "id": event_id,
                "source": _SOURCE,
                "type": "customer.erased",
                "subject": customer,
                "time": rfc3339(time.time_ns() // 1_000_000),
                "data": {},
            }
            await producer.send_and_wait(topic, orjson.dumps(event), key=customer.encode())
    except KafkaError as error:
        raise DependencyError(f"the broker refused the event: {error}") from error
    finally:
        await producer.stop()
    return events


def _applied(value: bytes | None, waiting: dict[str, str]) -> Applied | None:
    """Return what a journey-log record says of an event that is waited for, once."""
    if value is None or _SOURCE.encode() not in value:
        return None
    record = orjson.loads(value)
    cause, entries = record["cause"], record["entries"]
    if cause.get("source") != _SOURCE:
        return None
    customer = waiting.pop(cause.get("id", ""), None)
    if customer is None:
        return None
    ended = [one for one in entries if one["kind"] == "ended"]
    return Applied(
        customer=customer,
        outcome=record["outcome"],
        enrollments=len(ended),
        recalled=sum(len(one.get("cancelled") or ()) for one in ended),
    )


def _sentence(applied: Applied) -> str:
    if applied.outcome != "applied":
        return f"{applied.customer}: was erased already"
    return (
        f"{applied.customer}: erased; enrollments ended: {applied.enrollments}, messages and tasks "
        f"recalled: {applied.recalled}"
    )


async def _prove(
    settings: Settings, customer: str, also: Sequence[str], stores: Sequence[Path]
) -> int:
    await check_connection(settings)
    options = client_options(settings)
    topics = Topics.of(settings, {})
    judges: dict[str, Judge] = {topics.changelog: judge_state, topics.fences: judge_fence}
    clean = True
    absorbed = await _absorbed(options, topics.changelog, customer)
    needles = Needles(customer, also, absorbed)
    click.echo(f"What is left of {customer}, topic by topic (committed records, all read):")
    if absorbed:
        click.echo(f"  (also under {', '.join(absorbed)}: the same customer, before a merge)")
    for found in await topics_there(options, settings):
        search: Live | Kept
        if found.compacted or found.name in judges:
            search = Live(found.name, needles, judges.get(found.name))
        else:
            search = Kept(found.name, needles)
        async for record in records_of(options, found.name):
            search.take(record)
        holding = search.verdict(found.config)
        clean &= holding.clean
        _show(holding)
    for store in stores:
        for path in _files(store):
            by = await asyncio.to_thread(_found_in_file, path, needles)
            clean &= not by
            click.echo(f"  {path}: {'holds ' + ', '.join(sorted(by)) if by else 'nothing'}")
    if clean:
        click.echo("Nothing is live beyond the marker of the erasure.")
        return 0
    click.echo("More than the marker of an erasure is live; see the lines with !")
    return 1


async def _absorbed(options: Mapping[str, Any], changelog: str, customer: str) -> tuple[str, ...]:
    """Return the ids that are the customer too; the marker of an erasure still knows them."""
    live: bytes | None = None
    async for record in records_of(options, changelog, key=customer.encode()):
        live = record.value
    try:
        return () if live is None else tuple(sorted(decode_customer(live).absorbed))
    except (UnknownStateFormat, DecodeError):
        return ()  # The proof says that this release cannot read it.


def _show(holding: Holding) -> None:
    sign = " " if holding.clean else "!"
    if not holding.lines:
        click.echo(f"{sign} {holding.topic}: nothing ({holding.records:,} records)")
    for line in holding.lines:
        click.echo(f"{sign} {holding.topic}: {line}")


def _files(store: Path) -> Iterator[Path]:
    if store.is_file():
        yield store
    else:
        yield from sorted(path for path in store.rglob("*") if path.is_file())


def _found_in_file(path: Path, needles: Needles) -> frozenset[str]:
    """Search a file of any size, block by block."""
    found: frozenset[str] = frozenset()
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK_BYTES):
            found |= needles.found_in(tail + block)
            tail = block[-_OVERLAP_BYTES:]
    return found
