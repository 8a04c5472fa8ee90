"""Waits that come due all at once, and those of an outage: `python -m bench.waits`.

Customers who are not in the load stand in a wait; their states are written to the changelog, and a
real worker starts on them beside the usual load. *At once*: 10,000 come due within one second,
several times. *Outage*: the waits of ten minutes were due before the worker started. Each has to
fire exactly once, which is counted on the topics, and a purchase should not notice. The baseline
of the outage are as many customers whose waits are due tomorrow, in the same run.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from bench.events import Workload
from bench.firing import Firings, Waits, firings
from bench.load import Load, LoadReport
from bench.measure import loader, measured
from bench.reader import Sample, histogram, percentiles
from bench.report import RESULTS, Results, environment
from bench.rivals.arena import Arena, Extent, World
from bench.rivals.lineup import CONTESTANTS
from bench.rivals.parts.growth import DAY_MS, RATE, strangers
from bench.rivals.parts.recovery import fill
from bench.run import broker
from bench.shop import await_last_letter
from bench.waits_page import render

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a stranger has seen: a profile, a consent, and one promotion that waits a day.
EVENTS: Final = 3
READY_SECONDS_MAX: Final = 600.0
# The generator makes its events first, and its processes want to be started.
START_SECONDS: Final = 6.0
SETTLED_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; the quick one shows that it works."""

    burst_waits: int = 10_000
    bursts: int = 5
    burst_seconds: float = 1.0
    # From the writing of the states to the first due time: the worker has to be up long before.
    lead_seconds: float = 60.0
    apart_seconds: float = 25.0
    warm_up_seconds: float = 5.0
    outage_waits: int = 120_000
    outage_seconds: float = 600.0
    outage_repetitions: int = 2
    outage_load_seconds: float = 120.0
    customers: int = 10_000


QUICK: Final = Plan(
    bursts=2,
    lead_seconds=40.0,
    apart_seconds=15.0,
    outage_waits=30_000,
    outage_repetitions=1,
    outage_load_seconds=30.0,
    customers=2_000,
)


@dataclass(frozen=True, slots=True)
class Flow:
    """What came of one load: its samples after the warm-up, and when on the wall clock."""

    report: LoadReport
    samples: list[Sample]
    # Epoch milliseconds less milliseconds of CLOCK_MONOTONIC.
    wall_offset_ms: float
    missing: int
    load_average: tuple[float, float]

    @property
    def began_ms(self) -> float:
        """When its measured part began, epoch milliseconds."""
        return self.report.measure_from_ns / 1e6 + self.wall_offset_ms

    def between(self, spans: list[tuple[float, float]], *, outside: bool = False) -> list[Sample]:
        """Return the samples meant for one of the spans of epoch milliseconds, or for none."""
        return [
            sample
            for sample in self.samples
            if outside
            is not any(
                first <= sample[0] / 1e6 + self.wall_offset_ms <= last for first, last in spans
            )
        ]


def burst_due_ms(plan: Plan, first_ms: int, number: int) -> int:
    """Return when the n-th wait is due: evenly within its burst, the bursts apart."""
    burst, place = divmod(number, plan.burst_waits)
    within = plan.burst_seconds * place / plan.burst_waits
    return first_ms + round((burst * plan.apart_seconds + within) * 1_000)


def outage_due_ms(plan: Plan, last_ms: int, number: int) -> int:
    """Return when the n-th wait is due: evenly over the outage that ends at an instant."""
    left = plan.outage_waits - number
    return last_ms - round(plan.outage_seconds * 1_000 * left / plan.outage_waits)


def purchases(samples: list[Sample]) -> dict[str, Any]:
    """Return a row of results about some purchases; without any, of none."""
    waits = histogram(samples)
    return {
        "samples": len(samples),
        "latency_ms": percentiles(waits),
        "histogram_us": waits.encode().decode(),
    }


def at_once(arena: Arena, plan: Plan) -> dict[str, Any]:
    """Let the bursts come due beside the load; return the row."""
    with arena.world(CONTESTANTS["ours"]) as world:
        _begin(arena, world)
        first_ms = _now_ms() + int(plan.lead_seconds * 1_000)
        count = plan.bursts * plan.burst_waits
        due = {number: burst_due_ms(plan, first_ms, number) for number in range(count)}
        fill(world, count, states=strangers(count, events=EVENTS, due_ms=due.__getitem__))
        with arena.started(world, ready_seconds_max=READY_SECONDS_MAX):
            lead = (first_ms - _now_ms()) / 1_000 - START_SECONDS - plan.warm_up_seconds
            if lead < plan.warm_up_seconds:
                raise RuntimeError("the worker was ready too late; give a longer lead")
            # After the last burst as long as between two.
            seconds = lead + plan.bursts * plan.apart_seconds
            flow = _flow(world, plan, seconds, plan.warm_up_seconds)
            await_last_letter(world.deployment)
        fired = firings(world.deployment, Waits(due))
    spans = []
    for burst in range(plan.bursts):
        begin = first_ms + burst * plan.apart_seconds * 1_000
        spans.append((begin, fired.last_before_ms(begin + plan.apart_seconds * 1_000)))
    settled = [(first, last + SETTLED_SECONDS * 1_000) for first, last in spans]
    return {
        **_row(flow, fired),
        "waits": count,
        "bursts": plan.bursts,
        "burst_seconds": plan.burst_seconds,
        "seconds_until_fired": [round((last - first) / 1_000, 2) for first, last in spans],
        "before": purchases(flow.between(settled, outside=True)),
        "during": purchases(flow.between(spans)),
    }


