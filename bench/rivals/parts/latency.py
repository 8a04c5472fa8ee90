"""Purchase → visible at fixed rates, open loop; and what an event costs in processor time.

A world lives through all rates, from the lowest one up, so that a JVM is warm once; a system that
has fallen behind is not asked for more. The row of a rate carries the verdict on its whole world.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant
    from bench.systems import Running

CPU_RATE: Final = 1_000


def run(arena: Arena) -> None:
    """Measure every system at every rate."""
    _measure(arena, arena.extent.rates)


def run_cpu(arena: Arena) -> None:
    """See to it that there is a run at the rate at which costs are compared."""
    _measure(arena, (CPU_RATE,))


def _measure(arena: Arena, rates: tuple[int, ...]) -> None:
    for repetition, contestant in arena.turns(
        arena.extent.repetitions, arena.extent.latency_systems
    ):
        wanted = {rate: _key(rate, contestant, repetition) for rate in rates}
        wanted = {rate: key for rate, key in wanted.items() if key not in arena.runs}
        if wanted:
            _live(arena, contestant, wanted)


def _key(rate: int, contestant: Contestant, repetition: int) -> str:
    return f"latency/{rate}/{contestant.name}/{repetition}"


def _live(arena: Arena, contestant: Contestant, wanted: dict[int, str]) -> None:
    """Start a system, take it through the rates, have it judged, and keep its rows."""
    world: World | None = None
    rows: dict[str, dict[str, Any]] = {}
    try:
        with arena.world(contestant) as world, arena.started(world) as (process, seconds):
            arena.warm_up(world, process)
            rows = _rows(arena, world, process, wanted)
            verdict = asdict(arena.verdict(world))
            for key, row in rows.items():
                told = _told(row) + ("" if not verdict["findings"] else "  DISQUALIFIED")
                about = {"verdict": verdict, "start_to_answer_seconds": seconds}
                arena.keep(key, row | about, told)
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        for key in wanted.values():
            if key not in arena.runs:
                arena.failed(key, world, error)


def _rows(
    arena: Arena, world: World, process: Running, wanted: dict[int, str]
) -> dict[str, dict[str, Any]]:
    extent = arena.extent
    rows: dict[str, dict[str, Any]] = {}
    behind = 0
    for rate in sorted(wanted):
        if behind:
            rows[wanted[rate]] = {"skipped": f"fell behind at {behind:,} events/s"}
            continue
        row = arena.load(world, process, rate, extent.seconds, extent.warm_up_seconds)
        rows[wanted[rate]] = row
        if row["missing"] or not row["system_alive"]:
            behind = rate
    return rows


def _told(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return str(row["skipped"])
    latency, broker = row["latency_ms"], None
    with suppress(KeyError):
        broker = row["broker_cpu_us_per_event"]
    both = f", with broker {row['system_cpu_us_per_event'] + broker:.0f}" if broker else ""
    return (
        f"p50 {latency['p50']:.1f}  p99 {latency['p99']:.1f}  p99.9 {latency['p99.9']:.1f} ms  "
        f"missing {row['missing']}  CPU {row['system_cpu_us_per_event']:.0f} us{both}"
        f"{'' if row['valid'] else '  VOID'}"
    )
