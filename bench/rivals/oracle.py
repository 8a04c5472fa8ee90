"""The oracle of PX-bench: what must stand on the topics, worked out from the events alone.

It reads everything that one system was given and everything that it wrote (`read_committed`), and
says what is wrong, by kind. It shares no code with the job that is judged. A run with a finding is
disqualified; for the kill part the findings are the result.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.systems import Deployment

ENTRIES: Final = {
    "product.viewed": "browse_offer",
    "cart.abandoned": "cart_offer",
    "campaign.started": "sale_offer",
}
OUTPUTS: Final = ("journey-log", "fences", "commands.email", "commands.push")
# Markers of a transaction reach partitions one after the other.
QUIET_SECONDS: Final = 1.0
READ_RECORDS_MAX: Final = 2_000
EXAMPLES_MAX: Final = 3
KINDS: Final = (
    "lost events",
    "doubled events",
    "wrong transitions",
    "lost commands",
    "doubled commands",
    "invented commands",
    "reused ids",
    "broken sequences",
    "commands out of order",
    "lost fences",
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What one event must lead to."""

    customer: str
    entered: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    command: bool = False


@dataclass(slots=True)
class Written:
    """What a system has written, in the order of each partition."""

    log: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    fences: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Found:
    """What is wrong, counted by kind, and the first few of each in words."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def note(self, kind: str, example: str) -> None:
        """Take in one more."""
        self._counts[kind] += 1
        if self._counts[kind] <= EXAMPLES_MAX:
            self.examples.append(f"{kind}: {example}")

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind of thing is wrong; nothing where nothing is."""
        return {kind: self._counts[kind] for kind in KINDS if self._counts[kind]}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many events there were, and findings by kind; `unsettled` events had no word yet."""

    events: int
    unsettled: int
    findings: dict[str, int]
    examples: list[str] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def expectations(records: Iterable[bytes]) -> dict[str, Expected]:
    """Return by event id what must come of it; `records` in the order of each partition."""
    running: dict[str, list[str]] = defaultdict(list)
    expected: dict[str, Expected] = {}
    for value in records:
        event = orjson.loads(value)
        identity, kind, customer = event["id"], event["type"], event["subject"]
        if identity in expected:
            continue
        promotions = running[customer]
        if kind == "purchase":
            entered = ("post_purchase",)
            expected[identity] = Expected(customer, entered, tuple(sorted(promotions)), True)
            promotions.clear()
        elif (promotion := ENTRIES.get(kind)) and promotion not in promotions:
            promotions.append(promotion)
            expected[identity] = Expected(customer, (promotion,))
        else:
            expected[identity] = Expected(customer)
    return expected


def findings(expected: dict[str, Expected], written: Written) -> Found:
    """Return everything that is wrong."""
    found = Found()
    _judge_log(expected, written, found)
    _judge_commands(expected, written, found)
    _judge_fences(written, found)
    return found


def _judge_log(expected: dict[str, Expected], written: Written, found: Found) -> None:
    applied: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in written.log:
        if entry["outcome"] == "applied":
            applied[entry["cause"]["id"]].append(entry)
    for identity, wanted in expected.items():
        seen = applied.get(identity, [])
        if not seen:
            found.note("lost events", f"{identity} of {wanted.customer}")
            continue
        if len(seen) > 1:
            found.note("doubled events", f"{identity} of {wanted.customer}, {len(seen)} times")
        entries = seen[0]["entries"]
        entered = tuple(e["journey"] for e in entries if e["kind"] == "entered")
        ended = tuple(sorted(e["journey"] for e in entries if e["kind"] == "ended"))
        if (entered, ended) != (wanted.entered, wanted.ended):
            found.note("wrong transitions", f"{wanted} became {orjson.dumps(seen[0]).decode()}")


def _judge_commands(expected: dict[str, Expected], written: Written, found: Found) -> None:
    by_cause: Counter[str] = Counter()
    causes_of: dict[str, set[str]] = defaultdict(set)
    sequences: dict[str, list[int]] = defaultdict(list)
    for command in written.commands:
        data, cause = command["data"], command["data"]["caused_by"]["id"]
        by_cause[cause] += 1
        causes_of[command["id"]].add(cause)
        sequences[command["subject"]].append(data["sequence"])
        if not (cause in expected and expected[cause].command):
            found.note("invented commands", f"{command['id']} for {cause}")
    for identity, wanted in expected.items():
        if wanted.command and not by_cause[identity]:
            found.note("lost commands", f"for {identity} of {wanted.customer}")
        elif wanted.command and by_cause[identity] > 1:
            found.note("doubled commands", f"{by_cause[identity]} for {identity}")
    for identity, causes in causes_of.items():
        if len(causes) > 1:
            found.note("reused ids", f"{identity} for {sorted(causes)}")
    # Two channels are two topics, so the order between them is not looked at.
    _judge_order(written, found)
    for customer, numbers in sequences.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            found.note("broken sequences", f"{customer} has {numbers}")


def _judge_order(written: Written, found: Found) -> None:
    """Look at the first of each number: what comes again has been counted as doubled."""
    seen: dict[tuple[str, str], set[int]] = defaultdict(set)
    for command in written.commands:
        data = command["data"]
        before = seen[command["subject"], data["channel"]]
        if data["sequence"] not in before and data["sequence"] < max(before, default=0):
            found.note("commands out of order", f"{command['subject']}: {data['sequence']} late")
        before.add(data["sequence"])


def _judge_fences(written: Written, found: Found) -> None:
    fenced = {(customer, one["enrollment"]) for customer, fence in written.fences for one in fence}
    for entry in written.log:
        for one in entry["entries"]:
            if one["kind"] == "ended" and one["reason"] == "exit":
                place = (entry["customer"], one["enrollment"])
                if place not in fenced:
                    found.note("lost fences", f"{place[1]} of {place[0]}")


def judge(
    deployment: Deployment,
    *,
    seconds_max: float,
    is_event: Callable[[bytes | None, bytes | None], bool] = lambda _key, _value: True,
) -> Verdict:
    """Wait until every event has its word in the journey log, or time is up; then judge.

    `is_event` is asked with key and value: of what is none, nothing is expected.
    """
    everything = _everything(deployment, deployment.input_topic)
    inputs = [value for key, value in everything if value is not None and is_event(key, value)]
    expected = expectations(inputs)
    written, unsettled = _outputs(deployment, set(expected), seconds_max)
    found = findings(expected, written)
    return Verdict(len(expected), unsettled, found.counts, found.examples)


def _everything(deployment: Deployment, topic: str) -> Iterable[tuple[bytes | None, bytes | None]]:
    """Yield keys and values of a topic that nobody writes to any more."""
    consumer, places = _consumer(deployment, [topic])
    ends = {place.partition: consumer.get_watermark_offsets(place)[1] for place in places}
    left = {partition for partition, end in ends.items() if end > 0}
    while left:
        for message in consumer.consume(READ_RECORDS_MAX, 0.2):
            yield message.key(), message.value()
            if message.offset() + 1 >= ends[message.partition()]:
                left.discard(message.partition())
    consumer.close()


def _outputs(deployment: Deployment, waiting: set[str], seconds_max: float) -> tuple[Written, int]:
    """Read all outputs until every event was spoken of and it has become quiet."""
    prefix = deployment.prefix
    consumer, _ = _consumer(deployment, [f"{prefix}{name}" for name in OUTPUTS])
    written, deadline = Written(), time.monotonic() + seconds_max
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        messages = consumer.consume(READ_RECORDS_MAX, 0.2)
        for message in messages:
            _take(written, waiting, message.topic().removeprefix(prefix), message)
        if messages:
            quiet_since = time.monotonic()
        elif not waiting and time.monotonic() - quiet_since > QUIET_SECONDS:
            break
    consumer.close()
    return written, len(waiting)


def _take(written: Written, waiting: set[str], topic: str, message: Any) -> None:
    record = orjson.loads(message.value())
    if topic == "journey-log":
        # A promotion that is due tomorrow says nothing today; only events speak here.
        waiting.discard(record["cause"].get("id"))
        written.log.append(record)
    elif topic == "fences":
        written.fences.append((message.key().decode(), record["enrollments"]))
    else:
        written.commands.append(record)


def _consumer(deployment: Deployment, topics: list[str]) -> tuple[Consumer, list[TopicPartition]]:
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.bootstrap_servers,
            "group.id": f"{deployment.prefix}oracle",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 200_000,
            "log_level": 2,
        }
    )
    known = consumer.list_topics(timeout=10).topics
    places = [
        TopicPartition(topic, partition, 0)
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    ]
    consumer.assign(places)
    return consumer, places
