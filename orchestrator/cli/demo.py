"""`orchestrator demo`: opens a small shop on a real Kafka, plays a day, says whether it held."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from uuid import uuid4

import click
from rich.console import Console
from rich.table import Table

from orchestrator import __version__
from orchestrator.broker import EmbeddedBroker
from orchestrator.catalog import load
from orchestrator.cli.options import with_settings
from orchestrator.cli.replay import Account, differences, made_again
from orchestrator.demo.ana import PANELS
from orchestrator.demo.day import Outcome, Plan, Shop, play
from orchestrator.demo.judge.side_by_side import broken_promises, side_by_side
from orchestrator.demo.ledger import Summary, percentile
from orchestrator.demo.picture import Show, show_on
from orchestrator.demo.report import Day, milliseconds, why_not_sent, write_report
from orchestrator.demo.shop import write_quicker
from orchestrator.demo.story import ANA
from orchestrator.errors import OrchestratorError
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics
from orchestrator.settings import ConnectionSettings, JourneySettings, Settings
from orchestrator.simulator.answers import from_the_log

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPILOG = """\b
Examples:
  orchestrator demo
  orchestrator demo --bootstrap-servers kafka-1:9092 --report /tmp/day.html

\b
Exit codes: 0 every purchase had its effect exactly once, no promise to customers was broken, and
all that was sent or refused could be explained and came out the same again; 1 otherwise, 2 wrong
usage.
"""
# What workers said last, when something goes wrong.
_LOG_LINES: Final = 15
# Commands may have any number of partitions; few are created sooner, and one reader follows all.
_COMMAND_PARTITIONS: Final = 2


@click.command(epilog=_EPILOG, short_help="Play a day in the life of a small shop.")
@with_settings(ConnectionSettings, JourneySettings)
@click.option(
    "--customers",
    type=click.IntRange(1, 5000),
    default=240,
    show_default=True,
    envvar="ORCHESTRATOR_DEMO_CUSTOMERS",
    help="Visitors of the day besides Ana. [ORCHESTRATOR_DEMO_CUSTOMERS]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(10, 3600),
    default=30.0,
    show_default=True,
    envvar="ORCHESTRATOR_DEMO_SECONDS",
    help="How long the shop is open. [ORCHESTRATOR_DEMO_SECONDS]",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    envvar="ORCHESTRATOR_DEMO_SEED",
    help="Another seed, another day. [ORCHESTRATOR_DEMO_SEED]",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    default=Path("demo-report.html"),
    show_default=True,
    envvar="ORCHESTRATOR_DEMO_REPORT",
    help="Where the report goes. [ORCHESTRATOR_DEMO_REPORT]",
)
@click.option(
    "--kill/--no-kill",
    default=True,
    show_default=True,
    envvar="ORCHESTRATOR_DEMO_KILL",
    help="Kill a worker with -9 in the middle. [ORCHESTRATOR_DEMO_KILL]",
)
@click.option(
    "--stay",
    is_flag=True,
    envvar="ORCHESTRATOR_DEMO_STAY",
    help="Keep the broker up at the end, to look around, until Ctrl-C. [ORCHESTRATOR_DEMO_STAY]",
)
@click.option(
    "--plain",
    is_flag=True,
    envvar="ORCHESTRATOR_DEMO_PLAIN",
    help="Lines of text instead of the picture. [ORCHESTRATOR_DEMO_PLAIN]",
)
def demo(
    settings: Settings,
    *,
    customers: int,
    seconds: float,
    seed: int,
    report: Path,
    kill: bool,
    stay: bool,
    plain: bool,
) -> int:
    """Play a day in the life of a small outdoor shop, and show it.

    Starts a broker (unless --bootstrap-servers names one), the topics and two workers; a few
    hundred customers come and go; Ana buys the tent that she had left in her cart; a worker is
    killed. Beside it the same customers are served by channels in silos. Ends by itself with a
    summary, both worlds side by side, and a report.
    """
    console = Console(highlight=False)
    load(settings.journeys, settings.mode)  # Findings are told with the names of the real files.
    theirs = "bootstrap_servers" in settings.model_fields_set
    plan = Plan(customers=customers, seconds=seconds, seed=seed, kill=kill)
    # Whoever asks us to end gets workers and broker stopped in order, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="orchestrator-demo-") as folder,
        _kafka(settings, console) as reachable,
    ):
        shop = _shop(reachable, Path(folder))
        log_path = report.with_suffix(".log")
        with log_path.open("w+", encoding="utf-8") as log:
            outcome = _play(shop, plan, console, log, plain=plain)
        console.print("Asking why, of everything sent and not sent, and deciding it all again …")
        account = asyncio.run(made_again(shop.settings, ask=from_the_log))
        report.write_text(_report(outcome, account, shop, plan), encoding="utf-8")
        _print_summary(console, outcome)
        _print_account(console, account)
        console.print(f"\nReport: [bold]{report}[/]  Log of the workers: {log_path}\n")
        console.print("Try next:")
        for line in _next_commands(shop.settings, stays=stay or theirs):
            console.print(f"  {line}", soft_wrap=True, markup=False)
        if stay and not theirs:
            _stay(console)
    return 0 if outcome.holds and account.holds and account.tally.whole else 1


@contextmanager
def _kafka(settings: Settings, console: Console) -> Iterator[Settings]:
    """Use the broker that was named, else bring one along."""
    if "bootstrap_servers" in settings.model_fields_set:
        # Somebody else's cluster: topics and group of our own, beside whatever is there.
        name = f"demo-{uuid4().hex[:6]}"
        console.print(f"The topics of this day begin with {name}. and stay.")
        yield settings.model_copy(
            update={"topic_prefix": f"{name}.", "app_id": name, "metrics_port": 0}
        )
        return
    console.print("Starting Apache Kafka (the first time its 45 MB are downloaded) …")
    with EmbeddedBroker() as broker:
        console.print(f"Kafka is up at {broker.bootstrap_servers}.")
        yield settings.model_copy(
            update={"bootstrap_servers": broker.bootstrap_servers, "metrics_port": 0}
        )


def _shop(settings: Settings, folder: Path) -> Shop:
    quicker = folder / "journeys"
    write_quicker(settings.journeys, quicker)
    settings = settings.model_copy(update={"journeys": quicker})
    journeys = load(quicker, settings.mode)
    channels = {
        name: channel.model_copy(update={"partitions": _COMMAND_PARTITIONS})
        for name, channel in journeys.channels.items()
    }
    return Shop(settings, Topics.of(settings, channels), journeys)


def _play(shop: Shop, plan: Plan, console: Console, log: IO[str], *, plain: bool) -> Outcome:
    async def open_and_play(show: Show) -> Outcome:
        show.step("Creating topics …")
        await ensure_topics(shop.settings, shop.topics)
        return await play(shop, plan, show, log)

    try:
        with _logging_to(log), show_on(console, plain=plain) as show:
            return asyncio.run(open_and_play(show))
    except OrchestratorError:
        log.seek(0)
        for line in log.readlines()[-_LOG_LINES:]:
            click.echo(f"  worker {line.rstrip()}", err=True)
        raise


@contextmanager
def _logging_to(log: IO[str]) -> Iterator[None]:
    """Send the lines of libraries to a file: in the middle of the picture they would tear it."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    for handler in handlers:
        handler.setStream(log)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(sys.stderr)


