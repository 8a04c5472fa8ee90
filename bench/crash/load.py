"""Sends a plan to the broker when its time has come, and keeps what the broker acknowledged.

Open loop: nothing here waits for the workers. Three producers tell the story: a plain idempotent
one, one whose transactions are committed or aborted, and the senders of the channels, who report
what became of the commands they see. A send whose answer never came is indeterminate: it is neither
required nor forbidden to have an effect.
"""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from bench.crash.judge.history import Names, Place, home_of
from bench.crash.plan import STRUCTURED, Planned, encode, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

TRANSACTION_RECORDS_MAX: Final = 8
FINALS: Final = (
    ("message.delivered", None),
    ("message.opened", None),
    ("message.bounced", None),
    ("message.failed", "busy"),
    ("message.failed", "unknown"),
    ("message.dropped", "fenced"),
    ("message.dropped", "duplicate"),
)
"""What senders report, and why."""
FINAL_WEIGHTS: Final = (60, 16, 9, 5, 3, 5, 2)
PATIENT: Final = frozenset({"still_interested", "refund_done"})
"""Templates that go out on another channel five minutes after no report: longer than a run."""
REPORTED: Final = 0.3
"""The part of the sends that the senders report on."""


class Load:
    """Tells one plan. `run` blocks until everything was sent and answered or given up."""

    def __init__(self, bootstrap_servers: str, names: Names, plan: Sequence[Planned]) -> None:
        self.names = names
        self.plan = plan
        self.acknowledged: dict[Place, int] = {}
        """Where the broker says it put a record, and the checksum of the record's value."""
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self._bootstrap = bootstrap_servers
        self._transactional: deque[Planned] = deque()
        self._lock = threading.Lock()

    def run(self, started: float) -> None:
        """Send everything; `started` is the monotonic instant at which the plan begins."""
        producer = Producer(producing(self._bootstrap))
        lane = threading.Thread(target=self._run_transactions, name="transactions")
        lane.start()
        for planned in self.plan:
            while (left := started + planned.at_ms / 1000 - time.monotonic()) > 0:
                producer.poll(min(left, 0.05))
            if planned.lane == "plain":
                self._send(producer, planned)
            else:
                self._transactional.append(planned)
            self.counts["sent"] += 1
        producer.flush(180)
        self.over.set()
        lane.join()

    def _send(self, producer: Producer, planned: Planned) -> None:
        while True:
            try:
                self._produce(producer, planned, self._answered)
            except BufferError:
                producer.poll(0.1)
            else:
                return

    def _produce(self, producer: Producer, planned: Planned, answered: object) -> None:
        producer.produce(
            f"{self.names.prefix}{planned.topic}",
            key=planned.key,
            value=planned.value,
            partition=planned.partition,
            headers=list(planned.headers),
            on_delivery=answered,
        )

    def _answered(self, error: object, message: Message) -> None:
        if error is not None:
            self.counts["indeterminate"] += 1
            return
        self.keep(message)

    def keep(self, message: Message) -> None:
        """Remember an acknowledgement; one without a place under a number below zero."""
        offset = message.offset()
        checksum = zlib.crc32(message.value() or b"")
        with self._lock:
            if offset is None or offset < 0:
                # A repeat that the broker knew already, from before it died: it says no place.
                self.counts["acknowledged without a place"] += 1
                offset = -self.counts["acknowledged without a place"]
            place = (message.topic(), message.partition(), offset)
            self.acknowledged[place] = checksum
            self.counts["acknowledged"] += 1

    def _run_transactions(self) -> None:
        producer: Producer | None = None
        while not (self.over.is_set() and not self._transactional):
            if not self._transactional:
                time.sleep(0.05)
                continue
            lane = self._transactional[0].lane
            batch: list[Planned] = []
            while (
                self._transactional
                and self._transactional[0].lane == lane
                and len(batch) < TRANSACTION_RECORDS_MAX
            ):
                batch.append(self._transactional.popleft())
            try:
                producer = producer or self._transactional_producer()
                self._transact(producer, lane, batch)
            except KafkaException:
                # Whether it was committed is unknown; a new producer of the id ends it.
                self.counts["indeterminate"] += len(batch)
                producer = None

    def _transactional_producer(self) -> Producer:
        transactional_id = f"{self.names.prefix}{self.names.app_id}-crash-load"
        own = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 20_000,
            # The client wants to have given up a record before the broker gives up its transaction.
            "delivery.timeout.ms": 15_000,
        }
        producer = Producer({**producing(self._bootstrap), **own})
        producer.init_transactions(60)
        return producer

    def _transact(self, producer: Producer, lane: str, batch: Sequence[Planned]) -> None:
        answers: list[Message] = []
        producer.begin_transaction()
        for planned in batch:
            self._produce(
                producer,
                planned,
                lambda error, message: None if error else answers.append(message),
            )
        producer.flush(30)
        if lane == "aborted":
            # Left open for a moment, so that workers meet records of an open transaction.
            time.sleep(0.2)
            producer.abort_transaction(60)
            self.counts["aborted"] += len(batch)
            return
        producer.commit_transaction(60)
        self.counts["committed"] += len(batch)
        for message in answers:
            self.keep(message)


class Senders:
    """The channels' side: reads commands as any sender would, and reports on some of them."""

    def __init__(
        self, load: Load, bootstrap_servers: str, topics: Sequence[str], seed: int
    ) -> None:
        self._load = load
        self._bootstrap = bootstrap_servers
        self._topics = topics
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="senders")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the last reports to be answered."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = Producer(producing(self._bootstrap))
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "crash-senders",
                "log_level": 0,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        topics = consumer.list_topics(timeout=30).topics
        consumer.assign(
            [
                TopicPartition(topic, partition, 0)
                for topic in self._topics
                for partition in topics[topic].partitions
            ]
        )
        while not self._stop.is_set():
            for message in consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    self._report(producer, json.loads(message.value()))
            producer.poll(0)
        consumer.close()
        producer.flush(60)

    def _report(self, producer: Producer, command: dict[str, Any]) -> None:
        patient = command["type"] == "message.send" and command["data"]["template"] in PATIENT
        if command["type"] != "message.send" or self._random.random() > (patient or REPORTED):
            return
        customer = str(command["subject"])
        kind, reason = self._random.choices(FINALS, FINAL_WEIGHTS)[0]
        data = {"command_id": command["id"]}
        if reason is not None:
            data["reason"] = reason
        body = {
            "specversion": "1.0",
            "id": f"{kind}-{command['id']}",
            "source": "/senders",
            "type": kind,
            "subject": customer,
            "time": rfc3339(time.time_ns() // 1_000_000),
            "data": data,
        }
        value, _ = encode(body, binary=False)
        self._load.counts["reports"] += 1
        producer.produce(
            f"{self._load.names.prefix}touchpoints",
            key=customer.encode(),
            value=value,
            partition=home_of(customer, self._load.names.partitions),
            headers=list(STRUCTURED),
            on_delivery=lambda error, answer: None if error else self._load.keep(answer),
        )


def producing(bootstrap_servers: str) -> dict[str, object]:
    """Return the settings of a producer that loses and doubles nothing."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 2,
        "delivery.timeout.ms": 120_000,
        "message.max.bytes": 1_048_000,
        "queue.buffering.max.messages": 200_000,
        "reconnect.backoff.max.ms": 1_000,
    }
