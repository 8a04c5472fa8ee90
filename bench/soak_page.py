"""What `bench.soak` judges, with how much each may rise, and the page and picture made of a run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from bench.rivals.lineup import QUIX_PYTHON
from bench.systems import ROOT
from bench.trend import Allowance

if TYPE_CHECKING:
    from pathlib import Path

    from bench.report import Results

MIB: Final = 2**20
LOOKS: Final = "looks"
WINDOWS: Final = "windows"


# What a purchase may leave in a state for 90 days: the order, and the keys by which it is known.
# 155 bytes on average when everything else is full.
PURCHASE_BYTES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that must stay as it is: `of` less `less` of each row, divided by `unit`.

    What `keeps_purchases` may rise by as many bytes as the purchases of the second half may leave.
    """

    name: str
    source: str
    of: str
    allowance: Allowance
    less: str | None = None
    unit: float = 1.0
    keeps_purchases: bool = False

    def figure(self, row: dict[str, float]) -> float:
        """Return the figure of one look or window."""
        return (row[self.of] - (row[self.less] if self.less else 0.0)) / self.unit

    def allowed(self, purchases: int) -> Allowance:
        """Return how far it may rise in a second half with so many purchases."""
        if not self.keeps_purchases:
            return self.allowance
        left = PURCHASE_BYTES_MAX * purchases / self.unit
        return replace(self.allowance, amount=self.allowance.amount + left)


_MEMORY: Final = Allowance(share=0.03)
_NONE: Final = Allowance()
_EXACT: Final = Allowance(amount=0.5)
MEASURES: Final = (
    Measure(
        "resident memory, MiB", LOOKS, "resident_bytes", _MEMORY, unit=MIB, keeps_purchases=True
    ),
    # What the worker has taken for itself: neighbours that share its files do not move it.
    Measure(
        "anonymous memory, MiB", LOOKS, "anonymous_bytes", _MEMORY, unit=MIB, keeps_purchases=True
    ),
    Measure("states, MiB", LOOKS, "state_bytes", _NONE, unit=MIB, keeps_purchases=True),
    Measure(
        "resident less states, MiB", LOOKS, "resident_bytes", _MEMORY, less="state_bytes", unit=MIB
    ),
    Measure(
        "anonymous less states, MiB",
        LOOKS,
        "anonymous_bytes",
        _MEMORY,
        less="state_bytes",
        unit=MIB,
    ),
    Measure("file descriptors", LOOKS, "descriptors", Allowance(amount=2)),
    Measure("metric series", LOOKS, "series", _EXACT),
    Measure("threads", LOOKS, "threads", _EXACT),
    Measure("lag, records", LOOKS, "lag", Allowance(amount=50)),
    Measure("waits pending", LOOKS, "waits_pending", Allowance(share=0.05)),
    Measure("purchase → visible p50, ms", WINDOWS, "p50_ms", Allowance(share=0.2, amount=2)),
    Measure("purchase → visible p99, ms", WINDOWS, "p99_ms", Allowance(share=0.2, amount=5)),
)


def draw(raw: Path) -> Path | None:
    """Draw the picture beside the raw figures; None where nothing is there to draw with."""
    if not QUIX_PYTHON.exists():
        click.echo("no picture: `make soak` installs what draws it into .venv-rivals", err=True)
        return None
    picture = raw.with_suffix(".svg")
    command = [str(QUIX_PYTHON), "-m", "bench.soak_picture", str(raw), str(picture)]
    subprocess.run(command, cwd=ROOT, check=True)
    return picture


def render(results: Results, row: dict[str, Any], findings: list[str], picture: Path | None) -> str:
    """Return the page."""
    lines = [
        f"# A soak of {row['minutes']:g} minutes",
        "",
        (
            f'`make soak ARGS="--minutes {row["minutes"]:g} --rate {row["rate"]:g}"`: '
            "one worker, an embedded Kafka."
        ),
        "",
        "**Flat.**" if not findings else f"**Not flat:** {'; '.join(findings)}.",
        "",
    ]
    lines += [f"![Memory and latency]({picture.name})", ""] if picture else []
    lines += ["## Flat or not", "", *_verdicts(row), "", *_judged(row), ""]
    lines += ["## What went through", "", *_went_through(row), ""]
    return "\n".join([*lines, "## Where", "", *results.where(), ""])


