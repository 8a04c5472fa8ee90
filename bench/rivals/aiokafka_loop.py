"""The bare aiokafka loop that most services start as: at least once, a dict, a changelog.

Reads, decides, sends state and effects, awaits every acknowledgement, and only then commits the
offsets; after a restart it reads its states back from the changelog. Nothing ties the records of
an event together: who is killed between them has written some of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
from itertools import chain
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.rivals.job import Job, Record, Surroundings


async def run(around: Surroundings, settings: dict[str, dict[str, Any]]) -> None:
    """Work until killed."""
    job = Job(around.prefix, around.app_id)
    states = await restored(around, job.topics.changelog)
    producer = AIOKafkaProducer(
        bootstrap_servers=around.bootstrap_servers, acks="all", **settings.get("producer", {})
    )
    consumer = AIOKafkaConsumer(
        *job.topics.inputs,
        bootstrap_servers=around.bootstrap_servers,
        group_id=around.app_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings.get("consumer", {}),
    )
    await producer.start()
    await consumer.start()
    gc.freeze()
    while True:
        fetched = await consumer.getmany(timeout_ms=1_000)
        sent = []
        for message in chain.from_iterable(fetched.values()):
            record = Record(
                message.topic,
                message.partition,
                message.offset,
                message.timestamp,
                message.key,
                message.value,
            )
            state, outputs = job.of(record, states.get(record.key))
            states[record.key] = state
            sent.append(await producer.send(job.topics.changelog, state, record.key))
            sent += [
                await producer.send(
                    output.topic, output.value, output.key, headers=list(output.headers)
                )
                for output in outputs
            ]
        if sent:
            await asyncio.gather(*sent)
            await consumer.commit()


async def restored(around: Surroundings, changelog: str) -> dict[bytes, bytes]:
    """Return the states as the changelog has them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=around.bootstrap_servers)
    await consumer.start()
    places = [TopicPartition(changelog, number) for number in range(around.partitions)]
    consumer.assign(places)
    await consumer.seek_to_beginning()
    ends = await consumer.end_offsets(places)
    states: dict[bytes, bytes] = {}
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        fetched = await consumer.getmany(timeout_ms=100)
        for message in chain.from_iterable(fetched.values()):
            states[message.key] = message.value
    await consumer.stop()
    return states


if __name__ == "__main__":
    uvloop.run(run(Surroundings.load(), orjson.loads(os.environ.get("BENCH_SETTINGS", "{}"))))
