"""The five tools at work: a consumer loop of its own for each, on the same broker and touchpoints.

As bare as such loops are: a consumer group, offsets committed by the clock, a producer, a memory in
the process. Each writes what it sends to a topic of its own, which `demo/day` reads and delivers
through the same slow and quick providers as the commands of our world.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orchestrator.demo.desk import Providers
from orchestrator.demo.judge.evidence import Delivery, Kind
from orchestrator.demo.judge.sayings import saying
from orchestrator.demo.silos.teams import TEAMS
from orchestrator.demo.silos.tool import Send
from orchestrator.demo.stage import partitions_of
from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.demo.silos.tool import Tool
    from orchestrator.settings import TopicSettings

POLL_MS: Final = 100
# The broker answers with what has come in these milliseconds, not with each event: five loops that
# fetch every event at once would slow down what the demo measures beside them.
FETCH_BYTES_MIN: Final = 1 << 16
LEADER_SECONDS: Final = 15.0
COPIES_MAX: Final = 3


class Silos:
    """All loops, the topics that they write to, and what their providers have delivered."""

    def __init__(
        self, client_options: Mapping[str, Any], touchpoints: str, names: TopicSettings
    ) -> None:
        self._options = client_options
        self._loops = [
            _Loop(
                team(),
                client_options,
                touchpoints,
                topic=f"{names.topic_prefix}silos-{team.channel}",
                group=f"{names.app_id}-silos-{team.channel}",
            )
            for team in TEAMS
        ]
        self._providers: Providers[Send] = Providers()
        self.topics: Final = tuple(loop.topic for loop in self._loops)
        self.delivered: Final[list[Delivery]] = []

    async def start(self) -> None:
        """Create the topics and connect."""
        await _create(self._options, self.topics)
        await asyncio.gather(*(loop.start() for loop in self._loops))

    async def run(self) -> None:
        """Run every loop until cancelled."""
        await asyncio.gather(*(loop.run() for loop in self._loops))

    async def stop(self) -> None:
        """Hang up."""
        await asyncio.gather(*(loop.stop() for loop in self._loops), return_exceptions=True)

    def take(self, value: bytes, at: float) -> None:
        """Hand what a tool has sent to the provider of its channel."""
        send = read_send(value)
        self._providers.take(send, at, channel=send.channel, promotional=True)

    def deliver_due(self, at: float) -> None:
        """Deliver whatever has its turn. Nobody looks once more."""
        self.delivered.extend(
            Delivery(
                customer=send.customer,
                channel=send.channel,
                kind=send.kind,
                name=send.name,
                saying=saying(send.name),
                skus=send.skus,
                trigger=send.trigger,
                ordered_at=ordered_at,
                began_at=at,
                ended_at=at,
            )
            for send, ordered_at in self._providers.due(at)
        )


class _Loop:
    """One tool's own consumer and producer."""

    def __init__(
        self,
        tool: Tool,
        client_options: Mapping[str, Any],
        touchpoints: str,
        *,
        topic: str,
        group: str,
    ) -> None:
        self.topic: Final = topic
        self._tool = tool
        self._consumer = AIOKafkaConsumer(
            touchpoints,
            **client_options,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=True,
            fetch_max_wait_ms=POLL_MS,
            fetch_min_bytes=FETCH_BYTES_MIN,
        )
        self._producer = AIOKafkaProducer(**client_options)

    async def start(self) -> None:
        await self._producer.start()
        await self._consumer.start()

    async def run(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            at = time.monotonic()
            for records in fetched.values():
                for record in records:
                    event = read_event(record.value)
                    if event is not None:
                        await self._write(self._tool.on_event(event, at))
            await self._write(self._tool.on_clock(at))

    async def stop(self) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    async def _write(self, sends: Iterable[Send]) -> None:
        for send in sends:
            await self._producer.send(self.topic, write_send(send), key=send.customer.encode())


def read_event(value: bytes | None) -> Mapping[str, Any] | None:
    """Return an event, or None for what is none: such loops skip it and go on."""
    try:
        event = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "subject" in event else None


def write_send(send: Send) -> bytes:
    """Return what a tool writes to its topic."""
    return orjson.dumps(
        {
            "id": send.id,
            "customer": send.customer,
            "channel": send.channel,
            "kind": send.kind,
            "name": send.name,
            "skus": sorted(send.skus),
            "trigger": send.trigger,
        }
    )


def read_send(value: bytes) -> Send:
    """Return what a tool has written."""
    read = orjson.loads(value)
    return Send(**{**read, "kind": Kind(read["kind"]), "skus": frozenset(read["skus"])})


async def _create(client_options: Mapping[str, Any], topics: tuple[str, ...]) -> None:
    admin = AIOKafkaAdminClient(**client_options)
    await admin.start()
    try:
        copies = min(COPIES_MAX, len((await admin.describe_cluster())["brokers"]))
        answer = await admin.create_topics(
            [NewTopic(name=name, num_partitions=1, replication_factor=copies) for name in topics]
        )
    finally:
        await admin.close()
    for name, code, message in answer.topic_errors:
        if code:
            raise DependencyError(f"cannot create {name}: {message or code}")
    deadline = time.monotonic() + LEADER_SECONDS
    while True:
        try:
            await partitions_of(client_options, topics)
        except DependencyError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return
