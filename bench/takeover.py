"""How long a killed worker's customers wait with a million in state, without a standby and with.

Two workers share the partitions; one is killed with -9 and nobody restarts it. Purchases of new
customers go on all the time, spread over all partitions. Three instants count, all on one clock:
the kill, the group's noticing (asked of its coordinator every few milliseconds), and the first
command that could be read from each partition of the dead worker's. `python -m bench.takeover`
writes bench/results/takeover.md.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Final

import click
import httpx
import orjson
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from bench.events import customer_id, event_bytes, event_id
from bench.load import producer_config
from bench.reader import command_partitions, consumer_config, purchase_of
from bench.recovery import fill
from bench.report import RESULTS, Results, environment
from bench.run import broker
from bench.systems import (
    PROBES_FROM,
    Deployment,
    Running,
    await_ready,
    peak_bytes,
    resident_bytes,
    running,
)
from orchestrator import catalog
from orchestrator.broker import EmbeddedBroker
from orchestrator.protocol.home import home_partition

if TYPE_CHECKING:
    from pathlib import Path

RATE: Final = 40.0
STEADY_SECONDS: Final = 8.0
AFTER_SECONDS: Final = 45.0
LOADED_SECONDS_MAX: Final = 300.0
ASKED_SECONDS: Final = 0.02
# The first customer of the load; those by whom we ask whether a worker is ready come before.
LOAD_FROM: Final = PROBES_FROM + 100_000
HEAD: Final = (
    "| standby | customers | kill to noticed s | noticed to all answered s "
    "| kill to all answered s | longest wait of a purchase s | loading s "
    "| states kept / records read | survivor MiB before / peak |"
)
GOALS: Final = (
    "Goals: kill to all answered at most 10 s; with a standby, noticed to all answered at most "
    "2 s. The group notices after the session time-out of 6 s."
)


@dataclass
class Purchases:
    """Purchases under way, and when each was sent and answered, by the monotonic clock."""

    deployment: Deployment
    sent: dict[str, tuple[int, float]] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    ending: threading.Event = field(default_factory=threading.Event)
    stop_at: float = float("inf")

    def send(self) -> None:
        """Send one of a new customer every few milliseconds, whatever becomes of the others."""
        producer = Producer(producer_config(self.deployment.bootstrap_servers))
        chance, began = Random(1), time.monotonic()
        for number in count():
            if self.ending.wait(max(0.0, began + number / RATE - time.monotonic())):
                break
            customer = customer_id(LOAD_FROM + number)
            identity = event_id(time.monotonic_ns(), number)
            home = home_partition(customer.encode(), self.deployment.partitions)
            value = event_bytes("purchase", identity, LOAD_FROM + number, time.time_ns(), chance)
            self.sent[identity] = home, time.monotonic()
            producer.produce(self.deployment.input_topic, key=customer, value=value)
            producer.poll(0)
        producer.flush(10)

    def collect(self, consumer: Consumer) -> None:
        """Note when the first command of each could be read."""
        while not self.ending.is_set() or self.sent.keys() - self.answered.keys():
            message = consumer.poll(0.05)
            if message is not None and not message.error():
                purchase = purchase_of(message.value())
                if purchase in self.sent:
                    self.answered.setdefault(purchase, time.monotonic())
            if self.ending.is_set() and time.monotonic() > self.stop_at:
                break


def noticed(deployment: Deployment, members: int) -> float:
    """Return when the group's coordinator no longer counts a member, or gathers them anew."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap_servers})
    while True:
        asked = admin.describe_consumer_groups([deployment.app_id], request_timeout=10)
        group = asked[deployment.app_id].result()
        if len(group.members) < members or group.state.name != "STABLE":
            return time.monotonic()
        time.sleep(ASKED_SECONDS)


