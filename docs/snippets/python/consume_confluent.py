"""Read commands with confluent-kafka. Arguments: bootstrap servers, topic, how many."""

import json
import sys

from confluent_kafka import Consumer

bootstrap_servers, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap_servers,
        "group.id": "email-sender",
        # Commands come in transactions: what is not committed never happened.
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([topic])
while count:
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        sys.exit(str(message.error()))
    command = json.loads(message.value())
    # Before handing over: not past data.expires_at, not in `fences`, not an id seen before.
    print(command["type"], command["id"], command["subject"], command["data"]["sequence"])
    consumer.commit(message)
    count -= 1
consumer.close()
