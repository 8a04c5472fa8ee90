"""One measurement: one system, one rate, one run of the load, and what is kept of it.

`run` decides what is measured in which order; here a system that is ready gets its load while a
collector in another process reads what becomes visible.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.load import Load, LoadReport, generate
from bench.reader import Collected, Sample, collect, drift_ms, histogram, percentiles
from bench.systems import Deployment, Running, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

DRAIN_SECONDS: Final = 12.0
# A rate is sustained when nobody waits long and nobody waits longer than before.
SUSTAINED_P99_MS_MAX: Final = 100.0
SUSTAINED_DRIFT_MS_MAX: Final = 25.0
SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time used so far, by whom; `stolen` is what the hypervisor kept."""

    system: float
    broker: float | None
    stolen: float

    @classmethod
    def now(cls, system: Running, broker_pid: int | None) -> Costs:
        """Read them from the kernel."""
        broker = cpu_seconds(broker_pid) if broker_pid else None
        stolen = int(Path("/proc/stat").read_text().split(maxsplit=10)[8])
        return cls(cpu_seconds(system.process.pid), broker, stolen / os.sysconf("SC_CLK_TCK"))


@contextmanager
def collector(deployment: Deployment) -> Iterator[Connection]:
    """Read commands in another process meanwhile; the pipe is `collect`'s."""
    ours, theirs = SPAWN.Pipe()
    arguments = (deployment.bootstrap_servers, deployment.prefix, theirs)
    process = SPAWN.Process(target=collect, args=arguments, daemon=True)
    process.start()
    try:
        if not ours.poll(30) or ours.recv() != "ready":
            raise RuntimeError("the collector did not start")
        yield ours
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


@contextmanager
def loader(
    deployment: Deployment,
) -> Iterator[Callable[[Load], tuple[LoadReport, Collected]]]:
    """Yield what sends one load and returns its report and what became visible of it.

    The collector reads from here on, so the system has to be ready before.
    """
    with collector(deployment) as pipe, ProcessPoolExecutor(1, SPAWN) as generator:

        def run(load: Load) -> tuple[LoadReport, Collected]:
            report = generator.submit(generate, load).result()
            pipe.send((report.purchases, DRAIN_SECONDS))
            if not pipe.poll(DRAIN_SECONDS + 60):
                raise RuntimeError("the collector did not report")
            return report, pipe.recv()

        yield run


def measure(
    system: Running, deployment: Deployment, load: Load, *, broker_pid: int | None = None
) -> dict[str, Any]:
    """Run the load against a ready system and return one row of raw results."""
    load_average_before = os.getloadavg()[0]
    with loader(deployment) as run:
        before = Costs.now(system, broker_pid)
        report, collected = run(load)
        after = Costs.now(system, broker_pid) if system.alive() else before
    row = row_of(load, report, collected)
    row["system_alive"] = system.alive()
    row["system_cpu_us_per_event"] = 1e6 * (after.system - before.system) / max(1, report.sent)
    if before.broker is not None and after.broker is not None:
        row["broker_cpu_us_per_event"] = 1e6 * (after.broker - before.broker) / max(1, report.sent)
    row["stolen_seconds"] = after.stolen - before.stolen
    row["load_average"] = [load_average_before, os.getloadavg()[0]]
    return row


def measured(report: LoadReport, collected: Collected) -> list[Sample]:
    """Return the samples that count: those of purchases meant for after the warm-up."""
    return [sample for sample in collected.samples if sample[0] >= report.measure_from_ns]


def row_of(load: Load, report: LoadReport, collected: Collected) -> dict[str, Any]:
    """Return what is kept of one run."""
    samples = measured(report, collected)
    missing = report.purchases_measured - len(samples)
    waits = histogram(samples)
    if missing > 0:
        # Whoever was not answered waited at least until we stopped looking.
        waits.record_value(int(DRAIN_SECONDS * 1e6), missing)
    drift = drift_ms(samples)
    latency = percentiles(waits)
    return {
        "rate": load.rate,
        "seconds": load.seconds,
        "warm_up_seconds": load.warm_up_seconds,
        "sent": report.sent,
        "refused_by_broker": report.failed,
        "samples": len(samples),
        "missing": missing,
        "commands": collected.commands,
        "event_bytes_mean": round(report.event_bytes_mean, 1),
        "late_p99_ms": report.late_p99_ms,
        "late_max_ms": report.late_max_ms,
        "valid": report.valid,
        "latency_ms": latency,
        "drift_ms": drift,
        "sustained": (
            missing == 0
            and latency["p99"] <= SUSTAINED_P99_MS_MAX
            and drift <= SUSTAINED_DRIFT_MS_MAX
        ),
        "histogram_us": waits.encode().decode(),
    }
