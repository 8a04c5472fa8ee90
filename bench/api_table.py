"""The page made of what `bench.api` has measured: one table for waits, one for what calls cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.reader import percentiles
from bench.report import merged

if TYPE_CHECKING:
    from bench.report import Results

# Events a second in every run, and next-best calls a second that are wanted beside them.
RATE: Final = 1_000
_READS: Final = "a write until a read with its receipt is answered"


def render(results: Results) -> str:
    """Return the page."""
    lines = ["# The API beside a worker", "", *_verdict(results), "", *_waits(results), ""]
    lines += [*_purchases(results), ""]
    for kind, title in (("race", "Who races"), ("model", "The read model")):
        for rate in results.measured(kind)[0]:
            for row in results.rows(kind, "api", rate):
                lines += [f"## {title}", "", "| what | figure |", "|---|---|"]
                lines += [f"| {name} | {_figure(value)} |" for name, value in row.items()]
                lines.append("")
    return "\n".join([*lines, *_parts(results), "## Where", "", *results.where(), ""])


def _verdict(results: Results) -> list[str]:
    """Say which rate was held, and what it costs purchases."""
    rates = results.measured("next-best")[0]
    held = [
        rate for rate in rates if all(row["held"] for row in results.rows("next-best", "api", rate))
    ]
    if not rates:
        return ["Next-best was not measured."]
    waits = percentiles(merged(results.rows("next-best", "api", max(held or rates))))
    if held:
        said = f"Held beside {RATE:,} events/s: **{max(held):,} next-best calls/s**"
    else:
        said = f"**No rate of {', '.join(map(str, rates))} next-best calls/s was held**"
    lines = [f"{said}, p50 {waits['p50']:.1f} ms, p99 {waits['p99']:.1f} ms."]
    if held and max(held) < RATE:
        wanted = results.rows("next-best", "api", RATE)
        reached = ", ".join(f"{row['answered_a_second']:,.0f}" for row in wanted)
        lines.append(f"At {RATE:,}/s the queue grew; {reached} a second were answered.")
    alone = results.rows("purchases", "alone", RATE)
    beside = results.rows("purchases", f"next-best-{max(held or rates)}", RATE)
    if alone and beside:
        first, then = (percentiles(merged(rows)) for rows in (alone, beside))
        lines.append(
            f"Purchase → visible: p50 {first['p50']:.1f} → {then['p50']:.1f} ms, p99 "
            f"{first['p99']:.1f} → {then['p99']:.1f} ms ({then['p99'] / first['p99']:.2f} x)."
        )
    lines.append("Held means: every call answered with 200, and the median wait did not grow by")
    lines.append("more than 25 ms from the first to the last quarter of a run.")
    return lines


def _waits(results: Results) -> list[str]:
    lines = ["| what | asked | p50 ms | p99 | p99.9 | max | answers | a second | held | late max |"]
    lines.append("|---" * 10 + "|")
    for kind, said in (
        ("reads", _READS),
        ("next-best", "next-best"),
        ("request", "request: asked until the owner's word"),
    ):
        for rate in results.measured(kind)[0]:
            beside = f"beside {RATE:,} events/s" if kind == "next-best" or rate else "nothing else"
            asked = f" at {rate:,}/s" if kind == "next-best" else ""
            what = f"{said}{asked}, {beside}"
            lines += [_waited(what, row) for row in results.rows(kind, "api", rate)]
    return lines


def _waited(what: str, row: dict[str, Any]) -> str:
    found = percentiles(merged([row]))
    answers = ", ".join(f"{count:,} x {one}" for one, count in row.get("statuses", {}).items())
    held = {True: "yes", False: "no"}.get(row.get("held", ""), "-")
    return (
        f"| {what} | {row['calls']:,} | {found['p50']:.1f} | **{found['p99']:.1f}** | "
        f"{found['p99.9']:.1f} | {found['max']:.1f} | {answers or '-'} | "
        f"{row.get('answered_a_second', '-')} | {held} | {row.get('late_max_ms', '-')} |"
    )


def _purchases(results: Results) -> list[str]:
    head = (
        f"| purchase → visible at {RATE:,} events/s, beside | p50 ms | p99 (each run) | missing "
        "| read model stale: p50 within s | p99 within s | CPU us/event: worker | broker "
        "| API CPU s | generator late p99 ms |"
    )
    lines = [head, "|---" * 10 + "|"]
    for beside in results.measured("purchases")[1]:
        rows = results.rows("purchases", beside, RATE)
        found = percentiles(merged(rows))
        each = " / ".join(f"{row['latency_ms']['p99']:.1f}" for row in rows)
        void = "" if all(row["valid"] for row in rows) else " VOID"
        cells = [
            beside,
            f"{found['p50']:.1f}",
            f"**{found['p99']:.1f}** ({each})",
            str(sum(row["missing"] for row in rows)),
            " / ".join(row.get("stale_p50_s", "-") for row in rows),
            " / ".join(row.get("stale_p99_s", "-") for row in rows),
            f"{_mean(rows, 'system_cpu_us_per_event'):.0f}",
            f"{_mean(rows, 'broker_cpu_us_per_event'):.0f}",
            f"{_mean(rows, 'api_cpu_seconds'):.1f}",
            f"{max(row['late_p99_ms'] for row in rows):.2f}{void}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _parts(results: Results) -> list[str]:
    lines = []
    for name in results.measured("part")[1]:
        for row in results.rows("part", name, 0):
            ended = "" if row["failure"] is None else f": FAILED, {row['failure']}"
            lines.append(f"- Part {name}: {row['seconds']} s{ended}")
    return ["## Parts", "", *lines, ""] if lines else []


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rows) / len(rows)


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} x {name}" for name, count in value.items())
    return f"{value:,}"
