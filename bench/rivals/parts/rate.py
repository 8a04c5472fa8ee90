"""The highest rate that a system sustains on one core: up by doubling while it holds, then bisect.

The system has the last core for itself, the broker keeps the first one, and generator and collector
run where there is room. Sustained is: everything is answered, p99 within 100 ms (and two of the
system's own commit intervals, for those whose defaults wait longer), and waits that do not grow.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from bench.measure import SUSTAINED_DRIFT_MS_MAX, SUSTAINED_P99_MS_MAX
from bench.rivals.arena import DRAIN_SECONDS_MAX, drained, pin_process

if TYPE_CHECKING:
    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant
    from bench.systems import Running

RATE_MIN: Final = 250
RATE_MAX: Final = 32_000
NEAR_MISS: Final = 3


def run(arena: Arena) -> None:
    """Find the highest rate of every system."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1 and arena.broker.pid:
        pin_process(arena.broker.pid, {cores[0]})
    try:
        for repetition, contestant in arena.turns(
            arena.extent.ramp_repetitions, arena.extent.ramp_systems
        ):
            key = f"rate/core/{contestant.name}/{repetition}"
            if key not in arena.runs:
                _find(arena, contestant, key, cores[-1])
    finally:
        if arena.broker.pid:
            pin_process(arena.broker.pid, set(cores))


def is_sustained(row: dict[str, Any], contestant: Contestant) -> bool:
    """Return whether a row shows a rate that the system can live with for ever."""
    wait_ms = SUSTAINED_P99_MS_MAX + 2 * contestant.commit_ms
    return (
        not row["missing"]
        and row["latency_ms"]["p99"] <= wait_ms
        and row["drift_ms"] <= SUSTAINED_DRIFT_MS_MAX + contestant.commit_ms / 2
    )


def _find(arena: Arena, contestant: Contestant, key: str, core: int) -> None:
    probes: list[dict[str, Any]] = []
    world: World | None = None
    try:
        with ExitStack() as stack:
            world = stack.enter_context(arena.world(contestant))
            process, _ = stack.enter_context(arena.started(world, core=core))
            arena.warm_up(world, process)
            highest = _bisect(arena, world, process, probes)
            verdict = asdict(arena.verdict(world))
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        arena.failed(key, world, error)
        return
    row = {"highest": highest, "core": core, "probes": probes, "verdict": verdict}
    told = f"{highest:,} events/s" + ("  DISQUALIFIED" if verdict["findings"] else "")
    arena.keep(key, row, told)


def _bisect(arena: Arena, world: World, process: Running, probes: list[dict[str, Any]]) -> int:
    """Return the highest rate that held; 0 when the lowest one did not."""
    low, high = 0.0, 0.0
    while not high or high / low > arena.extent.ramp_precision:
        rate = (low * 2 or RATE_MIN) if not high else (low * high) ** 0.5
        if rate > RATE_MAX:
            break
        if _holds(arena, world, process, round(rate), probes):
            low = rate
        elif not low:
            return 0
        else:
            high = rate
            if not drained(world.deployment, DRAIN_SECONDS_MAX):
                break  # What it still owes would be held against the next rate.
    return round(low)


def _holds(
    arena: Arena, world: World, process: Running, rate: int, probes: list[dict[str, Any]]
) -> bool:
    """Try a rate; a near miss, which a hiccup of the machine explains, gets a second chance."""
    extent = arena.extent
    for _ in range(2):
        row = arena.load(world, process, rate, extent.ramp_seconds, extent.warm_up_seconds)
        probes.append(row)
        if is_sustained(row, world.contestant):
            return True
        if row["missing"] or row["latency_ms"]["p99"] > NEAR_MISS * SUSTAINED_P99_MS_MAX:
            return False
        drained(world.deployment, DRAIN_SECONDS_MAX)
    return False
