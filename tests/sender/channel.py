"""A channel under test: its topics, what the orchestrator writes to them, and a provider."""

from __future__ import annotations

import asyncio
import contextlib
import time

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.sender import Delivered, Options, Sender
from orchestrator.settings import Settings
from tests.sender.builders import envelope, rfc3339

PARTITIONS = 2
SECONDS_MAX = 8


class Channel:
    """The topics of one channel, and the hands that write to them."""

    def __init__(self, bootstrap_servers, prefix, channel="email"):
        self.bootstrap_servers, self.prefix, self.name = bootstrap_servers, prefix, channel
        self.client = {"bootstrap.servers": bootstrap_servers}
        self._producer = Producer(
            self.client
            | {
                "transactional.id": f"{prefix}orchestrator",
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        self.settings = Settings.load(
            bootstrap_servers=bootstrap_servers, topic_prefix=prefix, metrics_port=0
        )

    def create(self):
        """Create what the orchestrator would create."""
        lane = f"{self.prefix}commands.{self.name}"
        counts = dict.fromkeys((lane, f"{lane}.promotional"), PARTITIONS) | {
            self.prefix + "fences": PARTITIONS,
            self.prefix + "touchpoints": PARTITIONS,
            self.prefix + "dead-letters": PARTITIONS,
            self.prefix + "control": 1,
        }
        admin = AdminClient(self.client)
        for future in admin.create_topics([NewTopic(n, c, 1) for n, c in counts.items()]).values():
            future.result(20)
        self._producer.init_transactions(20)
        return self

    def write(self, *records):
        """Write (topic, key, value) in one transaction, as the orchestrator does."""
        self._producer.begin_transaction()
        for topic, key, value in records:
            self._producer.produce(self.prefix + topic, key=key, value=value)
        self._producer.commit_transaction(20)

    def send(self, *envelopes):
        """Write commands to their lanes."""
        self.write(*(self.record(one) for one in envelopes))

    def record(self, one):
        """Return the record of a command."""
        lane = f"commands.{self.name}"
        if one["data"]["class"] == "promotional":
            lane += ".promotional"
        return lane, one["subject"], orjson.dumps(one)

    def command(self, command_id, **changes):
        """Return a command that is valid now."""
        now = int(time.time() * 1000)
        changes = {"time": rfc3339(now), "expires_at": rfc3339(now + 600_000)} | changes
        return envelope(command_id, channel=self.name, **changes)

    def read(self, topic):
        """Return all records of a topic: (key, decoded value, headers)."""
        consumer = Consumer(
            self.client
            | {
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            name = self.prefix + topic
            partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
            consumer.assign([TopicPartition(name, p, 0) for p in partitions])
            ended, found = set(), []
            while len(ended) < len(partitions):
                message = consumer.poll(10)
                assert message is not None, f"{name} does not answer"
                if message.error():
                    ended.add(message.partition())
                else:
                    value = message.value()
                    with contextlib.suppress(orjson.JSONDecodeError, TypeError):
                        value = orjson.loads(value)
                    found.append((message.key(), value, dict(message.headers() or [])))
            return found
        finally:
            consumer.close()

    def reports(self):
        """Return what senders told: {command id: [type, or type reason]}."""
        found = {}
        for _, event, _ in self.read("touchpoints"):
            data = event["data"]
            told = " ".join(filter(None, (event["type"], data.get("reason"))))
            found.setdefault(data["command_id"], []).append(told)
        return found

    def committed(self, lane):
        """Return how many records of a lane the sender will not read again."""
        name = f"{self.prefix}commands.{lane}"
        consumer = Consumer(self.client | {"group.id": f"{name}.sender"})
        try:
            places = [TopicPartition(name, p) for p in range(PARTITIONS)]
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
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        await asyncio.sleep(0.02)