def _print_summary(console: Console, outcome: Outcome) -> None:
    summary = outcome.summary
    verdict = summary.verdict
    table = Table(title="The day in numbers", title_justify="left", show_header=False, box=None)
    for name, count in summary.counters.items():
        table.add_row(name, f"[bold]{count}[/]")
    table.add_row("commands per channel", _counts(summary.commands))
    table.add_row("refusals by reason", _counts(summary.refusals))
    table.add_row("kept back by senders", _counts(summary.dropped))
    table.add_row("dead letters", _counts(summary.dead_letters))
    for name, values in _latencies(summary).items():
        table.add_row(
            name,
            f"p50 [bold]{milliseconds(percentile(values, 0.5))}[/], "
            f"p99 [bold]{milliseconds(percentile(values, 0.99))}[/] ({len(values)} purchases)",
        )
    console.print()
    console.print(table)
    tone = "green" if verdict.holds else "red"
    console.print(
        f"\n[bold {tone}]lost {verdict.lost}, doubled {verdict.doubled}[/]: {verdict.purchases} "
        f"purchases accepted, {verdict.commands} commands; counted from the topics."
    )
    if verdict.unread:
        console.print(f"[bold red]{verdict.unread} accepted events have left no trace.[/]")
    console.print()
    console.print(side_by_side(outcome.comparison))
    for line in broken_promises(outcome.comparison):
        console.print(f"[bold red]A promise is broken: {line}.[/]")


