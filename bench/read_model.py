"""The read model of a million customers: cold fill, warm start, memory, reads.

States are those of `bench.recovery`, written with transactions; every customer has one journey-log
record besides. `orchestrator api` is started with an empty folder, stopped, and started again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import httpx
from confluent_kafka import Producer

from bench.events import customer_id
from bench.load import producer_config
from bench.recovery import TRANSACTION_RECORDS, fill
from bench.report import RESULTS, Results, environment
from bench.run import broker
from bench.systems import Deployment, peak_bytes, resident_bytes
from orchestrator import catalog
from orchestrator.api.tokens import Scope, line_of
from orchestrator.core.decision import Entered
from orchestrator.protocol.outputs import EventCause, encode_log, rfc3339

TOKEN = "bench-" + "b" * 40
READY_SECONDS_MAX = 1_800.0
READS = 5_000


def cpu_seconds(pid):
    """Return the processor time of a process, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill_log(deployment, topic, customers):
    """Write one journey-log record for each customer."""
    config = producer_config(deployment.bootstrap_servers)
    config |= {
        "linger.ms": 20,
        "batch.size": 500_000,
        "transactional.id": f"{deployment.prefix}log",
    }
    producer = Producer(config)
    producer.init_transactions(30)
    producer.begin_transaction()
    now_ms = time.time_ns() // 1_000_000
    for number in range(customers):
        customer = customer_id(number)
        cause = EventCause(
            "touchpoints", 0, number, "/shop", f"evt-{number}", "product.viewed", rfc3339(now_ms)
        )
        value = encode_log(
            customer=customer,
            now_ms=now_ms,
            cause=cause,
            outcome="applied",
            definitions_hash="0" * 64,
            entries=(Entered("browse_abandonment/tent-2#1", "browse_abandonment", 1),),
        )
        producer.produce(topic, key=customer.encode(), value=value)
        if number % TRANSACTION_RECORDS == TRANSACTION_RECORDS - 1:
            producer.commit_transaction(60)
            producer.begin_transaction()
    producer.commit_transaction(60)


def free_port():
    """Return a port on which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class Process:
    """`orchestrator api` over a folder."""

    def __init__(self, deployment, folder, log):
        self.log = log
        self.metrics_port = free_port()
        values = {
            "api_port": 0,
            "api_metrics_port": self.metrics_port,
            "api_data_dir": folder,
            "api_tokens": line_of("bench", list(Scope), TOKEN),
            "api_requests_per_second": 0,
            "log_format": "json",
        }
        settings = {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in values.items()}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "api"],
            env=deployment.environment | settings,
            stderr=log.open("wb"),
            stdout=subprocess.DEVNULL,
        )

    def told(self, event):
        """Return the first log line of an event."""
        for line in self.log.read_bytes().splitlines():
            fields = json.loads(line)
            if fields.get("event") == event:
                return fields
        return None

    def ready(self):
        """Wait until it is; return seconds since its start."""
        while self.told("ready") is None:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text()[-2_000:])
            if time.perf_counter() - self.started > READY_SECONDS_MAX:
                raise TimeoutError("not ready")
            time.sleep(0.05)
        return time.perf_counter() - self.started

    def read(self, customers):
        """Read random customers one after the other; return milliseconds, sorted."""
        dice, times = random.Random(1), []
        url = f"http://127.0.0.1:{self.told('listening')['port']}"
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers) as client:
            for _ in range(READS):
                path = f"/v1/customers/{customer_id(dice.randrange(customers))}"
                begun = time.perf_counter()
                assert client.get(path).status_code == 200
                times.append((time.perf_counter() - begun) * 1_000)
        return sorted(times)

    def stop(self):
        """End it."""
        self.process.terminate()
        self.process.wait(60)


def measure(deployment, customers, logs):
    """Fill the topics, start cold, start warm."""
    journeys = catalog.load(deployment.journeys, "test")
    deployment.create_topics()
    logs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="read-model-"))
    try:
        row = fill(
            deployment, deployment.changelog("ours"), journeys, customers, transactional=True
        )
        fill_log(deployment, f"{deployment.prefix}journey-log", customers)
        cold = Process(deployment, folder, logs / f"{deployment.prefix}cold.log")
        row["cold_seconds"] = round(cold.ready(), 1)
        row["cold_cpu_seconds"] = round(cpu_seconds(cold.process.pid), 1)
        row["cold_peak_bytes"] = peak_bytes(cold.process.pid)
        cold.stop()
        row["disk_bytes"] = sum(one.stat().st_size for one in folder.iterdir())
        warm = Process(deployment, folder, logs / f"{deployment.prefix}warm.log")
        row["warm_seconds"] = round(warm.ready(), 1)
        row["warm_cpu_seconds"] = round(cpu_seconds(warm.process.pid), 1)
        row["warm_bytes"] = resident_bytes(warm.process.pid)
        times = warm.read(customers)
        row["read_ms_p50"] = round(statistics.median(times), 2)
        row["read_ms_p99"] = round(times[int(len(times) * 0.99)], 2)
        row["read_bytes"] = resident_bytes(warm.process.pid)
        warm.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        deployment.delete_topics()
    return row | {"customers": customers}


@click.command(epilog="Example: python -m bench.read_model --customers 1000000")
@click.option("--customers", default=1_000_000, show_default=True)
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(customers, bootstrap_servers):
    """Measure the read model, and print it."""
    results = Results(RESULTS / "read_model.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        deployment = Deployment(target.bootstrap_servers, f"read-{results.token}-")
        row = measure(deployment, customers, results.logs)
    results.add(f"read_model/{customers}/api/0", row)
    lines = [f"# The read model of {customers:,} customers", "", "| what | figure |", "|---|---|"]
    lines += [f"| {name} | {value:,} |" for name, value in row.items()]
    table = "\n".join([*lines, "", *results.where(), ""])
    results.path.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table)


if __name__ == "__main__":
    main()
