"""Purchases race promotional commands that wait in a slow sender; every hand-over is timed.

A hand-over begins with the record of its attempt (or, for the naive loop, with the call) and ends
with the provider's answer. A fence is visible from the moment at which another committed reader
holds it. The naive loop reads the same lane in the same run, as slow and as wide, without fences.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.senders.channel import PARTITIONS, fence
from orchestrator.sender import Delivered, Options, Sender
from orchestrator.settings import Settings

IN_FLIGHT = 16
CALL_SECONDS = 0.1
FENCED_SHARE = 0.5
FENCES_AT_ONCE = 10
SECONDS_MAX = 300.0


@dataclass(frozen=True)
class Race:
    """Hand-overs of customers who bought, by what they did to their fence."""

    customers: int
    purchases: int
    ours: dict
    naive: dict
    latest_ms: float
    """By how much the latest call of an overlapping hand-over began after its fence."""


class _Calls:
    """A slow provider: when each call began and ended."""

    def __init__(self):
        self.times = {}

    async def __call__(self, customer):
        began = time.time()
        await asyncio.sleep(CALL_SECONDS)
        self.times[customer] = (began, time.time())


async def run(channel, *, customers):
    """Run the race on a channel whose topics are there."""
    names = [f"s{number}" for number in range(customers)]
    commands = [
        channel.command(f"c-{name}", subject=name, delivery="at_most_once") for name in names
    ]
    for first in range(0, customers, 500):
        await asyncio.to_thread(channel.send, *commands[first : first + 500])
    visible, ours, naive = {}, _Calls(), _Calls()

    async def deliver(command):
        await ours(command.customer)
        return Delivered()

    sender = Sender(
        Settings.load(bootstrap_servers=channel.bootstrap_servers, topic_prefix=channel.prefix),
        channel.name,
        deliver,
        options=Options(in_flight_max=IN_FLIGHT),
    )
    watching = asyncio.create_task(_watch(channel, visible))
    sending = asyncio.create_task(sender.run())
    await _until(lambda: ours.times or sending.done())
    naively = asyncio.create_task(_naive(channel, naive, customers))
    buyers = random.Random(1).sample(names, int(customers * FENCED_SHARE))
    # The last of them buy while the last promotions are under way.
    pause = customers * CALL_SECONDS / (IN_FLIGHT * 0.75) / (len(buyers) / FENCES_AT_ONCE)
    for first in range(0, len(buyers), FENCES_AT_ONCE):
        group = buyers[first : first + FENCES_AT_ONCE]
        await asyncio.to_thread(channel.write, *(("fences", name, fence()) for name in group))
        await asyncio.sleep(pause)
    await _until(lambda: len(visible) == len(buyers) and naively.done())
    await _until(lambda: len(channel.reports()) == customers)
    sender.stop()
    await sending
    watching.cancel()
    begun = _begun(channel)
    timed = {one: (begun[f"c-{one}"], *times) for one, times in ours.times.items()}
    calls = {one: (began, began, ended) for one, (began, ended) in naive.times.items()}
    late = [1000 * (timed[one][1] - visible[one]) for one in visible if one in timed]
    return Race(
        customers,
        len(buyers),
        _count(visible, timed, channel.reports()),
        _count(visible, calls, {}),
        max(0.0, *late),
    )


def _begun(channel):
    """Return when each hand-over began: the claim's own time, rounded down to a millisecond."""
    return {
        key.decode(): datetime.fromisoformat(value["at"]).timestamp()
        for key, value, _ in channel.read(f"attempts.{channel.name}")
        if value["state"] == "attempting"
    }


def _count(visible, timed, reports):
    found = Counter()
    for customer, at in visible.items():
        times = timed.get(customer)
        if times is None:
            told = reports.get(f"c-{customer}", [])
            found["dropped as fenced" if told == ["message.dropped fenced"] else "missing"] += 1
        elif times[2] < at:
            found["over before"] += 1
        # What began in the very millisecond of the fence counts as after it.
        elif times[0] + 0.001 > at:
            found["began after"] += 1
        else:
            found["overlapping"] += 1
            found["overlapping, called after"] += times[1] > at
    return dict(found)


async def _watch(channel, visible):
    """Note when each fence can be read by anybody."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=channel.bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        places = [TopicPartition(channel.prefix + "fences", p) for p in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        async for record in consumer:
            visible.setdefault(record.key.decode(), time.time())
    finally:
        await consumer.stop()


async def _naive(channel, calls, customers):
    """Read the lane and call, as a team without the kit would begin."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=channel.bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    places_free = asyncio.Semaphore(IN_FLIGHT)

    async def call(customer):
        async with places_free:
            await calls(customer)

    try:
        lane = f"{channel.prefix}commands.{channel.name}.promotional"
        places = [TopicPartition(lane, p) for p in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        waiting = []
        while len(waiting) < customers:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    one = orjson.loads(record.value)
                    waiting.append(asyncio.create_task(call(one["subject"])))
        await asyncio.gather(*waiting)
    finally:
        await consumer.stop()


async def _until(true):
    deadline = time.monotonic() + SECONDS_MAX
    # Who asks the broker waits for it, and must not hold up the senders of this loop meanwhile.
    while not await asyncio.to_thread(true):
        if time.monotonic() > deadline:
            raise TimeoutError("the race does not end")
        await asyncio.sleep(0.01)
