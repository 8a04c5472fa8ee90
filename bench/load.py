"""The open-loop generator: sends each event at its intended instant, whatever the system does.

`run` calls `generate` in a process of its own; `python -m bench.load` sends by hand. The client is
librdkafka, not the one of the systems measured. A generator that was late measured itself: its
lateness is part of the report, and a run in which it is too high is void.
"""

from __future__ import annotations

import gc
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import click
import orjson
from confluent_kafka import Producer

from bench.events import MIXES, Touch, Workload, touches

# The share of a core that a sleep of this length costs is small; its error is a fraction of it.
SLEEP_SECONDS_MAX: Final = 0.0005
LATENESS_P99_MS_MAX: Final = 2.0
# Serialising takes some 10 us an event; the first event is meant for after that.
PREPARE_NS_PER_EVENT: Final = 25_000
FLUSH_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the generator."""

    bootstrap_servers: str
    topic: str
    rate: float
    seconds: float
    warm_up_seconds: float
    workload: Workload = field(default_factory=Workload)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was sent. Only purchases intended at or after `measure_from_ns` are measured."""

    sent: int
    failed: int
    purchases: int
    purchases_measured: int
    measure_from_ns: int
    last_ns: int
    event_bytes_mean: float
    late_p99_ms: float
    late_max_ms: float

    @property
    def valid(self) -> bool:
        """Whether the generator kept its times and everything was accepted."""
        return self.late_p99_ms <= LATENESS_P99_MS_MAX and self.failed == 0


def producer_config(bootstrap_servers: str) -> dict[str, Any]:
    """Return the settings of a producer as the contract advises: murmur2, acks all, no linger."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "acks": "all",
        "socket.nagle.disable": True,
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": 2_000_000,
        "log_level": 2,
    }


def generate(load: Load) -> LoadReport:
    """Send the load and return what happened."""
    producer = Producer(producer_config(load.bootstrap_servers))
    producer.list_topics(load.topic, timeout=10)  # Connects and learns the partitions beforehand.
    with suppress(PermissionError):
        # A generator that waits for a core measures the wrong thing. Only this thread goes first.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    seconds = load.warm_up_seconds + load.seconds
    start_ns = time.monotonic_ns() + int(load.rate * seconds * PREPARE_NS_PER_EVENT) + 100_000_000
    planned = list(touches(load.workload, load.rate, seconds, start_ns))
    measure_from_ns = start_ns + int(load.warm_up_seconds * 1e9)
    gc.collect()
    gc.freeze()
    gc.disable()
    failed, late_ns = send(producer, load.topic, planned)
    measured = sorted(
        late
        for touch, late in zip(planned, late_ns, strict=True)
        if touch.intended_ns >= measure_from_ns
    ) or [0]
    purchases = [touch.intended_ns for touch in planned if touch.type == "purchase"]
    return LoadReport(
        sent=len(planned),
        failed=failed,
        purchases=len(purchases),
        purchases_measured=sum(intended >= measure_from_ns for intended in purchases),
        measure_from_ns=measure_from_ns,
        last_ns=planned[-1].intended_ns if planned else start_ns,
        event_bytes_mean=sum(len(touch.value or b"") for touch in planned) / max(1, len(planned)),
        late_p99_ms=measured[int(len(measured) * 0.99)] / 1e6,
        late_max_ms=measured[-1] / 1e6,
    )


def send(producer: Producer, topic: str, planned: list[Touch]) -> tuple[int, list[int]]:
    """Send each at its instant; return how many were not accepted, and how late each one was."""
    failures = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failures.append(error)

    late_ns = []
    for touch in planned:
        while (ahead_ns := touch.intended_ns - time.monotonic_ns()) > 0:
            producer.poll(0)
            time.sleep(min(ahead_ns / 1e9, SLEEP_SECONDS_MAX))
        producer.produce(topic, key=touch.key, value=touch.value, on_delivery=on_delivery)
        late_ns.append(time.monotonic_ns() - touch.intended_ns)
    left = producer.flush(FLUSH_SECONDS)
    return len(failures) + left, late_ns


@click.command()
@click.option("--bootstrap-servers", default="127.0.0.1:9092", show_default=True)
@click.option("--topic", default="touchpoints", show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="Events a second.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--customers", default=10_000, show_default=True)
@click.option("--mix", type=click.Choice(sorted(MIXES)), default="mixed", show_default=True)
@click.option("--skew", default=0.0, show_default=True, help="Zipf exponent; 0 is uniform.")
@click.option("--seed", default=1, show_default=True)
def main(
    *,
    bootstrap_servers: str,
    topic: str,
    rate: float,
    seconds: float,
    customers: int,
    mix: str,
    skew: float,
    seed: int,
) -> None:
    """Send events at a rate and print what was sent as JSON."""
    workload = Workload(customers=customers, mix=mix, skew=skew, seed=seed)
    report = generate(Load(bootstrap_servers, topic, rate, seconds, 0.0, workload))
    click.echo(orjson.dumps(asdict(report) | {"valid": report.valid}))


if __name__ == "__main__":
    main()
