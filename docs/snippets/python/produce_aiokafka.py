"""Send a purchase with aiokafka. Arguments: bootstrap servers, topic, customer id."""

import asyncio
import json
import sys
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer


async def main(bootstrap_servers: str, topic: str, customer: str) -> None:
    """Send one event in binary mode: attributes in headers, data in the value."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    await producer.start()
    try:
        accepted = await producer.send_and_wait(
            topic,
            key=customer.encode(),
            value=json.dumps(
                {
                    "order_id": "1001",
                    "total": "129.00",
                    "currency": "EUR",
                    "items": [{"sku": "tent-2", "quantity": 1, "price": "129.00"}],
                }
            ).encode(),
            headers=[
                ("content-type", b"application/json"),
                ("ce_specversion", b"1.0"),
                ("ce_id", b"ord-1001"),
                ("ce_source", b"/shop"),
                ("ce_type", b"purchase"),
                ("ce_subject", customer.encode()),
                ("ce_time", datetime.now(UTC).isoformat().encode()),
            ],
        )
    finally:
        await producer.stop()
    print(f"accepted {accepted.topic}/{accepted.partition}/{accepted.offset}")


asyncio.run(main(*sys.argv[1:4]))
