"""`make bench`: how long a customer waits from purchase to visible command, and how much fits.

Ours, the floor (bare aiokafka, same writes, same transactions) and stock Faust run one after the
other on the same broker, each on fresh topics, in the order A B C C B A, so that a machine that
warms up or slows down favours nobody. Rows are kept as they come: a run that was interrupted goes
on where it stopped. `report` turns the rows into the table.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import click

from bench.events import Workload
from bench.load import Load
from bench.measure import measure
from bench.report import RESULTS, Results, environment, render
from bench.systems import (
    COMMANDS,
    Deployment,
    Running,
    await_ready,
    running,
    send_population,
)
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMS: Final = tuple(COMMANDS)
RATES: Final = (100, 1_000, 2_500, 6_000)
# At a low rate a short run has too few purchases for a p99.
SLOW_RATE: Final = 500
SLOW_FACTOR: Final = 2
RAMP_FACTOR: Final = 1.5
RAMP_PRECISION: Final = 1.12
NEAR_MISS_P99_MS: Final = 300
RAMP_RATE_MIN: Final = 100
RAMP_RATE_MAX: Final = 60_000
# Only these two are compared there, for twenty minutes.
IDLE_SYSTEMS: Final = ("ours", "floor")
IDLE_RATE: Final = 10
VOID_RETRIES: Final = 2
BROKER_WARM_UP_RATE: Final = 1_000
# A longer run that is void is left to the reader of the table.
VOID_SECONDS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    systems: tuple[str, ...] = SYSTEMS
    rates: tuple[int, ...] = RATES
    repetitions: int = 2
    seconds: float = 20.0
    warm_up_seconds: float = 5.0
    broker_warm_up_seconds: float = 60.0
    ramp: bool = True
    idle_samples: int = 0
    idle_systems: tuple[str, ...] = ()
    workload: Workload = field(default_factory=Workload)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is; and itself when it is ours."""

    bootstrap_servers: str
    embedded: EmbeddedBroker | None = None

    @property
    def pid(self) -> int | None:
        """Its process, when it is ours; another one after it was started again."""
        return self.embedded.pid if self.embedded else None


class Bench:
    """Runs a plan against one broker and keeps the rows."""

    def __init__(self, plan: Plan, results: Results, broker: Broker) -> None:
        self._plan = plan
        self._results = results
        self._broker = broker
        self._worlds = itertools.count()

    def run(self) -> None:
        """Measure what the plan says and is not measured yet."""
        self._warm_the_broker()
        for rate in self._plan.rates:
            for repetition, system in _abba(self._plan.systems, self._plan.repetitions):
                self._fixed(system, rate, repetition)
        if self._plan.ramp:
            for system in self._plan.systems:
                self._ramp(system)
        if self._plan.idle_samples:
            self._idle()

    def _warm_the_broker(self) -> None:
        """Let the broker's JVM compile what it needs; the first system would pay for it."""
        seconds = self._plan.broker_warm_up_seconds
        if seconds:
            click.echo(f"warming the broker for {seconds:g} s")
            with self._world("floor") as (deployment, process):
                self._measure(process, deployment, BROKER_WARM_UP_RATE, seconds)

    def _fixed(self, system: str, rate: int, repetition: int) -> None:
        key = f"rate/{rate}/{system}/{repetition}"
        if key in self._results:
            return
        factor = SLOW_FACTOR if rate < SLOW_RATE else 1
        with self._world(system) as (deployment, process):
            row = self._measure(process, deployment, rate, self._plan.seconds * factor)
        self._keep(key, row)

    def _idle(self) -> None:
        """Nothing but purchases, so that each event is a sample.

        The systems run at the same time: a p99.9 is made by the hiccups of the machine, and so
        they hit both. At this rate neither takes anything from the other.
        """
        keys = {system: f"idle/{IDLE_RATE}/{system}/0" for system in self._plan.idle_systems}
        wanted = [system for system, key in keys.items() if key not in self._results]
        # Poisson arrivals: a little longer, to have the samples with near certainty.
        seconds = 1.03 * self._plan.idle_samples / IDLE_RATE
        workload = replace(self._plan.workload, mix="purchases", seed=100)
        with ExitStack() as worlds, ThreadPoolExecutor(len(wanted) or 1) as pool:
            rows = {}
            for system in wanted:
                deployment, process = worlds.enter_context(self._world(system))
                arguments = (process, deployment, IDLE_RATE, seconds, workload)
                rows[system] = pool.submit(self._measure, *arguments)
            for system, row in rows.items():
                self._keep(keys[system], row.result())

    def _ramp(self, system: str) -> None:
        """Find the highest rate that is sustained: up by half while it holds, then bisect."""
        low, high = self._known_sustained(system), None
        while high is None or high / low > RAMP_PRECISION:
            rate = low * RAMP_FACTOR if high is None else (low * high) ** 0.5
            if rate > RAMP_RATE_MAX:
                break
            if self._sustains(system, round(rate)):
                low = rate
            else:
                high = rate
        self._results.highest(system, round(low))

    def _known_sustained(self, system: str) -> float:
        rows = self._results.rows("rate", system)
        sustained = [row["rate"] for row in rows if row["sustained"]]
        failed = [row["rate"] for row in rows if not row["sustained"]]
        return max((rate for rate in sustained if rate not in failed), default=RAMP_RATE_MIN)

    def _sustains(self, system: str, rate: int) -> bool:
        """Try a rate; a near miss, which a hiccup of the machine explains, gets a second chance."""
        for attempt in range(2):
            key = f"ramp/{rate}/{system}/{attempt}"
            if key not in self._results:
                with self._world(system) as (deployment, process):
                    row = self._measure(process, deployment, rate, self._plan.seconds)
                self._keep(key, row)
            row = self._results[key]
            if row["sustained"] or row["missing"] or row["latency_ms"]["p99"] > NEAR_MISS_P99_MS:
                break
        return bool(row["sustained"])

    def _measure(
        self,
        process: Running,
        deployment: Deployment,
        rate: float,
        seconds: float,
        workload: Workload | None = None,
    ) -> dict[str, Any]:
        load = Load(
            deployment.bootstrap_servers,
            deployment.input_topic,
            rate,
            seconds,
            self._plan.warm_up_seconds,
            workload or self._plan.workload,
        )
        row: dict[str, Any] = {}
        for _ in range(1 + VOID_RETRIES):
            row = measure(process, deployment, load, broker_pid=self._broker.pid)
            # A system that falls behind may starve the generator too; that is no reason to repeat.
            if row["valid"] or not row["sustained"] or seconds > VOID_SECONDS_MAX:
                break
            click.echo(f"  void: the generator was late (p99 {row['late_p99_ms']:.1f} ms)")
        return row

    @contextmanager
    def _world(self, system: str) -> Iterator[tuple[Deployment, Running]]:
        """Start the system on topics of its own, with the population decided; clean up after."""
        prefix = f"bench-{self._results.token}-{next(self._worlds)}-{system}-"
        deployment = Deployment(self._broker.bootstrap_servers, prefix)
        deployment.create_topics()
        send_population(deployment, self._plan.workload)
        try:
            with running(system, deployment, self._results.logs / f"{prefix}.log") as process:
                await_ready(process, deployment)
                yield deployment, process
        finally:
            deployment.delete_topics()

    def _keep(self, key: str, row: dict[str, Any]) -> None:
        self._results.add(key, row)
        latency = row["latency_ms"]
        click.echo(
            f"{key:32} p50 {latency['p50']:8.1f}  p99 {latency['p99']:8.1f}  "
            f"p99.9 {latency['p99.9']:8.1f} ms  missing {row['missing']}  "
            f"drift {row['drift_ms']:.1f} ms{'' if row['valid'] else '  VOID'}"
        )


