"""How long customers wait when something fails: one fault after another, under purchases.

For each fault a fresh deployment gets its customers in state, two workers and an open-loop load of
purchases; the fault comes in the middle. The pause is the longest time from the instant at which a
purchase was meant to be sent until its first command could be read. Everything is the default,
the broker's settings too. `python -m bench.availability` writes bench/results/availability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from confluent_kafka import Producer

from bench.events import Workload, population
from bench.load import Load, generate, producer_config
from bench.measure import SPAWN, collector
from bench.systems import ROOT, Deployment, Running, await_ready, running
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Callable

RATE: Final = 100.0
LOAD_SECONDS: Final = 45.0
FAULT_SECONDS: Final = 12.0
DRAIN_SECONDS: Final = 60.0
ASLEEP_SECONDS: Final = 12.0


@dataclass
class Stage:
    """What a fault may touch: the broker and the workers by slot."""

    broker: EmbeddedBroker
    deployment: Deployment
    folder: Path
    workers: dict[str, subprocess.Popen[bytes]]

    def start(self, slot: str) -> None:
        """Start a worker in a slot, and again whenever it gives up, as a supervisor would."""
        log = (self.folder / f"{slot}.log").open("ab")
        self.workers[slot] = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "worker"],
            env=self.deployment.environment | {"ORCHESTRATOR_SLOT": slot},
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )

    def supervise(self, seconds: float) -> None:
        """Restart what ended by itself, for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for slot, process in list(self.workers.items()):
                if process.poll() not in {None, 0, -signal.SIGKILL}:
                    time.sleep(1)
                    self.start(slot)
            time.sleep(0.1)


def sigterm(stage: Stage) -> None:
    stage.workers["b"].terminate()


def kill_for_good(stage: Stage) -> None:
    stage.workers["b"].kill()


def kill_and_restart(stage: Stage) -> None:
    stage.workers["b"].kill()
    stage.workers["b"].wait()
    stage.start("b")


def freeze(stage: Stage) -> None:
    os.kill(stage.workers["b"].pid, signal.SIGSTOP)
    time.sleep(ASLEEP_SECONDS)
    os.kill(stage.workers["b"].pid, signal.SIGCONT)


def join(stage: Stage) -> None:
    stage.start("c")


def kill_broker(stage: Stage) -> None:
    stage.broker.kill9()
    stage.broker.start()


FAULTS: Final[dict[str, tuple[str, Callable[[Stage], None]]]] = {
    "sigterm": ("one of two workers stopped with SIGTERM", sigterm),
    "kill9_takeover": ("one of two workers killed with -9, not restarted", kill_for_good),
    "kill9_restart": ("one of two workers killed with -9, restarted at once", kill_and_restart),
    "sigstop_takeover": (
        f"one of two workers stopped with SIGSTOP for {ASLEEP_SECONDS:g} s",
        freeze,
    ),
    "join": ("a third worker joins", join),
    "broker_restart": ("the broker killed with -9 and started again", kill_broker),
}


def measure_fault(name: str, customers: int, folder: Path) -> tuple[float, int, int]:
    """Return the pause in seconds, and how many purchases were sent and seen."""
    workload = Workload(customers=customers, mix="purchases")
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(folder / "kafka"))
        deployment = Deployment(broker.bootstrap_servers, f"{name}-")
        deployment.create_topics()
        fill(deployment, workload)
        stage = Stage(broker, deployment, folder, {})
        stack.callback(lambda: [process.kill() for process in stage.workers.values()])
        stage.start("a")
        stage.start("b")
        first = Running("ours", stage.workers["a"], folder / "a.log", time.monotonic_ns())
        await_ready(first, deployment, seconds_max=180)
        time.sleep(15)  # Both have joined, and nothing is left of the start.
        load = Load(
            broker.bootstrap_servers, deployment.input_topic, RATE, LOAD_SECONDS, 0.0, workload
        )
        with collector(deployment) as pipe, ProcessPoolExecutor(1, SPAWN) as generator:
            sending = generator.submit(generate, load)
            time.sleep(FAULT_SECONDS)
            FAULTS[name][1](stage)
            stage.supervise(LOAD_SECONDS - FAULT_SECONDS)
            report = sending.result()
            pipe.send((report.purchases, DRAIN_SECONDS))
            stage.supervise(5)
            collected = pipe.recv()
    waits = [seen_ns - sent_ns for sent_ns, seen_ns in collected.samples]
    return max(waits) / 1e9, report.purchases, len(waits)


def fill(deployment: Deployment, workload: Workload) -> None:
    """Bring the customers into state with one worker, before anything is measured."""
    producer = Producer(producer_config(deployment.bootstrap_servers) | {"linger.ms": 20})
    for key, value in population(workload):
        producer.produce(deployment.input_topic, key=key, value=value)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the broker did not take the population")
    with running("ours", deployment, ROOT / "bench/results/logs/fill.log") as system:
        await_ready(system, deployment, seconds_max=600)


@click.command()
@click.option("--customers", default=100_000, show_default=True, help="Customers in state.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Only it.")
def main(customers: int, faults: tuple[str, ...]) -> None:
    """Measure the pause of each fault and write the table."""
    rows = []
    for name in faults or FAULTS:
        with tempfile.TemporaryDirectory(prefix="orchestrator-availability-") as folder:
            pause, sent, seen = measure_fault(name, customers, Path(folder))
        rows.append(f"| {FAULTS[name][0]} | {pause:.1f} s | {seen} of {sent} |")
        print(rows[-1], flush=True)
        if seen < sent:
            raise SystemExit(f"{name}: {sent - seen} purchases had no effect")
    head = (
        f"Two workers, {customers:,} customers in state, {RATE:g} purchases/s, 8 partitions, "
        "broker and workers\nwith their default settings, all on one machine. "
        "`python -m bench.availability`\n\n"
        "| fault | longest wait of a purchase | purchases seen |\n|---|---|---|\n"
    )
    if not faults:
        Path(ROOT / "bench/results/availability.md").write_text(head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
