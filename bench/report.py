"""What is kept of a benchmark, and the table made of it.

Rows go to `results/<name>.json` as soon as they are measured, with the machine and the versions
they were measured on; the table is computed from the rows and from nothing else.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import orjson
from hdrh.histogram import HdrHistogram

from bench.reader import HIGHEST_US, percentiles
from orchestrator.broker.lock import KAFKA_VERSION

RESULTS: Final = Path(__file__).resolve().parent / "results"
HEAD: Final = (
    "| events/s | system | p50 ms | p90 | p99 (each run) | p99.9 | max | purchases | missing "
    "| drift ms | CPU us/event | with broker | generator late p99 |"
)
CLIENTS: Final = ("aiokafka", "faust-streaming", "mode-streaming", "confluent-kafka", "uvloop")


class Results:
    """Raw rows by key (`kind/rate/system/repetition`), on disk after each `add`."""

    def __init__(self, path: Path, surroundings: dict[str, Any]) -> None:
        self.path = path
        # Topics of an interrupted run may still be there.
        self.token = f"{int(time.time()):x}"
        self.logs = path.parent / "logs"
        self._document: dict[str, Any] = {"environments": [], "highest": {}, "rows": {}}
        if path.exists():
            self._document = orjson.loads(path.read_bytes())
        self._document["environments"].append(surroundings)

    def __contains__(self, key: str) -> bool:
        return key in self._document["rows"]

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._document["rows"][key]

    @property
    def highest_rates(self) -> dict[str, int]:
        """Highest sustained rate by system."""
        return self._document["highest"]

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row, at once."""
        self._document["rows"][key] = row
        self._save()

    def highest(self, system: str, rate: int) -> None:
        """Note the highest sustained rate of a system."""
        self._document["highest"][system] = rate
        self._save()

    def rows(self, kind: str, system: str, rate: int | None = None) -> list[dict[str, Any]]:
        """Return the rows of a kind and a system, of all rates or of one."""
        found = []
        for key, row in self._document["rows"].items():
            row_kind, row_rate, row_system, _ = key.split("/")
            if (row_kind, row_system) == (kind, system) and rate in (None, int(row_rate)):
                found.append(row)
        return found

    def measured(self, kind: str) -> tuple[list[int], list[str]]:
        """Return the rates and the systems that have rows of a kind."""
        keys = [key.split("/") for key in self._document["rows"]]
        rates = sorted({int(rate) for found, rate, _, _ in keys if found == kind})
        systems = list(dict.fromkeys(system for found, _, system, _ in keys if found == kind))
        return rates, systems

    def where(self) -> list[str]:
        """Return a line on machine and versions for each time that the benchmark was started."""
        return [f"- {described(found)}" for found in self._document["environments"]]

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_bytes(orjson.dumps(self._document, option=orjson.OPT_INDENT_2))
        beside.replace(self.path)


def environment(*, embedded: bool) -> dict[str, Any]:
    """Return what somebody needs to know to believe or repeat the figures."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent,
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": f"{len(os.sched_getaffinity(0))} x {models[0] if models else 'unknown'}",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": os.getloadavg()[0],
        "kafka": f"Kafka {KAFKA_VERSION}" if embedded else "a Kafka that was given",
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "clients": {name: version(name) for name in CLIENTS},
    }


def described(found: dict[str, Any]) -> str:
    """Return in one line when, from which commit and on which machine something was measured."""
    clients = ", ".join(f"{name} {number}" for name, number in found["clients"].items())
    return (
        f"{found['started']}, commit {found['commit']}: {found['processor']}, "
        f"{found['memory_gib']} GiB, {found['system']}; Python {found['python']}, "
        f"{clients}, librdkafka {found['librdkafka']}, {found['kafka']}; load average at "
        f"the start {found['load_average']:.2f}"
    )


def merged(rows: list[dict[str, Any]]) -> HdrHistogram:
    """Return the waits of several runs as one; percentiles are never averaged."""
    waits = HdrHistogram(1, HIGHEST_US, 3)
    for row in rows:
        waits.decode_and_add(row["histogram_us"])
    return waits


def render(results: Results) -> str:
    """Return the table, the ratios that are claimed, and where they come from."""
    lines = ["# Purchase → visible command", ""]
    for kind, title in (("rate", "Mixed load"), ("idle", "Nothing but purchases, at low load")):
        rates, systems = results.measured(kind)
        if rates:
            lines += [f"## {title}", "", *_table(results, kind, rates, systems), ""]
    lines += ["## Highest sustained rate", ""]
    for system, rate in results.highest_rates.items():
        lines.append(f"- {system}: {rate:,} events/s")
    lines += ["", "## Ratios", "", *_ratios(results), "", "## Where", "", *results.where(), ""]
    return "\n".join(lines)


def _table(results: Results, kind: str, rates: list[int], systems: list[str]) -> list[str]:
    lines = [HEAD, "|---" * HEAD.count(" |") + "|"]
    for rate in rates:
        for system in systems:
            rows = results.rows(kind, system, rate)
            if rows:
                lines.append(f"| {rate:,} | {system} | {' | '.join(_cells(rows))} |")
    return lines


def latency_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Return what a table says of the waits of some runs: percentiles, samples, missing, drift."""
    latency = percentiles(merged(rows))
    each = " / ".join(f"{row['latency_ms']['p99']:.1f}" for row in rows)
    return [
        f"{latency['p50']:.1f}",
        f"{latency['p90']:.1f}",
        f"**{latency['p99']:.1f}** ({each})",
        f"{latency['p99.9']:.1f}",
        f"{latency['max']:.1f}",
        f"{sum(row['samples'] for row in rows):,}",
        f"{sum(row['missing'] for row in rows):,}",
        f"{max((row['drift_ms'] for row in rows), key=abs):.1f}",
    ]


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    cpu = sum(row["system_cpu_us_per_event"] for row in rows) / len(rows)
    broker = [row["broker_cpu_us_per_event"] for row in rows if "broker_cpu_us_per_event" in row]
    late = max(row["late_p99_ms"] for row in rows)
    void = "" if all(row["valid"] for row in rows) else " VOID"
    return [
        *latency_cells(rows),
        f"{cpu:.0f}",
        f"{cpu + sum(broker) / len(broker):.0f}" if broker else "-",
        f"{late:.2f}{void}",
    ]


def _ratios(results: Results) -> list[str]:
    lines = []
    for kind, rate, level, goal in (("rate", 1_000, "p99", 2), ("idle", 10, "p99.9", 3)):
        ours, floor = (results.rows(kind, system, rate) for system in ("ours", "floor"))
        if ours and floor:
            ratio = percentiles(merged(ours))[level] / percentiles(merged(floor))[level]
            lines.append(f"- {level} at {rate:,}/s: {ratio:.2f} x the floor (goal <= {goal})")
    highest = results.highest_rates
    if {"ours", "stock-faust"} <= highest.keys():
        ratio = highest["ours"] / highest["stock-faust"]
        lines.append(f"- highest sustained rate: {ratio:.1f} x stock Faust (goal >= 5)")
    return lines or ["- none measured"]
