"""A deployment under test: its own topics on the shared broker, worker processes, and a reader."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
from confluent_kafka import Producer

from bench.topics import decoded, read_topic

JOURNEYS = Path(__file__).parent / "journeys"
PARTITIONS = 3
START_SECONDS_MAX = 60
ITEMS = [{"sku": "tent-2", "quantity": 1, "price": "129.00"}]


class Deployment:
    """Workers over one set of topics; environment names the settings."""

    def __init__(self, bootstrap_servers, topic_prefix, app_id, folder, client=None, **settings):
        self.bootstrap_servers = bootstrap_servers
        self.prefix, self.app_id, self.folder = topic_prefix, app_id, folder
        self.client = {"bootstrap.servers": bootstrap_servers} | (client or {})
        self.settings = {
            "bootstrap_servers": bootstrap_servers,
            "topic_prefix": topic_prefix,
            "app_id": app_id,
            "partitions": PARTITIONS,
            "metrics_port": 0,
            "log_format": "json",
            "journeys": JOURNEYS,
        } | settings
        self.workers = []

    def start(self, slot="a", *, ready=True, **settings):
        """Start a worker; return its process once it is ready."""
        values = self.settings | {"slot": slot} | settings
        environment = os.environ | {
            f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in values.items()
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "worker"],
            env=environment,
            stderr=log.open("wb"),
            stdout=subprocess.DEVNULL,
        )
        process.log = log
        self.workers.append(process)
        if ready:
            wait_until(
                lambda: b'"event":"ready"' in log.read_bytes() or process.poll() is not None,
                "a ready worker",
            )
            assert process.poll() is None, log.read_text()
        return process

    def stop(self):
        """End every worker at once."""
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def producer(self, **config):
        """Return a producer; librdkafka's default partitioner unless told otherwise."""
        return Producer(self.client | {"acks": "all", "linger.ms": 0} | config)

    def produce(self, *events, topic="touchpoints", **config):
        """Send events and wait until the broker has them."""
        producer = self.producer(**config)
        for event in events:
            producer.produce(self.prefix + topic, key=event["subject"], value=orjson.dumps(event))
        assert producer.flush(20) == 0

    def read(self, name, *, isolation="read_committed"):
        """Return all records of a topic: (key, decoded value, headers)."""
        records = read_topic(self.client, self.prefix + name, isolation=isolation)
        return [(key, decoded(value), headers) for key, value, headers in records]

    def templates(self):
        """Return the templates of all visible messages by customer."""
        found = defaultdict(list)
        for lane in ("email", "email.promotional", "push", "push.promotional"):
            for key, value, _ in self.read(f"commands.{lane}"):
                if value["type"] == "message.send":
                    found[key.decode()].append(value["data"]["template"])
        return {customer: sorted(names) for customer, names in found.items()}

    def log_entries(self, customer):
        """Return what the customer's journey-log entries are, or why; in order."""
        return [
            entry.get("reason", entry["kind"])
            for key, record, _ in self.read("journey-log")
            if key.decode() == customer
            for entry in record["entries"]
        ]


def awake(journeys, folder):
    """Return a copy of journeys that keeps no quiet hours: tests run at any time of day."""
    copy = shutil.copytree(journeys, folder / "journeys")
    shop = copy / "shop.yaml"
    lines = shop.read_text().splitlines(keepends=True)
    shop.write_text("".join(line for line in lines if not line.startswith("quiet_hours:")))
    return copy


def wait_until(true, what, seconds=START_SECONDS_MAX):
    """Wait for a condition, or fail and say for what."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.1)


def event(type_, event_id, customer, **data):
    """Return a CloudEvent that happens now."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/shop",
        "type": type_,
        "subject": customer,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": data,
    }


def cart(customer):
    """Return an abandoned cart with the tent."""
    return event("cart.abandoned", f"cart-{customer}", customer, cart_id="k1", items=ITEMS)


def purchase(customer, order_id="1001"):
    """Return a purchase of the tent."""
    return event(
        "purchase",
        f"ord-{customer}-{order_id}",
        customer,
        order_id=order_id,
        total="129.00",
        currency="EUR",
        items=ITEMS,
    )