def measure(deployment: Deployment, customers: int, logs: Path, *, standby: bool) -> dict[str, Any]:
    """Fill, start two workers, kill one; return what it cost."""
    deployment.create_topics()
    ports = {slot: EmbeddedBroker.free_port() for slot in "ab"}

    def start(stack: ExitStack, slot: str) -> Running:
        variables = {
            "ORCHESTRATOR_SLOT": slot,
            "ORCHESTRATOR_STANDBY": str(standby).lower(),
            "ORCHESTRATOR_METRICS_PORT": str(ports[slot]),
        }
        log = logs / f"{deployment.prefix}{slot}.log"
        return stack.enter_context(running("ours", deployment, log, variables=variables))

    with ExitStack() as stack:
        await_ready(start(stack, "a"), deployment)
    sizes = fill(
        deployment,
        deployment.changelog("ours"),
        catalog.load(deployment.journeys, "test"),
        customers,
        transactional=True,
    )
    with ExitStack() as stack:
        survivor = start(stack, "a")
        await_ready(survivor, deployment, seconds_max=LOADED_SECONDS_MAX)
        dead = start(stack, "b")
        for port in ports.values():
            _settled(port, deployment.partitions // 2, standby=standby)
        before = resident_bytes(survivor.process.pid)
        row = _killed(stack, deployment, dead)
        survivor_peak = peak_bytes(survivor.process.pid)
    told = [
        orjson.loads(line)
        for line in survivor.log.read_bytes().splitlines()
        if b'"event":"recovered"' in line
    ][-1]
    return (
        row
        | sizes
        | {
            "customers": customers,
            "standby": standby,
            "loading_seconds": round(told["seconds"], 2),
            "waited_seconds": round(told["waited_seconds"], 2),
            "states_kept": told["kept"],
            "records_read": told["records"],
            "resident_bytes_before": before,
            "resident_bytes_peak": survivor_peak,
        }
    )


def _killed(stack: ExitStack, deployment: Deployment, dead: Running) -> dict[str, Any]:
    """Kill a worker under a load; return the three instants as differences."""
    consumer = Consumer(consumer_config(deployment.bootstrap_servers, f"{deployment.prefix}seen"))
    stack.callback(consumer.close)
    consumer.assign(command_partitions(consumer, deployment.prefix))
    purchases = Purchases(deployment)
    threads = [
        threading.Thread(target=purchases.send),
        threading.Thread(target=purchases.collect, args=(consumer,)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(STEADY_SECONDS)
    dead.process.kill()
    killed_at = time.monotonic()
    noticed_at = noticed(deployment, members=2)
    time.sleep(AFTER_SECONDS)
    purchases.stop_at = time.monotonic() + AFTER_SECONDS
    purchases.ending.set()
    for thread in threads:
        thread.join()
    waits = {
        purchase: answered - purchases.sent[purchase][1]
        for purchase, answered in purchases.answered.items()
    }
    # Partitions whose first purchase after the kill waited for the noticing were the dead one's.
    firsts: dict[int, float] = {}
    for purchase, (home, sent_at) in purchases.sent.items():
        if sent_at > killed_at and purchase in purchases.answered:
            firsts.setdefault(home, purchases.answered[purchase])
    waited = [at for at in firsts.values() if at > noticed_at]
    return {
        "purchases": len(purchases.sent),
        "unanswered": len(purchases.sent.keys() - purchases.answered.keys()),
        "partitions_taken_over": len(waited),
        "killed_to_noticed_seconds": round(noticed_at - killed_at, 2),
        "noticed_to_answered_seconds": round(max(waited) - noticed_at, 2),
        "killed_to_answered_seconds": round(max(waited) - killed_at, 2),
        "longest_wait_seconds": round(max(waits.values()), 2),
    }


def _settled(port: int, partitions: int, *, standby: bool) -> None:
    """Wait until a worker owns its share and, if it is to, has a copy of the rest."""
    deadline = time.monotonic() + LOADED_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx.HTTPError:
            text = ""
        owned = text.count("orchestrator_state_bytes{")
        lags = [
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("orchestrator_standby_lag_records{")
        ]
        copied = len(lags) == partitions and not any(lags)
        if owned == partitions and (copied or not standby):
            return
        time.sleep(0.5)
    raise RuntimeError(f"the worker at {port} did not settle within {LOADED_SECONDS_MAX:g} s")


@click.command(epilog="Example: python -m bench.takeover --customers 1000000")
@click.option("--name", default="takeover", show_default=True, help="Results go to results/NAME.*.")
@click.option("--customers", default=1_000_000, show_default=True)
@click.option("--repetitions", default=1, show_default=True)
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(name: str, customers: int, repetitions: int, bootstrap_servers: str | None) -> None:
    """Measure takeovers, and print them."""
    results = Results(RESULTS / f"{name}.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        for repetition in range(repetitions):
            for kind, standby in (("without", False), ("with", True)):
                prefix = f"takeover-{results.token}-{kind}-{repetition}-"
                deployment = Deployment(target.bootstrap_servers, prefix)
                try:
                    row = measure(deployment, customers, results.logs, standby=standby)
                finally:
                    deployment.delete_topics()
                results.add(f"takeover/{customers}/{kind}/{repetition}", row)
                click.echo(f"{kind} a standby: {row}")
    page = render(results, customers)
    results.path.with_suffix(".md").write_text(page, "utf-8")
    click.echo(page)


def render(results: Results, customers: int) -> str:
    """Return the figures as a table."""
    lines = [
        f"# A worker of two killed with -9, {customers:,} customers in state",
        "",
        HEAD,
        "|---" * HEAD.count(" |") + "|",
    ]
    for kind in ("without", "with"):
        for row in results.rows("takeover", kind, customers):
            mebibytes = [row[f"resident_bytes_{when}"] // 2**20 for when in ("before", "peak")]
            lines.append(
                f"| {kind} | {row['customers']:,} | {row['killed_to_noticed_seconds']} "
                f"| {row['noticed_to_answered_seconds']} | {row['killed_to_answered_seconds']} "
                f"| {row['longest_wait_seconds']} | {row['loading_seconds']} "
                f"| {row['states_kept']:,} / {row['records_read']:,} "
                f"| {mebibytes[0]:,} / {mebibytes[1]:,} |"
            )
    lines += [
        "",
        GOALS,
        "",
        *results.where(),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
