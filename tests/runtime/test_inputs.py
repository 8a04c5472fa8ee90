"""Other teams' topics, as they are: read by `inputs.yaml`, each record once, on a real Kafka."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from decimal import Decimal

import httpx
import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from bench.topics import read_topic
from orchestrator.broker import EmbeddedBroker
from orchestrator.cli import run
from tests.runtime.deployment import JOURNEYS, PARTITIONS, purchase, wait_until
from tests.schema_registry import SchemaRegistryServer

CUSTOMERS = [f"c{n}" for n in range(12)]
FINAL = ["review", "thank_you"]
OTHER_COUNT = PARTITIONS + 2
INPUTS = """\
orders:
  topic: {topic}
  format: {form}
  unmatched: ignore
  rules:
    - when: record.value.status == "PAID"
      type: purchase
      subject: record.value.customer.number
      id: record.value.order_no + "/paid"
      time: {{value: record.value.paid_ms, unit: ms}}
      data:
        order_id: record.value.order_no
        total: record.value.amount.gross
        currency: record.value.amount.currency
        items: >-
          record.value.lines.map(l, {{"sku": l.article, "quantity": l.qty, "price": l.price}})
"""
AVRO = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "status", "type": {"type": "enum", "name": "S", "symbols": ["PAID", "OPEN"]}},
        {"name": "order_no", "type": "string"},
        {"name": "paid_ms", "type": "long"},
        {
            "name": "customer",
            "type": {
                "type": "record",
                "name": "Customer",
                "fields": [{"name": "number", "type": "string"}],
            },
        },
        {
            "name": "amount",
            "type": {
                "type": "record",
                "name": "Amount",
                "fields": [
                    {
                        "name": "gross",
                        "type": {
                            "type": "bytes",
                            "logicalType": "decimal",
                            "precision": 12,
                            "scale": 2,
                        },
                    },
                    {"name": "currency", "type": "string"},
                ],
            },
        },
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "article", "type": "string"},
                        {"name": "qty", "type": "int"},
                        {"name": "price", "type": "double"},
                    ],
                },
            },
        },
    ],
}


def order(customer, status="PAID", gross="129.10"):
    """Return an order as the shop's backend writes it; money is a number there."""
    return {
        "status": status,
        "order_no": f"A-{customer}",
        "paid_ms": time.time_ns() // 1_000_000,
        "customer": {"number": customer},
        "amount": {"gross": float(gross), "currency": "EUR"},
        "lines": [{"article": "tent-2", "qty": 1, "price": 129.1}],
    }


class Backend:
    """The other team: their topic, with their partitions, keys and time stamps."""

    def __init__(self, deployment, tmp_path):
        self.deployment = deployment
        self.name = "erp.orders"
        self.topic = deployment.prefix + self.name
        self.folder = tmp_path / "journeys"
        shutil.copytree(JOURNEYS, self.folder)

    def create(self):
        config = {"message.timestamp.type": "LogAppendTime"}
        admin = AdminClient(self.deployment.client)
        made = admin.create_topics([NewTopic(self.topic, OTHER_COUNT, 1, config=config)])
        for future in made.values():
            future.result(20)

    def declare(self, text=INPUTS, **fields):
        written = text.format(**({"topic": self.topic, "form": "json"} | fields))
        (self.folder / "inputs.yaml").write_text(written)

    def write(self, *values, key=b"order"):
        """Write values in turn to all partitions, under a key that says nothing of customers."""
        producer = Producer(self.deployment.client | {"acks": "all", "linger.ms": 0})
        for number, value in enumerate(values):
            data = value if isinstance(value, bytes) else orjson.dumps(value)
            producer.produce(
                self.topic,
                key=key,
                value=data,
                partition=number % OTHER_COUNT,
                headers=[("origin", b"erp")],
            )
        assert producer.flush(20) == 0

    def start(self, slot="a", **settings):
        return self.deployment.start(slot, journeys=self.folder, **settings)

    def dead_letters(self):
        topic = self.deployment.prefix + "dead-letters"
        return [
            (key, value, dict(headers))
            for key, value, headers in read_topic(self.deployment.client, topic)
        ]

    def purchases(self):
        """Return the events that came home, by customer."""
        found = {}
        forward = f"{self.deployment.app_id}-forward"
        for key, value, _ in self.deployment.read(forward):
            found.setdefault(key.decode(), []).append(value)
        return found


@pytest.fixture
def backend(deployment, tmp_path):
    """The other team beside a deployment with no worker yet."""
    return Backend(deployment, tmp_path)


