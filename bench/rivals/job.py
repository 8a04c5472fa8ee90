"""The job of PX-bench, written by hand: what a team would write that has these four journeys only.

Every Python rival runs it (bare loops, Quix Streams, stock Faust); `streams/` has the same in Java,
and ours gets it as YAML from `journeys/`. What it writes is what the worker writes, field by field:
journey log, commands and fences of the contract. It imports nothing of ours, so that it also runs
where only a rival is installed. There are no dead letters, no forwarding and no timers that fire:
the load has none, and a surprise ends the system. `oracle` judges it and shares nothing with it.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

DAY_MS: Final = 86_400_000
RECENT_EVENTS_MAX: Final = 64
PROMOTIONS: Final = {
    "product.viewed": "browse_offer",
    "cart.abandoned": "cart_offer",
    "campaign.started": "sale_offer",
}
CHANNELS: Final = {"email": "email", "push": "push_token"}
META_KEY: Final = b"\xffmeta"
DEFINITIONS: Final = hashlib.sha256(b"PX-bench, version 1").hexdigest()
CONTENT_TYPE: Final = b"application/cloudevents+json"


class Record(NamedTuple):
    """A Kafka record, whichever client delivered it; `timestamp` is epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes


class Output(NamedTuple):
    """One record to write. Its partition is the default partitioner's."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Names:
    """The topics, under the prefix of a deployment."""

    def __init__(self, prefix: str, app_id: str) -> None:
        self.inputs = (f"{prefix}touchpoints",)
        self.journey_log = f"{prefix}journey-log"
        self.fences = f"{prefix}fences"
        self.commands = {name: f"{prefix}commands.{name}" for name in CHANNELS}
        self.changelog = f"{prefix}{app_id}-customers-changelog"


class Surroundings(NamedTuple):
    """What a rival needs to know to start; the same variables as the worker's."""

    bootstrap_servers: str
    prefix: str
    app_id: str
    partitions: int

    @classmethod
    def load(cls) -> Surroundings:
        """Read them from the environment."""
        return cls(
            os.environ["ORCHESTRATOR_BOOTSTRAP_SERVERS"],
            os.environ["ORCHESTRATOR_TOPIC_PREFIX"],
            os.environ["ORCHESTRATOR_APP_ID"],
            int(os.environ["ORCHESTRATOR_PARTITIONS"]),
        )


def new_customer() -> dict[str, Any]:
    """Return the state of somebody nobody has heard of."""
    return {
        "attributes": {},
        "consents": {},
        "enrollments": [],
        "entries": {},
        "recent": [],
        "sequence": 0,
    }


class Turn(NamedTuple):
    """One event being decided: what came, for whom, when, and what has come of it so far."""

    record: Record
    event: dict[str, Any]
    customer: dict[str, Any]
    now_ms: int
    entries: list[dict[str, Any]]
    outputs: list[Output]


class Job:
    """Decides records one after the other; the caller keeps the states.

    `written` are the topics that `of` may name.
    """

    def __init__(self, prefix: str, app_id: str) -> None:
        self.topics = Names(prefix, app_id)
        names = self.topics
        self.written = (names.journey_log, names.fences, *names.commands.values())
        self._clocks_ms: dict[int, int] = {}

    def of(self, record: Record, state: bytes | None) -> tuple[bytes, list[Output]]:
        """Return the customer's next state and what is written beside it."""
        customer = orjson.loads(state) if state else new_customer()
        outputs = self.decide(record, customer)
        return orjson.dumps(customer), outputs

    def decide(self, record: Record, customer: dict[str, Any]) -> list[Output]:
        """Change the customer as the event says; return what is written."""
        event = orjson.loads(record.value)
        now_ms = max(self._clocks_ms.get(record.partition, 0), record.timestamp)
        self._clocks_ms[record.partition] = now_ms
        turn = Turn(record, event, customer, now_ms, [], [])
        identity = f"{event['source']}/{event['id']}"
        if identity in customer["recent"]:
            return [self._log(turn, "duplicate")]
        customer["recent"] = [*customer["recent"][1 - RECENT_EVENTS_MAX :], identity]
        match event["type"]:
            case "purchase":
                self._exit_promotions(turn)
                self._thank(turn)
            case "profile.updated":
                customer["attributes"].update(event["data"]["attributes"])
            case "consent.updated":
                data = event["data"]
                customer["consents"][f"{data['channel']}/{data['class']}"] = data["granted"]
            case kind if kind in PROMOTIONS:
                _promote(turn, PROMOTIONS[kind])
        turn.outputs.append(self._log(turn, "applied"))
        return turn.outputs

    def _exit_promotions(self, turn: Turn) -> None:
        customer = turn.customer
        kept, ended = [], []
        for enrollment in customer["enrollments"]:
            (kept if enrollment["journey"] == "post_purchase" else ended).append(enrollment)
        if not ended:
            return
        customer["enrollments"] = kept
        now, fenced = rfc3339(turn.now_ms), []
        for enrollment in ended:
            turn.entries.append(
                {
                    "kind": "ended",
                    "enrollment": enrollment["id"],
                    "journey": enrollment["journey"],
                    "version": 1,
                    "reason": "exit",
                    "step": enrollment["step"],
                    "cancelled": [],
                    "detail": None,
                }
            )
            fenced.append(
                {
                    "enrollment": enrollment["id"],
                    "ended_at": now,
                    "sequence": customer["sequence"],
                    "expires_at": now,
                }
            )
        value = orjson.dumps({"enrollments": fenced})
        turn.outputs.append(Output(self.topics.fences, turn.record.key, value))

    def _thank(self, turn: Turn) -> None:
        customer, cause = turn.customer, turn.event["id"]
        order = turn.event["data"]["order_id"]
        enrollment = _enroll(turn, "post_purchase", order, "parcel_travels")
        channel = _channel(customer["attributes"])
        customer["sequence"] += 1
        command = command_id(turn.record.key.decode(), enrollment["id"], "thank_you", cause)
        turn.entries.append(
            {
                "kind": "emitted",
                "command": command,
                "type": "message.send",
                "channel": channel,
                "command_class": "transactional",
                "enrollment": enrollment["id"],
                "step": "thank_you",
                "sequence": customer["sequence"],
            }
        )
        turn.entries.append(_moved(enrollment))
        headers = (
            ("content-type", CONTENT_TYPE),
            ("ce_id", command.encode()),
            ("ce_type", b"message.send"),
        )
        value = _command(turn, command, channel, enrollment["id"])
        topic = self.topics.commands[channel]
        turn.outputs.append(Output(topic, turn.record.key, value, headers))

    def _log(self, turn: Turn, outcome: str) -> Output:
        record, event = turn.record, turn.event
        value = {
            "customer": event["subject"],
            "now": rfc3339(turn.now_ms),
            "cause": {
                "kind": "event",
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "source": event["source"],
                "id": event["id"],
                "type": event["type"],
                "time": event["time"],
            },
            "outcome": outcome,
            "definitions": DEFINITIONS,
            "entries": turn.entries,
        }
        return Output(self.topics.journey_log, record.key, orjson.dumps(value))

    def meta(self, topic: str, partition: int, offset: int) -> Output:
        """Return a record about a partition like the one that the worker writes."""
        value = {"positions": {topic: offset}, "clock_ms": self._clocks_ms.get(partition, 0)}
        return Output(self.topics.changelog, META_KEY, orjson.dumps(value))


