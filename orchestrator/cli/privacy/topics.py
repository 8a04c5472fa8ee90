"""The topics of a deployment as they are on the broker, with their settings, and a way to read one.

Command and attempt topics are found by their names, so that neither the journeys nor the channels
of the day are needed: what a channel had that is gone is still found.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from orchestrator.demo.stage import partitions_of, read_to_end
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.topics import Topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orchestrator.demo.stage import Received
    from orchestrator.settings import TopicSettings

_TOLD_EVERY_SECONDS: Final = 2.0


class Found(NamedTuple):
    """A topic that exists; `config` are its settings as the broker has them."""

    name: str
    config: Mapping[str, str]

    @property
    def compacted(self) -> bool:
        """Whether its newest record of a key stays for ever."""
        return "compact" in self.config.get("cleanup.policy", "delete")


async def topics_there(client_options: Mapping[str, Any], settings: TopicSettings) -> list[Found]:
    """Return every topic of the deployment that exists, in the order in which a record travels."""
    topics, prefix = Topics.of(settings, {}), settings.topic_prefix
    ours = (
        *topics.inputs,
        *(topics.forward, topics.changelog, topics.fences, topics.journey_log),
        *(topics.dead_letters, topics.definitions, topics.control),
    )
    admin = AIOKafkaAdminClient(**client_options)
    await admin.start()
    try:
        there = await admin.list_topics()
        lanes = sorted(
            name for name in there if name.startswith((f"{prefix}commands.", f"{prefix}attempts."))
        )
        names = [name for name in ours if name in there] + lanes
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answers = await admin.describe_configs(wanted) if wanted else []
    finally:
        await admin.close()
    configs = {
        name: {entry[0]: entry[1] or "" for entry in entries}
        for answer in answers
        for code, _message, _type, name, entries in answer.resources
        if code == 0  # Denied means: cannot tell.
    }
    return [Found(name, configs.get(name, {})) for name in names]


async def records_of(
    client_options: Mapping[str, Any],
    topic: str,
    *,
    key: bytes | None = None,
    everywhere: bool = False,
) -> AsyncIterator[Received]:
    """Yield what is committed on a topic now, oldest first in each partition.

    With a key only its records are given, and only its home partition is read, unless they may
    stand `everywhere`. A person at a terminal is told how far it is.
    """
    partitions = await partitions_of(client_options, [topic])
    if key is not None and not everywhere:
        partitions = [partitions[home_partition(key, len(partitions))]]
    told = _Progress(topic)
    async for record in read_to_end(client_options, dict.fromkeys(partitions)):
        told.one_more()
        if key is None or record.key == key:
            yield record
    told.over()


class _Progress:
    """Says on a terminal how much of a topic was read; nothing elsewhere."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._records = 0
        self._told_at = time.monotonic()
        self._shown = False

    def one_more(self) -> None:
        self._records += 1
        if self._records % 1_000 or not sys.stderr.isatty():
            return
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at, self._shown = now, True
            click.echo(f"\r{self._topic}: {self._records:,} records read", nl=False, err=True)

    def over(self) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