def _print_account(console: Console, account: Account) -> None:
    for line in differences(account):
        console.print(line, markup=False, style="red")
    whole = account.holds and account.tally.whole
    tone, tally = "green" if whole else "bold red", account.tally
    said = tally.sentence()
    console.print(f"\n[{tone}]{said[:1].upper()}{said[1:]}.[/]", soft_wrap=True)
    kinds = _counts(dict(tally.kinds.most_common()))
    console.print(f"Refusals by kind: {kinds}.", soft_wrap=True)


def _latencies(summary: Summary) -> dict[str, list[float]]:
    if not summary.pauses:
        return {"purchase→visible": summary.latencies_ms}
    pause = max(pause.seconds for pause in summary.pauses)
    return {
        "purchase→visible": summary.latencies_ms,
        f"  without the pause of {pause:.1f} s after kill -9": summary.calm_latencies_ms,
    }


def _counts(counts: dict[str, int] | object) -> str:
    if not isinstance(counts, dict) or not counts:
        return "none"
    return ", ".join(f"{name} [bold]{count}[/]" for name, count in counts.items())


def _report(outcome: Outcome, account: Account, shop: Shop, plan: Plan) -> str:
    screens = outcome.screens
    purchase_at = screens.purchase_at or 0.0
    now = datetime.now(UTC)
    return write_report(
        Day(
            summary=outcome.summary,
            comparison=outcome.comparison,
            panels={channel: screens.panel(channel) for channel in PANELS},
            purchase_at=purchase_at,
            explanation=outcome.explanation,
            account=account.tally.sentence(),
            why=why_not_sent(screens.entries, outcome.explanation, purchase_at),
            subtitle=(
                f"{plan.customers} customers and Ana, {plan.workers} workers, "
                f"{shop.settings.partitions} partitions, a real Apache Kafka; "
                f"{now:%d %B %Y, %H:%M} UTC"
            ),
            next_commands=_next_commands(shop.settings, stays=False),
            colophon=(
                f"orchestrator {__version__}, Python {platform.python_version()}, "
                f"{platform.system()} {platform.machine()}. Waits of the shop's journeys are "
                "played faster: an hour in one second, two weeks in ten. Seed "
                f"{plan.seed}."
            ),
        )
    )


def program() -> str:
    """Return how to call us again from here."""
    if shutil.which("orchestrator"):
        return "orchestrator"
    script = Path(sys.argv[0])
    if script.name == "orchestrator":
        return os.path.relpath(script)
    return f"{os.path.relpath(sys.executable)} -m orchestrator"


def _next_commands(settings: Settings, *, stays: bool) -> list[str]:
    us = program()
    if stays:
        where = f"--bootstrap-servers {settings.bootstrap_servers}"
        if settings.topic_prefix:
            where += f" --topic-prefix {json.dumps(settings.topic_prefix)}"
        first = f"{us} explain {ANA} {where}"
        return [
            f"{first}   # in a second terminal: why Ana got what",
            f"{us} dead-letters list {where}   # the half record",
            f"{us} run   # a shop of your own, until Ctrl-C",
        ]
    return [
        f"{us} demo --stay   # the same day; then ask: {us} explain {ANA}",
        f"{us} run   # a shop of your own, until Ctrl-C",
        f"{us} check journeys   # what the journeys are, and whether they hold",
    ]


def _stay(console: Console) -> None:
    console.print("\nThe broker stays up until Ctrl-C.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()