def command_id(customer: str, enrollment: str, step: str, cause: str) -> str:
    """Return the id that the same cause gives the same command, however often it is decided."""
    parts = f"{customer}\0{enrollment}\0{step}\0{cause}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(time_ms: int) -> str:
    """Return the time in UTC with milliseconds."""
    second, millisecond = divmod(time_ms, 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


def _promote(turn: Turn, journey: str) -> None:
    for enrollment in turn.customer["enrollments"]:
        if enrollment["journey"] == journey:
            turn.entries.append(
                {
                    "kind": "entry_refused",
                    "journey": journey,
                    "version": 1,
                    "reason": "already_enrolled",
                    "detail": enrollment["id"],
                }
            )
            return
    turn.entries.append(_moved(_enroll(turn, journey, "", "think")))


def _enroll(turn: Turn, journey: str, key: str, step: str) -> dict[str, Any]:
    ordinal = turn.customer["entries"].get(journey, 0) + 1
    turn.customer["entries"][journey] = ordinal
    enrollment = {
        "id": f"{journey}/{key}#{ordinal}" if key else f"{journey}#{ordinal}",
        "journey": journey,
        "cause": turn.event["id"],
        "entered_ms": turn.now_ms,
        "step": step,
        "wake_at_ms": turn.now_ms + DAY_MS,
    }
    turn.customer["enrollments"].append(enrollment)
    entered = {"kind": "entered", "enrollment": enrollment["id"], "journey": journey, "version": 1}
    turn.entries.append(entered)
    return enrollment


def _moved(enrollment: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "moved",
        "enrollment": enrollment["id"],
        "step": enrollment["step"],
        "wake_at_ms": enrollment["wake_at_ms"],
        "detail": None,
    }


def _channel(attributes: dict[str, Any]) -> str:
    """Return the channel that the customer prefers, else the first one with an address."""
    preferred = attributes.get("preferred_channel")
    if preferred in CHANNELS and attributes.get(CHANNELS[preferred]):
        return str(preferred)
    reachable = (name for name, address in CHANNELS.items() if attributes.get(address))
    return next(reachable, "email")


def _command(turn: Turn, command: str, channel: str, enrollment: str) -> bytes:
    event, customer, now_ms = turn.event, turn.customer, turn.now_ms
    name = customer["attributes"].get("first_name", "customer")
    data = event["data"]
    title = {"email": "subject", "push": "title"}[channel]
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": command,
            "source": "/orchestrator",
            "type": "message.send",
            "subject": event["subject"],
            "time": rfc3339(now_ms),
            "data": {
                "channel": channel,
                "class": "transactional",
                "mode": "test",
                "journey": "post_purchase",
                "journey_version": 1,
                "step": "thank_you",
                "enrollment": enrollment,
                "recipient": {"address_ref": f"profile.{CHANNELS[channel]}"},
                "locale": "en-GB",
                "template": "thank_you",
                "variables": {
                    "first_name": name,
                    "order_id": data["order_id"],
                    "total": data["total"],
                    "currency": data["currency"],
                },
                "content": {
                    title: f"Thank you, {name}",
                    "text": f"We have your order {data['order_id']} over {data['total']} "
                    f"{data['currency']}.",
                },
                "offer": None,
                "not_before": None,
                "expires_at": rfc3339(now_ms + 3 * DAY_MS),
                "delivery": "at_least_once",
                "caused_by": {"source": event["source"], "id": event["id"]},
                "sequence": customer["sequence"],
            },
        }
    )
