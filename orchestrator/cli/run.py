"""`orchestrator run`: broker, topics, supervised workers and the API, kept up until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.broker import EmbeddedBroker
from orchestrator.catalog import load
from orchestrator.cli.demo import program
from orchestrator.cli.mails import CHANNEL, showing_mails
from orchestrator.cli.options import ALL_GROUPS, with_broker, with_settings
from orchestrator.cli.serving.desk import Desk
from orchestrator.demo.supervisor import (
    Supervisor,
    Worker,
    WorkerState,
    supervise_api,
    supervise_workers,
)
from orchestrator.errors import DependencyError
from orchestrator.protocol.outputs import rfc3339
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics
from orchestrator.settings import ApiSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.settings import Settings

_EPILOG = """\b
Example:
  orchestrator run --journeys journeys --data-dir ~/shop
"""
_READY_SECONDS: Final = 120.0
_BROKER_LOOK_SECONDS: Final = 1.0
_TOLD: Final = frozenset({"warning", "error", "critical"})
_PURCHASE: Final = (
    '{"specversion":"1.0","id":"ord-1","source":"/shop","type":"purchase","subject":"ana",'
    '"time":"%s","data":{"order_id":"1","total":"129.00","currency":"EUR",'
    '"items":[{"sku":"tent-2","category":"outdoor","quantity":1,"price":"129.00"}]}}'
)


@click.command(
    epilog=_EPILOG, short_help="Keep broker, topics, workers and the API up until Ctrl-C."
)
@with_settings(*ALL_GROUPS, ApiSettings)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    envvar="ORCHESTRATOR_RUN_WORKERS",
    help="How many workers. [ORCHESTRATOR_RUN_WORKERS]",
)
@with_broker
@click.option(
    "--mails/--no-mails",
    "mails",
    default=None,
    help="Show e-mails here, by the sender kit. By default with the embedded broker only: on"
    " another one they may be for a sender of yours.",
)
@click.option(
    "--api/--no-api",
    "api",
    default=None,
    help="Start the HTTP API and the screen for people as well. By default with the embedded"
    " broker only: on another one yours may run already.",
)
def run(
    settings: Settings,
    *,
    workers: int,
    port: int,
    data_dir: Path | None,
    mails: bool | None,
    api: bool | None,
) -> None:
    """Keep broker, topics, workers and the API up until Ctrl-C.

    The broker is embedded unless --bootstrap-servers names one. A worker that dies is started
    again; one that exits with code 2 stops everything, with the reason.
    """
    journeys = load(settings.journeys, settings.mode)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _kafka(settings, port, data_dir) as (reachable, embedded):
        topics = Topics.of(reachable, journeys.channels, journeys.inputs)
        with suppress(KeyboardInterrupt):
            wanted = embedded is not None if mails is None else mails
            shows_mails = wanted and CHANNEL in journeys.channels
            served = embedded is not None if api is None else api
            desk = Desk.of(reachable, workers, embedded, _on_line) if served else None
            asyncio.run(
                _keep_up(reachable, topics, workers, embedded, desk, shows_mails=shows_mails)
            )
        click.echo("Stopped.", err=True)


@contextmanager
def _kafka(
    settings: Settings, port: int, data_dir: Path | None
) -> Iterator[tuple[Settings, EmbeddedBroker | None]]:
    if "bootstrap_servers" in settings.model_fields_set:
        yield settings, None
        return
    click.echo("Starting Apache Kafka (the first time its 45 MB are downloaded) …", err=True)
    with EmbeddedBroker(data_dir, port=port) as broker:
        update = {"bootstrap_servers": broker.bootstrap_servers}
        yield settings.model_copy(update=update), broker


async def _keep_up(
    settings: Settings,
    topics: Topics,
    workers: int,
    embedded: EmbeddedBroker | None,
    desk: Desk | None,
    *,
    shows_mails: bool,
) -> None:
    report = await ensure_topics(settings, topics)
    for difference in report.drift:
        click.echo(f"topic differs: {difference}", err=True)
    supervisors = [supervise_workers(settings, workers, on_line=_on_line, on_change=_on_change)]
    if desk is not None:
        supervisors.append(
            supervise_api(settings, desk.settings, on_line=desk.on_line, on_change=_on_change)
        )
    tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
    tasks.append(asyncio.create_task(_watch(embedded)))
    tasks.append(asyncio.create_task(_greet(supervisors, settings, topics, desk)))
    try:
        async with showing_mails(settings) if shows_mails else nullcontext():
            await asyncio.gather(*tasks)
    finally:
        # Workers first: they finish their transaction while the broker is still there.
        await asyncio.gather(*(supervisor.stop() for supervisor in supervisors))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(embedded: EmbeddedBroker | None) -> None:
    """Notice when the embedded broker ends by itself."""
    while embedded is not None:
        if not embedded.is_running():
            raise DependencyError(f"the broker ended by itself; see {embedded.log_path}")
        await asyncio.sleep(_BROKER_LOOK_SECONDS)


async def _greet(
    supervisors: Sequence[Supervisor], settings: Settings, topics: Topics, desk: Desk | None
) -> None:
    await asyncio.gather(*(supervisor.ready(_READY_SECONDS) for supervisor in supervisors))
    address = settings.bootstrap_servers
    where = f"--bootstrap-servers {address}"
    if settings.topic_prefix:
        where += f" --topic-prefix {settings.topic_prefix}"
    us = program()
    produce = f"kcat -P -b {address} -t {topics.inputs[0]} -K '#' -X partitioner=murmur2_random"
    purchase = _PURCHASE % rfc3339(int(time.time() * 1000))
    click.echo(address)
    click.echo(
        f"""
Everything is up. In a second terminal:

  a purchase of Ana's:
    echo 'ana#{purchase}' | {produce}

  what her senders get for it (mails are shown here, too):
    kcat -C -b {address} -t {topics.commands("email")} -X isolation.level=read_committed

  what she got, what not, and why:
    {us} explain ana {where}
{"" if desk is None else desk.greeting()}
Ctrl-C stops everything.""",
        err=True,
    )


def _on_change(worker: Worker) -> None:
    match worker.state:
        case WorkerState.STARTING:
            said = f"starts (pid {worker.pid})"
        case WorkerState.READY:
            said = "is ready"
        case WorkerState.DIED:
            said = f"ended with code {worker.exit_code}; it is started again"
        case WorkerState.STOPPED:
            said = "has stopped"
    click.echo(f"{worker.name} {said}", err=True)


def _on_line(worker: Worker, line: str, fields: Mapping[str, Any]) -> None:
    """Pass on what a person should see: warnings, and what is no structured line at all."""
    if not fields:
        click.echo(f"{worker.name}: {line}", err=True)
    elif fields.get("level") in _TOLD:
        error = f": {fields['error']}" if "error" in fields else ""
        said = f"{fields['level']}: {fields.get('event', '')}{error}"
        click.echo(f"{worker.name}: {said}", err=True)
