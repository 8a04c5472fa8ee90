"""Draws a soak: `python -m bench.soak_picture RAW PICTURE`; `soak_page` starts it.

Runs in the rivals' environment, which has matplotlib; it reads the raw figures and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

MIB: Final = 2**20
MEMORY: Final = {
    "resident": ("resident_bytes", "-"),
    "PSS": ("pss_bytes", "--"),
    "states": ("state_bytes", ":"),
}


def draw(row: dict[str, Any], path: Path) -> None:
    """Draw memory above latency, both over the time of the run."""
    figure, (memory, latency) = plt.subplots(2, 1, figsize=(9, 7), sharex=True)
    minutes = [look["seconds"] / 60 for look in row["looks"]]
    for name, (key, style) in MEMORY.items():
        memory.plot(minutes, [look[key] / MIB for look in row["looks"]], style, label=name)
    memory.set_ylabel("MiB")
    memory.set_title(f"one worker, {row['rate']:g} events/s, {row['customers']:,} customers")
    minutes = [window["seconds"] / 60 for window in row["windows"]]
    for name in ("p50", "p99"):
        latency.plot(minutes, [window[f"{name}_ms"] for window in row["windows"]], label=name)
    latency.set_ylabel("purchase to visible command, ms")
    latency.set_xlabel("minutes")
    for axes in (memory, latency):
        axes.axvline(row["seconds"] / 120, color="grey", linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "soak"
    document = json.loads(Path(sys.argv[1]).read_bytes())
    (measured,) = document["rows"].values()
    draw(measured, Path(sys.argv[2]))