def waiting(port, topic):
    """Return what a worker's gauges say of a topic of another team: by name, by partition."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    labels = r"\{partition=\"(\d+)\",topic=\"" + re.escape(topic) + r"\"\}"
    line = r"orchestrator_input_(\w+)" + labels + r" (\S+)"
    found = {}
    for name, partition, value in re.findall(line, text):
        found.setdefault(name, {})[partition] = float(value)
    return found


def everybody(deployment, customers=CUSTOMERS):
    return lambda: deployment.templates() == dict.fromkeys(customers, FINAL)


def test_records_of_another_team_become_events_and_a_bad_one_stops_nobody(deployment, backend):
    backend.create()
    backend.declare()
    backend.start()
    bad = b'{"status":"PAID", "order_no":"A-bad"'
    half = len(CUSTOMERS) // 2

    backend.write(*map(order, CUSTOMERS[:half]), bad, *map(order, CUSTOMERS[half:]))
    backend.write(order("nobody", status="OPEN"))

    wait_until(everybody(deployment), "everybody's messages")
    ((key, value, headers),) = backend.dead_letters()
    assert (key, value) == (b"order", bad)
    assert headers["dl_reason"] == b"invalid_json"
    assert headers["dl_topic"] == backend.topic.encode()
    assert headers["origin"] == b"erp"
    came = backend.purchases()
    assert came.keys() == set(CUSTOMERS)
    assert came["c1"][0]["data"]["total"] == "129.1"
    assert came["c1"][0]["source"] == "/inputs/orders"


@pytest.mark.parametrize("failpoint", ["after_decide:3", "after_acks:3", "after_offsets:3"])
def test_a_worker_killed_while_it_maps_loses_and_doubles_nothing(deployment, backend, failpoint):
    backend.create()
    backend.declare()
    worker = backend.start(failpoint=failpoint)
    for customer in CUSTOMERS:
        backend.write(order(customer), b"\x00\x01", order(customer))  # The producer repeats itself.
    wait_until(lambda: worker.poll() is not None, "death at the failpoint")
    assert worker.returncode == -signal.SIGKILL

    backend.start()

    wait_until(everybody(deployment), "everybody's messages")
    assert len(backend.dead_letters()) == len(CUSTOMERS)
    assert all(len(events) == 2 for events in backend.purchases().values())


def test_a_dead_letter_of_a_mapped_record_is_put_back_as_it_was(deployment, backend, monkeypatch):
    backend.create()
    backend.declare()
    backend.start()
    first, second = order("ana"), order("ana", gross="99.00")
    backend.write(first)
    wait_until(lambda: "ana" in deployment.templates(), "first message")
    backend.write(second)  # The same id with another content.
    wait_until(backend.dead_letters, "a dead letter")

    ((key, value, headers),) = backend.dead_letters()
    assert (key, value, headers["dl_reason"]) == (b"order", orjson.dumps(second), b"id_reused")
    assert headers["dl_topic"] == backend.topic.encode()
    assert not any(name.startswith("fw_") for name in headers)

    for name, setting in deployment.settings.items():
        monkeypatch.setenv(f"ORCHESTRATOR_{name.upper()}", str(setting))
    assert run(["dead-letters", "replay", "--yes"]) == 0
    again = read_topic(deployment.client, backend.topic)
    assert [value for _, value, _ in again].count(orjson.dumps(second)) == 2


def test_a_worker_whose_input_is_not_there_says_so_and_creates_nothing(deployment, backend):
    backend.declare()

    worker = deployment.start(ready=False, journeys=backend.folder)

    wait_until(lambda: worker.poll() is not None, "end of the worker")
    assert worker.returncode == 1
    assert f"{backend.topic}: the topic is missing" in worker.log.read_text()
    assert "inputs.yaml reads it (orders)" in worker.log.read_text()
    topics = AdminClient(deployment.client).list_topics(timeout=20).topics
    assert backend.topic not in topics


def avro_order(serialize, topic, customer):
    value = order(customer)
    value["amount"]["gross"] = Decimal("129.10")
    return serialize(value, SerializationContext(topic, MessageField.VALUE))


def test_avro_waits_for_its_schema_and_nobody_waits_for_avro(deployment, backend):
    backend.create()
    backend.declare(form="avro")
    with SchemaRegistryServer(user=("shop", "secret")) as registry:
        client = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": "shop:secret"})
        serialize = AvroSerializer(client, json.dumps(AVRO))
        values = [avro_order(serialize, backend.topic, customer) for customer in CUSTOMERS]
        registry.away = True
        port = EmbeddedBroker.free_port()
        worker = backend.start(
            metrics_port=port,
            schema_registry_url=registry.url,
            schema_registry_username="shop",
            schema_registry_password="secret",
            watchdog_seconds=3,
        )
        backend.write(*values, b"not avro at all", b"\x00\x00\x00\x27\x0f" + b"unknown")
        wait_until(lambda: b"wait for the schema registry" in worker.log.read_bytes(), "a word")

        deployment.produce(purchase("ana"))
        wait_until(everybody(deployment, ["ana"]), "who does not come by Avro")
        time.sleep(5)  # Longer than the watchdog is patient with a worker that has lag.
        assert worker.poll() is None, worker.log.read_text()
        behind = waiting(port, backend.topic)
        assert sum(behind["lag_records"].values()) >= len(values)
        assert max(behind["oldest_record_age_seconds"].values()) >= 5

        registry.away = False
        wait_until(everybody(deployment, ["ana", *CUSTOMERS]), "everybody's messages")
        wait_until(lambda: len(backend.dead_letters()) == 2, "both dead letters")
        level = dict.fromkeys(map(str, range(OTHER_COUNT)), 0.0)
        wait_until(lambda: waiting(port, backend.topic)["lag_records"] == level, "no lag")

    details = sorted(headers["dl_detail"].decode() for _, _, headers in backend.dead_letters())
    assert details == [
        "is not avro in the frame of a schema registry",
        "the registry knows no schema 9999",
    ]
    assert backend.purchases()["c3"][0]["data"]["total"] == "129.10"
    assert registry.asked[1] == 1


def test_published_inputs_that_read_another_topic_restart_the_worker(deployment, backend):
    worker = backend.start()
    backend.create()
    backend.declare()
    settings = [f"--{name.replace('_', '-')}" for name in ("bootstrap_servers", "topic_prefix")]
    values = [deployment.bootstrap_servers, deployment.prefix]
    options = [part for pair in zip(settings, values, strict=True) for part in pair]
    options += ["--app-id", deployment.app_id, "--partitions", str(PARTITIONS)]

    assert run(["publish", str(backend.folder), *options]) == 0

    wait_until(lambda: worker.poll() is not None, "end of the worker")
    assert worker.returncode == 70
    assert "inputs.yaml reads other topics now" in worker.log.read_text()
    backend.start("b")
    backend.write(*map(order, CUSTOMERS))
    wait_until(everybody(deployment), "everybody's messages")