def half(rows: list[dict[str, float]], row: dict[str, Any]) -> list[dict[str, float]]:
    """Return those looks or windows of a run that are of its second half."""
    return [one for one in rows if one["seconds"] >= row["seconds"] / 2]


def bought(row: dict[str, Any]) -> int:
    """Return how many purchases there were in the second half of a run."""
    return round(sum(window["purchases"] for window in half(row["windows"], row)))


def _verdicts(row: dict[str, Any]) -> list[str]:
    lines = [
        (
            "| measure | at the start | at half-time | at the end | rise over the second half "
            "| allowed | an hour | flat |"
        ),
        "|---" * 8 + "|",
    ]
    for measure in MEASURES:
        found = row["trends"][measure.name]
        rows = row[measure.source]
        places = (rows[:1], half(rows, row)[:1], rows[-1:])
        cells = [f"{measure.figure(place[0]):,.1f}" if place else "-" for place in places]
        flat = "yes" if found["flat"] else "**no**"
        lines.append(
            f"| {measure.name} | {' | '.join(cells)} | {found['rise']:+,.2f} "
            f"| {found['allowed']:,.2f} | {found['slope_per_hour']:+,.2f} | {flat} |"
        )
    return lines


def _judged(row: dict[str, Any]) -> list[str]:
    a_third = row["rate"] * row["seconds"] / 3 / row["customers"]
    return [
        (
            "The line is the median slope between all pairs of points of the second half (Theil "
            "and Sen), its rise is over that half; what falls is flat. "
            f"Latencies are those of windows of {row['window_seconds']:g} s."
        ),
        "",
        (
            f"{row['customers']:,} customers come back all the time: {a_third:.0f} events each in "
            "the first third, so that everybody is met and every dedupe window (64 events) is full "
            "by then. Messages and fences last half a minute, waits a quarter. Orders and the keys "
            "by which a purchase is known for 90 days do not end within a run: the states grow "
            f"with each purchase, and may by {PURCHASE_BYTES_MAX} bytes, which is allowed to the "
            "states and to the memory that they are in; memory less states has nothing of it. "
            "PSS is told and not judged: it rises when something else that runs the same Python "
            "ends; anonymous memory is the worker's own."
        ),
    ]


def _went_through(row: dict[str, Any]) -> list[str]:
    looks = row["looks"]
    first, last = looks[0], looks[-1]
    grown = last["state_bytes"] - half(looks, row)[0]["state_bytes"]
    purchases = bought(row)
    changelog = [one["changelog_bytes"] / MIB for one in looks]
    before, after = row["load_average"]
    latency = row["latency_ms"]
    void = "" if row["valid"] else " (VOID: the generator was late)"
    return [
        (
            f"- {row['sent']:,} events, {row['purchases']:,} purchases, of which unanswered "
            f"{row['unanswered']:,}; purchase → visible p50 {latency['p50']:.1f} ms, "
            f"p99 {latency['p99']:.1f}, max {latency['max']:.1f}"
        ),
        (
            f"- {last['waits_fired']:,.0f} waits fired, "
            f"{last['visits']:,.0f} visits of a time table, {last['commands']:,.0f} commands"
        ),
        (
            f"- states: {first['state_bytes'] / MIB:.1f} → {last['state_bytes'] / MIB:.1f} MiB, "
            f"in the second half {grown / max(1, purchases):,.0f} bytes a purchase; at the end "
            f"{last['state_bytes'] / max(1.0, last['state_customers']):,.0f} bytes a customer"
        ),
        (f"- PSS: {first['pss_bytes'] / MIB:.1f} → {last['pss_bytes'] / MIB:.1f} MiB, not judged"),
        (
            f"- changelog on the broker's disk: at most {max(changelog):,.1f} MiB, at the end "
            f"{changelog[-1]:,.1f}; not judged, the cleaner comes when it comes"
        ),
        (
            f"- {len(looks):,} looks, {row['looks_failed']} failed; load average {before:.2f} → "
            f"{after:.2f}; generator late p99 {row['late_p99_ms']:.2f} ms{void}"
        ),
    ]
