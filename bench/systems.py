"""The systems of the table, as processes: how each starts, when it is ready, what it costs.

All three get the same settings by the environment and the same topics by `orchestrator topics`,
under a prefix of their own; a system is ready when a purchase on every partition was answered.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from bench.events import (
    Workload,
    customer_id,
    event_bytes,
    event_id,
    population,
    profile_bytes,
)
from bench.load import producer_config
from bench.reader import command_partitions, consumer_config, purchase_of
from orchestrator.protocol.home import home_partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READY_SECONDS_MAX: Final = 90.0
STOP_SECONDS_MAX: Final = 15.0
# Customers nobody else has, one per partition.
PROBES_FROM: Final = 9_000_000
ROOT: Final = Path(__file__).resolve().parent.parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

COMMANDS: Final = {
    "ours": ("-m", "orchestrator", "worker"),
    "floor": ("-m", "bench.rivals.floor"),
    "stock-faust": ("-m", "bench.rivals.stock_faust", "worker", "--without-web"),
}
SENDER: Final = ("-m", "orchestrator", "sender")


@cache
def shop_by_day() -> Path:
    """Return a copy of the shop without quiet hours: the hour must not change what is measured."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-shop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(ROOT / "journeys", folder, dirs_exist_ok=True)
    shop = folder / "shop.yaml"
    lines = shop.read_text("utf-8").splitlines(keepends=True)
    kept = (line for line in lines if not line.startswith("quiet_hours:"))
    shop.write_text("".join(kept), "utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class Deployment:
    """One broker, one prefix: a world of its own for one system."""

    bootstrap_servers: str
    prefix: str
    partitions: int = 8
    journeys: Path = field(default_factory=shop_by_day)
    mode: str = "test"

    @property
    def app_id(self) -> str:
        """Group, and prefix of internal topics."""
        return f"{self.prefix}app"

    @property
    def input_topic(self) -> str:
        """Where events go."""
        return f"{self.prefix}touchpoints"

    @property
    def forward_topic(self) -> str:
        """Where records are on their way home."""
        return f"{self.prefix}{self.app_id}-forward"

    def changelog(self, system: str) -> str:
        """Return where a system keeps its states; Faust names the topic itself."""
        prefix = "" if system == "stock-faust" else self.prefix
        return f"{prefix}{self.app_id}-customers-changelog"

    @property
    def environment(self) -> dict[str, str]:
        """The settings, as every system reads them."""
        return os.environ | {
            "ORCHESTRATOR_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ORCHESTRATOR_TOPIC_PREFIX": self.prefix,
            "ORCHESTRATOR_APP_ID": self.app_id,
            "ORCHESTRATOR_PARTITIONS": str(self.partitions),
            "ORCHESTRATOR_JOURNEYS": str(self.journeys),
            "ORCHESTRATOR_MODE": self.mode,
            "ORCHESTRATOR_METRICS_PORT": "0",
            "PYTHONPATH": str(ROOT),
        }

    def create_topics(self) -> None:
        """Create everything that a system reads and writes, as an operator would."""
        subprocess.run(
            [sys.executable, "-m", "orchestrator", "topics"],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )

    def delete_topics(self) -> None:
        """Remove the world; what is left of a run must not weigh on the next one."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        existing = admin.list_topics(timeout=10).topics
        topics = [name for name in existing if name.startswith(self.prefix)]
        if topics:
            for future in admin.delete_topics(topics, operation_timeout=30).values():
                future.result()


@dataclass(frozen=True, slots=True)
class Running:
    """A started system."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started_ns: int

    def alive(self) -> bool:
        """Whether its process has not ended."""
        return self.process.poll() is None

    def tail(self) -> str:
        """Return its last words."""
        return self.log.read_text(errors="replace")[-3_000:]


@contextmanager
def running(
    name: str,
    deployment: Deployment,
    log: Path,
    *,
    command: tuple[str, ...] = (),
    program: str = sys.executable,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a system as one process of its own; end it, gently first, on the way out.

    `command` is what the program, else Python, is to run; without it, what COMMANDS has for the
    name. `variables` come on top of the deployment's. The log is appended to.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        started_ns = time.monotonic_ns()
        process = subprocess.Popen(
            [program, *(command or COMMANDS[name])],
            env=deployment.environment | (variables or {}),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Running(name, process, log, started_ns)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_ready(
    system: Running, deployment: Deployment, *, seconds_max: float = READY_SECONDS_MAX
) -> float:
    """Wait until a purchase on every partition was answered; return the seconds since the start.

    Asked from outside, in the same way for every system; partitions are logs, so everything sent
    before is decided by then. Raises RuntimeError with the system's last words when it ends or
    does not answer.
    """
    consumer = Consumer(consumer_config(deployment.bootstrap_servers, f"{deployment.prefix}probe"))
    consumer.assign(command_partitions(consumer, deployment.prefix))
    deadline = time.monotonic() + seconds_max
    waiting, answered_ns = _send_probes(deployment), system.started_ns
    try:
        while waiting:
            if not system.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{system.name} is not ready:\n{system.tail()}")
            message = consumer.poll(0.02)
            if message is not None and not message.error():
                answered_ns = time.monotonic_ns()
                waiting.discard(purchase_of(message.value()) or "")
    finally:
        consumer.close()
    return (answered_ns - system.started_ns) / 1e9


def send_population(deployment: Deployment, workload: Workload) -> None:
    """Put profiles and the running promotion in front of the load."""
    producer = Producer(producer_config(deployment.bootstrap_servers) | {"linger.ms": 20})
    for key, value in population(workload):
        producer.produce(deployment.input_topic, key=key, value=value)
    if producer.flush(60):
        raise RuntimeError("the broker did not take the population")


def probes(deployment: Deployment) -> list[int]:
    """Return the numbers of the customers by whom we ask whether a system is ready."""
    return [
        next(
            number
            for number in range(PROBES_FROM, PROBES_FROM + 1_000)
            if home_partition(customer_id(number).encode(), deployment.partitions) == partition
        )
        for partition in range(deployment.partitions)
    ]


def send_profiles(deployment: Deployment) -> None:
    """Tell who those customers are, for journeys that write to nobody without an address."""
    producer = Producer(producer_config(deployment.bootstrap_servers))
    for number in probes(deployment):
        value = profile_bytes(number, event_id(time.monotonic_ns(), number), time.time_ns())
        producer.produce(deployment.input_topic, key=customer_id(number), value=value)
    if producer.flush(60):
        raise RuntimeError("the broker did not take the profiles")


def _send_probes(deployment: Deployment) -> set[str]:
    """Send a purchase to every partition; return their ids."""
    producer = Producer(producer_config(deployment.bootstrap_servers))
    chance, sent = Random(0), set()
    for partition, customer in enumerate(probes(deployment)):
        identity = event_id(time.monotonic_ns(), partition)
        value = event_bytes("purchase", identity, customer, time.time_ns(), chance)
        producer.produce(deployment.input_topic, key=customer_id(customer), value=value)
        sent.add(identity)
    producer.flush(10)
    return sent


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def peak_bytes(pid: int) -> int:
    """Return the most that a process was ever resident with."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