def outages(arena: Arena, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kind and row: what was due in the outage, and due tomorrow, in turn (A B B A)."""
    for repetition in range(plan.outage_repetitions):
        kinds = ("outage", "tomorrow") if repetition % 2 == 0 else ("tomorrow", "outage")
        met = {kind: _restart(arena, plan, overdue=kind == "outage") for kind in kinds}
        flow, fired, row = met["outage"]
        # The same seconds of the load count in both: those in which the outage is caught up.
        caught_up_ms = max(0.0, fired.last_ms - flow.began_ms)
        for kind, (flow, _, row) in met.items():
            span = [(flow.began_ms, flow.began_ms + caught_up_ms)]
            row["during"] = purchases(flow.between(span))
            row["after"] = purchases(flow.between(span, outside=True))
            yield f"{kind}/{plan.outage_waits}/ours/{repetition}", row


def _restart(arena: Arena, plan: Plan, *, overdue: bool) -> tuple[Flow, Firings, dict[str, Any]]:
    """Start a worker on everybody's waits, and send load as soon as it answers."""
    count = plan.outage_waits
    with arena.world(CONTESTANTS["ours"]) as world:
        _begin(arena, world)
        last_ms = _now_ms() if overdue else _now_ms() + DAY_MS
        due = {number: outage_due_ms(plan, last_ms, number) for number in range(count)}
        fill(world, count, states=strangers(count, events=EVENTS, due_ms=due.__getitem__))
        with arena.started(world, ready_seconds_max=READY_SECONDS_MAX) as (process, ready_seconds):
            started_ms = process.started_ns / 1e6 + _wall_offset_ms()
            flow = _flow(world, plan, plan.outage_load_seconds, 0.0)
            if overdue:
                await_last_letter(world.deployment)
        fired = firings(world.deployment, Waits(due if overdue else {}, early=range(count)))
    row = _row(flow, fired) | {
        "waits": count,
        "outage_seconds": plan.outage_seconds,
        "ready_seconds": round(ready_seconds, 2),
        "load_began_seconds": round((flow.began_ms - started_ms) / 1_000, 2),
    }
    if overdue:
        row["first_fired_seconds"] = round((fired.first_ms - started_ms) / 1_000, 2)
        row["caught_up_seconds"] = round((fired.last_ms - started_ms) / 1_000, 2)
    return flow, fired, row


def _begin(arena: Arena, world: World) -> None:
    """Let a worker have been there: a changelog with states and no word of one is refused."""
    with arena.started(world):
        pass


def _flow(world: World, plan: Plan, seconds: float, warm_up_seconds: float) -> Flow:
    deployment = world.deployment
    workload = Workload(customers=plan.customers)
    load = Load(
        *(deployment.bootstrap_servers, deployment.input_topic),
        *(RATE, seconds, warm_up_seconds, workload),
    )
    load_average = os.getloadavg()[0]
    with loader(deployment) as run:
        report, collected = run(load)
    samples = measured(report, collected)
    missing = report.purchases_measured - len(samples)
    return Flow(report, samples, _wall_offset_ms(), missing, (load_average, os.getloadavg()[0]))


def _row(flow: Flow, fired: Firings) -> dict[str, Any]:
    report = flow.report
    return {
        **fired.row(),
        "rate": RATE,
        "sent": report.sent,
        "purchases": report.purchases_measured,
        "unanswered": flow.missing,
        "valid": report.valid,
        "late_p99_ms": report.late_p99_ms,
        "load_average": list(flow.load_average),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _wall_offset_ms() -> float:
    return (time.time_ns() - time.monotonic_ns()) / 1e6


def wrong(row: dict[str, Any]) -> list[str]:
    """Return what must not be: waits that did not fire exactly once, purchases without answer."""
    names = ("missing", "doubled", "early", "unanswered")
    return [f"{name} {row[name]:,}" for name in names if row[name]]


@click.command(epilog="Example: python -m bench.waits --quick")
@click.option(
    "--name", help="Results go to results/NAME.*; without it: waits, smoke-waits if quick."
)
@click.option("--quick", is_flag=True, help="Few waits, once: to see that all of it works.")
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(*, name: str | None, quick: bool, bootstrap_servers: str | None) -> None:
    """Measure lateness, catching up, and what purchases notice; exit 1 when a wait went wrong."""
    plan = QUICK if quick else Plan()
    path = RESULTS / f"{name or ('smoke-waits' if quick else 'waits')}.json"
    # A run is judged as a whole: nothing of an earlier one stands beside it.
    path.unlink(missing_ok=True)
    results = Results(path, environment(embedded=not bootstrap_servers) | {"quick": quick})
    findings = []

    def keep(key: str, row: dict[str, Any]) -> None:
        results.add(key, row)
        findings.extend(f"{key}: {found}" for found in wrong(row))
        told = ", ".join(wrong(row)) or "each wait once, each purchase answered"
        click.echo(f"{key:32} {told}; p99 during {row['during']['latency_ms']['p99']:.1f} ms")

    with broker(bootstrap_servers) as target:
        extent = Extent(customers=plan.customers)
        arena = Arena(target, results, extent, (CONTESTANTS["ours"],))
        keep(f"at-once/{plan.burst_waits}/ours/0", at_once(arena, plan))
        for key, row in outages(arena, plan):
            keep(key, row)
    page = render(results, quick=quick)
    path.with_suffix(".md").write_text(page, "utf-8")
    click.echo(page)
    if findings:
        raise SystemExit("\n".join(findings))


if __name__ == "__main__":
    main()
