"""`python -m bench.trial`: how fast `simulate --history` is, and what memory it takes.

Writes a month of the usual mix as JSON lines, and lets `orchestrator simulate --history` play a
quarter, a half and all of it through the example shop. Memory should follow the customers and what
is open for them, not the events. Beside it stands the rate that `bench.decide` has recorded.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from bench.events import MIXES, consent_bytes, event_bytes
from bench.report import RESULTS
from bench.systems import ROOT

SHARES: Final = (0.25, 0.5, 1.0)
DAYS: Final = 30
START_NS: Final = 1_767_225_600_000_000_000  # 1 January 2026.


def write_history(path: Path, events: int, customers: int, seed: int) -> None:
    """Write events in the order of their time."""
    chance = random.Random(seed)
    kinds, shares = zip(*MIXES["mixed"], strict=True)
    step_ns = DAYS * 86_400 * 10**9 // events
    with path.open("wb") as file:
        for customer in range(customers):
            file.write(consent_bytes(customer, "email", f"t-{customer}", START_NS) + b"\n")
        for number in range(events):
            kind = chance.choices(kinds, shares)[0]
            at_ns = START_NS + number * step_ns
            customer = chance.randrange(customers)
            file.write(event_bytes(kind, f"t-{number}", customer, at_ns, chance) + b"\n")


def play(lines: list[bytes]) -> tuple[float, int]:
    """Play lines in a process of its own; return seconds and peak resident KiB."""
    command = [sys.executable, "-m", "orchestrator", "simulate", "--history", "-", "--json"]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.writelines(lines)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"simulate ended with {status}")
    return time.monotonic() - started, usage.ru_maxrss


@click.command()
@click.option("--events", default=1_000_000, show_default=True)
@click.option("--customers", default=100_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(events: int, customers: int, seed: int) -> None:
    """Measure, print the table, and write it to results/trial.md."""
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "history.jsonl"
        write_history(history, events, customers, seed)
        rows = []
        for share in SHARES:
            with history.open("rb") as file:
                lines = [next(file) for _ in range(customers + round(events * share))]
            seconds, peak_kib = play(lines)
            rows.append((len(lines), seconds, peak_kib))
            click.echo(f"{len(lines):,} events: {seconds:.0f} s, {peak_kib / 1024:,.0f} MiB")
    recorded = (RESULTS / "decide.txt").read_text("utf-8")
    pure = re.search(r"pure decide: ([\d,]+)", recorded)
    both = re.search(r"bytes in, bytes out: ([\d,]+)", recorded)
    beside = (
        f"`python -m bench.decide` has recorded {pure[1] if pure else '?'} pure decisions/s and "
        f"{both[1] if both else '?'} from bytes to bytes. A trial also decides every wait that "
        "comes due, renders every message, reads JSON, and keeps states encoded."
    )
    table = [
        "# `simulate --history` with the example shop",
        "",
        f"{customers:,} customers, {DAYS} days of the usual mix, waits and time tables played too.",
        "",
        "| events | seconds | events/s | peak resident MiB | bytes a customer |",
        "|---|---|---|---|---|",
        *(
            f"| {count:,} | {seconds:.0f} | {count / seconds:,.0f} | {kib / 1024:,.0f} | "
            f"{kib * 1024 / customers:,.0f} |"
            for count, seconds, kib in rows
        ),
        "",
        beside,
    ]
    (RESULTS / "trial.md").write_text("\n".join(table) + "\n", "utf-8")


if __name__ == "__main__":
    main()
