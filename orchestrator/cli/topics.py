"""`orchestrator topics`: create the missing ones, report drift; `--plan` prints them instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from orchestrator import catalog
from orchestrator.cli.options import with_settings
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import inspect_topics, topic_config
from orchestrator.sender.names import Names
from orchestrator.settings import ConnectionSettings, JourneySettings, Settings, TopicSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What a plan assumes where the settings leave it to the number of brokers.
_COPIES_PLANNED = 3


@click.command(
    epilog="Example: orchestrator topics --plan --topic-prefix shop. --partitions 16",
    short_help="Create missing topics, report drift.",
)
@click.option("--plan", is_flag=True, help="Print commands that create topics and ACLs; run none.")
@click.option(
    "--principal",
    default="User:orchestrator",
    show_default=True,
    help="Who gets the rights of the plan.",
)
@click.option(
    "--sender-principal",
    default="User:orchestrator-sender",
    show_default=True,
    help="Who gets the rights of the senders in the plan.",
)
@with_settings(ConnectionSettings, TopicSettings, JourneySettings)
def topics(settings: Settings, *, plan: bool, principal: str, sender_principal: str) -> int:
    """Create the topics that are missing and report those that differ.

    Existing topics are never changed. Exit code 1 when a topic differs; a partition count that
    moves customers to another home is refused, and nothing is created.
    """
    journeys = catalog.load(settings.journeys, settings.mode)
    channels = journeys.channels
    wanted = Topics.of(settings, channels, journeys.inputs, senders=True)
    if plan:
        for line in (
            *_plan(wanted, settings, principal),
            *_senders_plan(settings, channels, sender_principal),
        ):
            click.echo(line)
        return 0
    report = asyncio.run(inspect_topics(settings, wanted, create=True))
    for name in report.created:
        click.echo(f"created  {name}")
    for difference in report.drift:
        click.echo(f"differs  {difference}")
    for difference in report.refused:
        click.echo(f"refused  {difference}")
    if report.refused:
        click.echo("refused: nothing was created", err=True)
    else:
        click.echo(f"{len(report.partitions)} topics are there")
    return 1 if report.drift or report.refused else 0


def _plan(wanted: Topics, settings: Settings, principal: str) -> Iterator[str]:
    """Write the plan in the commands that every Kafka administrator has."""
    copies = settings.replication_factor or _COPIES_PLANNED
    broker = f"--bootstrap-server {settings.bootstrap_servers}"
    yield "# Topics"
    for topic in wanted.all:
        if topic.read_by:
            yield f"# Read, never created: {topic.name} (inputs.yaml: {topic.read_by})"
            continue
        config = " ".join(f"--config {k}={v}" for k, v in topic_config(topic, copies).items())
        yield (
            f"kafka-topics.sh {broker} --create --if-not-exists --topic {topic.name} "
            f"--partitions {topic.partitions} --replication-factor {copies} {config}"
        )
    grant = f"kafka-acls.sh {broker} --add --allow-principal {principal}"
    yield "# Rights of the workers and of the command line"
    for topic in wanted.all:
        if not topic.operations:
            continue
        operations = " ".join(f"--operation {name}" for name in topic.operations)
        yield f"{grant} {operations} --operation DescribeConfigs --topic {topic.name}"
    yield f"{grant} --operation Read --operation Describe --group {settings.app_id}"
    yield (
        f"{grant} --operation Write --operation Describe --transactional-id {settings.app_id}- "
        "--resource-pattern-type prefixed"
    )


def _senders_plan(settings: Settings, channels: Iterable[str], principal: str) -> Iterator[str]:
    """Write who may deliver: what `orchestrator sender` reads and writes, channel by channel."""
    grant = (
        f"kafka-acls.sh --bootstrap-server {settings.bootstrap_servers} --add "
        f"--allow-principal {principal}"
    )
    yield "# Rights of the senders"
    names = [Names.of(settings, channel) for channel in channels]
    rights: dict[str, set[str]] = {}
    for one in names:
        for topic in (*one.lanes, one.fences, one.control, one.attempts):
            rights.setdefault(topic, set()).add("Read")
        for topic in (one.attempts, one.feedback, one.dead_letters):
            rights.setdefault(topic, set()).add("Write")
    for topic, operations in rights.items():
        said = " ".join(f"--operation {name}" for name in sorted(operations))
        yield f"{grant} {said} --operation Describe --topic {topic}"
    for one in names:
        for lane in one.lanes:
            yield f"{grant} --operation Read --operation Describe --group {one.group(lane)}"
