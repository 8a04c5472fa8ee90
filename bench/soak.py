"""`make soak`: one worker under a steady load for an hour; what grows without an end would show.

A bounded population comes back all the time, waits of seconds fire, and every minute a time table
goes through everybody. Every ten seconds the worker is looked at from outside and at its
/metrics; afterwards each measure is called flat or not by the second half of the run (`trend`).
The population is so small that everybody's dedupe window is full within the first third. What a
state may keep for 90 days (orders, and the keys by which a purchase is known) still grows with each
purchase, by a bounded number of bytes: memory is judged with them, and again less the states.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from prometheus_client.parser import text_string_to_metric_families

from bench.events import Workload
from bench.load import Load
from bench.measure import loader, measured
from bench.reader import histogram, percentiles
from bench.report import RESULTS, Results, environment
from bench.rivals.lineup import JOURNEYS
from bench.soak_page import MEASURES, bought, draw, render
from bench.systems import (
    Deployment,
    await_ready,
    resident_bytes,
    running,
    send_population,
    send_profiles,
)
from bench.trend import trend
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from bench.load import LoadReport
    from bench.reader import Collected, Sample
    from bench.systems import Running

SAMPLE_SECONDS: Final = 10.0
SCRAPE_SECONDS_MAX: Final = 10.0
SETTLE_SECONDS: Final = 5.0
# Latencies are told by the minute; of a short run by less, so that there is something to judge.
WINDOW_SECONDS: Final = 60.0
WINDOWS_MIN: Final = 18
# How many events of a customer fill every window of a state, with room for chance: 64 is the bound.
FILLING_EVENTS: Final = 100
CUSTOMERS_MIN: Final = 100
# Changes to the journeys of the comparison: what would take a day or three takes a moment here.
_SHORTER: Final = {
    "wait: 24h": "wait: 15s",
    "promotional: 24h": "promotional: 30s",
    "service: 72h": "service: 30s",
    "transactional: 72h": "transactional: 30s",
}
_BULLETIN: Final = """\
name: bulletin
version: 1
owner: bench
kind: promotional
stage: awareness
entry:
  schedule: {cron: "* * * * *", rate: %d}
exits:
  - on: purchase
steps:
  - id: letter
    send: {channel: email, or: [push], template: offer}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how much, for how many."""

    minutes: float
    rate: float
    customers: int

    @property
    def seconds(self) -> float:
        """How long the load lasts."""
        return self.minutes * 60

    @property
    def window_seconds(self) -> float:
        """How long the windows are for which latencies are told."""
        return min(WINDOW_SECONDS, self.seconds / WINDOWS_MIN)


def met_in_a_third(minutes: float, rate: float) -> int:
    """Return how many customers have full windows by a third of the run."""
    return max(CUSTOMERS_MIN, int(rate * minutes * 60 / 3 / FILLING_EVENTS))


def write_journeys(folder: Path, customers: int) -> None:
    """Write the journeys of the comparison, faster, and a bulletin for everybody each minute."""
    shutil.copytree(JOURNEYS, folder, dirs_exist_ok=True)
    for path in folder.glob("*.yaml"):
        text = path.read_text("utf-8")
        for before, after in _SHORTER.items():
            text = text.replace(before, after)
        path.write_text(text, "utf-8")
    # The round takes half of its minute.
    (folder / "bulletin.yaml").write_text(_BULLETIN % max(1, customers // 30), "utf-8")


@contextmanager
def shop(customers: int) -> Iterator[tuple[Deployment, EmbeddedBroker]]:
    """Yield a deployment on a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as name:
        folder = Path(name)
        write_journeys(folder / "journeys", customers)
        with EmbeddedBroker(folder / "kafka") as broker:
            deployment = Deployment(broker.bootstrap_servers, "soak-", journeys=folder / "journeys")
            deployment.create_topics()
            send_profiles(deployment)
            send_population(deployment, Workload(customers=customers))
            yield deployment, broker


