"""Send a purchase with confluent-kafka.

Arguments: bootstrap servers, topic, customer id, and a partitioner if it is to be another one.
"""

import json
import sys
from datetime import UTC, datetime

from confluent_kafka import Producer

bootstrap_servers, topic, customer = sys.argv[1:4]
# It finds the customer's home; with librdkafka's own, consistent_random, the way is a hop longer.
partitioner = sys.argv[4] if len(sys.argv) > 4 else "murmur2_random"
producer = Producer(
    {
        "bootstrap.servers": bootstrap_servers,
        "enable.idempotence": True,
        "partitioner": partitioner,
    }
)
purchase = {
    "specversion": "1.0",
    "id": "ord-1001",  # With `source` it makes a repeat harmless: derive it from your order.
    "source": "/shop",
    "type": "purchase",
    "subject": customer,
    "time": datetime.now(UTC).isoformat(),
    "data": {
        "order_id": "1001",
        "total": "129.00",
        "currency": "EUR",
        "items": [{"sku": "tent-2", "category": "outdoor", "quantity": 1, "price": "129.00"}],
    },
}


failures = []


def on_delivery(error, message):
    """Say what became of the event: accepted means that the broker has it."""
    if error is not None:
        failures.append(f"not accepted: {error}")
    else:
        print(f"accepted {message.topic()}/{message.partition()}/{message.offset()}")


producer.produce(
    topic,
    key=customer,
    value=json.dumps(purchase),
    headers={"content-type": "application/cloudevents+json"},
    on_delivery=on_delivery,
)
producer.flush()
sys.exit("\n".join(failures) or 0)
