"""A channel under test: its topics, what the orchestrator writes to them, and a provider."""

from __future__ import annotations

import asyncio
import contextlib
import time

from confluent_kafka import Consumer, TopicPartition

from bench.senders import channel as bench
from orchestrator.sender import Delivered, Options, Sender
from orchestrator.settings import Settings

SECONDS_MAX = 40


class Channel(bench.Channel):
    """The bench's channel, with senders in this process."""

    @property
    def settings(self):
        return Settings.load(
            bootstrap_servers=self.bootstrap_servers,
            topic_prefix=self.prefix,
            heartbeat_interval_seconds=0.3,
        )

    def committed(self, lane):
        """Return how many records of a lane the sender will not read again."""
        name = f"{self.prefix}commands.{lane}"
        consumer = Consumer(self.client | {"group.id": f"{name}.sender"})
        try:
            places = [TopicPartition(name, p) for p in range(bench.PARTITIONS)]
            return sum(max(0, one.offset) for one in consumer.committed(places, timeout=10))
        finally:
            consumer.close()

    @contextlib.asynccontextmanager
    async def sender(self, deliver, *, recall=None, **options):
        """Run a sender in this process until the block ends."""
        sender = Sender(
            self.settings, self.name, deliver, recall=recall, options=Options(**options)
        )
        running = asyncio.create_task(sender.run())
        try:
            await until(lambda: sender.ready or running.done(), "a ready sender")
            if running.done():
                await running
            yield sender
        finally:
            sender.stop()
            await running


class Provider:
    """Takes what it is given, and remembers it."""

    def __init__(self, *outcomes):
        self.calls = []
        self._outcomes = list(outcomes)

    async def __call__(self, command):
        self.calls.append(command)
        return self._outcomes.pop(0) if self._outcomes else Delivered()

    @property
    def ids(self):
        return [command.id for command in self.calls]


async def until(true, what, seconds=SECONDS_MAX):
    """Wait for a condition, or fail and say for what."""
    deadline = time.monotonic() + seconds
    # Who asks the broker waits for it, and must not hold up the senders of this loop meanwhile.
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        await asyncio.sleep(0.02)