def _abba(systems: tuple[str, ...], repetitions: int) -> Iterator[tuple[int, str]]:
    for repetition in range(repetitions):
        for system in systems if repetition % 2 == 0 else systems[::-1]:
            yield repetition, system


def quick(plan: Plan) -> Plan:
    """Return the plan cut to a few minutes; its figures are not for quoting."""
    return replace(
        plan,
        rates=(100, 1_000),
        repetitions=1,
        seconds=8.0,
        warm_up_seconds=2.0,
        broker_warm_up_seconds=0.0,
        ramp=False,
    )


@contextmanager
def broker(bootstrap_servers: str | None) -> Iterator[Broker]:
    """Use the broker that is given, or start the embedded one."""
    if bootstrap_servers:
        yield Broker(bootstrap_servers)
        return
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, embedded)


@click.command(epilog="Example: python -m bench.run --name 2026-11-22 --idle")
@click.option("--name", default="latest", show_default=True, help="Results go to results/NAME.*.")
@click.option("--quick", "is_quick", is_flag=True, help="A few minutes, to see that it works.")
@click.option("--idle", is_flag=True, help="Also 10 events/s, 12,000 samples each; 22 minutes.")
@click.option("--idle-samples", default=12_000, show_default=True)
@click.option("--systems", default=",".join(SYSTEMS), show_default=True)
@click.option("--rates", default=",".join(map(str, RATES)), show_default=True, help="Events/s.")
@click.option("--seconds", default=20.0, show_default=True, help="Measured, after the warm-up.")
@click.option("--repetitions", default=2, show_default=True)
@click.option("--ramp/--no-ramp", default=True, show_default=True, help="Find the highest rate.")
@click.option("--customers", default=10_000, show_default=True)
@click.option("--skew", default=0.0, show_default=True, help="Zipf exponent over the customers.")
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(
    *,
    name: str,
    is_quick: bool,
    idle: bool,
    idle_samples: int,
    systems: str,
    rates: str,
    seconds: float,
    repetitions: int,
    ramp: bool,
    customers: int,
    skew: float,
    bootstrap_servers: str | None,
) -> None:
    """Measure purchase to visible command, and print the table."""
    plan = Plan(
        systems=tuple(systems.split(",")),
        rates=tuple(int(rate) for rate in rates.split(",") if rate),
        repetitions=repetitions,
        seconds=seconds,
        ramp=ramp,
        workload=Workload(customers=customers, skew=skew),
    )
    if is_quick:
        plan = quick(plan)
    if idle:
        plan = replace(plan, idle_samples=idle_samples, idle_systems=IDLE_SYSTEMS)
    results = Results(RESULTS / f"{name}.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        Bench(plan, results, target).run()
    table = render(results)
    results.path.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table)


if __name__ == "__main__":
    main()
