"""The page of `bench.waits`, made of its rows and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.reader import percentiles
from bench.report import merged

if TYPE_CHECKING:
    from bench.report import Results

GOAL: Final = 3.0
QUICK_NOTE: Final = (
    "**A quick run: it shows that all of it works.** Its figures are not for quoting."
)
_COUNTS: Final = ("waits", "fired", "doubled", "missing", "early")


def render(results: Results, *, quick: bool) -> str:
    """Return the page."""
    lines = ["# Waits that come due at once, and after an outage", ""]
    lines += ["`python -m bench.waits`" + (" `--quick`" if quick else ""), ""]
    lines += [QUICK_NOTE, ""] if quick else []
    for count in results.measured("at-once")[0]:
        for row in results.rows("at-once", "ours", count):
            lines += _at_once(count, row)
    for count in results.measured("outage")[0]:
        pair = [results.rows(kind, "ours", count) for kind in ("outage", "tomorrow")]
        if all(pair):
            lines += _outage(count, *pair)
    lines += [
        "What pending waits cost an event is measured by `make bench-rivals`, part growth.",
        "",
        *("## Where", "", *results.where(), ""),
    ]
    return "\n".join(lines)


def _at_once(count: int, row: dict[str, Any]) -> list[str]:
    until = " / ".join(f"{seconds:.1f}" for seconds in row["seconds_until_fired"])
    return [
        f"## {count:,} due within {row['burst_seconds']:g} s, {row['bursts']} times",
        "",
        (
            f"Beside {row['rate']:,} events/s. All of a burst had fired {until} s "
            "after its first due time."
        ),
        "",
        "| late by | p50 ms | p90 | p99 | p99.9 | max |",
        "|---|---|---|---|---|---|",
        _late("the decision's own time", row["late_decided_ms"]),
        _late("the line of the journey log as written", row["late_written_ms"]),
        "",
        *_purchases(
            {
                "with no burst (from 2 s after one)": [row["before"]],
                "while a burst fires": [row["during"]],
            }
        ),
        "",
        *_exactly_once({"at once": [row]}),
    ]


def _outage(count: int, overdue: list[dict[str, Any]], tomorrow: list[dict[str, Any]]) -> list[str]:
    first = overdue[0]
    each = ", ".join(
        f"all fired {row['caught_up_seconds']:.1f} s after the start of the process "
        f"(it answered after {row['ready_seconds']:.1f} s, "
        f"the load began after {row['load_began_seconds']:.1f} s)"
        for row in overdue
    )
    caught_up, quiet = ([row["during"] for row in rows] for rows in (overdue, tomorrow))
    return [
        f"## An outage of {first['outage_seconds']:g} s: {count:,} waits overdue",
        "",
        f"{each[0].upper()}{each[1:]}.",
        _ratio(caught_up, quiet),
        "",
        *_purchases(
            {
                "while the outage is caught up": caught_up,
                "the same seconds, waits due tomorrow": quiet,
                "after it was caught up": [row["after"] for row in overdue],
            }
        ),
        "",
        *_exactly_once({"overdue": overdue, "due tomorrow": tomorrow}),
    ]


def _ratio(caught_up: list[dict[str, Any]], quiet: list[dict[str, Any]]) -> str:
    if not all(row["samples"] for row in (*caught_up, *quiet)):
        return "**It was caught up before anybody bought something: there is no ratio.**"
    ratio = percentiles(merged(caught_up))["p99"] / percentiles(merged(quiet))["p99"]
    kept = "held" if ratio <= GOAL else "**missed**"
    return (
        f"**p99 of purchases sent while it catches up: {ratio:.2f} x** of the same seconds "
        f"with as many waits due tomorrow (goal at most {GOAL:g} x: {kept})."
    )


def _late(name: str, late_ms: dict[str, float]) -> str:
    cells = (f"{late_ms[level]:,.0f}" for level in ("p50", "p90", "p99", "p99.9", "max"))
    return f"| {name} | {' | '.join(cells)} |"


def _purchases(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = ["| purchase → visible | purchases | p50 ms | p99 (each run) | max |"]
    lines.append("|---" * 5 + "|")
    for name, rows in groups.items():
        found = percentiles(merged(rows))
        each = " / ".join(f"{row['latency_ms']['p99']:.1f}" for row in rows)
        samples = sum(row["samples"] for row in rows)
        lines.append(
            f"| {name} | {samples:,} | {found['p50']:.1f} | **{found['p99']:.1f}** ({each}) "
            f"| {found['max']:.1f} |"
        )
    return lines


def _exactly_once(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        (
            f"| | {' | '.join(_COUNTS)} | purchases | unanswered | generator late p99 ms "
            "| load average |"
        ),
        "|---" * (len(_COUNTS) + 5) + "|",
    ]
    for name, rows in groups.items():
        for row in rows:
            counts = " | ".join(f"{row[count]:,}" for count in _COUNTS)
            void = "" if row["valid"] else " VOID"
            before, after = row["load_average"]
            lines.append(
                f"| {name} | {counts} | {row['purchases']:,} | {row['unanswered']:,} "
                f"| {row['late_p99_ms']:.2f}{void} | {before:.1f} → {after:.1f} |"
            )
    return [*lines, ""]
