"""The topics of one channel, and the hands that write to them as the orchestrator does.

Also what the tests of the sender write with: commands and fences stand here as the contract has
them, in plain JSON, without a line of the kit's own code.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.topics import decoded, read_topic

PARTITIONS = 2
FAR = "2099-01-01T00:00:00Z"


def rfc3339(time_ms: float) -> str:
    """Return a time as the orchestrator writes it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def envelope(command_id: str = "c1", *, now_ms: float, **changes) -> dict:
    """Return a command's CloudEvent; `changes` replace fields of its data, or of the envelope."""
    data = {
        "channel": "email",
        "class": "promotional",
        "mode": "live",
        "journey": "winter_sale",
        "journey_version": 1,
        "step": "offer",
        "enrollment": "winter_sale/#1",
        "recipient": {"address_ref": "profile.email"},
        "locale": "en-GB",
        "template": "winter_sale",
        "variables": {},
        "content": {"subject": "Tents", "text": "Hello Ana"},
        "offer": None,
        "not_before": None,
        "expires_at": rfc3339(now_ms + 3_600_000),
        "delivery": "at_least_once",
        "caused_by": {"source": "/shop", "id": "e1"},
        "sequence": 5,
    }
    event = {
        "specversion": "1.0",
        "id": command_id,
        "source": "/orchestrator",
        "type": "message.send",
        "subject": "ana",
        "time": rfc3339(now_ms),
    }
    for name, value in changes.items():
        target = event if name in event else data
        target["class" if name == "command_class" else name] = value
    return event | {"data": data}


def fence(enrollment="winter_sale/#1", sequence=5, expires_at=FAR) -> bytes:
    """Return the value of a fence record."""
    ended = {"enrollment": enrollment, "ended_at": rfc3339(time.time() * 1000)}
    return orjson.dumps({"enrollments": [ended | {"sequence": sequence, "expires_at": expires_at}]})


class Channel:
    """One channel of a deployment that exists only on its topics."""

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
        self.write(*(self._record(one) for one in envelopes))

    def _record(self, one):
        lane = f"commands.{self.name}"
        if one["data"]["class"] == "promotional":
            lane += ".promotional"
        return lane, one["subject"], orjson.dumps(one)

    def command(self, command_id, **changes):
        """Return a command that is valid now."""
        return envelope(command_id, now_ms=time.time() * 1000, channel=self.name, **changes)

    def read(self, topic):
        """Return all records of a topic: (key, decoded value, headers)."""
        return [
            (key, decoded(value), headers)
            for key, value, headers in read_topic(self.client, self.prefix + topic)
        ]

    def reports(self):
        """Return what senders told: {command id: [type, or type reason]}."""
        found = {}
        for _, event, _ in self.read("touchpoints"):
            data = event["data"]
            told = " ".join(filter(None, (event["type"], data.get("reason"))))
            found.setdefault(data["command_id"], []).append(told)
        return found
