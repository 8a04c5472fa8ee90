"""The page of `make bench-rivals`: tables and ratios, computed from the raw runs and nothing else.

A system with one disqualified run is marked wherever its figures stand, and no ratio is made of it.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.reader import percentiles
from bench.report import described, latency_cells, merged
from bench.rivals import fault_table
from bench.rivals.fault_table import table, variants
from bench.rivals.lineup import CONTESTANTS, differences
from bench.rivals.parts.growth import slope
from bench.rivals.parts.rate import RATE_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rivals.runs import Runs

CPU_RATE: Final = 1_000
PARTS: Final = ("latency", "rate", "recovery", "startup", "rebalance", "kill", "faults", "growth")
WRONG: Final = "DISQUALIFIED"
Rows = list[dict[str, Any]]


def render(runs: Runs, notes: Sequence[str] = ()) -> str:
    """Return the page."""
    lines = ["# Beside the systems that one would use instead", ""]
    for note in notes:
        lines += [note, ""]
    for title, body in (
        ("Purchase → visible", _latency(runs)),
        ("Highest sustained rate, the system on one core", _rate(runs)),
        ("Processor time at 1,000 events/s", _cpu(runs)),
        ("A restart with everybody, and bytes per customer", _recovery(runs)),
        ("From the start of a process to its first answers", fault_table.startup(runs)),
        ("A second process joins, and leaves", fault_table.rebalance(runs)),
        ("`kill -9` under load, and a restart at once", _kill(runs)),
        ("In the rows of the fault matrix", fault_table.faults(runs)),
        ("What it costs as there is more (ours)", _growth(runs)),
        ("Ratios", ratios(runs)),
        ("Not measured", _skipped(runs)),
        ("What each column sets", differences()),
        ("Where", [f"- {described(found)}" for found in runs.surroundings] + _load(runs)),
    ):
        if body:
            lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines)


def wrong(rows: Rows) -> bool:
    """Return whether the oracle has found anything in one of the runs."""
    return any(row.get("verdict", {}).get("findings") for row in rows)


def usable(rows: Rows) -> bool:
    """Return whether a ratio may be made of them: right, and the generator kept its times."""
    return bool(rows) and not wrong(rows) and all(row["valid"] for row in rows)


def _latency(runs: Runs) -> list[str]:
    head = (
        "| events/s | system | guarantee | p50 ms | p90 | p99 (each run) | p99.9 | max "
        "| purchases | missing | drift ms | oracle |"
    )
    body = []
    for rate in variants(runs, "latency"):
        for name in CONTESTANTS:
            rows = runs.rows("latency", rate, name)
            if rows:
                body.append(f"| {int(rate):,} | {name} | {' | '.join(_waits(name, rows))} |")
    return table(head, body)


def _waits(name: str, rows: Rows) -> list[str]:
    void = "" if all(row["valid"] for row in rows) else " VOID: the generator was late"
    return [
        CONTESTANTS[name].guarantee,
        *latency_cells(rows),
        _oracle(rows) + void,
    ]


def _oracle(rows: Rows) -> str:
    if not wrong(rows):
        return f"0 of {sum(row['verdict']['events'] for row in rows):,} wrong"
    found: dict[str, int] = {}
    for row in rows:
        for kind, count in row["verdict"]["findings"].items():
            found[kind] = found.get(kind, 0) + count
    return f"{WRONG}: " + ", ".join(f"{kind} {count:,}" for kind, count in found.items())


def _rate(runs: Runs) -> list[str]:
    body = []
    for name, one in CONTESTANTS.items():
        rows = runs.rows("rate", "core", name)
        if rows:
            each = " / ".join(_told_rate(row["highest"]) for row in rows)
            body.append(
                f"| {name} | {one.guarantee} | **{_told_rate(_highest(rows))}** ({each}) "
                f"| {100 + 2 * one.commit_ms} | {_oracle(rows)} |"
            )
    return table("| system | guarantee | events/s (each run) | p99 within ms | oracle |", body)


def _told_rate(rate: int) -> str:
    return f"{rate:,}" if rate else f"below {RATE_MIN}"


def _highest(rows: Rows) -> int:
    return round(median(row["highest"] for row in rows))


def _cpu(runs: Runs) -> list[str]:
    body = []
    for name in CONTESTANTS:
        rows = runs.rows("latency", CPU_RATE, name)
        if rows:
            system, both = _cost(rows)
            behind = " (fell behind)" if any(row["missing"] for row in rows) else ""
            body.append(f"| {name}{behind} | {system:.2f} | {both:.2f} |")
    return table("| system | CPU s per 1,000 events | with the broker |", body)


def _cost(rows: Rows) -> tuple[float, float]:
    """Return processor seconds for 1,000 events: the system's, and with the broker's."""
    system = median(row["system_cpu_us_per_event"] for row in rows) / 1_000
    broker = median(row.get("broker_cpu_us_per_event", 0.0) for row in rows) / 1_000
    return system, system + broker


def _recovery(runs: Runs) -> list[str]:
    head = (
        "| customers | system | start to answer s | with nobody s | recovery s | s a million "
        "| state bytes | resident bytes a customer | live heap | disk |"
    )
    body = []
    for customers in variants(runs, "recovery"):
        for name in CONTESTANTS:
            rows = runs.rows("recovery", customers, name)
            if rows:
                seconds = median(row["recovery_seconds"] for row in rows)
                sizes = rows[-1]["bytes_per_customer"]
                cells = (
                    f"{median(row['start_to_answer_seconds'] for row in rows):.1f}",
                    f"{median(row['start_to_answer_empty_seconds'] for row in rows):.1f}",
                    f"{seconds:.1f}",
                    f"{seconds * 1e6 / int(customers):.1f}",
                    f"{rows[-1]['state_bytes']:,}",
                    f"{sizes['resident']:,}",
                    f"{sizes['live_heap']:,}" if "live_heap" in sizes else "-",
                    f"{sizes['disk']:,}",
                )
                body.append(f"| {int(customers):,} | {name} | {' | '.join(cells)} |")
    return table(head, body)


def _kill(runs: Runs) -> list[str]:
    body = []
    for name, one in CONTESTANTS.items():
        rows = [
            row for _, system, row in runs.of("kill") if system == name and "gap_seconds" in row
        ]
        if rows:
            silent = " / ".join(f"{row['gap_seconds']:.1f}" for row in rows)
            body.append(f"| {name} | {one.guarantee} | {len(rows)} | {silent} | {_harm(rows)} |")
    return table("| system | guarantee | kills | silent for s | lost and doubled |", body)


def _harm(rows: Rows) -> str:
    return _oracle(rows).removeprefix(f"{WRONG}: ") if wrong(rows) else "nothing"


def _growth(runs: Runs) -> list[str]:
    body = []
    for what, points in _growing(runs).items():
        costs = ", ".join(f"{count:,}: {us:.0f}" for count, us in points)
        body.append(f"| {what} | {costs} | {slope(points):.3f} |")
    return table("| what | us an event at | log-log slope |", body)


def _growing(runs: Runs) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for _, _, row in runs.of("growth"):
        if "us" in row:
            found.setdefault(row["what"], []).append((row["count"], row["us"]))
    return {what: sorted(points) for what, points in found.items()}


def ratios(runs: Runs) -> list[str]:
    """Return what issue and readers ask for, of what was measured and not disqualified."""
    lines = []
    ours = runs.rows("latency", CPU_RATE, "ours")
    if usable(ours):
        for rival, goal in (
            ("confluent-loop", 1.3),
            ("aiokafka-floor", 1.3),
            ("streams-eos-tuned", 0.5),
            ("streams-eos-default", 0.15),
            ("quix-eos-default", 0.15),
        ):
            theirs = runs.rows("latency", CPU_RATE, rival)
            if usable(theirs):
                ratio = _p99(ours) / _p99(theirs)
                lines.append(f"- p99 at 1,000/s: {ratio:.2f} x {rival} (goal <= {goal})")
        for rival in ("streams-eos-tuned", "streams-eos-default"):
            theirs = runs.rows("latency", CPU_RATE, rival)
            if usable(theirs):
                ratio = _cost(ours)[1] / _cost(theirs)[1]
                lines.append(f"- CPU with the broker: {ratio:.2f} x {rival} (goal <= 0.7)")
    lines += _rate_ratios(runs)
    lines += _state_ratios(runs)
    goals = {"journeys-elsewhere": 0.05, "journeys-alike": 0.05, "customers": 0.05}
    for what, points in _growing(runs).items():
        goal = goals.get(what, 0.3 if what == "enrollments" else 0.05)
        lines.append(f"- growth over {what}: slope {slope(points):.3f} (goal <= {goal})")
    return lines


def _p99(rows: Rows) -> float:
    return percentiles(merged(rows))["p99"]


def _rate_ratios(runs: Runs) -> list[str]:
    lines = []
    ours = runs.rows("rate", "core", "ours")
    for rival, goal in (("streams-eos-tuned", 1), ("streams-eos-default", 1), ("stock-faust", 8)):
        theirs = runs.rows("rate", "core", rival)
        if ours and theirs and not wrong(ours + theirs) and _highest(theirs):
            ratio = _highest(ours) / _highest(theirs)
            lines.append(f"- highest rate on a core: {ratio:.2f} x {rival} (goal >= {goal})")
    return lines


def _state_ratios(runs: Runs) -> list[str]:
    lines = []
    for customers in variants(runs, "recovery"):
        ours = runs.rows("recovery", customers, "ours")
        for rival, goal in (("stock-faust", 20), ("streams-eos-tuned", 1)):
            theirs = runs.rows("recovery", customers, rival)
            if ours and theirs:
                times = [median(r["recovery_seconds"] for r in rows) for rows in (theirs, ours)]
                told = f"{times[0] / times[1]:.1f} x as long in {rival} (goal >= {goal})"
                lines.append(f"- recovery of {int(customers):,}: {told}")
        theirs = runs.rows("recovery", customers, "streams-eos-tuned")
        if ours and theirs:
            bytes_ours = ours[-1]["bytes_per_customer"]["resident"]
            bytes_heap = theirs[-1]["bytes_per_customer"]["live_heap"]
            told = f"{bytes_ours / bytes_heap:.2f} x the live heap of streams-eos-tuned"
            lines.append(f"- resident bytes per customer: {told} (goal <= 0.5)")
    return lines


def _skipped(runs: Runs) -> list[str]:
    return [
        f"- {row['key']}: {' '.join(str(row['skipped']).split())[:300]}"
        for part in PARTS
        for _, _, row in runs.of(part)
        if "skipped" in row
    ]


def _load(runs: Runs) -> list[str]:
    """Return how busy the machine was: figures of a shared one are worth what that says."""
    lines = []
    for part in PARTS:
        seen = [max(row["load_average"]) for _, _, row in runs.of(part) if "load_average" in row]
        if seen:
            told = f"{min(seen):.1f} to {max(seen):.1f}, the middle one {median(seen):.1f}"
            lines.append(f"- load average during the {part} runs: {told}")
    return lines
