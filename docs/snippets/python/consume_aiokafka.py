"""Read commands with aiokafka. Arguments: bootstrap servers, topic, how many."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer


async def main(bootstrap_servers: str, topic: str, count: int) -> None:
    """Print commands; a sender hands them over where this prints."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        group_id="email-sender",
        # Commands come in transactions: what is not committed never happened.
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        for _ in range(count):
            command = json.loads((await consumer.getone()).value)
            # Before handing over: not past data.expires_at, not in `fences`, not an id seen before.
            print(command["type"], command["id"], command["subject"], command["data"]["sequence"])
            await consumer.commit()
    finally:
        await consumer.stop()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