def exposed(text: str) -> dict[str, float]:
    """Return what is asked of an exposition: how many series it has, and some of their sums."""
    sums: Counter[str] = Counter()
    series = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series += 1
            sums[sample.name] += sample.value
    prefix = "orchestrator_"
    return {
        "series": series,
        "lag": sums[f"{prefix}lag_records"],
        "state_bytes": sums[f"{prefix}state_bytes"],
        "state_customers": sums[f"{prefix}state_customers"],
        "waits_pending": sums[f"{prefix}waits_pending"],
        "waits_fired": sums[f"{prefix}wait_lateness_seconds_count"],
        "visits": sums[f"{prefix}visits_total"],
        "commands": sums[f"{prefix}commands_total"],
    }


def looked_at(pid: int) -> dict[str, float]:
    """Return what the kernel says of a process."""
    folder = Path(f"/proc/{pid}")
    rollup = [line.split() for line in (folder / "smaps_rollup").read_text().splitlines()[1:]]
    kib = {name: int(amount) for name, amount, *_ in rollup}
    return {
        "resident_bytes": resident_bytes(pid),
        "pss_bytes": kib["Pss:"] * 1024,
        "anonymous_bytes": kib["Anonymous:"] * 1024,
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
    }


def folder_bytes(data: Path, topic: str) -> int:
    """Return the bytes of a topic's records on the broker's disk; files may go meanwhile."""
    total = 0
    # Not the indexes: Kafka makes those of a young segment larger than they are full.
    for path in data.glob(f"**/{topic}-[0-9]*/*.log"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # Cleaned away while we looked.
            continue
    return total


def scrape(port: int) -> dict[str, float]:
    """Ask the worker's /metrics."""
    address = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(address, timeout=SCRAPE_SECONDS_MAX) as answer:
        return exposed(answer.read().decode())


def watch(
    system: Running, port: int, changelog: tuple[Path, str], load: Future[Any], plan: Plan
) -> tuple[list[dict[str, float]], int]:
    """Look every ten seconds until the load is over; return the looks, and how many failed.

    Raises RuntimeError when the worker ends.
    """
    looks: list[dict[str, float]] = []
    failed, began = 0, time.monotonic()
    every = 1 if plan.minutes < 10 else 6
    for number in range(1, 1 << 30):
        time.sleep(max(0.0, began + number * SAMPLE_SECONDS - time.monotonic()))
        if load.done():
            return looks, failed
        if not system.alive():
            # Nobody waits an hour for a generator that nobody listens to.
            for child in multiprocessing.active_children():
                child.kill()
            raise RuntimeError(f"the worker ended:\n{system.tail()}")
        try:
            look = {"monotonic": time.monotonic(), **looked_at(system.process.pid), **scrape(port)}
        except OSError:
            failed += 1
            continue
        looks.append(look | {"changelog_bytes": folder_bytes(*changelog)})
        if number % every == 0:
            _tell(looks[-1], number * SAMPLE_SECONDS)
    raise AssertionError


def _tell(look: dict[str, float], seconds: float) -> None:
    click.echo(
        f"{seconds / 60:5.1f} min: resident {look['resident_bytes'] / 2**20:,.1f} MiB, "
        f"PSS {look['pss_bytes'] / 2**20:,.1f}, states {look['state_bytes'] / 2**20:,.1f}, "
        f"descriptors {look['descriptors']:.0f}, threads {look['threads']:.0f}, "
        f"series {look['series']:.0f}, lag {look['lag']:.0f}, "
        f"waits fired {look['waits_fired']:,.0f}, visits {look['visits']:,.0f}"
    )


def windows(samples: list[Sample], began_ns: int, window_seconds: float) -> list[dict[str, float]]:
    """Return p50 and p99 of the purchases meant for each window, and how many they were."""
    by_window: dict[int, list[Sample]] = {}
    for sample in samples:
        by_window.setdefault(int((sample[0] - began_ns) / 1e9 / window_seconds), []).append(sample)
    rows = []
    for number, found in sorted(by_window.items()):
        levels = percentiles(histogram(found))
        rows.append(
            {
                # The middle of the window.
                "seconds": (number + 0.5) * window_seconds,
                "purchases": len(found),
                "p50_ms": levels["p50"],
                "p99_ms": levels["p99"],
            }
        )
    return rows


def judge(row: dict[str, Any], seconds: float) -> dict[str, dict[str, Any]]:
    """Return the trend of each measure by its name."""
    judged, purchases = {}, bought(row)
    for measure in MEASURES:
        points = [(one["seconds"], measure.figure(one)) for one in row[measure.source]]
        judged[measure.name] = asdict(trend(points, seconds, measure.allowed(purchases)))
    return judged


def soak(plan: Plan, log: Path) -> dict[str, Any]:
    """Run it and return the row."""
    load_average = os.getloadavg()[0]
    with shop(plan.customers) as (deployment, broker), ThreadPoolExecutor(1) as pool:
        port = EmbeddedBroker.free_port()
        variables = {"ORCHESTRATOR_METRICS_PORT": str(port)}
        with running("ours", deployment, log, variables=variables) as system:
            await_ready(system, deployment)
            click.echo(f"ready; {plan.minutes:g} minutes, {plan.customers:,} customers")
            with loader(deployment) as run:
                load = pool.submit(run, _load(deployment, plan))
                changelog = (broker.data_dir, deployment.changelog("ours"))
                looks, failed = watch(system, port, changelog, load, plan)
                report, collected = load.result()
            alive = system.alive()
    return {
        **_row(plan, report, collected, looks),
        "looks_failed": failed,
        "system_alive": alive,
        "load_average": [load_average, os.getloadavg()[0]],
    }


def _load(deployment: Deployment, plan: Plan) -> Load:
    workload = Workload(customers=plan.customers)
    servers, topic = deployment.bootstrap_servers, deployment.input_topic
    return Load(servers, topic, plan.rate, plan.seconds, 0.0, workload)


def _row(
    plan: Plan, report: LoadReport, collected: Collected, looks: list[dict[str, float]]
) -> dict[str, Any]:
    began = report.measure_from_ns / 1e9
    samples = measured(report, collected)
    timed = [{"seconds": look["monotonic"] - began, **look} for look in looks]
    row = {
        **asdict(plan),
        "seconds": plan.seconds,
        "window_seconds": plan.window_seconds,
        "sent": report.sent,
        "purchases": report.purchases,
        "unanswered": report.purchases - len(samples),
        "valid": report.valid,
        "late_p99_ms": report.late_p99_ms,
        "latency_ms": percentiles(histogram(samples)),
        # Before the load and after it nothing happens.
        "looks": [look for look in timed if 0 <= look["seconds"] <= plan.seconds],
        "windows": windows(samples, report.measure_from_ns, plan.window_seconds),
    }
    return row | {"trends": judge(row, plan.seconds)}


def wrong(row: dict[str, Any]) -> list[str]:
    """Return what is not flat, and what else must not be."""
    found = [f"{name} is not flat" for name, one in row["trends"].items() if not one["flat"]]
    if row["unanswered"]:
        found.append(f"{row['unanswered']:,} purchases were not answered")
    if not row["system_alive"]:
        found.append("the worker ended")
    if not row["looks"] or not row["looks"][-1]["waits_fired"] or not row["looks"][-1]["visits"]:
        found.append("no wait or no time table fired")
    return found


@click.command(epilog="Example: make soak ARGS='--minutes 60 --rate 200'")
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--rate", default=200.0, show_default=True, help="Events a second.")
@click.option("--customers", type=int, help="Without it: as many as are met in the first third.")
@click.option("--name", default="soak", show_default=True, help="Results go to results/NAME.*.")
def main(*, minutes: float, rate: float, customers: int | None, name: str) -> None:
    """Let a worker run for long, and say whether it stays as it is; exit 1 when it does not."""
    plan = Plan(minutes, rate, customers or met_in_a_third(minutes, rate))
    path = RESULTS / f"{name}.json"
    path.unlink(missing_ok=True)
    results = Results(path, environment(embedded=True))
    row = soak(plan, results.logs / f"{name}.log")
    results.add(f"soak/{round(rate)}/ours/0", row)
    picture = draw(path)
    page = render(results, row, wrong(row), picture)
    path.with_suffix(".md").write_text(page, "utf-8")
    click.echo(page)
    if wrong(row):
        raise SystemExit("; ".join(wrong(row)))


if __name__ == "__main__":
    main()
