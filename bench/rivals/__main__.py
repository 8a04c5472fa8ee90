"""`make bench-rivals`: the worker beside what engineers would use instead, in one run."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from bench.report import RESULTS, environment
from bench.rivals import lineup
from bench.rivals.arena import QUICK, Arena, Extent
from bench.rivals.estimate import minutes
from bench.rivals.faults import FAULTS
from bench.rivals.parts import PARTS
from bench.rivals.runs import Runs
from bench.rivals.table import render
from bench.run import broker
from bench.systems import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOM: Final = RESULTS / "rivals"
# Parts that measure no times: a cold broker may take its own.
COUNTED: Final = {"faults"}
QUICK_NOTE: Final = (
    "**A quick run: it shows that all parts work.** One repetition of seconds each, so its figures "
    "are not for quoting; the load of the machine stands at the end."
)


@click.command(epilog="Example: make bench-rivals ARGS='--parts latency,rate --resume'")
@click.option("--name", default="latest", show_default=True, help="Raw runs go to rivals/NAME/.")
@click.option("--parts", default=",".join(PARTS), show_default=True)
@click.option("--systems", default=",".join(lineup.CONTESTANTS), show_default=True)
@click.option("--quick", is_flag=True, help="A quarter of an hour, to see that all of it works.")
@click.option("--resume", is_flag=True, help="Go on with the runs that NAME has already.")
@click.option("--plan", is_flag=True, help="Say how long it will take, and what is missing; end.")
@click.option("--page", is_flag=True, help="Only write page and pictures of NAME's runs; end.")
@click.option("--rates", help="Events/s of the latency part, as 500,1000.")
@click.option("--repetitions", type=int, help="Of every part but recovery and growth.")
@click.option("--rows", help="Of the fault matrix, for the faults part, as 2,14.")
@click.option("--seconds", type=float, help="Measured at each rate, after the warm-up.")
@click.option("--skew", default=0.0, show_default=True, help="Zipf exponent over the customers.")
@click.option("--seed", default=1, show_default=True, help="Of the load and of who is next.")
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(
    *,
    name: str,
    parts: str,
    systems: str,
    quick: bool,
    resume: bool,
    plan: bool,
    page: bool,
    rates: str | None,
    repetitions: int | None,
    rows: str | None,
    seconds: float | None,
    skew: float,
    seed: int,
    bootstrap_servers: str | None,
) -> None:
    """Measure the systems side by side; write a page and pictures beside the raw runs."""
    # Who ends us ends the systems too: the way out stops them and removes their topics.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if page:
        write(Runs(ROOM / name), name, quick=quick)
        return
    extent = _extent(quick=quick, rates=rates, repetitions=repetitions, seconds=seconds)
    extent = replace(extent, skew=skew)
    if rows:
        known = {str(number): fault for number, fault in FAULTS.items()}
        extent = replace(extent, fault_rows=tuple(map(int, _chosen(rows, known, "--rows"))))
    wanted = _chosen(parts, PARTS, "--parts")
    lineup.build_streams()
    contestants = []
    for one in _chosen(systems, lineup.CONTESTANTS, "--systems"):
        contestant = lineup.CONTESTANTS[one]
        if lacking := contestant.lacks():
            click.echo(f"{one} is left out; it needs {lacking}", err=True)
        else:
            contestants.append(contestant)
    expected = {part: minutes(part, extent, contestants) for part in wanted}
    for part, long in expected.items():
        click.echo(f"{part:10} about {long:4.0f} minutes")
    click.echo(f"{'together':10} about {sum(expected.values()):4.0f} minutes")
    if plan:
        return
    runs = Runs(ROOM / name)
    if len(runs) and not resume:
        raise click.UsageError(
            f"{name} has {len(runs)} runs already: --resume goes on with them, --name starts others"
        )
    if any(found["quick"] != quick for found in runs.surroundings):
        raise click.UsageError(f"{name} was begun {'without' if quick else 'with'} --quick")
    runs.began(environment(embedded=not bootstrap_servers) | {"quick": quick})
    with broker(bootstrap_servers) as target:
        arena = Arena(target, runs, extent, tuple(contestants), seed)
        if set(wanted) - COUNTED:
            arena.warm_broker()
        for measured in dict.fromkeys(PARTS[part] for part in wanted):
            measured(arena)
    write(runs, name, quick=quick)


def write(runs: Runs, name: str, *, quick: bool) -> None:
    """Write the page and the pictures."""
    notes = [QUICK_NOTE] if quick else []
    remarks = runs.folder / "notes.md"  # What somebody who was there has to say.
    if remarks.exists():
        notes.append(remarks.read_text("utf-8").strip())
    python = lineup.QUIX_PYTHON
    if python.exists():
        command = [str(python), "-m", "bench.rivals.curves", str(runs.folder), str(ROOM)]
        drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        notes += [f"![Waits]({picture})" for picture in drawn.split()]
    page = render(runs, notes)
    (ROOM / f"{name}.md").write_text(page, "utf-8")
    click.echo(page)


def _extent(
    *, quick: bool, rates: str | None, repetitions: int | None, seconds: float | None
) -> Extent:
    """Return how long and how often, as the options say."""
    extent = QUICK if quick else Extent()
    if rates:
        extent = replace(extent, rates=tuple(int(rate) for rate in rates.split(",")))
    if repetitions:
        of = ("", "ramp_", "kill_", "startup_", "rebalance_", "fault_")
        extent = replace(extent, **{f"{part}repetitions": repetitions for part in of})
    return replace(extent, seconds=seconds) if seconds else extent


def _chosen(given: str, known: Mapping[str, object], option: str) -> list[str]:
    names = [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(
            f"{', '.join(unknown)}; allowed: {', '.join(known)}", param_hint=option
        )
    return names


if __name__ == "__main__":
    main()
