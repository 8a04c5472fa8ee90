"""Draws the latency curves of a folder of raw runs: `python -m bench.rivals.curves RUNS PICTURES`.

Runs in the rivals' environment, which has matplotlib; it reads the raw runs and nothing of ours.
A curve shows for each share of customers how long they waited at most, on both axes so that the
slow ones can be seen.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

import matplotlib as mpl
from hdrh.histogram import HdrHistogram

mpl.use("svg")
from matplotlib import pyplot as plt

HIGHEST_US: Final = 3_600_000_000
NINES: Final = (0, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9)
STYLES: Final = {"default": ":", "tuned": "-", "loop": "--", "floor": "--"}


def draw(rate: int, curves: dict[str, HdrHistogram], path: Path) -> None:
    """Draw one picture: a rate, a curve for each system."""
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for name, waits in sorted(curves.items()):
        levels = [level for level in NINES if level <= 100 * (1 - 1 / waits.get_total_count())]
        milliseconds = [waits.get_value_at_percentile(level) / 1_000 for level in levels]
        tails = [100 / (100 - level) for level in levels]
        style = next((line for end, line in STYLES.items() if name.endswith(end)), "-")
        width = 2.6 if name == "ours" else 1.4
        axes.plot(tails, milliseconds, style, linewidth=width, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown = [level for level in NINES if level in {0, 50, 90, 99, 99.9}]
    axes.set_xticks([100 / (100 - level) for level in shown], [f"p{level:g}" for level in shown])
    axes.minorticks_off()
    axes.set_ylabel("purchase to visible command, ms")
    axes.set_title(f"{rate:,} events/s")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(runs: Path, pictures: Path) -> None:
    """Read the rows of the latency part and draw a picture for each rate."""
    mpl.rcParams["svg.hashsalt"] = "px"
    by_rate: dict[int, dict[str, HdrHistogram]] = defaultdict(dict)
    for path in sorted(runs.glob("latency.*.json")):
        row = json.loads(path.read_bytes())
        if row.get("samples", 0) < 10 or row.get("verdict", {}).get("findings"):
            continue
        _, rate, name, _ = row["key"].split("/")
        waits = by_rate[int(rate)].setdefault(name, HdrHistogram(1, HIGHEST_US, 3))
        waits.decode_and_add(row["histogram_us"])
    pictures.mkdir(parents=True, exist_ok=True)
    for rate, curves in sorted(by_rate.items()):
        path = pictures / f"{runs.name}-{rate}.svg"
        draw(rate, curves, path)
        print(path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
